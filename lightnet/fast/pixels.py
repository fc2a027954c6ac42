"""Arrays as the kernels want them: float32 pixels at equal distances in memory."""

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..kernels import memory
from ..kernels.product import Flat
from ..kernels.vector import LANES


def pixels(x):
    """x itself where its pixels lie at equal distances in memory that may be written, as those of a channel slice do; else a copy.

    (Kernels write no input; but to Numba a read-only array is another type, for which it would compile everything again.)
    """
    N, H, W, C = x.shape
    n, h, w, c = x.strides
    if x.flags.c_contiguous and x.flags.writeable:
        return x
    if x.flags.writeable and c == 4 and w >= 4 * C and w % 4 == 0 and h == W * w and n >= h * H and n % 4 == 0:
        return x
    copy = memory.empty(x.shape)
    np.copyto(copy, x)
    return copy


def flat(x):
    """Some images (N, H, W, C) from ``pixels`` as one run of memory."""
    if x.flags.c_contiguous:
        return Flat(x.reshape(-1), x[0].size if len(x) else 0)
    size = sum((side - 1) * stride for side, stride in zip(x.shape, x.strides)) // 4 + 1
    return Flat(as_strided(x, (size,), (4,)), x.strides[0] // 4)


def pitch(x):
    """How many numbers lie between a pixel and the next."""
    return x.strides[2] // 4


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
    return -(-F // LANES) * LANES
