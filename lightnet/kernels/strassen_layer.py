"""A transposed convolution's forward and backward by Strassen's method (``strassen.py``), where its windows do not overlap.

In its letters, with x the image's matrix (pixels, C), w its weights and y, of two taps at a time, what it makes of them:

    V = T x T^t,     W = R w R^t,             y = U [V W] U^t + b
    Z = U^t dy U,    dx = T^t [Z W^t] T,      dw = R^t [V^t Z] R

Every step is linear: so the gradients are the same 49 products turned around, as in Winograd's method, and one transform of dy
serves both. It also takes the place of the copy (``columns.py``, ``windows_of``) that the products would need, whose windows lie
in rows that are far apart.

**Why it is fast.** The transposed convolution of the paper's network is a quarter of all multiplications. Both ways it took
5.9 ms an image, at 0.94 of the speed of multiply-adds alone, and takes 5.3 with a quarter fewer (AVX-512). Two images at a time:
with one the weights' 49 sums, 6 MB, are read too often, with four the images' are too many for the caches.
"""

import numpy as np

from .borrowing import borrowed
from .compiling import compiled, inner
from .elementwise import column_sums, elu_slope
from .images import Flat, some_images
from .multiply import shared_multiply
from .product import Tables
from .strassen import PRODUCTS, TAPS, Blocks, Products, R, T, U, apart, in_rows, inputs_forward, outputs_forward, transform
from .tile import PANELS, STORE
from .vector import LANES

TOGETHER = 2                                            # images
outputs_backward, inputs_backward = transform(U.T), transform(T.T)
weights_forward, weights_backward = transform(R), transform(R.T, add=True)


@inner
def of_image(x, n):
    """The blocks of an image: halves of its height and of its channels, of these halves of its width and of their channels."""
    H, W, k = x.H // 2, x.W // 2, x.C // 4
    return Blocks(x.memory, n * x.stride, H, W, k, x.row, x.pitch, (H * x.row, 2 * k, W * x.pitch, k))


@inner
def of_taps(y, n, pair, KH, KW):
    """Of what two taps make of it: halves of the height, either tap; halves of the width, halves of the channels."""
    H, W, p, q = y.H // KH // 2, y.W // KW // 2, pair * TAPS // KW, pair * TAPS % KW
    return Blocks(y.memory, n * y.stride + p * y.row + q * y.pitch, H, W, y.C // 2, KH * y.row, KW * y.pitch,
                  (H * KH * y.row, y.pitch, W * KW * y.pitch, y.C // 2))


@inner
def of_weights(weight, pair, C, F):
    """Of two taps' weights (2 * F, C): halves of C, either tap; halves of these, halves of F."""
    k, n = C // 4, F // 2
    return Blocks(weight, pair * TAPS * F * C, 1, n, k, 0, C, (2 * k, F * C, k, n * C))


@compiled
def pack(weight, first, last, C, F, W):
    """W of the weights (all taps' F, C) for some pairs of taps, each in panels of 16 columns (49, n / 16, k, 16)."""
    k, n, row = C // 4, F // 2, TAPS * F
    turned = np.empty(C * row, np.float32)
    for pair in range(first, last):
        for c0 in range(0, C, LANES):                   # a few columns at a time, whose lines stay in the nearest cache
            for f in range(row):
                for c in range(c0, c0 + LANES):
                    turned[c * row + f] = weight[(pair * row + f) * C + c]
        blocks = Blocks(turned, 0, 1, k, n, 0, row, (2 * k * row, F, k * row, n))
        weights_forward(blocks, Products(W, pair * PRODUCTS * k * n, LANES, k * LANES, k * n))


@compiled
def pack_transposed(weight, first, last, C, F, Wt):
    """Their part of all pairs' W^t, in panels of 16 columns (49, k / 16, pairs * n, 16)."""
    k, n, pairs = C // 4, F // 2, weight.size // (TAPS * F * C)
    for pair in range(first, last):
        weights_forward(of_weights(weight, pair, C, F), Products(Wt, pair * n * LANES, LANES, pairs * n * LANES, pairs * n * k))


@inner
def gradient_tables(pixels, k, n):
    """(n, pixels) @ (pixels, k), of which both are in panels of 16 columns."""
    zero, rows, columns = np.zeros(1, np.int64), np.arange(n), np.arange(k // LANES)
    return Tables(rows // LANES * (pixels * LANES) + rows % LANES, zero, LANES, columns * (pixels * LANES), zero, LANES, pixels,
                  rows * k, columns * LANES, 1, 0)


@inner
def backward_tables(pixels, K, panels):
    """(pixels, K) @ (K, panels * 16), of which the first is in panels of 16 columns."""
    rows, segments, columns = np.arange(pixels), np.arange(K // LANES), np.arange(panels)
    return Tables(rows * LANES, segments * (pixels * LANES), 1, columns * (K * LANES), segments * (LANES * LANES), LANES, LANES,
                  rows * (panels * LANES), columns * LANES, len(segments), 0)


@compiled
def forward(x, start, stop, W, bias, y, KH, KW, V, P):
    """``y = U [V W] U^t + bias`` of images start to stop.

    x, y: `Images`; W: see `pack`; bias: (F,); scratch V and P for `TOGETHER` images.
    """
    x, W, bias, y, V, P = borrowed((x, W, bias, y, V, P))
    k, n = x.C // 4, y.C // 2
    zeros, nothing = np.zeros(n + LANES, np.float32), np.empty(1, np.float32)
    for first in range(start, stop, TOGETHER):
        count, quarter = min(TOGETHER, stop - first), x.H * x.W // 4
        v_step, p_step, tables = apart(count * quarter * k), apart(count * quarter * n), in_rows(count * quarter, k, n)
        for i in range(count):
            inputs_forward(of_image(x, first + i), Products(V, i * quarter * k, k, LANES, v_step))
        for pair in range(KH * KW // TAPS):
            weights = Flat(W[pair * PRODUCTS * k * n:], k * n, 0)
            shared_multiply(tables, PRODUCTS, Flat(V, v_step, 0), weights, Flat(P, p_step, 0), zeros, STORE, nothing)
            for i in range(count):
                outputs_forward(of_taps(y, first + i, pair, KH, KW), Products(P, i * quarter * n, n, LANES, p_step), bias)


@compiled
def backward(x, dy, start, stop, Wt, KH, KW, alpha, x_is_elu, dx, dW, db, V, Z, D, M):
    """dx of images start to stop; to dW, in the order of the weights, and db theirs are added.

    Where x comes from an ELU dx is multiplied by its slope. Wt: see `pack_transposed`; scratch V, Z and M for `TOGETHER` images,
    and D.
    """
    x, dy, Wt, dx, dW, db, V, Z, D, M = borrowed((x, dy, Wt, dx, dW, db, V, Z, D, M))
    k, n, C, F, pairs = x.C // 4, dy.C // 2, x.C, dy.C, KH * KW // TAPS
    zeros, nothing, d_step = np.zeros(k + LANES, np.float32), np.empty(1, np.float32), apart(n * k)
    for first in range(start, stop, TOGETHER):
        count, quarter = min(TOGETHER, stop - first), x.H * x.W // 4
        pixels = count * quarter
        v_step, z_step = apart(pixels * k), apart(pixels * pairs * n)
        db += column_sums(some_images(dy, first, first + count))
        for i in range(count):
            inputs_forward(of_image(x, first + i), Products(V, i * quarter * LANES, LANES, pixels * LANES, v_step))
            for pair in range(pairs):
                outputs_backward(of_taps(dy, first + i, pair, KH, KW),
                                 Products(Z, pair * n * pixels + i * quarter * LANES, LANES, pixels * LANES, z_step))
        tables = gradient_tables(pixels, k, n)
        for pair in range(pairs):
            shared_multiply(tables, PRODUCTS, Flat(Z[pair * n * pixels:], z_step, 0), Flat(V, v_step, 0), Flat(D, d_step, 0),
                            zeros, STORE, nothing)
            weights_backward(of_weights(dW, pair, C, F), Products(D, 0, k, LANES, d_step))
        for c in range(0, k, PANELS * LANES):
            columns = min(PANELS * LANES, k - c)
            tables, m_step = backward_tables(pixels, pairs * n, columns // LANES), apart(pixels * columns)
            shared_multiply(tables, PRODUCTS, Flat(Z, z_step, 0), Flat(Wt[c * pairs * n:], pairs * n * k, 0), Flat(M, m_step, 0),
                            zeros, STORE, nothing)
            for i in range(count):
                inputs_backward(some_channels(of_image(dx, first + i), c, columns),
                                Products(M, i * quarter * columns, columns, LANES, m_step))
        if x_is_elu:
            elu_slope(some_images(x, first, first + count), some_images(dx, first, first + count), alpha)


@inner
def some_channels(blocks, c, channels):
    """Some channels of each block."""
    return Blocks(blocks.memory, blocks.start + c, blocks.H, blocks.W, channels, blocks.row, blocks.pitch, blocks.steps)
