"""A matrix product through tables of addresses: the loops around the register tile.

``Tables`` says where the numbers of one image lie; ``multiply`` goes through images, panels of 16 columns, and tiles of rows:

    out[rows_out[m] + panels_out[p] + j]  (=, or +=)  bias[16 p + j]
        + sum over s, k of  a[rows[m] + segments_a[s] + k * step_a]  *  b[panels_b[p] + segments_b[s] + k * step_b + j]

**Why it is fast.** The tile needs its operands in the nearest caches, and the order of the loops keeps them there: a block of
rows of ``a`` stays in the second-level cache (512 kB) while all panels pass over it, and a panel of ``b``, for which all rows of
the block are done, in the first (32 kB). Where k goes over pixels (a weight gradient) ``block`` cuts the sum in pieces for the
same reason; the pieces are added in ``out``.
"""

from typing import NamedTuple

import numpy as np

from .compiling import CHECK, compiled
from .tile import ADD, LANES, ROWS, tile

BLOCK = 12                                              # tiles of rows that share a panel while it is near


class Tables(NamedTuple):
    """Where one image's numbers lie: offsets into flat arrays, in numbers (not bytes)."""

    rows: np.ndarray                                    # of a, for each row of the product
    segments_a: np.ndarray
    step_a: int
    panels_b: np.ndarray                                # for each 16 columns
    segments_b: np.ndarray
    step_b: int
    length: int                                         # k goes from 0 to length in each segment
    rows_out: np.ndarray
    panels_out: np.ndarray
    block: int                                          # segments in one pass
    packed: int = 0                                     # 1: each pass first copies its part of b into panels

    @property
    def scratch(self):
        """How many numbers these panels take."""
        return len(self.panels_b) * self.block * self.length * LANES if self.packed else 1


@compiled
def multiply(tables, images, a, b, out, bias, finish, scratch):
    """The equation above for ``images`` images; ``finish`` is STORE or ADD; scratch has ``tables.scratch`` numbers."""
    if CHECK:
        check(tables, images, a, b, out, bias, scratch)
    panels, segments, panel = len(tables.panels_b), len(tables.segments_a), tables.block * tables.length * LANES
    for n in range(images):
        a0, b0, out0 = n * a.stride, n * b.stride, n * out.stride
        for s in range(0, segments, tables.block):
            stop, do = min(s + tables.block, segments), finish if s == 0 else ADD
            if tables.packed:
                for p in range(panels):
                    copy_panel(tables, s, stop, b.memory, b0 + tables.panels_b[p], scratch, p * panel)
                one_pass(tables, np.arange(panels) * panel, np.arange(-s, stop - s) * (tables.length * LANES), LANES, s, stop,
                         a.memory, a0, scratch, 0, out.memory, out0, bias, s == 0, do)
            else:
                one_pass(tables, tables.panels_b, tables.segments_b, tables.step_b, s, stop,
                         a.memory, a0, b.memory, b0, out.memory, out0, bias, s == 0, do)


@compiled
def copy_panel(tables, start, stop, b, b0, panel, k):
    """16 columns of some segments of b, row under row."""
    for s in range(start, stop):
        i = b0 + tables.segments_b[s]
        for _ in range(tables.length):
            for lane in range(LANES):
                panel[k + lane] = b[i + lane]
            i += tables.step_b
            k += LANES


@compiled
def one_pass(tables, panels_b, segments_b, step_b, start, stop, a, a0, b, b0, out, out0, bias, biased, finish):
    """Segments start to stop of the sum: all rows and columns of one image."""
    rows, panels = len(tables.rows), len(panels_b)
    tiles = (rows + ROWS - 1) // ROWS                   # of equal heights, or with a difference of one
    no_bias = panels * LANES                            # bias ends with 16 zeros
    for first in range(0, tiles, BLOCK):
        for p in range(panels):
            for t in range(first, min(first + BLOCK, tiles)):
                r = t * rows // tiles
                tile((t + 1) * rows // tiles - r, a, a0, tables.rows, r, tables.segments_a, tables.step_a,
                     b, b0 + panels_b[p], segments_b, step_b, start, stop, tables.length,
                     out, out0 + tables.panels_out[p], tables.rows_out, bias, p * LANES if biased else no_bias, finish)


@compiled
def check(tables, images, a, b, out, bias, scratch):
    """Every address within its buffer, or an IndexError: a wrong table would corrupt memory in silence."""
    last = max(tables.length - 1, 0)
    panel = LANES - 1
    inside(a.memory, images, a.stride, tables.rows.min() + tables.segments_a.min() + min(0, last * tables.step_a),
           tables.rows.max() + tables.segments_a.max() + max(0, last * tables.step_a))
    inside(b.memory, images, b.stride, tables.panels_b.min() + tables.segments_b.min() + min(0, last * tables.step_b),
           tables.panels_b.max() + tables.segments_b.max() + max(0, last * tables.step_b) + panel)
    inside(out.memory, images, out.stride, tables.rows_out.min() + tables.panels_out.min(),
           tables.rows_out.max() + tables.panels_out.max() + panel)
    inside(bias, 1, 0, 0, (len(tables.panels_b) + 1) * LANES - 1)
    if tables.packed:
        inside(scratch, 1, 0, 0, len(tables.panels_b) * tables.block * tables.length * LANES - 1)


@compiled
def inside(memory, images, stride, low, high):
    """Whether low and high are places in memory, for the first image and for the last."""
    if low < 0 or high + max(images - 1, 0) * stride >= memory.size:
        raise IndexError("a table of addresses leads out of its buffer")
