"""``Y = T X T^t`` for small constant matrices T, on 8 or 16 channels at a time: Winograd's transforms, and Strassen's.

X is a patch of n x n pixels, Y one of m x m. ``sandwich`` takes the matrices when the module is loaded and emits their additions
and multiplications one by one, without loops, without those by 0 and 1: all 36 or 49 pixels of a patch stay in registers, or on
the stack close by. As loops over T it would be a matrix product of tiny sides, which wastes most of a tile.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled
from .exponential import emit_elu, emit_relu, plain_elu
from .tile import ELU, RELU, STORE
from .vector import integer

WIDTH = 16 if vector.has_avx512() else 8           # channels in one go: a patch of them is in registers or close by


def sandwich(four, five, add=False, finishes=False):
    """A compiled function ``(side, x, x0, x_row, x_column, y, y0, y_row, y_column)``: with T = four where side is 4, else five.

    The latter arguments are numbers from one pixel to the next. y is written, or with ``add`` added to. With ``finishes`` three
    follow: the tile's number that says whether y, its ELU or its ReLU is written, and a bias for x's pixel (1, 1).
    """
    if not vector.HAS_IR:
        return plain_sandwich(np.float32(four), np.float32(five), add, finishes)

    def emit(context, builder, signature, arguments):
        side, x, x0, x_row, x_column, y, y0, y_row, y_column, *others = arguments

        def grid(size, array, start, row, column):
            """Where the pixels of a patch are, row by row."""
            kind = signature.args[arguments.index(array)]
            down, across = ([builder.mul(step, integer(i)) for i in range(size)] for step in (row, column))
            rows = [vector.pointer(context, builder, kind, array, [start, offset]) for offset in down]
            return [[builder.gep(begin, [offset]) for offset in across] for begin in rows]

        def transformed(matrix):
            m, n = np.shape(matrix)
            source, target = grid(n, x, x0, x_row, x_column), grid(m, y, y0, y_row, y_column)

            def pixel(i, j):
                value = vector.load(builder, source[i][j], WIDTH)
                if finishes and i == j == 1:
                    _, bias, bias0 = others
                    where = vector.pointer(context, builder, signature.args[arguments.index(bias)], bias, [bias0])
                    value = builder.fadd(value, vector.load(builder, where, WIDTH))
                return value

            def write(results, change):
                for i, j, value in results:
                    vector.store(builder, change(value, target[i][j]), target[i][j])
            if not finishes:
                write(emit_sandwich(builder, matrix, pixel), lambda value, where: builder.fadd(
                    vector.load(builder, where, WIDTH), value) if add else value)
                return
            results = list(emit_sandwich(builder, matrix, pixel))
            vector.switch(builder, others[0], {
                STORE: lambda: write(results, lambda value, where: value),
                ELU: lambda: write(results, lambda value, where: emit_elu(builder, value)),
                RELU: lambda: write(results, lambda value, where: emit_relu(builder, value)),
            })
        vector.switch(builder, side, {4: lambda: transformed(four), 5: lambda: transformed(five)})
        return context.get_dummy_value()

    if finishes:
        @intrinsic
        def transform(typing, side, x, x0, x_row, x_column, y, y0, y_row, y_column, finish, bias, bias0):
            return types.void(side, x, x0, x_row, x_column, y, y0, y_row, y_column, finish, bias, bias0), emit
    else:
        @intrinsic
        def transform(typing, side, x, x0, x_row, x_column, y, y0, y_row, y_column):
            return types.void(side, x, x0, x_row, x_column, y, y0, y_row, y_column), emit
    return transform


def emit_sandwich(builder, matrix, pixel):
    """Instructions for ``T X T^t``, where ``pixel(i, j)`` gives those for X: (i, j, entry) of the result, one by one."""
    _, n = np.shape(matrix)
    columns = [times(builder, matrix, [pixel(i, j) for i in range(n)]) for j in range(n)]
    for i, across in enumerate(zip(*columns)):
        for j, value in enumerate(times(builder, matrix, across)):
            yield i, j, value


def times(builder, matrix, values):
    """Matrix times vector, where each entry of the vector is `WIDTH` floats."""
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


def plain_sandwich(four, five, add, finishes):
    """The same in loops."""
    @compiled
    def from_patch(matrix, patch, c, y, y0, y_row, y_column, finish):
        m, n = matrix.shape
        half = np.empty((m, n), np.float32)
        for i in range(m):
            for j in range(n):
                half[i, j] = 0
                for k in range(n):
                    half[i, j] += matrix[i, k] * patch[k, j]
        for i in range(m):
            for j in range(m):
                total = np.float32(0)
                for k in range(n):
                    total += half[i, k] * matrix[j, k]
                place = y0 + i * y_row + j * y_column + c
                y[place] = total + (y[place] if add else np.float32(0))
                if finish == ELU:
                    plain_elu(y, place, place + 1, np.float32(1))
                elif finish == RELU:
                    y[place] = np.float32(0) if y[place] < 0 else y[place]

    @compiled
    def transform_and_finish(side, x, x0, x_row, x_column, y, y0, y_row, y_column, finish, bias, bias0):
        matrix = four if side == 4 else five
        n = matrix.shape[1]
        patch = np.empty((n, n), np.float32)
        for c in range(WIDTH):
            for i in range(n):
                for j in range(n):
                    patch[i, j] = x[x0 + i * x_row + j * x_column + c] + (bias[bias0 + c] if i == j == 1 else np.float32(0))
            from_patch(matrix, patch, c, y, y0, y_row, y_column, finish)

    @compiled
    def transform(side, x, x0, x_row, x_column, y, y0, y_row, y_column):
        transform_and_finish(side, x, x0, x_row, x_column, y, y0, y_row, y_column, STORE, np.zeros(WIDTH, np.float32), 0)
    return transform_and_finish if finishes else transform
