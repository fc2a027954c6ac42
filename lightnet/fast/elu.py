"""ELU in one pass over memory, with an ``exp(x) - 1`` that the compiler turns into vector instructions.

NumPy makes five passes (minimum, expm1, scale, maximum, add), and its ``expm1`` is a library call for each number. Here one
loop computes 8 numbers at a time (AVX2), since there is nothing in it but multiplications and additions:

    expm1(2 t) = q * (q + 2)        for q = expm1(t),

so six of these steps lead from t = x / 64 to x, and for |t| <= 1/4 a short Taylor series gives q. Unlike ``exp(x) - 1`` it
keeps its relative precision near 0, where ``exp(x)`` is 1.000... and the subtraction would cancel.
"""

import numpy as np

from ..kernels import memory
from ..kernels.compiling import compiled
from ..kernels.threads import over_images

LOWEST = np.float32(-16)                        # exp(-16) is 1e-7, half a unit in the last place of 1: below it y = -alpha
SIXTY_FOURTH, ZERO, ONE, TWO = np.float32(1 / 64), np.float32(0), np.float32(1), np.float32(2)
C2, C3, C4, C5 = (np.float32(1 / n) for n in (2, 6, 24, 120))       # Taylor: t + t^2/2 + t^3/6 + ...


def forward(layer, x, training=False):
    """``y = x`` where x > 0, ``alpha * (exp(x) - 1)`` elsewhere; keeps y."""
    x = np.ascontiguousarray(x)
    y, alpha = memory.empty(x.shape), np.float32(layer.alpha)
    over_images(lambda start, stop: elu(x[start:stop].reshape(-1), y[start:stop].reshape(-1), alpha), len(x))
    if training:
        layer.cache = (y,)
    return y


def backward(layer, dy):
    """``dx = dy`` where y > 0, ``dy * (y + alpha)`` elsewhere."""
    (y,) = layer.cache
    dy, dx, alpha = np.ascontiguousarray(dy), memory.empty(y.shape), np.float32(layer.alpha)
    over_images(lambda start, stop: elu_backward(y[start:stop].reshape(-1), dy[start:stop].reshape(-1),
                                                 dx[start:stop].reshape(-1), alpha), len(y))
    return dx


@compiled
def elu(x, y, alpha):
    """ELU of a run of numbers."""
    for k in range(x.size):
        t = max(min(x[k], ZERO), LOWEST) * SIXTY_FOURTH
        q = t * (ONE + t * (C2 + t * (C3 + t * (C4 + t * C5))))
        q = q * (q + TWO)
        q = q * (q + TWO)
        q = q * (q + TWO)
        q = q * (q + TWO)
        q = q * (q + TWO)
        q = q * (q + TWO)
        y[k] = x[k] if x[k] > ZERO else alpha * q


@compiled
def elu_backward(y, dy, dx, alpha):
    """ELU's slope, read off y, times dy."""
    for k in range(y.size):
        dx[k] = dy[k] * (ONE if y[k] > ZERO else y[k] + alpha)
