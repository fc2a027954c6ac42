"""The gradients of Winograd's convolution, in the letters of ``winograd.py``: since every step is linear, the same turned around.

    Z = A dy A^t,        dx += B [ Z U^t ] B^t,        dU = V^t Z,    dW = G^t dU G

dy goes through A, the 36 products take U or V from the other side, and B and G bring back what comes out.
"""

from typing import NamedTuple

import numpy as np

from .borrowing import borrowed
from .columns import windows_of
from .compiling import compiled, inner, pasted
from .elementwise import crop, elu_slope_sums, pad
from .images import Images, some_images, some_rows
from .product import Tables
from .sandwich import WIDTH, sandwich
from .tile import PANELS, STORE
from .vector import LANES
from .winograd import As, Bs, Gs, along, apart, corner, entries, of_size, patch, place, products, transformed_inputs

outputs_backward, inputs_backward = sandwich(*As), sandwich(*Bs, add=True)
weights_backward = sandwich(*(G.T for G in Gs), add=True)


@inner
def backward_tables(T, K, side):
    """The same where (T, K) is in panels of 16 columns: a row of a panel is a cache line."""
    segments, panels = np.arange(K // LANES), np.arange(PANELS) * entries(side)
    return Tables(np.arange(T) * LANES, segments * (T * LANES), 1, panels * (K * LANES), segments * (LANES * LANES), LANES,
                  LANES, np.arange(T) * LANES, panels * apart(T, LANES), len(segments), 0)


@inner
def gradient_tables(T, C, side):
    """(T, C)^t @ (T, 16), likewise."""
    zero, panels, rows = np.zeros(1, np.int64), np.arange(PANELS), np.arange(C)
    return Tables(rows // LANES * (T * LANES) + rows % LANES, zero, LANES, panels * (T * LANES), zero, LANES, T,
                  rows * LANES, panels * (entries(side) * apart(C, LANES)), 1, 0)


@pasted
def transformed_gradients(dy, y, alpha, sloped, row0, rows, down, across, side, strip, db, Z):
    """``Z = A dy A^t`` of some rows of patches, in panels; if ``sloped``, of dy times ELU's slope, read off its outputs y.

    A row of patches at a time, in ``strip``, with zeros to the right and below: so dy and y are read along their rows, as memory
    likes it, and the transform reads what is near. db gets the sums of the strips. (With the slope in the transform itself, and
    edges cut out of dy and y, it took longer: fire7's whole backward 0.54 ms for 0.47.)
    """
    T = rows * across
    entry = apart(T, dy.C)
    for r in range(rows):
        n, i = divmod(row0 + r, down)
        first, count = i * side, min(side, dy.H - i * side)
        here, near = some_rows(dy, n, first, count), some_rows(strip, 0, 0, count)
        if sloped:
            db += elu_slope_sums(some_rows(y, n, first, count), here, alpha, near)
        else:
            windows_of(here, 1, 1, near, db)            # a copy, and the sums
        strip.memory[count * strip.row:] = 0
        for j in range(across):
            for f in range(0, dy.C, WIDTH):
                outputs_backward(side, strip.memory, j * side * strip.pitch + f, strip.row, strip.pitch,
                                 Z, place(r * across + j, f, T), (side + 2) * entry, entry)


@pasted
def add_to_weight(V, Z, T, C, F, no_bias, side, dU, dW):
    """``dW += G^t [ V^t Z ] G`` from T patches, one or two panels of dU at a time, which stay in a near cache."""
    tables, step = gradient_tables(T, C, side), apart(C, LANES)
    for f0 in range(0, F, PANELS * LANES):
        panels = min(PANELS, (F - f0) // LANES)
        products(side, of_size(tables, C, panels), V, apart(T, C), Z[f0 * T:], apart(T, F), dU, step, no_bias, STORE)
        for p in range(panels):
            for c in range(C):
                for f in range(0, LANES, WIDTH):
                    weights_backward(side, dU, p * entries(side) * step + c * LANES + f, (side + 2) * step, step,
                                     dW, c * F + f0 + p * LANES + f, 3 * C * F, C * F)


@pasted
def add_to_inputs(Z, Ut, no_bias, t0, T, F, down, across, side, dx, M):
    """``dx += B [ Z U^t ] B^t``, one or two panels of T patches at a time."""
    tables, entry = backward_tables(T, F, side), apart(T, LANES)
    for c0 in range(0, dx.C, PANELS * LANES):
        panels = min(PANELS, (dx.C - c0) // LANES)
        products(side, of_size(tables, T, panels), Z, apart(T, F), Ut[c0 * entries(side) * F:], F * LANES,
                 M, entry, no_bias, STORE)
        for t in range(T):
            n, i, j = patch(t0 + t, down, across)
            start = corner(dx, n, i, j, side) + c0
            for c in range(0, panels * LANES, WIDTH):
                m = c // LANES * (entries(side) * entry) + t * LANES + c % LANES
                inputs_backward(side, M, m, (side + 2) * entry, entry, dx.memory, start + c, dx.row, dx.pitch)


class Backward(NamedTuple):
    """What ``backward`` takes besides dy and dx; scratch V, Z, dU and M for the T patches of a block."""

    x: Images                                           # of a whole batch, without zeros around them, as y
    y: Images                                           # if sloped: outputs of the ELU with whose slope dy is multiplied
    alpha: float
    sloped: bool
    Ut: np.ndarray                                      # U of the weights as (3, 3, F, C), packed
    no_bias: np.ndarray
    dW: np.ndarray                                      # (3, 3, C, F), flat
    db: np.ndarray                                      # (F,)
    side: int
    top: int
    left: int
    xs: Images                                          # room for some images with zeros around them
    dxs: Images                                         # for their dx, likewise
    block: int                                          # rows of patches
    strip: Images                                       # one image (side, OW, F), zeros to the right up to whole patches
    V: np.ndarray                                       # entries * apart(T, C)
    Z: np.ndarray                                       # entries * apart(T, F)
    dU: np.ndarray                                      # `some_panels` of C rows
    M: np.ndarray                                       # and of T


@pasted
def backward(conv, x, dy, y, dx):
    """dx of some images; to dW and db theirs are added; in blocks of so many rows of patches.

    x and dx: `Images` (N, H, W, C), contiguous, padded as in forward, dx of zeros; dy and y: `Images` (N, OH, OW, F).
    """
    C, F, side = x.C, dy.C, conv.side
    down, across = along(side, dy.H), along(side, dy.W)
    for row0 in range(0, x.N * down, conv.block):
        rows = min(conv.block, x.N * down - row0)
        t0, T = row0 * across, rows * across
        transformed_inputs(x, t0, T, down, across, side, conv.V, False)
        transformed_gradients(dy, y, conv.alpha, conv.sloped, row0, rows, down, across, side, conv.strip, conv.db, conv.Z)
        add_to_weight(conv.V, conv.Z, T, C, F, conv.no_bias, side, conv.dU, conv.dW)
        add_to_inputs(conv.Z, conv.Ut, conv.no_bias, t0, T, F, down, across, side, dx, conv.M)


@compiled
def backward_with_edges(conv, dy, dx, start, stop, begin):
    """The same of images start to stop, as many at a time as xs and dxs have room for.

    dy and dx: `Images`, of which the first is the batch's image ``begin``.
    """
    conv, dy, dx = borrowed((conv, dy, dx))
    conv.strip.memory[:] = 0
    for first in range(start, stop, conv.xs.N):
        last = min(first + conv.xs.N, stop)
        pad(some_images(conv.x, first, last), conv.xs, conv.top, conv.left)
        conv.dxs.memory[:] = 0
        backward(conv, some_images(conv.xs, 0, last - first), some_images(dy, first - begin, last - begin),
                 some_images(conv.y, first, last), some_images(conv.dxs, 0, last - first))
        crop(conv.dxs, some_images(dx, first - begin, last - begin), conv.top, conv.left)
