"""``Y = T X T^t`` for small constant matrices T, on 8 channels at a time: the transforms of Winograd's convolution.

X is a patch of n x n pixels, Y one of m x m. ``sandwich`` takes the matrix when the module is loaded and emits its additions
and multiplications one by one, without loops, without those by 0 and 1: all 36 pixels of a patch stay in registers, or on the
stack close by. As loops over T it would be a matrix product of tiny sides, which wastes most of a tile.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled
from .exponential import emit_elu, plain_elu
from .vector import integer

WIDTH = 16 if vector.registers() == 32 else 8           # channels in one go: 36 pixels of them, in registers or close by


def sandwich(matrix, add=False, elu=False):
    """A compiled function ``(x, x0, x_row, x_column, y, y0, y_row, y_column)``, the latter numbers from one pixel to the next.

    y is written, or with ``add`` added to, or with ``elu`` its ELU is written.
    """
    if not vector.HAS_IR:
        return plain_sandwich(np.float32(matrix), add, elu)

    @intrinsic
    def transform(typing, x, x0, x_row, x_column, y, y0, y_row, y_column):
        signature = types.void(x, x0, x_row, x_column, y, y0, y_row, y_column)

        def generate(context, builder, signature, arguments):
            x, x0, x_row, x_column, y, y0, y_row, y_column = arguments
            m, n = np.shape(matrix)

            def place(array, start, row, i, column, j):
                kind = signature.args[arguments.index(array)]
                return vector.pointer(context, builder, kind, array,
                                      [start, builder.mul(row, integer(i)), builder.mul(column, integer(j))])

            patch = [[vector.load(builder, place(x, x0, x_row, i, x_column, j), WIDTH) for i in range(n)] for j in range(n)]
            columns = [times(builder, matrix, column) for column in patch]
            for i in range(m):
                for j, value in enumerate(times(builder, matrix, [column[i] for column in columns])):
                    target = place(y, y0, y_row, i, y_column, j)
                    if add:
                        value = builder.fadd(vector.load(builder, target, WIDTH), value)
                    vector.store(builder, emit_elu(builder, value) if elu else value, target)
            return context.get_dummy_value()
        return signature, generate
    return transform


def times(builder, matrix, values):
    """Matrix times vector, where each entry of the vector is 8 floats."""
    results = []
    for row in matrix:
        total = None
        for factor, value in sorted(((float(f), v) for f, v in zip(row, values) if f), key=lambda pair: -pair[0]):
            if total is None:                           # the largest factor comes first, so never a subtraction from nothing
                total = value if factor == 1 else builder.fmul(vector.constant(factor, WIDTH), value)
            elif abs(factor) == 1:
                total = (builder.fadd if factor == 1 else builder.fsub)(total, value)
            else:
                total = vector.multiply_add(builder, vector.constant(factor, WIDTH), value, total)
        results.append(total)
    return results


def plain_sandwich(matrix, add, elu):
    """The same in loops."""
    m, n = matrix.shape

    @compiled
    def transform(x, x0, x_row, x_column, y, y0, y_row, y_column):
        half = np.empty((m, n), np.float32)
        for c in range(WIDTH):
            for i in range(m):
                for j in range(n):
                    half[i, j] = 0
                    for k in range(n):
                        half[i, j] += matrix[i, k] * x[x0 + k * x_row + j * x_column + c]
            for i in range(m):
                for j in range(m):
                    total = np.float32(0)
                    for k in range(n):
                        total += half[i, k] * matrix[j, k]
                    place = y0 + i * y_row + j * y_column + c
                    y[place] = total + (y[place] if add else np.float32(0))
                    if elu:
                        plain_elu(y, place, place + 1, np.float32(1))
    return transform
