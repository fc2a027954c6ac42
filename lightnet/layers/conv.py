"""Convolution, as one matrix product.

A kernel is a small pattern, KH x KW pixels of C channels. Laid over a window of the image, the products of its numbers with
the pixels, summed, say how well the window fits. The same F kernels go over every window, so a pattern is found wherever it
stands, with few weights; the F answers at each place are the channels of the next image, a "feature map":

    y[n, i, j, f] = b[f] + sum over p, q, c of  x[n, i*SH + p, j*SW + q, c] * W[p, q, c, f]       (x already padded)

Copy each window into one row of a matrix ("image to columns", im2col), and the sums over p, q, c become one product:

    y = im2col(x) @ W + b            (N*OH*OW, KH*KW*C) @ (KH*KW*C, F)

From there on it is a dense layer whose rows are windows (``dense.py``), and so is its backward.

Source: Chellapilla, Puri, Simard, "High performance convolutional neural networks for document processing", 2006.
What deep learning calls convolution does not flip the kernel: mathematics calls it cross-correlation.
"""

import numpy as np

from ..errors import ShapeError
from ..initializers import he_normal
from .base import Layer, expect_image, pair, two_pairs


def windows_along(size, kernel, stride, padding):
    """How many windows fit along one side: ``floor((before + size + after - kernel) / stride) + 1``, padding = (before, after).

    >>> windows_along(227, kernel=3, stride=2, padding=(0, 0))
    113
    """
    return (size + sum(padding) - kernel) // stride + 1


def im2col(x, kernel, stride, padding, fill=0):
    """Each window of an image as one row.

    Parameters
    ----------
    x : ndarray (N, H, W, C)
    kernel, stride : (int, int)
        Height, width.
    padding : ((top, bottom), (left, right))
    fill : float
        What the padding holds.

    Returns
    -------
    ndarray (N, OH, OW, KH * KW * C)
        The last axis runs over the window row by row, channels innermost: the order of ``W.reshape(KH * KW * C, F)``.

    Examples
    --------
    A 3x3 image of two channels, 0 to 8 and 10 times that; the four 2x2 windows, each pixel's channels side by side:

    >>> x = np.arange(9).reshape(1, 3, 3, 1) * [1, 10]
    >>> im2col(x, kernel=(2, 2), stride=(1, 1), padding=((0, 0), (0, 0))).reshape(4, 8)
    array([[ 0,  0,  1, 10,  3, 30,  4, 40],
           [ 1, 10,  2, 20,  4, 40,  5, 50],
           [ 3, 30,  4, 40,  6, 60,  7, 70],
           [ 4, 40,  5, 50,  7, 70,  8, 80]])
    """
    N, H, W, C = x.shape
    (KH, KW), (SH, SW) = kernel, stride
    OH, OW = windows_along(H, KH, SH, padding[0]), windows_along(W, KW, SW, padding[1])
    x = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    cols = np.empty((N, OH, OW, KH, KW, C), x.dtype)
    for p in range(KH):                 # KH * KW big copies: pixel (p, q) of every window at once
        for q in range(KW):             # rows p, p + SH, ...: OH of them; the slice may end beyond the image, its last row not
            cols[:, :, :, p, q] = x[:, p : p + SH * OH : SH, q : q + SW * OW : SW]
    return cols.reshape(N, OH, OW, KH * KW * C)


def col2im(cols, shape, kernel, stride, padding):
    """The adjoint of `im2col`: add every row back where its window was taken from.

    ``im2col`` is linear: it copies pixels. Copying a pixel to several places, forward, means adding up what comes back
    from them, backward. So ``<im2col(x), g> = <x, col2im(g)>`` for all x and g: written as matrices, one is the other's
    transpose. The loop is im2col's with the assignment turned around.

    Parameters
    ----------
    cols : ndarray (N, OH, OW, KH * KW * C)
    shape : (N, H, W, C)
        Of the image to add into.
    kernel, stride, padding
        As in `im2col`.

    Returns
    -------
    ndarray (N, H, W, C)

    Examples
    --------
    How many 2x2 windows cover each pixel of a 3x3 image:

    >>> col2im(np.ones((1, 2, 2, 4)), (1, 3, 3, 1), (2, 2), (1, 1), ((0, 0), (0, 0)))[0, :, :, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    N, H, W, C = shape
    (KH, KW), (SH, SW), ((top, bottom), (left, right)) = kernel, stride, padding
    OH, OW = cols.shape[1:3]
    cols = cols.reshape(N, OH, OW, KH, KW, C)
    x = np.zeros((N, top + H + bottom, left + W + right, C), cols.dtype)
    for p in range(KH):
        for q in range(KW):
            x[:, p : p + SH * OH : SH, q : q + SW * OW : SW] += cols[:, :, :, p, q]
    return x[:, top : top + H, left : left + W]


class Conv2D(Layer):
    """2-D convolution: ``y = im2col(x) @ W + b``.

    Parameters
    ----------
    in_channels, out_channels : int
        C and F.
    kernel, stride : int or (height, width)
    padding : int, (height, width) or ((top, bottom), (left, right))
        Zeros around the image.
    seed : int, numpy.random.Generator or None
        Of the initial weights (He normal, ``initializers.py``); biases start at 0.

    Notes
    -----
    Parameters ``weight`` (KH, KW, C, F) and ``bias`` (F,). Backward needs the columns: kept, they take KH * KW / (SH * SW)
    times the image's memory, the price of making a convolution one product. Not supported: dilation, groups.

    Examples
    --------
    By hand: [-1, 1] along the width gives the difference of neighbours, an edge detector. In backward, pixel 1 is +1 in
    window 0 and -1 in window 1, so its dx is 1 - 10 = -9:

    >>> layer = Conv2D(1, 1, kernel=(1, 2))
    >>> layer.params["weight"][:] = np.reshape([-1, 1], (1, 2, 1, 1))
    >>> x = np.float32([0, 0, 5, 5, 7]).reshape(1, 1, 5, 1)
    >>> layer.forward(x, training=True).ravel()
    array([0., 5., 0., 2.], dtype=float32)
    >>> layer.backward(np.float32([1, 10, 100, 1000]).reshape(1, 1, 4, 1)).ravel()
    array([  -1.,   -9.,  -90., -900., 1000.], dtype=float32)
    >>> layer.grads["weight"].ravel(), layer.grads["bias"]     # 5*100 + 5*1000, 5*10 + 5*100 + 7*1000
    (array([5500., 7550.], dtype=float32), array([1111.], dtype=float32))
    """

    def __init__(self, in_channels, out_channels, kernel, stride=1, padding=0, seed=None):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel, self.stride, self.padding = pair(kernel, "kernel"), pair(stride, "stride"), two_pairs(padding)
        KH, KW = self.kernel
        self.params["weight"] = he_normal((KH, KW, in_channels, out_channels), KH * KW * in_channels, seed)
        self.params["bias"] = np.zeros(out_channels, np.float32)

    def forward(self, x, training=False):
        """``y = im2col(x) @ W + b``: (N, H, W, C) to (N, OH, OW, F).  (Chellapilla et al. 2006)"""
        N, OH, OW, F = self.output_shape(x.shape)
        cols = self.columns(x)                              # (N*OH*OW, KH*KW*C)
        W = self.params["weight"].reshape(-1, F)            # (KH*KW*C, F)
        if training:
            self.cache = (x.shape, cols)
        return (cols @ W + self.params["bias"]).reshape(N, OH, OW, F)

    def backward(self, dy):
        """Dense's backward on the rows: ``dW = cols.T @ dy``, ``db = dy.sum(axis=0)``; then ``dx = col2im(dy @ W.T)``."""
        x_shape, cols = self.recall()
        dy_rows = dy.reshape(-1, self.out_channels)         # (N*OH*OW, F)
        W = self.params["weight"].reshape(-1, self.out_channels)
        self.grads["weight"] = (cols.T @ dy_rows).reshape(self.params["weight"].shape)
        self.grads["bias"] = dy_rows.sum(axis=0)
        dcols = dy_rows @ W.T                               # (N*OH*OW, KH*KW*C)
        return self.image(dcols, x_shape)

    def columns(self, x):
        """`im2col` as a matrix (N*OH*OW, KH*KW*C); where every window is one pixel, the image is that matrix already."""
        if not self.is_pointwise:
            x = im2col(x, self.kernel, self.stride, self.padding)
        return x.reshape(-1, x.shape[-1])

    def image(self, cols, shape):
        """The adjoint of `columns`: (N*OH*OW, KH*KW*C) to an image of that shape."""
        if self.is_pointwise:
            return cols.reshape(shape)
        return col2im(cols.reshape(*self.output_shape(shape)[:3], -1), shape, self.kernel, self.stride, self.padding)

    @property
    def is_pointwise(self):
        """Whether every window is one pixel and every pixel a window, so that there is nothing to copy."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and self.padding == ((0, 0), (0, 0))

    def output_shape(self, shape):
        """(N, H, W, C) to (N, OH, OW, F), see `windows_along`; ShapeError where no window fits."""
        N, H, W, C = expect_image(self, shape, self.in_channels)
        (KH, KW), (SH, SW), (rows, columns) = self.kernel, self.stride, self.padding
        OH, OW = windows_along(H, KH, SH, rows), windows_along(W, KW, SW, columns)
        if min(OH, OW) < 1:
            raise ShapeError(f"Conv2D: an image of {H}x{W} pixels, padded by {self.padding}, is smaller than the kernel "
                             f"{self.kernel}; expected a larger image or more padding")
        return N, OH, OW, self.out_channels

    def macs(self, shape):
        """KH * KW * C products for each of the N * OH * OW * F outputs."""
        KH, KW = self.kernel
        return KH * KW * self.in_channels * int(np.prod(self.output_shape(shape)))
