"""ELU on vectors: an ``exp(x) - 1`` in a dozen instructions, so cheap that a product can do it on its way to memory.

A power of two is free: 2^n is a float whose exponent field is n + 127. So

    exp(x) = 2^(x log2 e) = 2^n * 2^r,        n the nearest integer, r in [-1/2, 1/2]

and only 2^r - 1 = r * Q(r) is left to approximate, Q by a polynomial of degree 5. Then

    exp(x) - 1 = 2^n * (r * Q(r)) + (2^n - 1)

keeps its relative precision near 0, where n is 0 and the last term vanishes. exp(x) rounded first would lose all digits there: of
x = 1e-8 it makes 1, and 1 - 1 = 0.

Adding 1.5 * 2^23 to a float leaves no room for a fraction: it is rounded to an integer, which stands in its lowest bits. With
127 more it is the exponent field, and a shift by 23 puts it in its place.

Worth on the paper's network: NumPy makes five passes over memory, with a library call for each number; in the epilogue of a
convolution there is no pass at all.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled

LOWEST = -87.0                                          # exp of it is 1e-38, the smallest normal float
TO_INTEGER = 1.5 * 2**23 + 127
POINTS = np.cos(np.pi * (np.arange(200) + 0.5) / 200) / 2           # Chebyshev's, where a fit's error is spread evenly
Q = np.polynomial.Polynomial.fit(POINTS, np.expm1(POINTS * np.log(2)) / POINTS, 5, domain=[-0.5, 0.5], window=[-0.5, 0.5]).coef


def emit_elu(builder, x, alpha=None):
    """Instructions for ``x`` where x > 0, ``alpha * (exp(x) - 1)`` elsewhere; x a vector, alpha too, or None for 1."""
    lanes = x.type.count

    def number(value):
        return vector.constant(value, lanes)

    def add(a, b, c):
        return vector.multiply_add(builder, a, b, c)
    bits, zero = ir.VectorType(ir.IntType(32), lanes), number(0)
    negative = builder.select(builder.fcmp_ordered("<", x, zero), x, zero)
    bounded = builder.select(builder.fcmp_ordered(">", negative, number(LOWEST)), negative, number(LOWEST))
    shifted = add(bounded, number(np.log2(np.e)), number(TO_INTEGER))
    n = builder.fsub(shifted, number(TO_INTEGER))
    r = add(bounded, number(np.log2(np.e)), builder.fneg(n))
    power = builder.bitcast(builder.shl(builder.bitcast(shifted, bits), ir.Constant(bits, [23] * lanes)), x.type)       # 2^n
    polynomial = number(Q[-1])
    for coefficient in Q[-2::-1]:
        polynomial = add(polynomial, r, number(coefficient))
    less = add(power, builder.fmul(r, polynomial), builder.fadd(power, number(-1)))
    if alpha is not None:
        less = builder.fmul(alpha, less)
    # A sum of which one term is 0, not a choice of one of two: where x was just loaded, LLVM would make of a choice a store of
    # some lanes only, which takes 40 cycles on processors with AVX2.
    return builder.fadd(emit_relu(builder, x), less)


def emit_relu(builder, x):
    """Instructions for ``max(x, 0)``; NaN stays."""
    zero = vector.constant(0, x.type.count)
    return builder.select(builder.fcmp_ordered("<", x, zero), zero, x)


def emit_elu_slope(builder, y, alpha):
    """Instructions for ELU's slope, read off its outputs: 1 where y > 0, ``y + alpha`` elsewhere."""
    return builder.select(builder.fcmp_ordered(">", y, vector.constant(0, y.type.count)), vector.constant(1, y.type.count),
                          builder.fadd(y, alpha))


def elu_of(lanes):
    """An intrinsic that replaces so many numbers of an array by their ELU."""

    @intrinsic
    def elu(typing, array, start, alpha):
        def generate(context, builder, signature, arguments):
            array, start, alpha = arguments
            place = vector.pointer(context, builder, signature.args[0], array, [start])
            y = emit_elu(builder, vector.load(builder, place, lanes), vector.splat(builder, alpha, lanes))
            vector.store(builder, y, place)
            return context.get_dummy_value()
        return types.void(array, start, alpha), generate
    return elu


eight, single = elu_of(8), elu_of(1)


@compiled
def ir_elu(array, start, stop, alpha):
    """Numbers start to stop of an array become their ELU."""
    k = start
    while k + 8 <= stop:
        eight(array, k, alpha)
        k += 8
    while k < stop:
        single(array, k, alpha)
        k += 1


@compiled
def plain_elu(array, start, stop, alpha):
    """The same in plain arithmetic: ``expm1(2 t) = q (q + 2)`` for q = expm1(t) leads in six steps from x / 64 to x."""
    for k in range(start, stop):
        x = array[k]
        t = max(min(x, np.float32(0)), np.float32(-16)) / np.float32(64)
        q = t * (1 + t * (np.float32(1 / 2) + t * (np.float32(1 / 6) + t * (np.float32(1 / 24) + t * np.float32(1 / 120)))))
        for _ in range(6):
            q = q * (q + np.float32(2))
        array[k] = alpha * q if x < 0 else x


elu = ir_elu if vector.HAS_IR else plain_elu
