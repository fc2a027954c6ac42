"""ELU on vectors: an ``exp(x) - 1`` in a dozen instructions, so cheap that a product can do it on its way to memory.

A power of two is free: 2^n is a float whose exponent field is n + 127. So

    exp(x) = 2^(x log2 e) = 2^n * 2^r,        n the nearest integer, r in [-1/2, 1/2]

and only 2^r - 1 = r * Q(r) is left to approximate, Q by a polynomial of degree 5. Then

    exp(x) - 1 = 2^n * (r * Q(r)) + (2^n - 1)

keeps its relative precision near 0, where n is 0 and the last term vanishes. exp(x) rounded first would lose all digits there: of
x = 1e-8 it makes 1, and 1 - 1 = 0.

Adding 1.5 * 2^23 to a float leaves no room for a fraction: it is rounded to an integer, which stands in its lowest bits. With
127 more it is the exponent field, and a shift by 23 puts it in its place.

AVX-512 has three instructions that go further: one rounds to sixteenths, one takes each lane's number from a table of 16, one
multiplies by 2 to an integer power. With n a multiple of 1/16, 2^n = 2^(its sixteenths) * 2^floor(n) is a look at the table and
such a product, and for r in [-1/32, 1/32] a Q of degree 2 is enough: 8 cycles for 16 numbers, where the other way takes 10.

Worth on the paper's network: NumPy makes five passes over memory, with a library call for each number; in the epilogue of a
convolution there is no pass at all.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled, inner

LOWEST = -87.0                                          # exp of it is 1e-38, the smallest normal float
LOWEST_POWER = -150.0                                   # 2 to it is 0 in float32; of -infinity itself a remainder would be NaN
TO_INTEGER = 1.5 * 2**23 + 127
TO_SIXTEENTHS = 1.5 * 2**19                             # of the sum's lowest bits four count sixteenths
SIXTEENTHS = 2 ** (np.arange(16) / 16)


def fitted(bound, degree):
    """Q, for r between -bound and bound, in ascending powers."""
    points = bound * np.cos(np.pi * (np.arange(200) + 0.5) / 200)       # Chebyshev's, where a fit's error is spread evenly
    return np.polynomial.Polynomial.fit(points, np.expm1(points * np.log(2)) / points, degree,
                                        domain=[-bound, bound], window=[-bound, bound]).coef


Q, Q_SIXTEENTHS = fitted(1 / 2, 5), fitted(1 / 32, 2)


def emit_elu(builder, x, alpha=None):
    """Instructions for ``x`` where x > 0, ``alpha * (exp(x) - 1)`` elsewhere; x a vector, alpha too, or None for 1.

    With alpha 1 it is the larger one of x and ``exp(min(x, 0)) - 1``, since exp(x) - 1 is never below x: one instruction chooses.
    """
    zero = vector.constant(0, x.type.count)
    if x.type.count == 16 and vector.has_avx512():
        less = emit_by_table(builder, x)
        less = less if alpha is None else builder.fmul(alpha, less)
        return builder.select(builder.fcmp_ordered(">", x, zero), x, less)
    if alpha is None:
        less = emit_by_shift(builder, x, np.finfo(np.float32).tiny)     # for 0: LLVM would take two instructions for a minimum
        return builder.select(builder.fcmp_ordered("<", x, less), less, x)
    # A sum of which one term is 0, not a choice of one of two: where x was just loaded, LLVM would make of a choice a store of
    # some lanes only, which takes 40 cycles on processors with AVX2.
    return builder.fadd(emit_relu(builder, x), builder.fmul(alpha, emit_by_shift(builder, x, 0)))


def emit_by_shift(builder, x, highest):
    """``exp(min(x, highest)) - 1`` for a highest of about 0, with 2^n from its exponent field; as if NaN were highest."""
    lanes = x.type.count
    bits = ir.VectorType(ir.IntType(32), lanes)
    highest, below = vector.constant(highest, lanes), vector.constant(LOWEST * np.log2(np.e), lanes)
    to_integer = vector.constant(TO_INTEGER, lanes)
    x = builder.select(builder.fcmp_ordered("<", x, highest), x, highest)
    t = builder.fmul(x, vector.constant(np.log2(np.e), lanes))
    t = builder.select(builder.fcmp_ordered(">", t, below), t, below)
    shifted = builder.fadd(t, to_integer)
    r = builder.fsub(t, builder.fsub(shifted, to_integer))
    power = builder.bitcast(builder.shl(builder.bitcast(shifted, bits), ir.Constant(bits, [23] * lanes)), x.type)
    return emit_less(builder, power, r, Q)


def emit_by_table(builder, x):
    """The same with AVX-512, n in sixteenths; for x > 0 any number."""
    t, lowest = builder.fmul(x, vector.constant(np.log2(np.e), 16)), vector.constant(LOWEST_POWER, 16)
    t = builder.select(builder.fcmp_ordered("<", t, lowest), lowest, t)                     # NaN stays
    n = vector.rounded(builder, t, 4)
    sixteenth = vector.entries(builder, SIXTEENTHS, builder.fadd(t, vector.constant(TO_SIXTEENTHS, 16)))
    return emit_less(builder, vector.scaled(builder, sixteenth, n), builder.fsub(t, n), Q_SIXTEENTHS)


def emit_less(builder, power, r, coefficients):
    """``2^n * (r * Q(r)) + (2^n - 1)``"""
    *others, polynomial = (vector.constant(c, r.type.count) for c in coefficients)
    for coefficient in reversed(others):
        polynomial = vector.multiply_add(builder, polynomial, r, coefficient)
    rest = builder.fadd(power, vector.constant(-1, r.type.count))
    return vector.multiply_add(builder, power, builder.fmul(r, polynomial), rest)


def emit_relu(builder, x):
    """Instructions for ``max(x, 0)``; NaN stays."""
    zero = vector.constant(0, x.type.count)
    return builder.select(builder.fcmp_ordered("<", x, zero), zero, x)


def emit_elu_slope(builder, y, alpha):
    """Instructions for ELU's slope, read off its outputs: 1 where y > 0, ``y + alpha`` elsewhere."""
    return builder.select(builder.fcmp_ordered(">", y, vector.constant(0, y.type.count)), vector.constant(1, y.type.count),
                          builder.fadd(y, alpha))


def elu_of(count):
    """An intrinsic that replaces 16 numbers of an array by their ELU, or one: as the first of 16, with the same last bits."""

    @intrinsic
    def elu(typing, array, start, alpha):
        def generate(context, builder, signature, arguments):
            array, start, alpha = arguments
            place = vector.pointer(context, builder, signature.args[0], array, [start])
            x = vector.splat(builder, builder.load(place), 16) if count == 1 else vector.load(builder, place, 16)
            y = emit_elu(builder, x, vector.splat(builder, alpha, 16))
            if count == 1:
                builder.store(builder.extract_element(y, ir.IntType(32)(0)), place)
            else:
                vector.store(builder, y, place)
            return context.get_dummy_value()
        return types.void(array, start, alpha), generate
    return elu


sixteen, single = elu_of(16), elu_of(1)


@compiled
def ir_elu(array, start, stop, alpha):
    """Numbers start to stop of an array become their ELU."""
    k = start
    while k + 16 <= stop:
        sixteen(array, k, alpha)
        k += 16
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


@inner
def plain_elu_slope(y, alpha):
    """As `emit_elu_slope`, of one number."""
    return np.float32(1) if y > 0 else y + alpha


elu = ir_elu if vector.HAS_IR else plain_elu
