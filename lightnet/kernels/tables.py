"""The tables of addresses for ``multiply.py``: convolution, its adjoint and its weight gradient in the letters of
``layers/conv.py``.

An image has H x W pixels that lie ``pitch`` numbers apart: its C channels, or those of a wider array of which it is a slice.
Images are padded already: the tables know no padding.
"""

import functools

import numpy as np

from .packing import panel_count
from .product import Tables
from .vector import LANES

NEAR = 256                                              # pixels of a weight gradient's sum: a panel of 16 kB
MANY = 48, 4                                            # rows and panels from which on copying pays


def grid(rows, columns, row_step, column_step):
    """``i * row_step + j * column_step`` for all i, j, in order."""
    return (np.arange(rows)[:, None] * row_step + np.arange(columns) * column_step).reshape(-1)


@functools.lru_cache(maxsize=512)
def convolution(W, pitch, C, kernel, stride, out_size, out_pitch, F, out_row=None):
    """``y = im2col(x) @ W``: a row is a pixel of y; its window is KH segments of KW * C neighbours, if pixels touch.

    ``out_row``: numbers from one row of y to the next, where that is not OW pixels.
    """
    (KH, KW), (SH, SW), (OH, OW) = kernel, stride, out_size
    if pitch == C or KW == 1:
        segments, length = np.arange(KH) * W * pitch, KW * C
    else:
        segments, length = grid(KH, KW, W * pitch, pitch), C
    panels = np.arange(panel_count(F))
    return Tables(rows=grid(OH, OW, SH * W * pitch, SW * pitch), segments_a=segments, step_a=1,
                  panels_b=panels * (KH * KW * C * LANES), segments_b=np.arange(len(segments)) * (length * LANES), step_b=LANES,
                  length=length, rows_out=grid(OH, OW, out_row or OW * out_pitch, out_pitch), panels_out=panels * LANES,
                  block=len(segments))


@functools.lru_cache(maxsize=512)
def weight_gradient(W, pitch, C, kernel, stride, out_size, out_pitch, F):
    """``dW = im2col(x).T @ dy``, in panels: a row is a weight's (p, q, c); the sum goes over the pixels of y, a segment for each
    row i."""
    (KH, KW), (SH, SW), (OH, OW) = kernel, stride, out_size
    taps = grid(KH, KW, W * pitch, pitch)
    panels, K = np.arange(panel_count(F)) * LANES, len(taps) * C
    return Tables(rows=grid(len(taps), C, 0, 1) + np.repeat(taps, C),
                  segments_a=np.arange(OH) * SH * W * pitch, step_a=SW * pitch,
                  panels_b=panels, segments_b=np.arange(OH) * OW * out_pitch, step_b=out_pitch, length=OW,
                  rows_out=np.arange(K) * LANES, panels_out=panels * K,
                  block=min(OH, max(1, NEAR // OW)), packed=int(K >= MANY[0] and len(panels) >= MANY[1]))


@functools.lru_cache(maxsize=512)
def spread(size, pitch, C, kernel, out_pitch, F, row=None, out_row=None):
    """``y = col2im(x @ W.T)`` where windows do not overlap (kernel = stride): a panel of columns (p, q, f) has its own pixel.

    x, with C channels, is the transposed convolution's own input here, y, with F, its output.

    ``row``, ``out_row``: numbers from one row of x, of y, to the next, where that is not W, not W * KW pixels.
    """
    (H, W), (KH, KW), count = size, kernel, panel_count(F)
    row, out_row = row or W * pitch, out_row or W * KW * out_pitch
    return Tables(rows=grid(H, W, row, pitch), segments_a=np.zeros(1, np.int64), step_a=1,
                  panels_b=np.arange(KH * KW * count) * (C * LANES), segments_b=np.zeros(1, np.int64), step_b=LANES, length=C,
                  rows_out=grid(H, W, KH * out_row, KW * out_pitch),
                  panels_out=grid(KH * KW, count, 0, LANES) + np.repeat(grid(KH, KW, out_row, out_pitch), count), block=1)
