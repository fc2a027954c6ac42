"""col2im, compiled: for the one case in which a convolution's gradient is no product through tables."""

from .compiling import compiled


@compiled
def add_windows(cols, x, bias, KH, KW, SH, SW, top, left):
    """``x = col2im(cols) + bias``: ``x[i*SH + p - top, j*SW + q - left] += cols[i, j, (p, q, :)]``, inside the image."""
    H, W, C = x.shape
    OH, OW, _ = cols.shape
    for h in range(H):
        for w in range(W):
            for c in range(C):
                x[h, w, c] = bias[c]
    for i in range(OH):
        for j in range(OW):
            column = cols[i, j]
            first, last = max(0, left - j * SW), min(KW, W + left - j * SW)     # the window's part inside the image
            for p in range(max(0, top - i * SH), min(KH, H + top - i * SH)):
                for q in range(first, last):
                    pixel, k = x[i * SH + p - top, j * SW + q - left], (p * KW + q) * C
                    for c in range(C):
                        pixel[c] += column[k + c]
