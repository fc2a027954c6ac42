"""What each operation means, one number at a time: the oracle that the tests hold the layers against.

Plain Python loops over plain indices, as in the equations. Nothing here is fast (a forward of the paper's network
takes minutes), nothing is shared with the code that it checks, and no function has more to it than its definition.
All images are (N, H, W, C); padding is ((top, bottom), (left, right)).
"""

import math
from itertools import product

import numpy as np


def conv2d(x, weight, bias, stride, padding):
    """Convolution: each output is the sum over a window of pixel times weight, plus the bias."""
    (N, H, W, C), (KH, KW, _, F) = x.shape, weight.shape
    (SH, SW), ((top, bottom), (left, right)) = stride, padding
    OH, OW = (top + H + bottom - KH) // SH + 1, (left + W + right - KW) // SW + 1
    y = np.zeros((N, OH, OW, F), x.dtype)
    for n, i, j, f in product(range(N), range(OH), range(OW), range(F)):
        total = bias[f]
        for p, q, c in product(range(KH), range(KW), range(C)):
            h, w = i * SH + p - top, j * SW + q - left
            if 0 <= h < H and 0 <= w < W:
                total += x[n, h, w, c] * weight[p, q, c, f]
        y[n, i, j, f] = total
    return y


def conv_transpose2d(x, weight, bias, stride, padding, output_padding=(0, 0)):
    """Transposed convolution: each input pixel stamps the kernel, times its value, onto the output."""
    (N, H, W, C), (KH, KW, F, _) = x.shape, weight.shape
    (SH, SW), ((top, bottom), (left, right)) = stride, padding
    OH = (H - 1) * SH + KH - top - bottom + output_padding[0]
    OW = (W - 1) * SW + KW - left - right + output_padding[1]
    y = np.zeros((N, OH, OW, F), x.dtype)
    for n, h, w, c in product(range(N), range(H), range(W), range(C)):
        for p, q, f in product(range(KH), range(KW), range(F)):
            i, j = h * SH + p - top, w * SW + q - left
            if 0 <= i < OH and 0 <= j < OW:
                y[n, i, j, f] += x[n, h, w, c] * weight[p, q, f, c]
    for n, i, j, f in product(range(N), range(OH), range(OW), range(F)):
        y[n, i, j, f] += bias[f]
    return y


def pool2d(x, kernel, stride, padding, ceil_mode, reduce):
    """Pooling: ``reduce(values, places)`` of each window; see `largest` and `mean`."""
    (N, H, W, C), (KH, KW), (SH, SW), ((top, bottom), (left, right)) = x.shape, kernel, stride, padding
    OH = pooled(H, KH, SH, top, bottom, ceil_mode)
    OW = pooled(W, KW, SW, left, right, ceil_mode)
    y = np.zeros((N, OH, OW, C), x.dtype)
    for n, i, j, c in product(range(N), range(OH), range(OW), range(C)):
        values, places = [], 0                      # places: pixels and padding, without what overhangs in ceil mode
        for p, q in product(range(KH), range(KW)):
            h, w = i * SH + p - top, j * SW + q - left
            places += h < H + bottom and w < W + right
            if 0 <= h < H and 0 <= w < W:
                values.append(x[n, h, w, c])
        y[n, i, j, c] = reduce(values, places)
    return y


def pooled(size, kernel, stride, before, after, ceil_mode):
    """PyTorch's rule for the number of windows along one axis."""
    steps = (before + size + after - kernel) / stride
    count = (math.ceil(steps) if ceil_mode else math.floor(steps)) + 1
    if ceil_mode and (count - 1) * stride >= size + before:
        count -= 1                                  # the last window must start inside the image or the padding before it
    return count


def largest(values, places):
    """Max pooling's reduction."""
    return max(values)


def mean(values, places):
    """Average pooling's, where padding does not count."""
    return sum(values) / len(values)


def mean_with_padding(values, places):
    """Average pooling's, where padding counts as zeros."""
    return sum(values) / places


def batch_norm(x, scale, shift, eps):
    """Batch norm in training: each channel minus its mean, over its standard deviation, times scale, plus shift."""
    N, H, W, C = x.shape
    y = np.zeros_like(x)
    for c in range(C):
        values = [x[n, h, w, c] for n, h, w in product(range(N), range(H), range(W))]
        mean = sum(values) / len(values)
        var = sum((value - mean) ** 2 for value in values) / len(values)
        for n, h, w in product(range(N), range(H), range(W)):
            y[n, h, w, c] = scale[c] * (x[n, h, w, c] - mean) / math.sqrt(var + eps) + shift[c]
    return y


def elu(x, alpha):
    """ELU: positive values as they are, negative ones bent towards -alpha."""
    y = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        y[index] = x[index] if x[index] > 0 else alpha * (math.exp(x[index]) - 1)
    return y
