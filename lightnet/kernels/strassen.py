"""Strassen's method, twice: a matrix product in 49 products of blocks, where there are 64.

Let A, B and C = A B be cut into 2 x 2 blocks each, in the order 11, 12, 21, 22. C's four blocks are sums of eight products of a
block of A by one of B; or of seven, between *sums* of blocks:

    C = U [ (T A) * (R B) ]                     (T, R: 7 x 4; U: 4 x 7; * multiplies the seven in pairs)

T, R and U consist of 0, 1 and -1. Each of the seven products can be cut in the same way: with X[i, j] for block j of block i, the
sums are T X T^t. These are the transforms of Winograd's convolution (``winograd.py``) with other matrices. As there, the weights'
are made once and for all, the image's once for all columns; between them stands what the register tile is for, without 15 of its
64 parts.

The price: those sums; three times the weights to read; products a quarter as long each way; and precision. Sums of blocks are
larger than blocks, which costs half a digit; and since they are sums of all quarters of an image, the error is relative to its
largest number: a quarter a million times smaller than another would lose all digits, an infinite number spoils its like in all
quarters. It is worth it where a product is large, and at the tile's peak already: the transposed convolution of the paper's
network, 196 x 512 x 1024, takes 1.55 ms for 1.82.

A's rows are the pixels of an image here, and their four parts its quarters: from one half of it to the other is one distance,
however its lines lie. A's columns are C channels; B's are two taps of the transposed convolution, with F channels each. So blocks
of blocks have H/2 x W/2 pixels, C/4 and F/2 channels.

Sources: Strassen, "Gaussian elimination is not optimal", 1969; with 15 additions for his 18: Winograd, "On multiplication of
2 x 2 matrices", 1971. A's and C's lines are exchanged here, and a product's sign turned, so that sums begin alike: LLVM makes
these once.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled, pasted
from .images import Flat
from .packing import panels
from .product import Part, Tables, one_pass
from .sandwich import WIDTH, emit_sandwich
from .tile import ROWS, STORE
from .vector import HAS_IR, LANES

PRODUCTS, TAPS = 49, 2                                  # of blocks of blocks; taps in one product
LEAST = 256                                             # channels from which on it is worth it
#             11  12  21  22                              blocks of A
T = np.array([[0, 0, 1, 0],
              [1, 1, -1, 0],
              [-1, 0, 1, 0],
              [1, 1, 0, 0],
              [1, 1, -1, -1],
              [0, 1, 0, 0],
              [0, 0, 0, 1]])
R = np.array([[1, 0, 0, 0],                             # blocks of B
              [1, -1, 0, 1],
              [0, -1, 0, 1],
              [-1, 1, 0, 0],
              [0, 0, 0, 1],
              [1, -1, -1, 1],
              [0, 0, 1, 0]])
U = np.array([[1, 1, 1, 0, 0, -1, 0],                   # for each block of C, the seven products
              [1, 1, 1, 1, 0, 0, 0],
              [1, 0, 0, 0, 0, 0, 1],
              [1, 1, 0, 1, -1, 0, 0]])


def suits(kernel, size, F):
    """Whether a transposed convolution of an image (H, W, C) can be cut in this way, and is large enough for it."""
    H, W, C = size
    return (HAS_IR and kernel[1] % TAPS == 0 and H % 2 == 0 and W % 2 == 0 and H * W // 4 >= ROWS
            and C >= LEAST and C % (4 * LANES) == 0 and F % (2 * LANES) == 0)


def packed(matrix, F):
    """The sums of B's blocks of blocks, two taps of F columns of ``matrix`` after the other, each packed for the tile."""
    return np.concatenate([panels(block) for first in range(0, matrix.shape[1], TAPS * F)
                           for block in sums_of_weights(matrix[:, first:first + TAPS * F])])


def sums_of_weights(B):
    """``R X R^t`` for B (K, N): (49, K / 4, N / 4)."""
    K, N = B.shape
    X = B.astype(np.float64).reshape(2, 2, K // 4, 2, 2, N // 4).transpose(0, 3, 1, 4, 2, 5).reshape(4, 4, K // 4, N // 4)
    return np.einsum("pi,qj,ijkn->pqkn", R, R, X).reshape(PRODUCTS, K // 4, N // 4).astype(np.float32)


@compiled
def apart(numbers):
    """From one of 49 blocks of so many numbers to the next: a cache line more, as in ``winograd.py``."""
    return numbers + LANES


def emit_begin(builder, start, steps, i, j):
    """Instructions for where block j of block i begins; steps: from one i to the next down and across, from one j likewise."""
    for step, index in zip(steps, (i // 2, i % 2, j // 2, j % 2)):
        start = builder.add(start, step) if index else start
    return start


@intrinsic
def sums_of_blocks(typing, x, x0, down, across, k, V, v0, step):
    """``T X T^t`` for `WIDTH` channels of a pixel of each quarter: into 49 places of V."""
    def emit(context, builder, signature, arguments):
        x, x0, down, across, k, V, v0, step = arguments
        kinds = dict(zip(arguments, signature.args))
        steps = down, builder.add(k, k), across, k

        def at(array, *offsets):
            return vector.pointer(context, builder, kinds[array], array, offsets)

        def pixel(i, j):
            return vector.load(builder, at(x, emit_begin(builder, x0, steps, i, j)), WIDTH)
        for i, j, value in emit_sandwich(builder, T, pixel):
            vector.store(builder, value, at(V, v0, builder.mul(step, vector.integer(len(T) * i + j))))
        return context.get_dummy_value()
    return types.void(x, x0, down, across, k, V, v0, step), emit


@intrinsic
def blocks_of_products(typing, P, p0, step, bias, bias0, y, y0, down, across, tap, n):
    """``U P U^t`` plus bias for `WIDTH` columns: into y at a pixel of each quarter, of each tap, of each half of the channels."""
    def emit(context, builder, signature, arguments):
        P, p0, step, bias, bias0, y, y0, down, across, tap, n = arguments
        kinds = dict(zip(arguments, signature.args))

        def at(array, *offsets):
            return vector.pointer(context, builder, kinds[array], array, offsets)

        def product(i, j):
            return vector.load(builder, at(P, p0, builder.mul(step, vector.integer(len(T) * i + j))), WIDTH)
        offsets = [vector.load(builder, at(bias, bias0, start), WIDTH) for start in (vector.integer(0), n)]
        for i, j, value in emit_sandwich(builder, U, product):
            place = at(y, emit_begin(builder, y0, (down, tap, across, n), i, j))
            vector.store(builder, builder.fadd(value, offsets[j % 2]), place)
        return context.get_dummy_value()
    return types.void(P, p0, step, bias, bias0, y, y0, down, across, tap, n), emit


@compiled
def split(x, down, across, V, v0, step):
    """V from some lines of the upper half of an image, x; the lower half is ``down`` from there, the right one ``across``."""
    W, k = x.W // 2, x.C // 4
    for i in range(x.H):
        for j in range(W):
            for c in range(0, k, WIDTH):
                sums_of_blocks(x.memory, i * x.row + j * x.pitch + c, down, across, k, V, v0 + (i * W + j) * k + c, step)


@pasted
def products(V, v0, v_step, pixels, k, weights, w0, n, P, p0, bias):
    """The 49 products (pixels, k) @ (k, n)."""
    zero, columns = np.zeros(1, np.int64), np.arange(n // LANES) * LANES
    tables = Tables(np.arange(pixels) * k, zero, 1, columns * k, zero, LANES, k, np.arange(pixels) * n, columns, 1, 0)
    left, right, result = Flat(V, v_step, v0), Flat(weights, k * n, w0), Flat(P, apart(pixels * n), p0)
    one_pass(tables, Part(0, 1, PRODUCTS, False, STORE), left, right, result, bias)


@compiled
def join(P, p0, H, W, n, bias, y, y0, row, pitch, down, across, tap):
    """y from the products: H x W pixels of each quarter, row and pitch apart."""
    step = apart(H * W * n)
    for i in range(H):
        for j in range(W):
            for c in range(0, n, WIDTH):
                place, to = p0 + (i * W + j) * n + c, y0 + i * row + j * pitch + c
                blocks_of_products(P, place, step, bias, c, y, to, down, across, tap, n)
