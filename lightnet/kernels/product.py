"""A matrix product through tables of addresses: the loops around the register tile.

``Tables`` says where the numbers of one image lie; ``one_pass`` goes through panels of 16 columns and tiles of rows:

    out[rows_out[m] + panels_out[p] + j]  (=, or +=)  bias[16 p + j]
        + sum over s, k of  a[rows[m] + segments_a[s] + k * step_a]  *  b[panels_b[p] + segments_b[s] + k * step_b + j]

**Why it is fast.** The tile needs its operands in the nearest caches, and the order of the loops keeps them there: a block of
rows of ``a`` stays in the second-level cache (512 kB) while all panels pass over it, and a panel of ``b``, for which all rows of
the block are done, in the first (32 kB). ``multiply.py`` goes through images, and through long sums in pieces.
"""

from typing import NamedTuple

import numpy as np

from .compiling import compiled, inner
from .tile import LANES, PANELS, ROWS, tiles

BLOCK = 16                                              # tiles of rows that share a panel while it is near


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
    packed: int = 0                                     # 1: both operands are first copied in the order of reading

    @property
    def scratch(self):
        """How many numbers the copies take."""
        return (len(self.panels_b) * LANES + BLOCK * ROWS) * self.block * self.length if self.packed else 1


class Part(NamedTuple):
    """What to compute in one pass: segments first to last of the sum, of so many products with the same tables.

    ``biased``: whether they get the bias, or its last 16 numbers, which are zeros.
    """

    first: int
    last: int
    products: int
    biased: bool
    finish: int


@compiled
def one_pass(tables, part, a, b, out, bias):
    """A part of the sum: all rows and columns. a, b, out: `Flat`, from one product to the next a stride on."""
    rows, panels = len(tables.rows), len(tables.panels_b)
    count = (rows + ROWS - 1) // ROWS                   # tiles of rows, the first few of them one row higher than the others
    low, higher = divmod(rows, max(count, 1))
    together = count == 1                               # a run goes through all products; else through the tiles of one
    a_next, b_next, out_next = (a.stride, b.stride, out.stride) if together else (0, 0, 0)
    for product in range(1 if together else part.products):         # in here: a call of this function costs 180 cycles
        a0, b0, out0 = a.start + product * a.stride, b.start + product * b.stride, out.start + product * out.stride
        for first in range(0, count, BLOCK):
            last = min(first + BLOCK, count)
            middle = max(first, min(higher, last))
            for p in range(0, panels, PANELS):
                width, q = min(PANELS, panels - p), min(p + 1, panels - 1)
                bias0, bias1 = (p * LANES, q * LANES) if part.biased else (len(bias) - LANES, len(bias) - LANES)
                for t, stop, height in ((first, middle, low + 1), (middle, last, low)):
                    if t < stop:
                        r = t * low + min(t, higher)
                        run, r_next = (part.products, 0) if together else (stop - t, height)
                        tiles(run, height, width,
                              a.memory, a0, a_next, tables.rows, r, r_next,
                              tables.segments_a, tables.step_a,
                              b.memory, b0 + tables.panels_b[p], b0 + tables.panels_b[q], b_next,
                              tables.segments_b, tables.step_b, part.first, part.last, tables.length,
                              out.memory, out0 + tables.panels_out[p], out0 + tables.panels_out[q], out_next,
                              tables.rows_out, bias, bias0, bias1, part.finish)


@inner
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
        inside(scratch, 1, 0, 0, (len(tables.panels_b) * LANES + BLOCK * ROWS) * tables.block * tables.length - 1)
    if len(tables.rows) != len(tables.rows_out) or len(tables.panels_b) != len(tables.panels_out):
        raise IndexError("tables of different lengths for a and out, or b and out")
    if len(tables.segments_a) != len(tables.segments_b):
        raise IndexError("tables of different lengths for a and b")


@inner
def inside(memory, images, stride, low, high):
    """Whether low and high are places in memory, for the first image and for the last."""
    if low < 0 or high + max(images - 1, 0) * stride >= memory.size:
        raise IndexError("a table of addresses leads out of its buffer")
