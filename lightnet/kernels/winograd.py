"""Winograd's convolution, F(4x4, 3x3) and F(5x5, 3x3): 3x3 windows with a quarter of the multiplications.

A 4x4 patch of outputs needs a 6x6 patch d of inputs, and 4 * 4 * 9 = 144 multiplications for each pair of channels. With

    Y = A^t [ (G w G^t) * (B^t d B) ] A                 (* entry by entry; A, B, G below)

it takes 36. For a whole layer, each of the 36 entries is a matrix product, (patches, C) @ (C, F), of V = B^t d B and
U = G w G^t: what the register tile is for. The price is the transforms, which do not depend on the product C * F but on C + F.
Both gradients are the same thing turned around (``winograd_backward.py``).

The matrices come from polynomials: a convolution multiplies two, and a product of degree 5 is known from its values at five
points and infinity. A and G evaluate at the points, B interpolates. Usual points are 0, 1, -1, 2, -2, whose powers grow to 8 and
cost a digit of float32; with 1/2 for 2 the largest error is half of that (Barabasz et al. 2020).

Patches of 5x5 outputs take one more point, 49 products for 225, and have twice the error. It depends on the image which are
fewer: 14x14 pixels are 16 patches of 4x4, with 576 products, or 9 of 5x5, with 441; 28x28 and 56x56 make no difference. So the
``side`` of a patch, 4 or 5, goes through all that follows. It was worth 0.1 ms of the 7 that the paper's network takes.

Worth on the paper's network: its 3x3 layers take half of the time that the tile alone takes for them.

Sources: Lavin, Gray, "Fast algorithms for convolutional neural networks", 2015, section 4; Barabasz, Anderson, Soodhalter, Gregg,
"Error analysis and improving the accuracy of Winograd convolution for deep neural networks", 2020.
"""

from typing import NamedTuple

import numpy as np

from . import memory
from .asking import ask_for
from .borrowing import borrowed
from .compiling import CHECK, compiled, inner, pasted
from .elementwise import pad
from .images import Flat, Images, contiguous, some_images
from .product import Part, Tables, check, one_pass
from .sandwich import WIDTH, sandwich
from .threads import over_numbers
from .tile import PANELS, ROWS, STORE
from .vector import LANES

SIDES = 4, 5                                            # of a patch of outputs
POINTS = 0, 1, -1, 1 / 2, -2, 2                         # side + 1 of them; the second must be 1: see `transformed_outputs`
BLOCK = 64 * 36                                         # products in a block, at most: its transforms stay in the nearer caches


def matrices(side):
    """A (side + 2, side), B (side + 2, side + 2) and G (side + 2, 3) for the first points and infinity."""
    points = np.array(POINTS[:side + 1])
    A, B, G = np.zeros((side + 2, side)), np.zeros((side + 2, side + 2)), np.zeros((side + 2, 3))
    for j, point in enumerate(points):
        others = np.delete(points, j)
        A[j], G[j] = point ** np.arange(side), point ** np.arange(3) / np.prod(point - others)
        B[:-1, j] = np.polynomial.polynomial.polyfromroots(others)
    A[-1, -1] = G[-1, -1] = 1
    B[:, -1] = np.polynomial.polynomial.polyfromroots(points)
    return A, B, G


def suits(kernel, stride, C, F):
    """Whether a convolution has the form, and enough channels, that the method takes and is worth."""
    return kernel == (3, 3) and stride == (1, 1) and C % LANES == 0 and F % LANES == 0


@compiled
def entries(side):
    """Of a patch's transform."""
    return (side + 2) ** 2


@compiled
def along(side, pixels):
    """How many patches cover so many pixels."""
    return -(-pixels // side)


def patches(side, OH, OW):
    """How many cover an image of outputs."""
    return along(side, OH) * along(side, OW)


def side_for(OH, OW):
    """The side of patches with which an image of outputs takes fewer products."""
    return min(SIDES, key=lambda side: patches(side, OH, OW) * entries(side))


def to_whole_patches(side, padding, out_size):
    """More zeros below and right, so that whole patches cover an image of outputs."""
    ((top, bottom), (left, right)), (OH, OW) = padding, out_size
    return (top, bottom + -OH % side), (left, right + -OW % side)


def most(side):
    """Patches in a block."""
    return BLOCK // entries(side)


def block_of(count, most):
    """How many of so many patches, or rows of them, to take at a time: equal blocks of at most so many."""
    return -(-count // -(-count // most))


As, Bs, Gs = zip(*(matrices(side) for side in SIDES))
inputs_forward, outputs_forward = sandwich(*(B.T for B in Bs)), sandwich(*(A.T for A in As), finishes=True)
weights_forward = sandwich(*Gs)


def packed_weights(weight, side):
    """``U = G w G^t`` of (3, 3, C, F) in panels of 16 columns, as they are read: (F / 16, entries, C, 16), flat.

    On all threads: in a step of training it is a percent of the time on two.
    """
    C, F = weight.shape[2:]
    U = memory.empty((F // LANES, entries(side) * C * LANES))

    def part(first, last):
        some = contiguous(weight[..., first * LANES:last * LANES])
        pack(some.reshape(-1), C, some.shape[3], side, U[first:last].reshape(-1))
    over_numbers(part, len(U), U.size)
    return U.reshape(-1)


@compiled
def pack(weight, C, F, side, U):
    """The same into U."""
    step = C * LANES
    for f in range(0, F, WIDTH):
        for c in range(C):
            weights_forward(side, weight, c * F + f, 3 * C * F, C * F,
                            U, f // LANES * entries(side) * step + c * LANES + f % LANES, (side + 2) * step, step)


@inner
def patch(t, down, across):
    """Image, row and column of the t-th patch."""
    n, rest = divmod(t, down * across)
    i, j = divmod(rest, across)
    return n, i, j


@inner
def forward_tables(T, K, side):
    """(T, K) @ (K, 16), for one panel of U or two; the results of the second lie behind those of the first."""
    zero, panels = np.zeros(1, np.int64), np.arange(PANELS) * entries(side)
    return Tables(np.arange(T) * K, zero, 1, panels * (K * LANES), zero, LANES, K,
                  np.arange(T) * LANES, panels * apart(T, LANES), 1, 0)


@inner
def of_size(tables, rows, panels):
    """The first rows and panels alone."""
    return Tables(tables.rows[:rows], tables.segments_a, tables.step_a, tables.panels_b[:panels], tables.segments_b,
                  tables.step_b, tables.length, tables.rows_out[:rows], tables.panels_out[:panels], tables.block, tables.packed)


@inner
def place(t, c, T):
    """Where channel c of patch t stands in panels of T rows."""
    return c // LANES * (T * LANES) + t * LANES + c % LANES


@compiled
def apart(T, C):
    """From one entry to the next. A cache line more than it takes: at a power of two all entries of a patch would meet in the
    same few places of the first-level cache."""
    return T * C + LANES


@compiled
def some_panels(rows, side):
    """Numbers in the panels that are computed together: of dU, or of what patches become."""
    return PANELS * entries(side) * apart(rows, LANES)


@pasted
def products(side, tables, a, a_step, b, b_step, out, out_step, bias, finish):
    """One product for each entry, without a bias: of that the last 16 numbers are read, which are zeros."""
    left, right, result = Flat(a, a_step, 0), Flat(b, b_step, 0), Flat(out, out_step, 0)
    if CHECK:
        check(tables, entries(side), left, right, result, bias, bias)
    one_pass(tables, Part(0, len(tables.segments_a), entries(side), False, finish), left, right, result, bias)


@inner
def corner(x, n, i, j, side):
    """Where the patch of that number begins, in images of which patches are ``side`` pixels apart."""
    return n * x.stride + i * side * x.row + j * side * x.pitch


@inner
def ask_for_patch(y, start, side, columns):
    """For some columns of all pixels of a patch."""
    for p in range(side):
        for q in range(side):
            ask_for(y.memory, start + p * y.row + q * y.pitch, columns)


@inner
def edge_out(edge, x, start, rows, columns, side):
    """`WIDTH` channels of a patch to where only some of its rows and columns exist."""
    for p in range(rows):
        for q in range(columns):
            for lane in range(WIDTH):
                x.memory[start + p * x.row + q * x.pitch + lane] = edge[(p * side + q) * WIDTH + lane]


@pasted
def transformed_inputs(x, t0, T, down, across, side, V, in_rows):
    """``V = B^t d B`` of T patches; each entry a matrix (T, C) in rows, or in panels of 16 columns."""
    step = apart(T, x.C)
    for t in range(T):
        n, i, j = patch(t0 + t, down, across)
        start = corner(x, n, i, j, side)
        for c in range(0, x.C, WIDTH):
            to = t * x.C + c if in_rows else place(t, c, T)
            inputs_forward(side, x.memory, start + c, x.row, x.pitch, V, to, (side + 2) * step, step)


@pasted
def forward(x, U, bias, y, finish, side, block, V, M):
    """``y = conv(x) + bias``, or ELU or ReLU of it, for some images, in blocks of patches.

    x: `Images` (N, H, W, C), padded so that patches fill them; U packed; bias (F + 16,), its end zeros; y: `Images` (N, OH, OW,
    F); scratch V (entries * apart(block, C)) and M (`some_panels` of `ROWS`).
    """
    C, F, edge = x.C, y.C, np.empty(side * side * WIDTH, np.float32)
    down, across = along(side, y.H), along(side, y.W)
    tables, entry = forward_tables(ROWS, C, side), apart(ROWS, LANES)
    for t0 in range(0, x.N * down * across, block):
        T = min(block, x.N * down * across - t0)
        transformed_inputs(x, t0, T, down, across, side, V, True)
        places = places_of(y, t0, T, down, across, side)
        tiles = (T + ROWS - 1) // ROWS
        for f0 in range(0, F, PANELS * LANES):
            columns = min(PANELS * LANES, F - f0)
            for k in range(tiles):                      # what the tile computes is transformed while it is in the nearest cache
                first, last = k * T // tiles, (k + 1) * T // tiles
                products(side, of_size(tables, last - first, columns // LANES), V[first * C:], apart(T, C),
                         U[f0 * entries(side) * C:], C * LANES, M, entry, bias, STORE)
                then = (last, f0) if k + 1 < tiles else (0, f0 + columns)
                transformed_outputs(M, entry, first, last - first, places, side, bias, y, f0, columns, finish, edge, then)


class Forward(NamedTuple):
    """What ``forward_with_edges`` takes besides y: as `forward`, but x of a whole batch, without zeros around its images."""

    x: Images
    U: np.ndarray
    bias: np.ndarray
    finish: int
    side: int
    top: int
    left: int
    xs: Images                                          # room for some images with zeros around them
    block: int
    V: np.ndarray
    M: np.ndarray


@compiled
def forward_with_edges(conv, y, start, stop):
    """The same of images start to stop, as many at a time as xs has room for."""
    conv, y = borrowed((conv, y))
    for first in range(start, stop, conv.xs.N):
        last = min(first + conv.xs.N, stop)
        pad(some_images(conv.x, first, last), conv.xs, conv.top, conv.left)
        forward(some_images(conv.xs, 0, last - first), conv.U, conv.bias, some_images(y, first, last), conv.finish, conv.side,
                conv.block, conv.V, conv.M)


@inner
def places_of(y, t0, T, down, across, side):
    """Where each of T patches begins in y, and how many of its rows and columns exist: once for all of y's channels."""
    places = np.empty((3, T), np.int64)
    for t in range(T):
        n, i, j = patch(t0 + t, down, across)
        places[0, t], places[1, t], places[2, t] = corner(y, n, i, j, side), min(side, y.H - i * side), min(side, y.W - j * side)
    return places


@pasted
def transformed_outputs(M, entry, t0, T, places, side, bias, y, f0, columns, finish, edge, then):
    """``A^t M A + bias`` of a block's patches t0 to t0 + T, finished, into some columns of y.

    With each patch one of those is asked for that are written ``then`` (a patch and a column), after more products: stores wait
    for each other, and one to memory that is not near waits long. (Asked for just before they came too late: fire2 took 0.73 ms
    for 0.64.)

    The bias is added to entry (1, 1) alone, that of the point 1 twice, which A^t [] A adds to all outputs.
    """
    for t in range(T):
        if then[1] < y.C:
            ask_for_patch(y, places[0, min(then[0] + t, places.shape[1] - 1)] + then[1], side, columns)
        start, rows, pixels = places[0, t0 + t] + f0, places[1, t0 + t], places[2, t0 + t]
        whole = rows == side and pixels == side
        for f in range(0, columns, WIDTH):
            m = f // LANES * (entries(side) * entry) + t * LANES + f % LANES
            to, to0, row, column = (y.memory, start + f, y.row, y.pitch) if whole else (edge, 0, side * WIDTH, WIDTH)
            outputs_forward(side, M, m, (side + 2) * entry, entry, to, to0, row, column, finish, bias, f0 + f)
            if not whole:
                edge_out(edge, y, start + f, rows, pixels, side)
