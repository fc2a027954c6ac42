"""Weights in the order in which the register tile reads them.

The tile takes 16 columns of a matrix (K, F) at a time, row after row. In memory a row is F numbers, so the tile would touch a
new cache line (64 bytes) F numbers on for each k; packed in panels (F / 16, K, 16) it reads one line after the other.
"""

import numpy as np

from .vector import LANES


def panel_count(F):
    """How many panels of 16 columns F columns take."""
    return -(-F // LANES)


def panels(matrix):
    """(K, F) as flat panels (F/16, K, 16); columns that are not there are zero."""
    K, F = matrix.shape
    count = panel_count(F)
    if F % LANES:
        matrix = np.pad(matrix, ((0, 0), (0, count * LANES - F)))
    return np.ascontiguousarray(matrix.reshape(K, count, LANES).transpose(1, 0, 2)).reshape(-1)


def taps(weight):
    """A transposed convolution's weights (KH, KW, C, F) as the matrix (F, KH*KW*C) that turns a pixel into its window's."""
    return weight.transpose(3, 0, 1, 2).reshape(weight.shape[3], -1)


def from_panels(packed, F):
    """The matrix (K, F) of panels (F/16, K, 16)."""
    return packed.transpose(1, 0, 2).reshape(packed.shape[1], -1)[:, :F]


def bias_panels(bias, repeats=1):
    """The bias of each panel, ``repeats`` times over, and 16 zeros: what the tile adds when it has a bias, and when not."""
    F = bias.size
    padded = np.zeros(panel_count(F) * LANES, np.float32)
    padded[:F] = bias
    return np.concatenate([padded] * repeats + [np.zeros(LANES, np.float32)])


def no_bias(F):
    """Zeros of the form of ``bias_panels``."""
    return np.zeros((panel_count(F) + 1) * LANES, np.float32)
