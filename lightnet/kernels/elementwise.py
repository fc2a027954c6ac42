"""Loops over numbers that do not depend on each other, and sums over pixels.

Activations write over what they read (of two arrays that might overlap LLVM would not know in which order to go). Each loop runs over a pixel's channels, which are neighbours in memory: LLVM turns it into vector instructions by itself, as
long as nothing in it is a call. That is why ELU has an exponential of its own:

    expm1(2 t) = q * (q + 2)        for q = expm1(t),

so six of these steps lead from t = x / 64 to x, and for |t| <= 1/4 a short Taylor series gives q. Unlike ``exp(x) - 1`` it
keeps its relative precision near 0, where ``exp(x)`` is 1.000... and the subtraction would cancel.
"""

import numpy as np

from .compiling import compiled

LOWEST = np.float32(-16)                        # exp(-16) is 1e-7, half a unit in the last place of 1: below it y = -alpha
SIXTY_FOURTH, ZERO, ONE, TWO = np.float32(1 / 64), np.float32(0), np.float32(1), np.float32(2)
C2, C3, C4, C5 = (np.float32(1 / n) for n in (2, 6, 24, 120))       # Taylor: t + t^2/2 + t^3/6 + ...


@compiled
def channels(x, n, p):
    """Pixel p of image n."""
    start = n * x.stride + p * x.pitch
    return x.memory[start:start + x.C]


@compiled
def elu(y, alpha):
    """Each x becomes ``x`` where x > 0, ``alpha * (exp(x) - 1)`` elsewhere."""
    for n in range(y.N):
        for p in range(y.H * y.W):
            a = channels(y, n, p)
            for c in range(y.C):
                t = max(min(a[c], ZERO), LOWEST) * SIXTY_FOURTH
                q = t * (ONE + t * (C2 + t * (C3 + t * (C4 + t * C5))))
                q = q * (q + TWO)
                q = q * (q + TWO)
                q = q * (q + TWO)
                q = q * (q + TWO)
                q = q * (q + TWO)
                q = q * (q + TWO)
                a[c] = a[c] if a[c] > ZERO else alpha * q


@compiled
def elu_slope(y, d, alpha):
    """Each dy becomes dx: times ELU's slope, read off y."""
    for n in range(y.N):
        for p in range(y.H * y.W):
            a, b = channels(y, n, p), channels(d, n, p)
            for c in range(y.C):
                b[c] *= ONE if a[c] > ZERO else a[c] + alpha


@compiled
def relu(y):
    """Each x becomes ``max(x, 0)``; NaN stays."""
    for n in range(y.N):
        for p in range(y.H * y.W):
            a = channels(y, n, p)
            for c in range(y.C):
                a[c] = ZERO if a[c] < ZERO else a[c]


@compiled
def relu_slope(y, d):
    """Each dy becomes dx: 0 where y is not positive."""
    for n in range(y.N):
        for p in range(y.H * y.W):
            a, b = channels(y, n, p), channels(d, n, p)
            for c in range(y.C):
                b[c] = b[c] if a[c] > ZERO else ZERO


@compiled
def add(a, b, y):
    """``y = a + b``."""
    for n in range(a.N):
        for p in range(a.H * a.W):
            u, v, w = channels(a, n, p), channels(b, n, p), channels(y, n, p)
            for c in range(a.C):
                w[c] = u[c] + v[c]


@compiled
def copy(x, y):
    """``y = x``."""
    for n in range(x.N):
        for p in range(x.H * x.W):
            a, b = channels(x, n, p), channels(y, n, p)
            for c in range(x.C):
                b[c] = a[c]


@compiled
def column_sums(x):
    """``sum over n, i, j of x[n, i, j, c]``: rows of the image first, so that few small numbers meet a large one."""
    row, sums = np.empty(x.C, np.float32), np.zeros(x.C, np.float32)
    for n in range(x.N):
        for i in range(x.H):
            row[:] = 0
            for j in range(x.W):
                a = channels(x, n, i * x.W + j)
                for c in range(x.C):
                    row[c] += a[c]
            for c in range(x.C):
                sums[c] += row[c]
    return sums
