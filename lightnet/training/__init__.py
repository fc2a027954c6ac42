"""From slices to a trained network: the loop, its checkpoints, a run's folder, the whole job."""
