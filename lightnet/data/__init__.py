"""From files to batches: read any image safely, prepare it for a network, and the data sets, real and synthetic."""

from .prepare import default_meta, prepare

__all__ = ["default_meta", "prepare"]
