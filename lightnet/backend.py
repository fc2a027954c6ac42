"""Which version of a layer runs: its own NumPy code, or a fast one of the same arithmetic.

``lightnet.fast.VERSIONS`` maps a layer class to a module with ``forward(layer, *xs, training)`` and
``backward(layer, dy)``: the signatures of the class's own functions, so that either can be called in the same way. (Fast ones
take more, which ``lightnet.fast.schedule`` tells them.)
"""

import functools

import numpy as np

from .ahead import compile_ahead
from .errors import BackendError

_current = None                         # "numpy", "numba", or None: "numba" where it can be imported


class backend:
    """Choose the version of the layers that every Graph runs: ``"numba"`` (the default, where Numba is there) or ``"numpy"``.

    A call sets the default; ``with`` sets it for a block. Fast versions serve float32; anything else runs the layer itself.

    Raises
    ------
    BackendError
        For another name, or for ``"numba"`` where Numba cannot be imported.

    Examples
    --------
    >>> import lightnet as ln
    >>> net = ln.models.light_cnn(seed=0)
    >>> with ln.backend("numpy"):
    ...     logits = net.forward(np.zeros((1, 131, 131, 3), np.float32))
    """

    def __init__(self, name):
        global _current
        if name not in ("numpy", "numba"):
            raise BackendError(f"backend {name!r}: expected 'numpy' or 'numba'")
        if name == "numba" and not fast_versions():
            raise BackendError("backend 'numba': Numba cannot be imported; `pip install numba`, or use 'numpy'")
        self.previous, _current = _current, name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        global _current
        _current = self.previous


class Kept(tuple):
    """A layer's cache that remembers which fast version filled it: backward must go to the same one."""

    def __new__(cls, cache, version):
        kept = super().__new__(cls, cache)
        kept.version = version
        return kept


def run_forward(layer, *xs, training=False, **place):
    """``layer.forward``, in the version that the backend has for this layer and these inputs; ``place`` is for a fast one."""
    version = version_for(layer, *xs)
    if version is type(layer):
        finish_waiting()
    y = version.forward(layer, *xs, training=training, **({} if version is type(layer) else place))
    if training and version is not type(layer):
        layer.cache = Kept(layer.cache, version)
    return y


def run_backward(layer, dy, **place):
    """``layer.backward``, in the version that ran forward."""
    version = version_that_ran(layer)
    if version is type(layer):
        finish_waiting()
    return version.backward(layer, dy, **({} if version is type(layer) else place))


def finish_waiting():
    """Do what fast versions have put off (``kernels/threads.py``), before somebody else reads it."""
    if fast_versions.cache_info().currsize and fast_versions():
        from .kernels.threads import flush
        flush()


class NoSchedule:
    """Every version computes at once, and wherever it likes."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def place(self, node, *arrays):
        """Nothing to tell."""
        return {}


def forward_schedule(graph, x, shapes, training, observe):
    """What may be computed in place, forward (``fast/schedule.py``); nothing where somebody looks on."""
    if observe or _current == "numpy" or x.dtype != np.float32 or not fast_versions():
        return NoSchedule()
    if training:
        compile_ahead()
    from .fast.forward_schedule import Forward
    return Forward(graph, shapes)


def backward_schedule(graph, observe, to_image):
    """What may be computed in place, backward, or not at all: without ``to_image`` the image's gradient."""
    if observe or not fast_versions():
        return NoSchedule()
    from .fast.backward_schedule import Backward
    return Backward(graph, to_image)


def add(a, b):
    """``a + b``: a new array."""
    if _current == "numpy" or a.dtype != np.float32 or not fast_versions():
        finish_waiting()
        return a + b
    from .fast.merge import added
    return added(a, b)


def version_for(layer, *xs):
    """The fast version for exactly this class and float32; else the class itself, whose functions have the same signatures."""
    if _current == "numpy" or any(x.dtype != np.float32 for x in xs) or not all(map(is_plain, layer.params.values())):
        return type(layer)
    return version_for_class(type(layer))


def is_plain(array):
    """Whether a parameter is as the layers make them; who puts another one in its place need not know of fast versions."""
    return array.dtype == np.float32 and array.flags.c_contiguous


def version_for_class(kind):
    """The fast version of this class of layers, or the class."""
    return fast_versions().get(kind, kind)


def version_that_ran(layer):
    """What filled the layer's cache."""
    return getattr(layer.cache, "version", type(layer))


@functools.cache
def has_numba():
    """Whether Numba can be imported; what is compiled needs it."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


@functools.cache
def fast_versions():
    """The table of fast versions, imported when it is first needed; empty where Numba cannot be imported."""
    if not has_numba():
        return {}
    from .fast import VERSIONS
    return VERSIONS


def fast_update():
    """The optimizer's update, compiled; None where the backend has none."""
    if _current == "numpy" or not fast_versions():
        return None
    from .fast.optim import update
    return update
