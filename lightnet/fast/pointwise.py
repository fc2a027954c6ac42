"""1x1 convolution backward in blocks of pixels (``kernels/pointwise.py``), in the place of ``products.py``'s functions; and
forward for ``fire.py``."""

import functools

import numpy as np

from ..kernels import pointwise as kernel
from ..kernels import tables
from ..kernels.images import Flat, everywhere, images, regular
from ..kernels.packing import bias_panels, no_bias, panels
from ..kernels.tile import STORE
from ..kernels.vector import LANES
from .products import room

NEAR = 1 << 18                                          # bytes of x, dy and dx in a block
RUN = 32                                                # pixels


def serves(layer):
    """Whether this is a 1x1 convolution in whole panels."""
    return layer.is_pointwise and layer.in_channels % LANES == layer.out_channels % LANES == 0


def gradients(x, dy, weight, dx, elu=None, onto=None, x_elu=None):
    """dx, and of a range of images dW, in panels, and db.

    dy, which may be even, is first multiplied by the slope of ``elu``, if any. ``onto``, ``x_elu``: see ``activation.finish``.
    """
    dy, dx = images(dy), images(dx)
    begin = work(x, dy.pitch, weight, elu, onto, x_elu)

    def job(start, stop):
        conv, sums = begin()
        kernel.backward(conv, dy, dx, start, stop, 0)
        return sums
    return job


def forward_work(x, y, weight, bias, finish):
    """What the kernel takes, forward: without scratch, so that all ranges share it."""
    C, F = weight.shape[2:]
    H, W = x.shape[1:3]
    x, one = images(x), (1, 1)
    table = tables.convolution(W, x.pitch, C, one, one, (H, W), images(y).pitch, F)
    return kernel.Forward(x, table, Flat(panels(weight.reshape(C, F))), bias_panels(bias), finish)


def work(x, dy_pitch, weight, elu=None, onto=None, x_elu=None, ending=STORE):
    """A function that returns what the kernel takes, with scratch and sums of its own, and these: dW, in panels, and db."""
    C, F = weight.shape[2:]
    pixels = x.shape[1] * x.shape[2]                    # of an image
    block = block_of(pixels, NEAR / (4 * (2 * C + F)))
    transposed, zeros = panels(weight.reshape(C, F).T), no_bias(max(C, F))
    x, y = images(x), images(elu.cache[0]) if elu else everywhere(1, F)
    to_dx, to_dW = both_tables(block, x.pitch, C, kernel.sloped_pitch(F) if elu else dy_pitch, F, elu)
    alpha, x_alpha = (np.float32(layer.alpha if layer else 1) for layer in (elu, x_elu))
    added = everywhere(0, C) if onto is None else images(regular(onto))
    sizes = to_dW.scratch, block * kernel.sloped_pitch(F) if elu else 1

    def begin():
        dW, db, scratch, sloped = room(weight, F, *sizes)
        dW[...] = 0
        return kernel.Backward(x, y, alpha, elu is not None, ending, added, onto is not None, x_alpha, x_elu is not None, to_dx,
                               Flat(transposed), to_dW, Flat(dW.reshape(-1)), db, zeros, scratch, sloped), (dW, db)
    return begin


@functools.cache
def block_of(pixels, near):
    """Pixels in a block: of those sizes of which there are whole blocks in an image the one that is nearest to this."""
    return min((size for size in range(1, pixels + 1) if pixels % size == 0), key=lambda size: max(size / near, near / size))


def both_tables(size, pitch, C, dy_pitch, F, apart):
    """For dx and for dW of so many pixels; ``apart``: dy's are not a power of two apart.

    dW is summed over a short run of them at a time: pixels lie a power of two apart in memory, so that more of them displace
    each other from the nearest cache before the next rows of dW come to read them. Not where dW is large, and adding to it dear:
    there copies are read, or dy as it is where its pixels lie apart.
    """
    row, one, run = (1, size), (1, 1), run_of(size)
    gradient = tables.weight_gradient(size, pitch, C, one, one, row, dy_pitch, F)
    if not gradient.packed:
        gradient = tables.weight_gradient(run, pitch, C, one, one, (size // run, run), dy_pitch, F)._replace(block=1)
    elif apart:
        gradient = gradient._replace(packed=0)
    return tables.convolution(size, dy_pitch, F, one, one, row, C, C), gradient


def run_of(size):
    """The largest part of so many pixels that is short enough; all of them, where there is none."""
    return next((run for run in range(RUN, RUN // 4, -1) if size % run == 0), size)
