"""Rows of an image, cut apart: for each window that stands on the row the KW * C numbers that it sees, from a cache line on.

A window of a KxK convolution is K such strips, one under the other. Neighbouring windows overlap, so a strip repeats what stands
in the one before, and in memory a window begins anywhere: 16 numbers from there are mostly in two cache lines, which takes twice
as long to read. And a loop over nine numbers takes longer than 16 at a time, of which the last seven are not used. Only where
there is not another row of 16 numbers below, it is not done.
"""

from .compiling import compiled
from .sixteens import add_sixteen, copy_sixteen
from .vector import LANES


@compiled
def cut(x, h, window, strips, line):
    """Row h of an image (H, W, C), zeros if there is none, as strips that begin ``line`` numbers apart."""
    KW, SW, left = window.KW, window.SW, window.left
    (H, W, C), flat = x.shape, x.reshape(-1)
    for j in range(strips.size // line):
        w, to = j * SW - left, j * line
        first, last = max(0, -w), min(KW, W - w)                    # the window's part inside the image
        if 0 <= h < H - 1 and W * C >= LANES and last - first == KW:
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
            if h < H - 1 and W * C >= LANES and last - first == KW:
                for k in range(0, KW * C, LANES):
                    add_sixteen(strips, at + k, flat, (h * W + w) * C + k, KW * C - k)
            else:
                for k in range(first * C, last * C):
                    flat[(h * W + w) * C + k] += strips[at + k]
