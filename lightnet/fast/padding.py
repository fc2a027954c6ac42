"""Copies with zeros around images or behind their channels."""

from ..kernels import memory
from ..kernels.packing import panel_count
from ..kernels.vector import LANES


def padded(x, padding):
    """Images with zeros around them; x itself where there is no padding."""
    (top, bottom), (left, right) = padding
    if padding == ((0, 0), (0, 0)):
        return x
    N, H, W, C = x.shape
    result = memory.empty((N, top + H + bottom, left + W + right, C))
    result[:, :top] = result[:, top + H:] = 0
    result[:, :, :left] = result[:, :, left + W:] = 0
    result[:, top:top + H, left:left + W] = x
    return result


def wide(F):
    """F rounded up to whole panels."""
    return panel_count(F) * LANES


def padded_channels(x, channels):
    """Zeros as further channels."""
    result = memory.empty((*x.shape[:3], channels))
    result[..., :x.shape[3]], result[..., x.shape[3]:] = x, 0
    return result
