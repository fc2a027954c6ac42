"""Strassen's method, twice: a matrix product in 49 products of blocks, where there are 64.

Let A, B and C = A B be cut into 2 x 2 blocks each, in the order 11, 12, 21, 22. C's four blocks are sums of eight products of a
block of A by one of B; or of seven, between *sums* of blocks:

    C = U [ (T A) * (R B) ]                     (T, R: 7 x 4; U: 4 x 7; * multiplies the seven in pairs)

T, R and U consist of 0, 1 and -1. Each of the seven products can be cut in the same way: with X[i, j] for block j of block i, the
sums are T X T^t. These are the transforms of Winograd's convolution (``winograd.py``) with other matrices. As there, the weights'
are made once, for good in a compiled network and once a step in training, the image's once for all columns; between them stands
what the register tile is for, without 15 of its 64 parts.

The price: those sums; three times the weights to read; products a quarter as long each way; and precision. Sums of blocks are
larger than blocks, which costs half a digit; and since they are sums of all quarters of an image, the error is relative to its
largest number: a quarter a million times smaller than another would lose all digits, an infinite number spoils its like in all
quarters. It is worth it where a product is large, and at the tile's peak already: the transposed convolution of the paper's
network, 196 x 512 x 1024, takes 1.55 ms for 1.82. Its gradients are in ``strassen_layer.py``.

A sum reads 16 lines that are far apart and writes 49, or the other way, which the processor does not foresee: so it asks for
those of the sum after the next. In a step of training the layer takes 1.55 ms for 1.63 forward, 3.29 for 3.49 backward.

A's rows are the pixels of an image here, and their four parts its quarters: from one half of it to the other is one distance,
however its lines lie. A's columns are C channels; B's are two taps of the transposed convolution, with F channels each. So blocks
of blocks have H/2 x W/2 pixels, C/4 and F/2 channels.

Sources: Strassen, "Gaussian elimination is not optimal", 1969; with 15 additions for his 18: Winograd, "On multiplication of
2 x 2 matrices", 1971. A's and C's lines are exchanged here, and a product's sign turned, so that sums begin alike: LLVM makes
these once.
"""

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled, inner, pasted
from .images import Flat
from .packing import panels
from .product import Part, Tables, one_pass
from .sandwich import WIDTH, emit_sandwich
from .tile import ROWS, STORE
from .vector import LANES

PRODUCTS, TAPS = 49, 2                                  # of blocks of blocks; taps in one product
LEAST = 256                                             # channels from which on it is worth it
AHEAD = 2 * WIDTH                                       # how many channels ahead to ask for what is read, and for where it goes
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
    return (kernel[1] % TAPS == 0 and H % 2 == 0 and W % 2 == 0 and H * W // 4 >= ROWS
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


class Blocks(NamedTuple):
    """16 blocks of a matrix, of whose rows and columns each has H x W and some channels.

    ``memory[start + i * row + j * pitch + c]`` is channel c of the first block's pixel (i, j). To the other blocks there are four
    ``steps``: to the lower one and to the right one, of the blocks and of their blocks.
    """

    memory: np.ndarray
    start: int
    H: int
    W: int
    channels: int
    row: int
    pitch: int
    steps: tuple


class Products(NamedTuple):
    """49 matrices, or sums of blocks: in rows, or in panels of 16 columns.

    ``memory[start + p * step + (i * W + j) * pixel + c // 16 * panel + c % 16]`` is channel c of the p-th one's pixel (i, j).
    """

    memory: np.ndarray
    start: int
    pixel: int
    panel: int
    step: int


@inner
def column(products, c):
    """How far channel c of a pixel is from its first."""
    return c // LANES * products.panel + c % LANES


def transform(matrix, add=False, biased=False):
    """A compiled function ``(blocks, products)``: ``matrix X matrix^t``, number by number.

    A matrix of 7 x 4 makes 49 sums of 16 blocks, one of 4 x 7 makes 16 blocks of 49 products. These are written, or with ``add``
    added to what is there; with ``biased`` a bias follows, of the channels of two blocks side by side, and is added as well.
    """
    if vector.HAS_IR:
        sixteen, width = emitted(matrix, add, biased), WIDTH
    else:
        sixteen, width = plain(np.float32(matrix), add, biased), 1

    @inner
    def each(blocks, products, *bias):
        for i in range(blocks.H):
            for j in range(blocks.W):
                start = blocks.start + i * blocks.row + j * blocks.pitch
                place = products.start + (i * blocks.W + j) * products.pixel
                for c in range(0, blocks.channels, width):
                    more, (further, then) = (*bias, c) if biased else (), divmod(c + AHEAD, blocks.channels)
                    sixteen(blocks.memory, start + c, start + further * blocks.pitch + then, blocks.steps,
                            products.memory, place + column(products, c),
                            place + further * products.pixel + column(products, then), products.step, *more)
    return each


def emitted(matrix, add, biased):
    """An intrinsic for `WIDTH` channels of a pixel.

    It asks for the blocks at ``then``, and where products are written, for those at ``then_place``.
    """
    def emit(context, builder, signature, arguments):
        blocks, start, then, steps, products, place, then_place, step, *bias = arguments
        kinds, steps = dict(zip(arguments, signature.args)), [builder.extract_value(steps, i) for i in range(4)]

        def at(array, *offsets):
            return vector.pointer(context, builder, kinds[array], array, offsets)

        def block(i, j, start=start):
            further = [step for step, index in zip(steps, (i // 2, i % 2, j // 2, j % 2)) if index]
            return at(blocks, start, *further)

        def product(i, j, place=place):
            return at(products, place, builder.mul(step, vector.integer(len(T) * i + j)))
        source, target = (block, product) if len(matrix) == len(T) else (product, block)
        for i, j in np.ndindex(4, 4):
            vector.ask_for(builder, block(i, j, then))
        for i, j in np.ndindex(7, 7) if target is product else ():
            vector.ask_for(builder, product(i, j, then_place))
        offsets = [vector.load(builder, at(*bias, beside), WIDTH) for beside in (vector.integer(0), steps[3]) if bias]
        for i, j, value in emit_sandwich(builder, matrix, lambda i, j: vector.load(builder, source(i, j), WIDTH)):
            if add:
                value = builder.fadd(vector.load(builder, target(i, j), WIDTH), value)
            if biased:
                value = builder.fadd(value, offsets[j % 2])
            vector.store(builder, value, target(i, j))
        return context.get_dummy_value()

    if biased:
        @intrinsic
        def sixteen(typing, blocks, start, then, steps, products, place, then_place, step, bias, c):
            return types.void(blocks, start, then, steps, products, place, then_place, step, bias, c), emit
    else:
        @intrinsic
        def sixteen(typing, blocks, start, then, steps, products, place, then_place, step):
            return types.void(blocks, start, then, steps, products, place, then_place, step), emit
    return sixteen


def plain(matrix, add, biased):
    """The same of one channel, in loops."""
    m, n = matrix.shape

    @inner
    def block(start, steps, i, j):
        return start + i // 2 * steps[0] + i % 2 * steps[1] + j // 2 * steps[2] + j % 2 * steps[3]

    @inner
    def one(blocks, start, then, steps, products, place, then_place, step, *bias):
        half = np.zeros((m, n), np.float32)
        for i in range(m):
            for j in range(n):
                for k in range(n):
                    x = products[place + (n * k + j) * step] if m < n else blocks[block(start, steps, k, j)]
                    half[i, j] += matrix[i, k] * x
        for i in range(m):
            for j in range(m):
                total = np.float32(0)
                for k in range(n):
                    total += half[i, k] * matrix[j, k]
                if m > n:
                    products[place + (m * i + j) * step] = total
                    continue
                if biased:
                    total += bias[0][bias[1] + j % 2 * steps[3]]
                here = block(start, steps, i, j)
                blocks[here] = total + (blocks[here] if add else np.float32(0))
    return one


inputs_forward, outputs_forward = transform(T), transform(U, biased=True)


@compiled
def split(x, down, across, V, v0, step):
    """V from some lines of the upper half of an image, x; the lower half is ``down`` from there, the right one ``across``."""
    k = x.C // 4
    blocks = Blocks(x.memory, 0, x.H, x.W // 2, k, x.row, x.pitch, (down, 2 * k, across, k))
    inputs_forward(blocks, Products(V, v0, k, LANES, step))


@inner
def in_rows(pixels, k, n):
    """(pixels, k) @ (k, n), all but the second in rows."""
    zero, columns = np.zeros(1, np.int64), np.arange(n // LANES) * LANES
    return Tables(np.arange(pixels) * k, zero, 1, columns * k, zero, LANES, k, np.arange(pixels) * n, columns, 1, 0)


@pasted
def products(V, v0, v_step, pixels, k, weights, w0, n, P, p0, bias):
    """The 49 products (pixels, k) @ (k, n)."""
    left, right, result = Flat(V, v_step, v0), Flat(weights, k * n, w0), Flat(P, apart(pixels * n), p0)
    one_pass(in_rows(pixels, k, n), Part(0, 1, PRODUCTS, False, STORE), left, right, result, bias)


@compiled
def join(P, p0, H, W, n, bias, y, y0, row, pitch, down, across, tap):
    """y from the products: H x W pixels of each quarter, row and pitch apart, plus bias."""
    outputs_forward(Blocks(y, y0, H, W, n, row, pitch, (down, tap, across, n)), Products(P, p0, n, LANES, apart(H * W * n)), bias)
