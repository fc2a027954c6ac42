"""How weights start: small random numbers whose variance keeps a signal's size from layer to layer."""

import numpy as np


def he_normal(shape, fan_in, seed=None):
    """Normal random weights of variance ``2 / fan_in``.

    An output is a sum of ``fan_in`` products. If the inputs have mean square 1 and the weights variance ``v``, the sum
    has variance ``fan_in * v``; ReLU then zeroes half of it, hence the 2. The signal so keeps its size through any
    number of layers, forward; with ``fan_out`` it would be the gradient.

    Parameters
    ----------
    shape : tuple of int
    fan_in : float
        The number of products that add up to one output.
    seed : int, numpy.random.Generator or None

    Returns
    -------
    numpy.ndarray
        float32.

    References
    ----------
    He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015 (arXiv:1502.01852), equation 10.

    Examples
    --------
    >>> w = he_normal((3, 3, 64, 128), fan_in=3 * 3 * 64, seed=0)
    >>> bool(abs(w.var() * 3 * 3 * 64 - 2) < 0.05)
    True
    """
    rng = np.random.default_rng(seed)          # a Generator passes through unchanged
    return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)
