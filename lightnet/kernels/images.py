"""A batch of images as the kernels see it: one run of memory, and the distances in it.

A channel slice of a wider array is such a batch as well, of pixels that lie further apart than they have channels: that is how
the inputs of a Concat are computed in place. Compiled code gets flat arrays only, for which it makes straight vector loops; of
an array with strides it would not know that channels are neighbours.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from . import memory
from .compiling import inner
from .threads import flush


class Flat(NamedTuple):
    """An array as one run of memory, how far apart its images lie in it (0: all images use the same), and where they begin."""

    memory: np.ndarray
    stride: int = 0
    start: int = 0


class Images(NamedTuple):
    """``memory[n * stride + i * row + j * pitch + c]`` is channel c of pixel (i, j) of image n."""

    memory: np.ndarray
    stride: int
    row: int
    pitch: int
    N: int
    H: int
    W: int
    C: int

    @property
    def flat(self):
        """What a product needs to know."""
        return Flat(self.memory, self.stride)


@inner
def some_images(x, first, last):
    """A few of them."""
    return Images(x.memory[first * x.stride:], x.stride, x.row, x.pitch, last - first, x.H, x.W, x.C)


@inner
def some_rows(x, n, i, count):
    """A few rows of one of them."""
    return Images(x.memory[n * x.stride + i * x.row:], x.stride, x.row, x.pitch, 1, count, x.W, x.C)


@inner
def some_channels(x, first, count):
    """A few channels of all pixels."""
    return Images(x.memory[first:], x.stride, x.row, x.pitch, x.N, x.H, x.W, count)


def is_regular(x):
    """Whether x (N, H, W, C) has the form of `Images`, in memory that may be written.

    (Kernels write no input; but to Numba a read-only array is another type, for which it would compile everything again.)
    """
    n, h, w, c = x.strides
    N, H, W, C = x.shape
    return x.flags.writeable and x.dtype == np.float32 and (x.flags.c_contiguous or (
        c == 4 and w >= 4 * C and w % 4 == 0 and h == W * w and n >= h * H and n % 4 == 0))


def evenly(pixels, H, W):
    """Images (N, H, W, C) of which all pixels are the same, ``pixels`` (N, C): a view of these, not to be written."""
    N, C = pixels.shape
    x = np.ndarray((N, H, W, C), pixels.dtype, pixels, strides=(4 * C, 0, 0, 4))
    x.flags.writeable = False
    return x


def is_even(x):
    """Whether x is such a view, which `images` can take, and only some kernels."""
    return x.ndim == 4 and x.dtype == np.float32 and not x.flags.c_contiguous and x.strides == (4 * x.shape[3], 0, 0, 4)


def regular(x):
    """x itself where it has the form of `Images`, else a copy."""
    if is_regular(x):
        return x
    flush()                                             # x may still wait to be computed
    copy = memory.empty(x.shape)
    np.copyto(copy, x)
    return copy


def contiguous(x):
    """x, copied where it is not one run of memory."""
    if x.flags.c_contiguous:
        return x
    flush()
    return np.ascontiguousarray(x)


def images(x):
    """A regular array (N, H, W, C) as `Images`."""
    N, H, W, C = x.shape
    if x.flags.c_contiguous:
        return Images(x.reshape(-1), H * W * C, W * C, C, N, H, W, C)
    n, h, w, c = x.strides
    return Images(run_of_memory(x, ((N - 1) * n + (H - 1) * h + (W - 1) * w) // 4 + C), n // 4, h // 4, w // 4, N, H, W, C)


def everywhere(value, C):
    """Images of which every number is the same: one pixel, which stays in the nearest cache, stands for all of any size."""
    return Images(np.full(C, value, np.float32), 0, 0, 0, 0, 0, 0, C)           # N, H and W are not read


def run_of_memory(x, size):
    """So many numbers from where x begins."""
    whole = x.base
    if isinstance(whole, np.ndarray) and whole.flags.c_contiguous and whole.dtype == x.dtype:
        begin, place = whole.__array_interface__["data"][0], x.__array_interface__["data"][0]
        return np.ndarray((size,), x.dtype, whole, place - begin)       # a tenth of what as_strided takes
    return as_strided(x, (size,), (4,))


def elements(*arrays):
    """Arrays of one shape for what looks at each number alone: without strides, as images of one long pixel each."""
    if all(x.flags.c_contiguous for x in arrays):
        return [Images(x.reshape(-1), x.size, x.size, x.size, 1, 1, 1, x.size) for x in arrays]
    return [images(x) for x in arrays]
