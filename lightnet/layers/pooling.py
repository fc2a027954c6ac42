"""Pooling: shrink the image, keep the channels.

A pool looks through the same windows as a convolution (`im2col`) but reduces each channel of a window to one number: its
largest, or its mean. Global average pooling takes the whole image as one window.

Sizes follow PyTorch. In floor mode windows that overhang the padded image are dropped. In ceil mode they are kept, as
long as they start inside the image or its top and left padding. With kernel 3 and stride 2, 113 pixels give 56 windows in
either mode, since none overhangs; 56 pixels give 27 in floor mode, where the last pixel is lost, and 28 in ceil mode.
"""

import numpy as np

from ..errors import ShapeError
from .base import Layer, expect_image, pair, two_pairs
from .conv import col2im, im2col, windows_along


class Pool2D(Layer):
    """What both window pools share: windows, padding and the sizes that follow.

    Parameters
    ----------
    kernel : int or (height, width)
    stride : int, (height, width) or None
        None: the kernel, so that windows tile the image.
    padding : int, (height, width) or ((top, bottom), (left, right))
        Less than the kernel on each side, so that every window holds a pixel.
    ceil_mode : bool
        Keep windows that overhang at the bottom and right.
    """

    def __init__(self, kernel, stride=None, padding=0, ceil_mode=False):
        super().__init__()
        self.kernel, self.padding, self.ceil_mode = pair(kernel, "kernel"), two_pairs(padding), ceil_mode
        self.stride = self.kernel if stride is None else pair(stride, "stride")
        if any(max(sides) >= size for sides, size in zip(self.padding, self.kernel)):
            raise ShapeError(f"{type(self).__name__}: padding {padding} must be less than the kernel {kernel}, or a window "
                             "could lie outside the image")

    def output_shape(self, shape):
        """(N, H, W, C) to (N, OH, OW, C); ShapeError where no window fits."""
        N, H, W, C = expect_image(self, shape)
        (KH, KW), (SH, SW), (rows, columns) = self.kernel, self.stride, self.reach(shape)
        OH, OW = windows_along(H, KH, SH, rows), windows_along(W, KW, SW, columns)
        if min(OH, OW) < 1:
            raise ShapeError(f"{type(self).__name__}: an image of {H}x{W} pixels, padded by {self.padding}, is smaller than "
                             f"the window {self.kernel}; expected a larger image")
        return N, OH, OW, C

    def reach(self, shape):
        """The padding, and in ceil mode the overhang of a last window added at the bottom and right."""
        if not self.ceil_mode:
            return self.padding
        _, H, W, _ = shape
        (KH, KW), (SH, SW), ((top, bottom), (left, right)) = self.kernel, self.stride, self.padding
        return (top, bottom + overhang(H, KH, SH, top, bottom)), (left, right + overhang(W, KW, SW, left, right))

    def windows(self, x, fill):
        """All windows of x: (N, OH, OW, KH*KW, C)."""
        (N, OH, OW, C), (KH, KW) = self.output_shape(x.shape), self.kernel
        return im2col(x, self.kernel, self.stride, self.reach(x.shape), fill).reshape(N, OH, OW, KH * KW, C)

    def image(self, windows, shape):
        """The adjoint of `windows`: add them up where they came from."""
        cols = windows.reshape(*windows.shape[:3], -1)      # (N, OH, OW, KH*KW*C)
        return col2im(cols, shape, self.kernel, self.stride, self.reach(shape))


def overhang(size, kernel, stride, before, after):
    """How far one more window would overhang, or 0 if the windows end even or it would start outside the image.

    >>> overhang(size=6, kernel=3, stride=2, before=0, after=0)       # windows at 0 and 2; one at 4 overhangs by 1
    1
    """
    room = before + size + after - kernel                   # where the last window can start without overhanging
    missing = (-room) % stride                              # pixels short of one more step
    starts_inside = room + missing < before + size
    return missing if starts_inside else 0


class MaxPool2D(Pool2D):
    """Max pooling: ``y[n, i, j, c]`` is the largest value of channel c in window (i, j); padding never wins against a number.

    See `Pool2D` for the parameters.

    Examples
    --------
    >>> layer = MaxPool2D(2)
    >>> x = np.float32([[1, 2, 5, 5], [4, 3, 5, 0]]).reshape(1, 2, 4, 1)
    >>> layer.forward(x, training=True).ravel()
    array([4., 5.], dtype=float32)
    >>> layer.backward(np.float32([10, 20]).reshape(1, 1, 2, 1))[0, :, :, 0]     # of equal values the first gets it all
    array([[ 0.,  0., 20.,  0.],
           [10.,  0.,  0.,  0.]], dtype=float32)

    Windows that overlap: the 5 wins in both and gets the sum.

    >>> layer = MaxPool2D((1, 3), stride=(1, 2))
    >>> layer.forward(np.float32([0, 1, 5, 2, 3]).reshape(1, 1, 5, 1), training=True).ravel()
    array([5., 5.], dtype=float32)
    >>> layer.backward(np.float32([10, 20]).reshape(1, 1, 2, 1)).ravel()
    array([ 0.,  0., 30.,  0.,  0.], dtype=float32)
    """

    def forward(self, x, training=False):
        """``y = max over the window``: (N, H, W, C) to (N, OH, OW, C)."""
        windows = self.windows(x, fill=-np.inf)
        winner = windows.argmax(axis=3, keepdims=True)      # (N, OH, OW, 1, C); the first of equals, row by row
        if training:
            self.cache = (x.shape, winner)
        return np.take_along_axis(windows, winner, axis=3)[:, :, :, 0]

    def backward(self, dy):
        """The winner of each window gets the window's dy, the others 0; a pixel that won in several gets the sum."""
        x_shape, winner = self.recall()
        N, OH, OW, C = dy.shape
        KH, KW = self.kernel
        dwindows = np.zeros((N, OH, OW, KH * KW, C), dy.dtype)
        np.put_along_axis(dwindows, winner, dy[:, :, :, None], axis=3)
        return self.image(dwindows, x_shape)


class AvgPool2D(Pool2D):
    """Average pooling: ``y[n, i, j, c]`` is the mean of channel c in window (i, j).

    See `Pool2D` for the parameters.

    Parameters
    ----------
    count_include_pad : bool
        Whether padding counts as zeros in the mean. What overhangs beyond the padding in ceil mode never counts.

    Examples
    --------
    >>> x = np.float32([1, 2, 6]).reshape(1, 1, 3, 1)
    >>> AvgPool2D((1, 2), stride=1, padding=(0, 1)).forward(x).ravel()
    array([1. , 1.5, 4. , 6. ], dtype=float32)
    >>> AvgPool2D((1, 2), stride=1, padding=(0, 1), count_include_pad=True).forward(x).ravel()
    array([0.5, 1.5, 4. , 3. ], dtype=float32)
    """

    def __init__(self, kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=False):
        super().__init__(kernel, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x, training=False):
        """``y = sum over the window / number of pixels that count``: (N, H, W, C) to (N, OH, OW, C)."""
        count = self.pixels_that_count(x)
        if training:
            self.cache = (x.shape, count)
        return self.windows(x, fill=0).sum(axis=3) / count

    def backward(self, dy):
        """Every pixel of a window gets ``dy / count`` of it."""
        x_shape, count = self.recall()
        KH, KW = self.kernel
        share = (dy / count)[:, :, :, None]                 # (N, OH, OW, 1, C)
        return self.image(np.repeat(share, KH * KW, axis=3), x_shape)

    def pixels_that_count(self, x):
        """How many pixels of each window count: (1, OH, OW, 1), found by summing the windows of an image of ones.

        Its padding is 1 or 0, as it counts or not; what overhangs in ceil mode is 0, im2col's fill.
        """
        ones = np.ones((1, *x.shape[1:3], 1), x.dtype)
        ones = np.pad(ones, ((0, 0), *self.padding, (0, 0)), constant_values=int(self.count_include_pad))
        overhangs = tuple((0, reach[1] - padding[1]) for reach, padding in zip(self.reach(x.shape), self.padding))
        return im2col(ones, self.kernel, self.stride, overhangs).sum(axis=3, keepdims=True)


class GlobalAvgPool(Layer):
    """The mean of each channel over the whole image: (N, H, W, C) to (N, C).

    References
    ----------
    Lin, Chen, Yan, "Network in network", 2014 (arXiv:1312.4400), section 3.2.

    Examples
    --------
    >>> layer = GlobalAvgPool()
    >>> layer.forward(np.float32([[1, 3], [5, 7]]).reshape(1, 2, 2, 1), training=True)
    array([[4.]], dtype=float32)
    >>> layer.backward(np.float32([[8]])).ravel()
    array([2., 2., 2., 2.], dtype=float32)
    """

    def forward(self, x, training=False):
        """``y = sum over h, w of x / (H * W)``."""
        self.output_shape(x.shape)
        if training:
            self.cache = (x.shape,)
        return x.mean(axis=(1, 2))

    def backward(self, dy):
        """Every pixel gets ``dy / (H * W)``."""
        ((N, H, W, C),) = self.recall()
        return np.broadcast_to(dy[:, None, None] / (H * W), (N, H, W, C)).copy()

    def output_shape(self, shape):
        """(N, H, W, C) to (N, C)."""
        N, H, W, C = expect_image(self, shape)
        if min(H, W) < 1:
            raise ShapeError(f"GlobalAvgPool: an image of {H}x{W} pixels has no mean; expected at least 1x1")
        return N, C
