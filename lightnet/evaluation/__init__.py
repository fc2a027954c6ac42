"""What a network's scores are worth: metrics with intervals, pictures, predictions for files."""
