"""Sums and the last step of batch norm, image by image.

**Why it is fast.** Mean and variance take two passes over the data; done over the whole batch, each reads it from memory. An
image's channels fit the second-level cache, so both passes go over one image, and the images' means and squared deviations are
put together afterwards (Chan, Golub, LeVeque 1983): in float64 and in the order of the images, so that threads do not matter.
"""

import numpy as np

from .compiling import compiled
from .elementwise import begin, channels, column_sums
from .images import some_images
from .runs import affine_of_two_run, affine_run, dots_run, in_sixteens, squares_run


@compiled
def moments(x, means, deviations):
    """Of each image and channel the mean and the sum of squared deviations from it, (N, C) each."""
    row, center, whole = np.empty(x.C, np.float32), np.empty(x.C, np.float32), in_sixteens(x.C)
    for n in range(x.N):
        total = column_sums(some_images(x, n, n + 1))
        for c in range(x.C):
            center[c] = total[c] / (x.H * x.W)
            means[n, c], deviations[n, c] = center[c], 0
        for i in range(x.H):
            row[:] = 0
            start = begin(x, n, i)
            squares_run(whole, x.W, x.memory, start, x.pitch, x.memory, start, x.pitch, x.memory, start, x.pitch,
                        center, 0, row, 0)
            for j in range(x.W if whole < x.C else 0):
                a = channels(x, n, i, j)
                for c in range(whole, x.C):
                    row[c] += (a[c] - center[c]) * (a[c] - center[c])
            for c in range(x.C):
                deviations[n, c] += row[c]


@compiled
def products(x, dy, mean, sums, dots):
    """Of each image and channel the sum of dy, and of dy * (x - mean), (N, C) each."""
    row, C, whole = np.empty(2 * x.C, np.float32), x.C, in_sixteens(x.C)         # both, one after the other
    for n in range(x.N):
        sums[n], dots[n] = 0, 0
        for i in range(x.H):
            row[:] = 0
            dots_run(whole, x.W, x.memory, begin(x, n, i), x.pitch, dy.memory, begin(dy, n, i), dy.pitch,
                     dy.memory, begin(dy, n, i), dy.pitch, mean, 0, row, C)
            for j in range(x.W if whole < C else 0):
                a, b = channels(x, n, i, j), channels(dy, n, i, j)
                for c in range(whole, C):
                    row[c] += b[c]
                    row[C + c] += b[c] * (a[c] - mean[c])
            for c in range(C):
                sums[n, c] += row[c]
                dots[n, c] += row[C + c]


@compiled
def affine(x, factor, offset, y):
    """``y = factor * x + offset``."""
    whole, both = in_sixteens(x.C), np.concatenate((factor, offset))
    for n in range(x.N):
        for i in range(x.H):
            affine_run(whole, x.W, x.memory, begin(x, n, i), x.pitch, x.memory, begin(x, n, i), x.pitch,
                       y.memory, begin(y, n, i), y.pitch, both, x.C, both, 0)
            for j in range(x.W if whole < x.C else 0):
                a, b = channels(x, n, i, j), channels(y, n, i, j)
                for c in range(whole, x.C):
                    b[c] = factor[c] * a[c] + offset[c]


@compiled
def affine_of_two(d, u, x, v, w):
    """Each dy becomes dx: ``u * dy + v * x + w``."""
    whole, all_three = in_sixteens(x.C), np.concatenate((u, v, w))
    for n in range(x.N):
        for i in range(x.H):
            affine_of_two_run(whole, x.W, x.memory, begin(x, n, i), x.pitch, d.memory, begin(d, n, i), d.pitch,
                              d.memory, begin(d, n, i), d.pitch, all_three, x.C, all_three, 0)
            for j in range(x.W if whole < x.C else 0):
                a, b = channels(d, n, i, j), channels(x, n, i, j)
                for c in range(whole, x.C):
                    a[c] = u[c] * a[c] + v[c] * b[c] + w[c]
