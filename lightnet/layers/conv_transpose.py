"""Transposed convolution: the convolution's adjoint, used forward.

Take a convolution A without bias that maps an (OH, OW, F) image to a smaller (H, W, C) one. It is linear, so it has an
adjoint (written as a matrix: its transpose), which goes from the small image to the large one and satisfies

    <A(u), x> = <u, A'(x)>      for all u (N, OH, OW, F) and x (N, H, W, C).

C and F are this layer's channels in and out, so A's the other way round: A takes F channels to C, and its weight, which we
keep as it is, has the shape (KH, KW, F, C).

We know A' already: it is what a convolution's backward does to dy. (Take L = <A(u), dy> for a fixed dy: backward gives dL/du,
and since L = <u, A'(dy)> as well, that is A'(dy).) So each line below is a line of ``conv.py`` with
forward and backward exchanged:

    Conv2D forward    y  = im2col(x) @ W          ConvTranspose2D backward   dx = im2col(dy) @ W
    Conv2D backward   dx = col2im(dy @ W.T)       ConvTranspose2D forward    y  = col2im(x @ W.T) + b
                      dW = im2col(x).T @ dy                                  dW = im2col(dy).T @ x

Seen from the output: every input pixel stamps its value times the kernel onto the larger image, SH and SW pixels apart,
and stamps that overlap add up. With stride = kernel they do not overlap.

Source: Zeiler, Krishnan, Taylor, Fergus, "Deconvolutional networks", 2010; Dumoulin, Visin, "A guide to convolution
arithmetic for deep learning", 2016 (arXiv:1603.07285), chapter 4.
"""

import numpy as np

from ..errors import ShapeError
from ..initializers import he_normal
from .base import Layer, expect_image, pair, two_pairs
from .conv import col2im, im2col


class ConvTranspose2D(Layer):
    """2-D transposed convolution: ``y = col2im(x @ W.T) + b``.

    Parameters
    ----------
    in_channels, out_channels : int
        C and F.
    kernel, stride : int or (height, width)
        Of the convolution whose adjoint this is: the stride enlarges the image.
    padding : int, (height, width) or ((top, bottom), (left, right))
        Of that convolution: so many pixels are cropped from the output's border.
    output_padding : int or (height, width)
        Rows and columns added at the bottom and right, less than the stride: several sizes give the same size when they
        are convolved with a stride, and this says which of them is meant.
    seed : int, numpy.random.Generator or None
        Of the initial weights (He normal); biases start at 0.

    Notes
    -----
    Parameters ``weight`` (KH, KW, F, C), those of the adjoint convolution, and ``bias`` (F,).
    Not supported: dilation, groups.

    Examples
    --------
    Two pixels, 1 and 10, stamp the kernel [1, 2, 3] two pixels apart; in the middle 3*1 + 1*10 meet:

    >>> layer = ConvTranspose2D(1, 1, kernel=(1, 3), stride=(1, 2))
    >>> layer.params["weight"][:] = np.reshape([1, 2, 3], (1, 3, 1, 1))
    >>> layer.forward(np.float32([1, 10]).reshape(1, 1, 2, 1), training=True).ravel()
    array([ 1.,  2., 13., 20., 30.], dtype=float32)
    >>> layer.backward(np.float32([1, 0, 0, 0, 1]).reshape(1, 1, 5, 1)).ravel()
    array([1., 3.], dtype=float32)
    """

    def __init__(self, in_channels, out_channels, kernel, stride=1, padding=0, output_padding=0, seed=None):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel, self.stride, self.padding = pair(kernel, "kernel"), pair(stride, "stride"), two_pairs(padding)
        self.output_padding = pair(output_padding, "output_padding", least=0)
        if not all(more < step for more, step in zip(self.output_padding, self.stride)):
            raise ShapeError(f"output_padding {output_padding}: expected less than the stride {stride}")
        (KH, KW), (SH, SW) = self.kernel, self.stride
        fan_in = in_channels * KH * KW / (SH * SW)          # stamps are a stride apart: so many products meet in a pixel
        self.params["weight"] = he_normal((KH, KW, out_channels, in_channels), fan_in, seed)
        self.params["bias"] = np.zeros(out_channels, np.float32)

    def forward(self, x, training=False):
        """``y = col2im(x @ W.T) + b``: (N, H, W, C) to (N, OH, OW, F).  (Dumoulin and Visin 2016, section 4.1)"""
        y_shape = self.output_shape(x.shape)
        if training:
            self.cache = (x,)
        cols = x.reshape(-1, self.in_channels) @ self.matrix.T        # (N*H*W, KH*KW*F)
        return self.image(cols, x.shape, y_shape) + self.params["bias"]

    def backward(self, dy):
        """``dx = im2col(dy) @ W``, ``dW = im2col(dy).T @ x``, ``db = sum of dy``: a convolution's forward, applied to dy."""
        (x,) = self.recall()
        dcols = self.columns(dy)                                      # (N*H*W, KH*KW*F)
        self.grads["weight"] = (dcols.T @ x.reshape(-1, self.in_channels)).reshape(self.params["weight"].shape)
        self.grads["bias"] = dy.sum(axis=(0, 1, 2))
        return (dcols @ self.matrix).reshape(x.shape)

    def columns(self, y):
        """`im2col` of the large image as a matrix (N*H*W, KH*KW*F)."""
        cols = im2col(y, self.kernel, self.stride, self.padding)
        return cols.reshape(-1, cols.shape[-1])

    def image(self, cols, x_shape, y_shape):
        """The adjoint of `columns`: stamp the rows (N*H*W, KH*KW*F) onto the large image."""
        cols = cols.reshape(*x_shape[:3], len(self.matrix))           # (N, H, W, KH*KW*F)
        return col2im(cols, y_shape, self.kernel, self.stride, self.padding)

    @property
    def matrix(self):
        """W as the adjoint convolution's matrix, (KH*KW*F, C)."""
        return self.params["weight"].reshape(-1, self.in_channels)

    def output_shape(self, shape):
        """(N, H, W, C) to (N, OH, OW, F), ``OH = (H - 1) * SH + KH - top - bottom + output_padding``."""
        N, H, W, C = expect_image(self, shape, self.in_channels)
        OH, OW = ((size - 1) * stride + kernel - sum(padding) + extra for size, stride, kernel, padding, extra
                  in zip((H, W), self.stride, self.kernel, self.padding, self.output_padding))
        if min(OH, OW) < 1:
            raise ShapeError(f"ConvTranspose2D: cropping {self.padding} leaves nothing of the {H}x{W} image's output; "
                             "expected a larger image or less padding")
        return N, OH, OW, self.out_channels

    def macs(self, shape):
        """KH * KW * F products for each of the N * H * W * C inputs."""
        KH, KW = self.kernel
        return KH * KW * self.out_channels * int(np.prod(shape))
