"""A product through tables for many images, in passes over parts of its sum.

**Why it is fast.** Where k goes over pixels (a weight gradient) the sum is long. ``tables.block`` cuts it in pieces whose
operands stay in the second-level cache, and the pieces are added in ``out``. Where numbers that are read together lie far apart,
both operands are copied first, in the order of reading.
"""

import numpy as np

from .borrowing import borrowed
from .compiling import CHECK, compiled, compiled_once, inner, pasted
from .images import Flat
from .product import BLOCK, Part, Tables, check, one_pass
from .sixteens import copy_sixteens
from .tile import ADD, LANES, ROWS


@compiled
def multiply(tables, images, a, b, out, bias, finish, scratch):
    """``product.py``'s equation for ``images`` images, from the begin of a, b and out; scratch has ``tables.scratch`` numbers.

    Where all images have one ``out`` (a stride of 0), it becomes their sum. A bias needs an out for each image, and tables that
    are not packed; an ELU or ReLU needs all segments in one block. (Weight gradients have neither.)
    """
    if CHECK:
        check(tables, images, a, b, out, bias, scratch)
    tables, a, b, out, bias, scratch = borrowed((tables, a, b, out, bias, scratch))
    segments = len(tables.segments_a)
    in_one = segments <= tables.block and not tables.packed and out.stride != 0         # all images end alike
    count = max(images, 1) if in_one else 1             # in one call: Strassen's 49 are small, and each call counts
    for n in range(0, images, count):
        a0, b0, out0 = n * a.stride, n * b.stride, n * out.stride
        for s in range(0, segments, tables.block):
            stop = min(s + tables.block, segments)
            do = finish if s == 0 and (n == 0 or out.stride != 0) else ADD
            if tables.packed:
                packed_pass(tables, s, stop, a.memory, a0, b.memory, b0, out.memory, out0, bias, do, scratch)
            else:
                one_pass(tables, Part(s, stop, count, s == 0, do),
                         Flat(a.memory, a.stride, a0), Flat(b.memory, b.stride, b0), Flat(out.memory, out.stride, out0), bias)


@pasted
def packed_pass(tables, start, stop, a, a0, b, b0, out, out0, bias, finish, scratch):
    """The same from copies: all of b in panels, and of a each block's rows, sixteen side by side.

    Pixels of an image lie hundreds of numbers apart, often a power of two, and then displace each other from the cache. A copy
    is read from end to end, and serves many tiles.
    """
    rows, panels, K = len(tables.rows), len(tables.panels_b), (stop - start) * tables.length
    segments_a, segments_b = tables.segments_a[start:stop], tables.segments_b[start:stop]
    for p in range(panels):
        copy_columns(segments_b, tables.length, tables.step_b, b, b0 + tables.panels_b[p], scratch, p * K * LANES)
    numbers, zero, in_panels = np.arange(BLOCK * ROWS), np.zeros(1, np.int64), np.arange(panels) * (K * LANES)
    in_block, aside = numbers // LANES * (K * LANES) + numbers % LANES, panels * K * LANES
    for r0 in range(0, rows, BLOCK * ROWS):
        r1 = min(r0 + BLOCK * ROWS, rows)
        copy_rows(tables.rows[r0:r1], segments_a, tables.length, tables.step_a, a, a0, scratch, aside)
        copied = Tables(in_block[:r1 - r0], zero, LANES, in_panels, zero, LANES, K, tables.rows_out[r0:r1], tables.panels_out,
                        block=1, packed=0)              # the one segment, not packed again
        one_pass(copied, Part(0, 1, 1, False, finish), Flat(scratch, 0, aside), Flat(scratch, 0, 0), Flat(out, 0, out0), bias)


@inner
def copy_columns(segments, length, step, b, b0, panel, k):
    """16 columns of some segments, row under row."""
    for s in range(len(segments)):
        copy_sixteens(length, b, b0 + segments[s], step, panel, k + s * length * LANES, LANES, LANES)


@inner
def copy_rows(rows, segments, length, step, a, a0, block, k):
    """Some rows of a, transposed: for each k one number of each of 16 rows side by side, then the next 16 rows."""
    R, panel = len(rows), len(segments) * length * LANES
    first = 0
    while first < R:                                    # runs of rows that begin at neighbouring numbers
        last = first + 1
        while last < R and rows[last] == rows[last - 1] + 1:
            last += 1
        for s in range(len(segments)):
            i, line, m = a0 + rows[first] + segments[s] - first, k + s * length * LANES, first
            while m < last:
                place, count = line + m // LANES * panel + m % LANES, min(LANES - m % LANES, last - m)
                if count == LANES:
                    copy_sixteens(length, a, i + m, step, block, place, LANES, LANES)
                else:
                    for n in range(length):
                        for c in range(count):
                            block[place + n * LANES + c] = a[i + m + n * step + c]
                m += count
        first = last


none, empty = np.empty(0, np.int64), Flat(np.empty(0, np.float32))       # arguments, for their types
shared_multiply = compiled_once(multiply, Tables(none, none, 0, none, none, 0, 0, none, none, 0), 0, empty, empty, empty,
                                empty.memory, 0, empty.memory)           # for callers that are compiled themselves
