"""Convolution as a compiled im2col and the matrix product, one image at a time.

The layer's own code (``layers/conv.py``) makes the columns of the whole batch, passes over them once for each of the KH * KW
taps, and keeps them for backward: 225 MB for 32 images of the paper's network. Here

- a thread makes the columns of one image, which its cache still holds when the product reads them, and uses the same buffer
  for the next image; backward makes them anew, which is cheaper than fetching them from memory;
- each row of the columns is written once, from left to right, straight from the unpadded image: for row p of a window, KW * C
  neighbouring numbers of the image are one run of memory.
"""

import numpy as np

from .threads import compiled, over_images


def forward(layer, x, training=False):
    """``y = im2col(x) @ W + b``; keeps x."""
    x = np.ascontiguousarray(x)
    y = np.empty(layer.output_shape(x.shape), x.dtype)
    F = layer.out_channels
    weight, bias = layer.params["weight"].reshape(-1, F), layer.params["bias"]

    def images(start, stop):
        buffer = column_buffer(layer, y.shape)
        for n in range(start, stop):
            rows = y[n].reshape(-1, F)
            np.matmul(im2col(layer, x[n], buffer), weight, out=rows)
            rows += bias
    over_images(images, len(x))
    if training:
        layer.cache = (x,)
    return y


def backward(layer, dy):
    """``dW = cols.T @ dy``, ``db = sum of dy``, ``dx = col2im(dy @ W.T)``."""
    (x,) = layer.cache
    dy, dx = np.ascontiguousarray(dy), np.empty_like(x)
    F = layer.out_channels
    weight = layer.params["weight"].reshape(-1, F)

    def images(start, stop):
        buffer = column_buffer(layer, dy.shape)
        dW, db = np.zeros_like(weight), np.zeros(F, x.dtype)
        for n in range(start, stop):
            rows = dy[n].reshape(-1, F)
            dW += im2col(layer, x[n], buffer).T @ rows
            db += rows.sum(axis=0)
            col2im(layer, rows, weight, buffer, dx[n])
        return dW, db
    sums = over_images(images, len(x))
    layer.grads["weight"] = sum(dW for dW, _ in sums).reshape(layer.params["weight"].shape)
    layer.grads["bias"] = sum(db for _, db in sums)
    return dx


def column_buffer(layer, y_shape):
    """Room for the columns of one image, (OH, OW, KH, KW, C); a 1x1 convolution needs none."""
    if layer.is_pointwise:
        return None
    return np.empty((*y_shape[1:3], *layer.kernel, layer.in_channels), np.float32)


def im2col(layer, x, buffer):
    """The columns of one image (H, W, C) as a matrix (OH*OW, KH*KW*C), in the buffer."""
    if buffer is None:
        return x.reshape(-1, layer.in_channels)
    copy_windows(x, buffer, *numbers(layer))
    return as_matrix(buffer)


def col2im(layer, rows, weight, buffer, dx):
    """``dx = col2im(rows @ weight.T)`` of one image."""
    if buffer is None:
        np.matmul(rows, weight.T, out=dx.reshape(rows.shape[0], -1))
    else:
        np.matmul(rows, weight.T, out=as_matrix(buffer))
        dx[:] = 0
        add_windows(buffer, dx, *numbers(layer))


def as_matrix(buffer):
    """(OH, OW, KH, KW, C) as (OH*OW, KH*KW*C)."""
    OH, OW = buffer.shape[:2]
    return buffer.reshape(OH * OW, -1)


def numbers(layer):
    """SH, SW, top, left: the loops need no more."""
    return *layer.stride, layer.padding[0][0], layer.padding[1][0]


@compiled
def copy_windows(x, cols, SH, SW, top, left):
    """``cols[i, j, p, q] = x[i*SH + p - top, j*SW + q - left]``, 0 outside the image."""
    H, W, C = x.shape
    OH, OW, KH, KW, _ = cols.shape
    for i in range(OH):
        for j in range(OW):
            for p in range(KH):
                h = i * SH + p - top
                for q in range(KW):
                    w = j * SW + q - left
                    if 0 <= h < H and 0 <= w < W:
                        for c in range(C):
                            cols[i, j, p, q, c] = x[h, w, c]
                    else:
                        for c in range(C):
                            cols[i, j, p, q, c] = 0


@compiled
def add_windows(cols, x, SH, SW, top, left):
    """The adjoint: ``x[i*SH + p - top, j*SW + q - left] += cols[i, j, p, q]``, inside the image."""
    H, W, C = x.shape
    OH, OW, KH, KW, _ = cols.shape
    for i in range(OH):
        for j in range(OW):
            for p in range(KH):
                h = i * SH + p - top
                for q in range(KW):
                    w = j * SW + q - left
                    if 0 <= h < H and 0 <= w < W:
                        for c in range(C):
                            x[h, w, c] += cols[i, j, p, q, c]
