"""col2im and im2col, compiled: for where a product through tables is not possible, or slower.

- ``add_windows`` is col2im in general, see ``fast/products.py``, ``adjoint``.
- ``windows_of`` is im2col for windows that lie side by side. Then columns are no larger than the image, and to read them twice,
  for both gradients, from end to end, is worth the copy (``fast/windows.py``).
"""

from .compiling import compiled
from .elementwise import begin
from .runs import copy_run, in_sixteens


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
