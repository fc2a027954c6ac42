"""Loops over numbers that do not depend on each other, and sums over pixels.

Each runs over a pixel's channels, which are neighbours in memory: LLVM turns it into vector instructions by itself, as long as
nothing in it is a call. Activations write over what they read (of two arrays that might overlap LLVM would not know in which
order to go). Those with sums go along the pixels of a row, as far as channels come in sixteens (``runs.py``).
"""

import numpy as np

from . import exponential
from .compiling import compiled, inner
from .runs import in_sixteens, slope_run, sum_run

ZERO, ONE = np.float32(0), np.float32(1)


@inner
def begin(x, n, i):
    """Where row i of image n begins."""
    return n * x.stride + i * x.row


@inner
def channels(x, n, i, j):
    """Pixel (i, j) of image n."""
    start = begin(x, n, i) + j * x.pitch
    return x.memory[start:start + x.C]


@compiled
def elu(y, alpha):
    """Each x becomes ``x`` where x > 0, ``alpha * (exp(x) - 1)`` elsewhere."""
    for n in range(y.N):
        for i in range(y.H):
            for j in range(y.W):
                start = n * y.stride + i * y.row + j * y.pitch
                exponential.elu(y.memory, start, start + y.C, alpha)


@compiled
def elu_slope(y, d, alpha):
    """Each dy becomes dx: times ELU's slope, read off y."""
    for n in range(y.N):
        for i in range(y.H):
            for j in range(y.W):
                a, b = channels(y, n, i, j), channels(d, n, i, j)
                for c in range(y.C):
                    b[c] *= ONE if a[c] > ZERO else a[c] + alpha


@compiled
def elu_slope_sums(y, dy, alpha, dx):
    """The same, to dx, which may be dy, and dx's ``column_sums`` in the same pass: what a convolution before the ELU needs."""
    row, sums, whole = np.empty(y.C, np.float32), np.zeros(y.C, np.float32), in_sixteens(y.C)
    alphas = np.full(y.C, alpha, np.float32)
    for n in range(y.N):
        for i in range(y.H):
            slope_run(whole, y.W, y.memory, begin(y, n, i), y.pitch, dy.memory, begin(dy, n, i), dy.pitch,
                      dx.memory, begin(dx, n, i), dx.pitch, alphas, 0, sums, 0)
            if whole == y.C:
                continue
            row[:] = 0
            for j in range(y.W):
                a, b, d = channels(y, n, i, j), channels(dy, n, i, j), channels(dx, n, i, j)
                for c in range(whole, y.C):
                    d[c] = b[c] * (ONE if a[c] > ZERO else a[c] + alpha)
                    row[c] += d[c]
            for c in range(whole, y.C):
                sums[c] += row[c]
    return sums


@compiled
def relu(y):
    """Each x becomes ``max(x, 0)``; NaN stays."""
    for n in range(y.N):
        for i in range(y.H):
            for j in range(y.W):
                a = channels(y, n, i, j)
                for c in range(y.C):
                    a[c] = ZERO if a[c] < ZERO else a[c]


@compiled
def relu_slope(y, d):
    """Each dy becomes dx: 0 where y is not positive."""
    for n in range(y.N):
        for i in range(y.H):
            for j in range(y.W):
                a, b = channels(y, n, i, j), channels(d, n, i, j)
                for c in range(y.C):
                    b[c] = b[c] if a[c] > ZERO else ZERO


@compiled
def add(a, b, y):
    """``y = a + b``."""
    for n in range(a.N):
        for i in range(a.H):
            for j in range(a.W):
                u, v, w = channels(a, n, i, j), channels(b, n, i, j), channels(y, n, i, j)
                for c in range(a.C):
                    w[c] = u[c] + v[c]


@compiled
def copy(x, y):
    """``y = x``."""
    for n in range(x.N):
        for i in range(x.H):
            for j in range(x.W):
                a, b = channels(x, n, i, j), channels(y, n, i, j)
                for c in range(x.C):
                    b[c] = a[c]


@inner
def pad(x, y, top, left):
    """``y = x`` with zeros around it, so many above and to the left; both contiguous."""
    for n in range(x.N):
        for i in range(y.H):
            row = y.memory[n * y.stride + i * y.row:n * y.stride + (i + 1) * y.row]
            if i < top or i >= top + x.H:
                row[:] = 0
                continue
            start = n * x.stride + (i - top) * x.row
            source, target = x.memory[start:start + x.row], row[left * x.C:left * x.C + x.row]
            row[:left * x.C] = 0
            for k in range(len(source)):
                target[k] = source[k]
            row[left * x.C + x.row:] = 0


@inner
def crop(x, y, top, left):
    """The other way: y is what is left of x without its edges."""
    for n in range(y.N):
        for i in range(y.H):
            start, to = n * x.stride + (i + top) * x.row + left * x.C, n * y.stride + i * y.row
            source, target = x.memory[start:start + y.row], y.memory[to:to + y.row]
            for k in range(len(source)):
                target[k] = source[k]


@compiled
def momentum_step(w, v, gradient, lr, momentum, l2):
    """Stochastic gradient descent with momentum and L2, one parameter."""
    for k in range(w.size):
        v[k] = momentum * v[k] - lr * (gradient[k] + l2 * w[k])
        w[k] += v[k]


@compiled
def column_sums(x):
    """``sum over n, i, j of x[n, i, j, c]``: each row, then the rows' sums. Fewer small numbers meet a large total."""
    row, sums, whole = np.empty(x.C, np.float32), np.zeros(x.C, np.float32), in_sixteens(x.C)
    for n in range(x.N):
        for i in range(x.H):
            start = begin(x, n, i)
            sum_run(whole, x.W, x.memory, start, x.pitch, x.memory, start, x.pitch, x.memory, start, x.pitch, sums, 0, sums, 0)
            if whole == x.C:
                continue
            row[:] = 0
            for j in range(x.W):
                a = channels(x, n, i, j)
                for c in range(whole, x.C):
                    row[c] += a[c]
            for c in range(whole, x.C):
                sums[c] += row[c]
    return sums
