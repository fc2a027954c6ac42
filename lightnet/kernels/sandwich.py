"""``Y = T X T^t`` for small constant matrices T, on 8 or 16 channels at a time: Winograd's transforms, and Strassen's.

X is a patch of n x n pixels, Y one of m x m. ``sandwich`` takes the matrices when the module is loaded and emits their additions
and multiplications one by one, without loops, without those by 0 and 1: all 36 or 49 pixels of a patch stay in registers, or on
the stack close by. As loops over T it would be a matrix product of tiny sides, which wastes most of a tile.
"""

import functools
import itertools

import numpy as np
from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled
from .exponential import emit_elu, emit_elu_slope, emit_relu, plain_elu
from .tile import ELU, RELU, STORE
from .vector import integer

WIDTH = 16 if vector.has_avx512() else 8           # channels in one go: a patch of them is in registers or close by


def sandwich(four, five, add=False, slope=False, finishes=False):
    """A compiled function ``(side, x, x0, x_row, x_column, y, y0, y_row, y_column)``: with T = four where side is 4, else five.

    The latter arguments are numbers from one pixel to the next. y is written, or with ``add`` added to. Two kinds take further
    ones. With ``slope`` x is first multiplied by the slope of an ELU, which is read off the ELU's outputs: four arguments like
    x's, and alpha; the sum of the products is added to ``sums`` from s0 on; and the next patch of both is asked for, since a
    batch's images come from memory. With ``finishes`` the tile's number says whether y plus a bias, its ELU or its ReLU is
    written; y's places are asked for beforehand: stores wait for each other, and one to memory that is not near waits long.
    """
    if not vector.HAS_IR:
        return plain_sandwich(np.float32(four), np.float32(five), add, slope, finishes)

    def emit(context, builder, signature, arguments):
        side, x, x0, x_row, x_column, y, y0, y_row, y_column, *others = arguments
        products = []

        def place(array, start, row, i, column, j):
            kind = signature.args[arguments.index(array)]
            return vector.pointer(context, builder, kind, array,
                                  [start, builder.mul(row, integer(i)), builder.mul(column, integer(j))])

        def pixel(i, j):
            value = vector.load(builder, place(x, x0, x_row, i, x_column, j), WIDTH)
            if slope:
                z, z0, z_row, z_column, alpha, *_ = others
                output = vector.load(builder, place(z, z0, z_row, i, z_column, j), WIDTH)
                value = builder.fmul(value, emit_elu_slope(builder, output, vector.splat(builder, alpha, WIDTH)))
                products.append(value)
            return value

        def of_channels(array, start):
            return vector.pointer(context, builder, signature.args[arguments.index(array)], array, [start])

        def target(i, j):
            return place(y, y0, y_row, i, y_column, j)

        def write(results, change):
            for i, j, value in results:
                vector.store(builder, change(value, target(i, j)), target(i, j))

        def ask_for_next(side):
            """The patches of x and of the ELU's outputs to the right of these."""
            z, z0, z_row, z_column, *_ = others
            for i, j in np.ndindex(side, side):
                vector.ask_for(builder, place(x, x0, x_row, i, x_column, side + j))
                vector.ask_for(builder, place(z, z0, z_row, i, z_column, side + j))

        def transformed(matrix):
            if slope:
                ask_for_next(np.shape(matrix)[1])
            if not finishes:
                write(emit_sandwich(builder, matrix, pixel), lambda value, where: builder.fadd(
                    vector.load(builder, where, WIDTH), value) if add else value)
                if slope:
                    sums = of_channels(*others[-2:])
                    total = functools.reduce(builder.fadd, products)
                    vector.store(builder, builder.fadd(vector.load(builder, sums, WIDTH), total), sums)
                    products.clear()
                return
            for i, j in np.ndindex(len(matrix), len(matrix)):
                vector.ask_for(builder, target(i, j), to_write=True)
            bias = vector.load(builder, of_channels(*others[1:]), WIDTH)
            results = [(i, j, builder.fadd(value, bias)) for i, j, value in emit_sandwich(builder, matrix, pixel)]
            vector.switch(builder, others[0], {
                STORE: lambda: write(results, lambda value, where: value),
                ELU: lambda: write(results, lambda value, where: emit_elu(builder, value)),
                RELU: lambda: write(results, lambda value, where: emit_relu(builder, value)),
            })
        vector.switch(builder, side, {4: lambda: transformed(four), 5: lambda: transformed(five)})
        return context.get_dummy_value()

    if slope:
        @intrinsic
        def transform(typing, side, x, x0, x_row, x_column, y, y0, y_row, y_column, z, z0, z_row, z_column, alpha, sums, s0):
            return types.void(side, x, x0, x_row, x_column, y, y0, y_row, y_column, z, z0, z_row, z_column, alpha, sums, s0), emit
    elif finishes:
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
    """Matrix times vector, where each entry of the vector is `WIDTH` floats.

    Of two columns that differ in signs only, each row needs the sum of their values or the difference; of two such rows, what is
    the same in both is computed once, and likewise what is opposite.
    """
    matrix, values = np.array(matrix, np.float64), list(values)
    for j, k in alike(matrix.T):
        same = matrix[:, j] == matrix[:, k]
        values[j], values[k] = builder.fadd(values[j], values[k]), builder.fsub(values[j], values[k])
        matrix[:, j], matrix[:, k] = matrix[:, j] * same, matrix[:, j] * ~same
    results = {}
    for i, k in alike(matrix):
        same = matrix[i] == matrix[k]
        opposite, factor = without_factor(matrix[i] * ~same)
        both = combination(builder, matrix[i] * same, values), combination(builder, opposite, values)
        results[i], results[k] = plus(builder, *both, factor), plus(builder, *both, -factor)
    return [results[i] if i in results else combination(builder, row, values) for i, row in enumerate(matrix)]


def alike(rows):
    """Pairs of rows of three numbers or more, besides zeros, that are the same in some and opposite in the others."""
    taken = set()
    for i, k in itertools.combinations(range(len(rows)), 2):
        same = rows[i] == rows[k]
        if (not {i, k} & taken and np.array_equal(abs(rows[i]), abs(rows[k])) and np.count_nonzero(rows[i]) >= 3
                and rows[i][same].any() and not same.all()):
            taken |= {i, k}
            yield i, k


def without_factor(row):
    """The row divided by one of its numbers, if that is possible without rounding, and that number."""
    exact = [f for f in (1.0 if 1 in row else None, *row[row != 0], 1.0) if f and np.all(np.float32(row / f) == row / f)]
    return row / exact[0], exact[0]


def combination(builder, factors, values):
    """``sum of factor * value``, which begins where there is nothing to multiply, or with the largest factor: never with -1."""
    total = None
    for factor, value in sorted(((float(f), v) for f, v in zip(factors, values) if f), key=lambda pair: (pair[0] != 1, -pair[0])):
        if total is None:
            total = value if factor == 1 else builder.fmul(vector.constant(factor, WIDTH), value)
        else:
            total = plus(builder, total, value, factor)
    return total


def plus(builder, a, b, factor):
    """``a + factor * b``."""
    if abs(factor) == 1:
        return (builder.fadd if factor == 1 else builder.fsub)(a, b)
    return vector.multiply_add(builder, vector.constant(factor, WIDTH), b, a)


def plain_sandwich(four, five, add, slope, finishes):
    """The same in loops."""
    @compiled
    def from_patch(matrix, patch, c, y, y0, y_row, y_column, finish, bias):
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
                y[place] = total + (y[place] if add else bias)
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
                    patch[i, j] = x[x0 + i * x_row + j * x_column + c]
            from_patch(matrix, patch, c, y, y0, y_row, y_column, finish, bias[bias0 + c])

    @compiled
    def transform(side, x, x0, x_row, x_column, y, y0, y_row, y_column):
        transform_and_finish(side, x, x0, x_row, x_column, y, y0, y_row, y_column, STORE, np.zeros(WIDTH, np.float32), 0)

    @compiled
    def transform_with_slope(side, x, x0, x_row, x_column, y, y0, y_row, y_column, z, z0, z_row, z_column, alpha, sums, s0):
        matrix = four if side == 4 else five
        n = matrix.shape[1]
        patch = np.empty((n, n), np.float32)
        for c in range(WIDTH):
            for i in range(n):
                for j in range(n):
                    output = z[z0 + i * z_row + j * z_column + c]
                    patch[i, j] = x[x0 + i * x_row + j * x_column + c] * (np.float32(1) if output > 0 else output + alpha)
            sums[s0 + c] += patch.sum()
            from_patch(matrix, patch, c, y, y0, y_row, y_column, STORE, np.float32(0))
    return transform_with_slope if slope else transform_and_finish if finishes else transform
