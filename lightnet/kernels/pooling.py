"""Max pooling without the matrix of windows: the running maximum of a window stays in registers and cache.

The layer's own version copies every pixel into KH * KW / (SH * SW) windows, then looks for each one's largest. Here a window
is read where it lies, all its channels at a time, and of the winner one byte is kept: its number p * KW + q. Backward asks from
the other side: each pixel looks at the few windows that it was in, and takes dy where it won. Scattering dy to the winners
instead would jump from channel to channel, one number at a time; this way all channels of a pixel are vector instructions.
"""

import numpy as np

from .compiling import compiled
from .elementwise import channels


@compiled
def largest(x, y, winner, KH, KW, SH, SW, top, left):
    """Maximum and winner of every window; of equal values the first wins, and NaN wins over all."""
    place = np.empty(x.C, np.int32)                 # as wide as a float, so that both are chosen by one vector mask
    for n in range(x.N):
        for i in range(y.H):
            for j in range(y.W):
                best = channels(y, n, i * y.W + j)
                p0, q0 = max(0, top - i * SH), max(0, left - j * SW)            # the window's first pixel inside the image
                pixel = channels(x, n, (i * SH + p0 - top) * x.W + j * SW + q0 - left)
                for c in range(x.C):
                    best[c] = pixel[c]
                    place[c] = p0 * KW + q0
                for p in range(p0, min(KH, x.H + top - i * SH)):
                    for q in range(q0, min(KW, x.W + left - j * SW)):
                        pixel, number = channels(x, n, (i * SH + p - top) * x.W + j * SW + q - left), np.int32(p * KW + q)
                        for c in range(x.C):
                            better = (pixel[c] > best[c]) | (pixel[c] != pixel[c])
                            best[c] = pixel[c] if better else best[c]
                            place[c] = number if better else place[c]
                chosen = winner[n, i, j]
                for c in range(x.C):
                    chosen[c] = place[c]


@compiled
def to_winners(dy, dx, winner, KH, KW, SH, SW, top, left):
    """To each pixel the dy of the windows that it won."""
    for n in range(dx.N):
        for h in range(dx.H):
            first_i, last_i = max(0, (h + top - KH) // SH + 1), min(dy.H - 1, (h + top) // SH)
            for w in range(dx.W):
                pixel = channels(dx, n, h * dx.W + w)
                first_j, last_j = max(0, (w + left - KW) // SW + 1), min(dy.W - 1, (w + left) // SW)
                for c in range(dx.C):
                    pixel[c] = 0
                for i in range(first_i, last_i + 1):
                    for j in range(first_j, last_j + 1):
                        number = (h + top - i * SH) * KW + w + left - j * SW
                        window, won = channels(dy, n, i * dy.W + j), winner[n, i, j]
                        for c in range(dx.C):
                            pixel[c] += window[c] if won[c] == number else np.float32(0)


@compiled
def spread_out(dy, dx):
    """Global average pooling's backward: every pixel of an image gets ``dy / (H * W)`` of it."""
    for n in range(dx.N):
        for p in range(dx.H * dx.W):
            pixel = channels(dx, n, p)
            for c in range(dx.C):
                pixel[c] = dy[n, c] / np.float32(dx.H * dx.W)
