"""col2im, compiled: where a convolution's gradient is no product through tables, see ``fast/products.py``, ``adjoint``."""

from .compiling import compiled


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
