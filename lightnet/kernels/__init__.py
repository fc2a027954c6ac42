"""The floor of speed: see README.md."""
