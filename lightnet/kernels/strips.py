"""Rows of an image, cut apart: for each window that stands on the row the KW * C numbers that it sees, from a cache line on.

A window of a KxK convolution is K such strips, one under the other. Neighbouring windows overlap, so a strip repeats what stands
in the one before, and in memory a window begins anywhere: 16 numbers from there are mostly in two cache lines, which takes twice
as long to read. And a loop over nine numbers takes longer than 16 at a time, of which the last seven are not used. Only in an
image's last row, behind which there is nothing, it is not done.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import vector
from .compiling import compiled
from .vector import LANES


def sixteen(adding):
    """An intrinsic that copies 16 numbers from ``x[x0]`` to ``y[y0]``, or adds the first so many of them to what is there."""

    @intrinsic
    def move(typing, x, x0, y, y0, count):
        def generate(context, builder, signature, arguments):
            x, x0, y, y0, count = arguments
            value = vector.load(builder, vector.pointer(context, builder, signature.args[0], x, [x0]), LANES)
            place = vector.pointer(context, builder, signature.args[2], y, [y0])
            if adding:
                numbers = ir.Constant(ir.VectorType(vector.INT, LANES), list(range(LANES)))
                wanted = builder.icmp_signed("<", numbers, vector.splat(builder, count, LANES))
                value = builder.select(wanted, value, vector.constant(0, LANES))
                value = builder.fadd(vector.load(builder, place, LANES), value)
            vector.store(builder, value, place)
            return context.get_dummy_value()
        return types.void(x, x0, y, y0, count), generate
    return move


@compiled
def plain_copy(x, x0, y, y0, count):
    """The same in a loop."""
    for k in range(min(count, LANES)):
        y[y0 + k] = x[x0 + k]


@compiled
def plain_add(x, x0, y, y0, count):
    """Likewise."""
    for k in range(min(count, LANES)):
        y[y0 + k] += x[x0 + k]


copy_sixteen, add_sixteen = map(sixteen, (False, True)) if vector.HAS_IR else (plain_copy, plain_add)


@compiled
def cut(x, h, window, strips, line):
    """Row h of an image (H, W, C), zeros if there is none, as strips that begin ``line`` numbers apart."""
    KW, SW, left = window.KW, window.SW, window.left
    (H, W, C), flat = x.shape, x.reshape(-1)
    for j in range(strips.size // line):
        w, to = j * SW - left, j * line
        first, last = max(0, -w), min(KW, W - w)                    # the window's part inside the image
        if 0 <= h < H - 1 and last - first == KW:
            for k in range(0, KW * C, LANES):
                copy_sixteen(flat, (h * W + w) * C + k, strips, to + k, KW * C - k)
            continue
        strips[to:to + KW * C] = 0
        if 0 <= h < H:
            for k in range(first * C, last * C):
                strips[to + k] = flat[(h * W + w) * C + k]


@compiled
def add_up(strips, line, x, h, window):
    """The other way: add strips to row h of an image, if there is one.

    Not one strip after the other but every third one, or whichever does not overlap: a processor that reads what it has just
    written waits, unless it is the very same numbers.
    """
    KW, SW, left = window.KW, window.SW, window.left
    (H, W, C), flat = x.shape, x.reshape(-1)
    apart = 1 + line // (SW * C)
    if not 0 <= h < H:
        return
    for begin in range(apart):
        for j in range(begin, strips.size // line, apart):
            w, at = j * SW - left, j * line
            first, last = max(0, -w), min(KW, W - w)
            if h < H - 1 and last - first == KW:
                for k in range(0, KW * C, LANES):
                    add_sixteen(strips, at + k, flat, (h * W + w) * C + k, KW * C - k)
            else:
                for k in range(first * C, last * C):
                    flat[(h * W + w) * C + k] += strips[at + k]
