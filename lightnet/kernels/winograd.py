"""Winograd's convolution F(4x4, 3x3): 3x3 windows with a quarter of the multiplications.

A 4x4 patch of outputs needs a 6x6 patch d of inputs, and 4 * 4 * 9 = 144 multiplications for each pair of channels. With

    Y = A^t [ (G w G^t) * (B^t d B) ] A                 (* entry by entry; A, B, G below)

it takes 36. For a whole layer, each of the 36 entries is a matrix product, (patches, C) @ (C, F): what the register tile is for.
The price is the transforms, which do not depend on the product C * F but on C + F. Both gradients are the same thing turned
around, since every step is linear: dy goes through A, the 36 products, and B comes back out.

    Z = A dy A^t,    dx += B [ Z U^t ] B^t,    dU = V^t Z,  dW = G^t dU G           with  U = G w G^t,  V = B^t d B

The matrices come from polynomials: a convolution multiplies two, and a product of degree 5 is known from its values at five
points and infinity. A and G evaluate at the points, B interpolates. Usual points are 0, 1, -1, 2, -2, whose powers grow to 8 and
cost a digit of float32; with 1/2 for 2 the largest error is half of that (Barabasz et al. 2020).

Worth on the paper's network: its 3x3 layers take half of the time that the tile alone takes for them.

Sources: Lavin, Gray, "Fast algorithms for convolutional neural networks", 2015, section 4; Barabasz, Anderson, Soodhalter, Gregg,
"Error analysis and improving the accuracy of Winograd convolution for deep neural networks", 2020.
"""

import numpy as np

from .compiling import CHECK, compiled, pasted
from .images import Flat
from .product import Part, Tables, check, one_pass
from .sandwich import WIDTH, sandwich
from .tile import ADD, ELU, PANELS, RELU, ROWS, STORE
from .vector import LANES

OUT, IN, ENTRIES = 4, 6, 36                             # sides of a patch of outputs, of inputs; entries of the latter
PATCHES = 64                                            # in a block, at most: their transforms stay in the nearer caches
POINTS = 0, 1, -1, 1 / 2, -2                            # the second must be 1: see `products`


def matrices(points):
    """A (6, 4), B (6, 6) and G (6, 3) for these points and infinity."""
    A, B, G = np.zeros((IN, OUT)), np.zeros((IN, IN)), np.zeros((IN, 3))
    for j, point in enumerate(points):
        others = np.delete(points, j)
        A[j], G[j] = point ** np.arange(4.0), point ** np.arange(3.0) / np.prod(point - others)
        B[:-1, j] = np.polynomial.polynomial.polyfromroots(others)
    A[-1, -1] = G[-1, -1] = 1
    B[:, -1] = np.polynomial.polynomial.polyfromroots(points)
    return A, B, G


def suits(kernel, stride, C, F):
    """Whether a convolution has the form, and enough channels, that the method takes and is worth."""
    return kernel == (3, 3) and stride == (1, 1) and C % LANES == 0 and F % LANES == 0


def to_whole_patches(padding, out_size):
    """More zeros below and right, so that whole patches cover an image of outputs."""
    ((top, bottom), (left, right)), (OH, OW) = padding, out_size
    return (top, bottom + -OH % OUT), (left, right + -OW % OUT)


def patches(OH, OW):
    """How many cover an image of outputs."""
    return -(-OH // OUT) * -(-OW // OUT)


def block_of(count):
    """How many of so many patches to take at a time: equal blocks of at most `PATCHES`."""
    return -(-count // -(-count // PATCHES))


A, B, G = matrices(POINTS)
inputs_forward = sandwich(B.T)
outputs_forward, outputs_elu, outputs_relu = (sandwich(A.T, finish, far=True) for finish in (STORE, ELU, RELU))
outputs_backward, inputs_backward = sandwich(A, slope=True), sandwich(B, ADD)
weights_forward, weights_backward = sandwich(G), sandwich(G.T)


@compiled
def transformed_weights(weight):
    """``U = G w G^t`` of (3, 3, C, F), contiguous: (36, C, F)."""
    C, F = weight.shape[2:]
    U = np.empty((ENTRIES, C, F), np.float32)
    flat, flat_U = weight.reshape(-1), U.reshape(-1)
    for k in range(0, C * F, WIDTH):
        weights_forward(flat, k, 3 * C * F, C * F, flat_U, k, IN * C * F, C * F)
    return U


def packed(U):
    """(36, C, F) in panels of 16 columns, in the order of reading: (F / 16, 36, C, 16), flat."""
    _, C, F = U.shape
    return np.ascontiguousarray(U.reshape(ENTRIES, C, F // LANES, LANES).transpose(2, 0, 1, 3)).reshape(-1)


@compiled
def patch(t, down, across):
    """Image, row and column of the t-th patch."""
    n, rest = divmod(t, down * across)
    i, j = divmod(rest, across)
    return n, i, j


@compiled
def forward_tables(T, K):
    """(T, K) @ (K, 16), for one panel of U or two; the results of the second lie behind those of the first."""
    zero, panels = np.zeros(1, np.int64), np.arange(PANELS) * ENTRIES
    return Tables(np.arange(T) * K, zero, 1, panels * (K * LANES), zero, LANES, K, np.arange(T) * LANES, panels * apart(T, LANES),
                  1, 0, 0)


@compiled
def of_size(tables, T, panels):
    """The first rows and panels alone."""
    return Tables(tables.rows[:T], tables.segments_a, tables.step_a, tables.panels_b[:panels], tables.segments_b, tables.step_b,
                  tables.length, tables.rows_out[:T], tables.panels_out[:panels], tables.block, tables.packed, tables.ahead)


@compiled
def backward_tables(T, K):
    """The same where (T, K) is in panels of 16 columns: a row of a panel is a cache line."""
    segments, zero = np.arange(K // LANES), np.zeros(1, np.int64)
    return Tables(np.arange(T) * LANES, segments * (T * LANES), 1, zero, segments * (LANES * LANES), LANES, LANES,
                  np.arange(T) * LANES, zero, len(segments), 0, 0)


@compiled
def gradient_tables(T, C, F):
    """(T, C)^t @ (T, F), likewise."""
    zero, panels = np.zeros(1, np.int64), np.arange(F // LANES)
    rows = np.arange(C)
    return Tables(rows // LANES * (T * LANES) + rows % LANES, zero, LANES, panels * (T * LANES), zero, LANES, T,
                  rows * LANES, panels * (C * LANES), 1, 0, 0)


@compiled
def place(t, c, T):
    """Where channel c of patch t stands in panels of T rows."""
    return c // LANES * (T * LANES) + t * LANES + c % LANES


@compiled
def apart(T, C):
    """From one of the 36 entries to the next. A cache line more than it takes: at a power of two all entries of a patch would
    meet in the same few places of the first-level cache."""
    return T * C + LANES


OUTPUTS = PANELS * ENTRIES * (ROWS * LANES + LANES)     # numbers that one tile of patches becomes


@pasted
def products(tables, a, a_step, b, b_step, out, out_step, bias, finish):
    """One product for each of the 36 entries.

    ``bias`` is added to entry (1, 1) alone, which A^t [] A adds to all 16 outputs.
    """
    left, right, result = Flat(a, a_step, 0), Flat(b, b_step, 0), Flat(out, out_step, 0)
    if CHECK:
        check(tables, ENTRIES, left, right, result, bias, bias)
    one_pass(tables, Part(0, len(tables.segments_a), ENTRIES, IN + 1, finish), left, right, result, bias)


@compiled
def corner(x, n, i, j, side):
    """Where the patch of that number begins, in images of which patches are ``side`` pixels apart."""
    return n * x.stride + i * side * x.row + j * side * x.pitch


@compiled
def edge_in(x, start, rows, columns, edge):
    """`WIDTH` channels of a patch of which only some rows and columns exist: the others are zero."""
    edge[:] = 0
    for p in range(rows):
        for q in range(columns):
            for lane in range(WIDTH):
                edge[(p * OUT + q) * WIDTH + lane] = x.memory[start + p * x.row + q * x.pitch + lane]


@compiled
def edge_out(edge, x, start, rows, columns):
    """The other way."""
    for p in range(rows):
        for q in range(columns):
            for lane in range(WIDTH):
                x.memory[start + p * x.row + q * x.pitch + lane] = edge[(p * OUT + q) * WIDTH + lane]


@compiled
def transformed_inputs(x, t0, T, down, across, V, in_rows):
    """``V = B^t d B`` of T patches; each entry a matrix (T, C) in rows, or in panels of 16 columns."""
    for t in range(T):
        n, i, j = patch(t0 + t, down, across)
        start = corner(x, n, i, j, OUT)
        for c in range(0, x.C, WIDTH):
            to = t * x.C + c if in_rows else place(t, c, T)
            inputs_forward(x.memory, start + c, x.row, x.pitch, V, to, IN * apart(T, x.C), apart(T, x.C))


@compiled
def forward(x, U, bias, y, finish, block, V, M):
    """``y = conv(x) + bias``, or ELU or ReLU of it, for some images, in blocks of patches.

    x: `Images` (N, H, W, C), padded so that patches fill them; U packed; y: `Images` (N, OH, OW, F); scratch V
    (36 * apart(block, C)) and M (`OUTPUTS`).
    """
    C, F, edge = x.C, y.C, np.empty(OUT * OUT * WIDTH, np.float32)
    down, across = (y.H + OUT - 1) // OUT, (y.W + OUT - 1) // OUT
    tables, entry = forward_tables(ROWS, C), apart(ROWS, LANES)
    for t0 in range(0, x.N * down * across, block):
        T = min(block, x.N * down * across - t0)
        transformed_inputs(x, t0, T, down, across, V, True)
        tiles = (T + ROWS - 1) // ROWS
        for f0 in range(0, F, PANELS * LANES):
            columns = min(PANELS * LANES, F - f0)
            for k in range(tiles):                      # what the tile computes is transformed while it is in the nearest cache
                first, last = k * T // tiles, (k + 1) * T // tiles
                products(of_size(tables, last - first, columns // LANES), V[first * C:], apart(T, C),
                         U[f0 * ENTRIES * C:], C * LANES, M, entry, bias[f0:], STORE)
                transformed_outputs(M, entry, t0 + first, last - first, down, across, y, f0, columns, finish, edge)


@compiled
def transformed_outputs(M, entry, t0, T, down, across, y, f0, columns, finish, edge):
    """``A^t M A`` of T patches, finished, into some columns of y."""
    for t in range(T):
        n, i, j = patch(t0 + t, down, across)
        start, rows, pixels = corner(y, n, i, j, OUT) + f0, min(OUT, y.H - i * OUT), min(OUT, y.W - j * OUT)
        whole = rows == OUT and pixels == OUT
        for f in range(0, columns, WIDTH):
            m = f // LANES * (ENTRIES * entry) + t * LANES + f % LANES
            to, to0, row, column = (y.memory, start + f, y.row, y.pitch) if whole else (edge, 0, OUT * WIDTH, WIDTH)
            if finish == ELU:
                outputs_elu(M, m, IN * entry, entry, to, to0, row, column)
            elif finish == RELU:
                outputs_relu(M, m, IN * entry, entry, to, to0, row, column)
            else:
                outputs_forward(M, m, IN * entry, entry, to, to0, row, column)
            if not whole:
                edge_out(edge, y, start + f, rows, pixels)


@compiled
def transformed_gradients(dy, y, alpha, t0, T, down, across, Z):
    """``Z = A dy A^t`` of T patches, in panels; dy is multiplied by ELU's slope, read off its outputs y."""
    edge, edge_y = np.empty(OUT * OUT * WIDTH, np.float32), np.empty(OUT * OUT * WIDTH, np.float32)
    entry = apart(T, dy.C)
    for t in range(T):
        n, i, j = patch(t0 + t, down, across)
        start, start_y = corner(dy, n, i, j, OUT), corner(y, n, i, j, OUT)
        rows, columns = min(OUT, dy.H - i * OUT), min(OUT, dy.W - j * OUT)
        for f in range(0, dy.C, WIDTH):
            to = place(t, f, T)
            if rows == OUT and columns == OUT:
                outputs_backward(dy.memory, start + f, dy.row, dy.pitch, Z, to, IN * entry, entry,
                                 y.memory, start_y + f, y.row, y.pitch, alpha)
            else:
                edge_in(dy, start + f, rows, columns, edge)
                edge_in(y, start_y + f, rows, columns, edge_y)
                outputs_backward(edge, 0, OUT * WIDTH, WIDTH, Z, to, IN * entry, entry,
                                 edge_y, 0, OUT * WIDTH, WIDTH, alpha)


@compiled
def add_bias_gradient(Z, T, db):
    """db += the sum of dy: entry (1, 1) of ``A dy A^t`` is the sum of the patch."""
    entry = apart(T, len(db))
    sums = Z[(IN + 1) * entry:(IN + 2) * entry]
    for f in range(len(db)):
        for t in range(T):
            db[f] += sums[place(t, f, T)]


@compiled
def add_to_inputs(Z, Ut, no_bias, t0, T, F, down, across, dx, M):
    """``dx += B [ Z U^t ] B^t``, 16 channels of T patches at a time."""
    tables, entry = backward_tables(T, F), apart(T, LANES)
    for c0 in range(0, dx.C, LANES):
        products(tables, Z, apart(T, F), Ut[c0 * ENTRIES * F:], F * LANES, M, entry, no_bias, STORE)
        for t in range(T):
            n, i, j = patch(t0 + t, down, across)
            start = corner(dx, n, i, j, OUT) + c0
            for c in range(0, LANES, WIDTH):
                inputs_backward(M, t * LANES + c, IN * entry, entry, dx.memory, start + c, dx.row, dx.pitch)


@compiled
def backward(x, dy, y, alpha, Ut, no_bias, dx, dU, finish, db, block, V, Z, M):
    """dx, dU and db for some images, in blocks of patches; dU is stored or added to, db added to.

    x and dx: `Images` (N, H, W, C), contiguous, padded as in forward, dx of zeros; dy and y: `Images` (N, OH, OW, F), y the
    outputs of the ELU with whose slope dy is multiplied; Ut the packed transpose of U; dU (36 * C * F,), db (F,); scratch V
    (36 * apart(block, C)), Z (36 * apart(block, F)) and M (36 * apart(block, 16)).
    """
    C, F = x.C, dy.C
    down, across = (dy.H + OUT - 1) // OUT, (dy.W + OUT - 1) // OUT
    for t0 in range(0, x.N * down * across, block):
        T = min(block, x.N * down * across - t0)
        transformed_inputs(x, t0, T, down, across, V, False)
        transformed_gradients(dy, y, alpha, t0, T, down, across, Z)
        add_bias_gradient(Z, T, db)
        products(gradient_tables(T, C, F), V, apart(T, C), Z, apart(T, F), dU, C * F, no_bias, finish if t0 == 0 else ADD)
        add_to_inputs(Z, Ut, no_bias, t0, T, F, down, across, dx, M)


@compiled
def weights_of(dU, C, F):
    """``dW = G^t dU G``: (3, 3, C, F)."""
    dW = np.empty((3, 3, C, F), np.float32)
    flat = dW.reshape(-1)
    for c in range(C):
        for f in range(0, F, WIDTH):
            weights_backward(dU, place(c, f, C), IN * C * F, C * F, flat, c * F + f, 3 * C * F, C * F)
    return dW
