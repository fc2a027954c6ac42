"""Batches: a few images at a time, in a new order every epoch."""

import numpy as np

from .prepare import normalize


def batches(greys, labels, size, meta, rng=None):
    """Cut a data set into batches of network inputs.

    Samples are shuffled, not batches: with the same companions in every epoch, batch norm would show the network the same
    statistics again and again.

    Parameters
    ----------
    greys : ndarray (M, S, S)
        Resized slices, as `lightnet.data.slices.load` gives them.
    labels : ndarray (M,)
    size : int
        N; the last batch may be smaller.
    meta : dict
        The network's: ``mean`` and ``deviation``, see `lightnet.data.prepare`.
    rng : numpy.random.Generator, optional
        Shuffles; without one the order stays.

    Yields
    ------
    x : ndarray (N, S, S, 3) float32
    labels : ndarray (N,)

    Examples
    --------
    >>> from lightnet.data.prepare import default_meta
    >>> greys, labels = np.zeros((5, 8, 8), np.float32), np.arange(5)
    >>> [(x.shape, y.tolist()) for x, y in batches(greys, labels, 3, default_meta())]
    [((3, 8, 8, 3), [0, 1, 2]), ((2, 8, 8, 3), [3, 4])]
    """
    order = np.arange(len(greys)) if rng is None else rng.permutation(len(greys))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield normalize(greys[chosen], meta), labels[chosen]
