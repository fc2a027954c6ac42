"""col2im and im2col, compiled: for where a product through tables is not possible, or slower.

- ``add_windows`` is col2im in general, see ``fast/products.py``, ``adjoint``.
- ``windows_of`` is im2col for windows that lie side by side. Then columns are no larger than the image, and to read them twice,
  for both gradients, from end to end, is worth the copy (``fast/windows.py``).
- ``cut`` and ``add_up`` are im2col and col2im for one row of windows, whose columns stay in the nearer caches (``winners.py``).
  In the image a window's rows begin anywhere: 16 numbers from there are mostly in two cache lines, which takes twice as long to
  read. Columns begin with a line. A run of 3 * 3 numbers is moved as 16, of which those behind it are left out (``sixteens.py``);
  the windows at the image's edges go apart, number by number. (One loop for both kinds of windows, which asked each time, took
  0.3 ms more for the paper's first layer, backward with the image's gradient: 1.30 for 1.04.)
"""

from typing import NamedTuple

from .compiling import compiled, inner
from .elementwise import begin
from .runs import copy_run, in_sixteens
from .sixteens import add_sixteens, copy_sixteens
from .vector import LANES


class Window(NamedTuple):
    """Of a convolution or a pool."""

    KH: int
    KW: int
    SH: int
    SW: int
    top: int
    left: int


@compiled
def add_windows(cols, x, bias, KH, KW, SH, SW, top, left):
    """``x = col2im(cols) + bias``: ``x[i*SH + p - top, j*SW + q - left] += cols[i, j, (p, q, :)]``, inside the image."""
    H, W, C = x.shape
    OH, OW, _ = cols.shape
    flat = x.reshape(-1)
    for h in range(H):
        for w in range(W):
            for c in range(C):
                x[h, w, c] = bias[c]
    for i in range(OH):
        for j in range(OW):
            column, w = cols[i, j], j * SW - left
            first, last = max(0, -w), min(KW, W - w)                            # the window's part inside the image
            for p in range(max(0, top - i * SH), min(KH, H + top - i * SH)):
                start = (i * SH + p - top) * W + w                              # KW neighbouring pixels: one run of numbers
                pixels, part = flat[(start + first) * C:(start + last) * C], column[(p * KW + first) * C:(p * KW + last) * C]
                for k in range((last - first) * C):
                    pixels[k] += part[k]


@compiled
def windows_of(x, KH, KW, columns, sums):
    """``columns[n, i, j, (p, q, :)] = x[n, i*KH + p, j*KW + q]``, and each of x's channels is added to its sum."""
    whole, step = in_sixteens(x.C), KW * x.pitch
    for n in range(x.N):
        for i in range(columns.H):
            for p in range(KH):
                for q in range(KW):
                    start, to = begin(x, n, i * KH + p) + q * x.pitch, begin(columns, n, i) + (p * KW + q) * x.C
                    copy_run(whole, columns.W, x.memory, start, step, x.memory, start, step, columns.memory, to, columns.pitch,
                             sums, 0, sums, 0)
                    for j in range(columns.W if whole < x.C else 0):
                        for c in range(whole, x.C):
                            columns.memory[to + j * columns.pitch + c] = x.memory[start + j * step + c]
                            sums[c] += x.memory[start + j * step + c]


@inner
def inside(x, i, window):
    """In row i of windows the first inside the image, where 16 numbers follow each run's begin, and the one behind the last."""
    H, W, C = x.shape
    h = i * window.SH - window.top
    whole, end = (window.left + window.SW - 1) // window.SW, (W - window.KW + window.left) // window.SW + 1
    if h < 0 or h + window.KH >= H or W * C < LANES or whole >= end:            # 16 numbers are there if a row of pixels is
        return 0, 0
    return whole, end


@inner
def cut(x, i, window, columns, line):
    """The columns of row i of the windows on an image (H, W, C), zeros outside: flat, ``line`` numbers apart, and 16 to spare."""
    (H, W, C), flat, run, count = x.shape, x.reshape(-1), window.KW * x.shape[2], columns.size // line
    top, step, (whole, end) = i * window.SH - window.top, window.SW * C, inside(x, i, window)
    for edge in range(count - (end - whole)):
        j = edge if edge < whole else edge + end - whole
        w, to = j * window.SW - window.left, j * line
        columns[to:to + window.KH * run] = 0
        first, last = max(0, -w), min(window.KW, W - w)                         # the window's part inside the image
        for p in range(max(0, -top), min(window.KH, H - top)):
            for k in range(first * C, last * C):
                columns[to + p * run + k] = flat[((top + p) * W + w) * C + k]
    if whole < end:
        for p in range(window.KH):
            start = ((top + p) * W + whole * window.SW - window.left) * C
            for k in range(0, run, LANES):
                copy_sixteens(end - whole, flat, start + k, step, columns, whole * line + p * run + k, line, run - k)


@inner
def add_up(columns, line, x, i, window):
    """The other way: such columns are added to the image.

    Not one after the other but every sixth one, or whichever does not overlap: a processor that reads what it has just written
    waits, unless it is the very same numbers.
    """
    (H, W, C), flat, run, count = x.shape, x.reshape(-1), window.KW * x.shape[2], columns.size // line
    top, step, (whole, end) = i * window.SH - window.top, window.SW * C, inside(x, i, window)
    apart = 1 + line // step
    for p in range(max(0, -top), min(window.KH, H - top)):
        at, to = p * run, ((top + p) * W - window.left) * C
        for edge in range(count - (end - whole)):
            j = edge if edge < whole else edge + end - whole
            w = j * window.SW - window.left
            for k in range(max(0, -w) * C, min(window.KW, W - w) * C):
                flat[to + j * step + k] += columns[at + j * line + k]
        for j in range(whole, min(whole + apart, end)):
            for k in range(0, run, LANES):
                add_sixteens((end - j + apart - 1) // apart, columns, at + j * line + k, apart * line,
                             flat, to + j * step + k, apart * step, run - k)
