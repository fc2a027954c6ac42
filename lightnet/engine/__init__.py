"""Inference as fast as this processor goes: `compile` turns a trained Graph into a plan, and runs it."""


def compile(net, threads=None):
    """A function of images that computes what ``net.forward`` computes, several times faster.

    Parameters
    ----------
    net : Graph
        It stays as it is, and what is changed in it later does not change what was compiled.
    threads : int, optional
        How many work on it; by default as many as `set_num_threads` says now. The bits of the result do not depend on it.

    Returns
    -------
    Network
        ``predict(x)`` takes images (N, H, W, C) of any number and any size that the network admits, or one channel, (N, H, W,
        1), for all of them; it returns a fresh float32 array. ``print(predict.plan)`` shows what it does.

    Raises
    ------
    ArgumentError
        Where threads is no integer of at least 1.

    Notes
    -----
    In float32, whatever the network's precision; inference only. Its first use ever compiles kernels, for a quarter of a minute
    (``lightnet warmup`` does it ahead). Calls from several Python threads wait for each other. Layers that the engine does not
    know run their own ``forward``, and so does everything where Numba cannot be imported. More threads than two help in large
    layers more than in small ones.

    Examples
    --------
    >>> import numpy as np
    >>> import lightnet as ln
    >>> net = ln.models.light_cnn(seed=0)
    >>> predict = ln.compile(net)
    >>> x = np.random.default_rng(0).random((2, 49, 49, 3), np.float32)
    >>> bool(np.allclose(predict(x), net.forward(x), atol=1e-5))
    True
    >>> grey = x[..., :1]
    >>> bool(np.allclose(predict(grey), net.forward(np.repeat(grey, 3, axis=3)), atol=1e-5))
    True
    """
    from .network import Network
    return Network(net, threads)
