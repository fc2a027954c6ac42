"""From files to batches: read any image safely, prepare it for a network, and the data sets, real and synthetic."""

from .prepare import prepare

__all__ = ["prepare"]
