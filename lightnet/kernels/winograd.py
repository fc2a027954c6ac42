"""Winograd's convolution F(4x4, 3x3): 3x3 windows with a quarter of the multiplications.

A 4x4 patch of outputs needs a 6x6 patch d of inputs, and 4 * 4 * 9 = 144 multiplications for each pair of channels. With

    Y = A^t [ (G w G^t) * (B^t d B) ] A                 (* entry by entry; A, B, G below)

it takes 36. For a whole layer, each of the 36 entries is a matrix product, (patches, C) @ (C, F): what the register tile is for.
The price is the transforms, which do not depend on the product C * F but on C + F. Both gradients are the same thing turned
around, since every step is linear: dy goes through A, the 36 products, and B comes back out.

    Z = A dy A^t,    dx += B [ Z U^t ] B^t,    dU = V^t Z,  dW = G^t dU G           with  U = G w G^t,  V = B^t d B

Worth on the paper's network: its 3x3 layers take half of the time that the tile alone takes for them.

Source: Lavin, Gray, "Fast algorithms for convolutional neural networks", 2015, section 4.3. Their numbers up to 5 and 8 cost
about one decimal digit of float32.
"""

import numpy as np

from .compiling import compiled
from .product import Tables, one_pass
from .sandwich import WIDTH, sandwich
from .tile import ADD, STORE
from .vector import LANES

B = np.array([[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
              [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]).T
G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]).T
OUT, IN, ENTRIES = 4, 6, 36                             # sides of a patch of outputs, of inputs; entries of the latter

inputs_forward, outputs_forward = sandwich(B.T), sandwich(A.T)
outputs_backward, inputs_backward = sandwich(A), sandwich(B, add=True)
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
    """(36, C, F) in panels of 16 columns: (36, F / 16, C, 16), flat."""
    _, C, F = U.shape
    return np.ascontiguousarray(U.reshape(ENTRIES, C, F // LANES, LANES).transpose(0, 2, 1, 3)).reshape(-1)


@compiled
def patch(t, down, across):
    """Image, row and column of the t-th patch."""
    n, rest = divmod(t, down * across)
    i, j = divmod(rest, across)
    return n, i, j


@compiled
def product_tables(T, K, F):
    """(T, K) @ (K, F), the latter packed."""
    zero, panels = np.zeros(1, np.int64), np.arange(F // LANES)
    return Tables(np.arange(T) * K, zero, 1, panels * (K * LANES), zero, LANES, K, np.arange(T) * F, panels * LANES, 1, 0)


@compiled
def gradient_tables(T, C, F):
    """(T, C)^t @ (T, F)."""
    zero, panels = np.zeros(1, np.int64), np.arange(F // LANES) * LANES
    return Tables(np.arange(C), zero, C, panels, zero, F, T, np.arange(C) * F, panels, 1, 0)


@compiled
def products(tables, a, a_step, b, b_step, out, out_step, zeros, finish):
    """One product for each of the 36 entries."""
    for e in range(ENTRIES):
        one_pass(tables, tables.panels_b, tables.segments_b, tables.step_b, 0, 1,
                 a, e * a_step, b, e * b_step, out, e * out_step, zeros, finish)


@compiled
def forward(x, U, bias, y, block, V, M):
    """``y = conv(x) + bias`` for some images, in blocks of patches.

    x (N, H, W, C), padded so that patches fill it; U packed; y (N, OH, OW, F); scratch V
    (36 * block * C) and M (36 * block * F).
    """
    N, H, W, C = x.shape
    _, OH, OW, F = y.shape
    flat_x, edge, zeros = x.reshape(-1), np.empty(OUT * OUT * WIDTH, np.float32), np.zeros(F + LANES, np.float32)
    down, across = (OH + OUT - 1) // OUT, (OW + OUT - 1) // OUT
    for t0 in range(0, N * down * across, block):
        T = min(block, N * down * across - t0)
        for t in range(T):
            n, i, j = patch(t0 + t, down, across)
            for c in range(0, C, WIDTH):
                inputs_forward(flat_x, ((n * H + i * OUT) * W + j * OUT) * C + c, W * C, C, V, t * C + c, IN * T * C, T * C)
        products(product_tables(T, C, F), V, T * C, U, C * F, M, T * F, zeros, STORE)
        for t in range(T):
            n, i, j = patch(t0 + t, down, across)
            rows, columns = min(OUT, OH - i * OUT), min(OUT, OW - j * OUT)
            for f in range(0, F, WIDTH):
                outputs_forward(M, t * F + f, IN * T * F, T * F, edge, 0, OUT * WIDTH, WIDTH)
                for p in range(rows):
                    for q in range(columns):
                        for lane in range(WIDTH):
                            y[n, i * OUT + p, j * OUT + q, f + lane] = edge[(p * OUT + q) * WIDTH + lane] + bias[f + lane]


@compiled
def backward(x, dy, Ut, dx, dU, dW, block, V, Z, M):
    """dx and dW for some images, in blocks of patches.

    x and dx (N, H, W, C) padded as in forward, dx of zeros; dy (N, OH, OW, F); Ut the packed transpose of U; dW (3, 3, C, F);
    scratch dU (36 * C * F), V and M (36 * block * C), Z (36 * block * F).
    """
    N, H, W, C = x.shape
    _, OH, OW, F = dy.shape
    flat_x, flat_dx, edge = x.reshape(-1), dx.reshape(-1), np.empty(OUT * OUT * WIDTH, np.float32)
    zeros = np.zeros(max(C, F) + LANES, np.float32)
    down, across = (OH + OUT - 1) // OUT, (OW + OUT - 1) // OUT
    for t0 in range(0, N * down * across, block):
        T = min(block, N * down * across - t0)
        for t in range(T):
            n, i, j = patch(t0 + t, down, across)
            for c in range(0, C, WIDTH):
                inputs_forward(flat_x, ((n * H + i * OUT) * W + j * OUT) * C + c, W * C, C, V, t * C + c, IN * T * C, T * C)
            rows, columns = min(OUT, OH - i * OUT), min(OUT, OW - j * OUT)
            if rows * columns < OUT * OUT:
                edge[:] = 0
            for f in range(0, F, WIDTH):
                for p in range(rows):
                    for q in range(columns):
                        for lane in range(WIDTH):
                            edge[(p * OUT + q) * WIDTH + lane] = dy[n, i * OUT + p, j * OUT + q, f + lane]
                outputs_backward(edge, 0, OUT * WIDTH, WIDTH, Z, t * F + f, IN * T * F, T * F)
        products(gradient_tables(T, C, F), V, T * C, Z, T * F, dU, C * F, zeros, STORE if t0 == 0 else ADD)
        products(product_tables(T, F, C), Z, T * F, Ut, C * F, M, T * C, zeros, STORE)
        for t in range(T):
            n, i, j = patch(t0 + t, down, across)
            for c in range(0, C, WIDTH):
                inputs_backward(M, t * C + c, IN * T * C, T * C, flat_dx, ((n * H + i * OUT) * W + j * OUT) * C + c, W * C, C)
    flat_dW = dW.reshape(-1)
    for k in range(0, C * F, WIDTH):
        weights_backward(dU, k, IN * C * F, C * F, flat_dW, k, 3 * C * F, C * F)
