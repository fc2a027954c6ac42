"""The optimizer: what is done with the gradients."""

import numpy as np

from .backend import fast_update
from .errors import ArgumentError, BackwardError, ShapeError


class SGD:
    """Stochastic gradient descent with momentum and L2.

        v = momentum * v - lr * (dL/dw + l2 * w)
        w = w + v

    The velocity v remembers the last steps: directions in which the gradients agree build up speed, up to
    ``1 / (1 - momentum)`` times one step, those in which they alternate cancel. The L2 term is the gradient of
    ``l2 / 2 * |w|**2``: it pulls weights to 0, towards functions that react less to small changes of the input. Biases and
    batch norm's scale and shift are left out, as is the custom: a small bias makes no function smoother, and a scale pulled
    to 0 would switch its channel off.

    Parameters
    ----------
    net : Graph or Layer
        Its ``params`` are updated in place, from its ``grads``.
    lr : float
        Learning rate; may be changed between steps.
    momentum : float
        In [0, 1).
    l2 : float
        Factor of the weights in the gradient.
    factors : dict of str to float, optional
        By the names of ``net.params``; on the learning rate of single parameters: ``{"fc.weight": 10}`` lets a new layer learn
        faster than a transferred trunk.

    Raises
    ------
    ArgumentError
        lr is no number above 0, momentum none in [0, 1), l2 or a factor none of at least 0; or a factor's name is none of a
        parameter.

    Attributes
    ----------
    velocity : dict of str to ndarray
        v of each parameter, 0 before the first step.

    References
    ----------
    Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum in deep learning", 2013,
    equations 1 and 2: there, too, the learning rate is inside the velocity.

    Examples
    --------
    >>> import lightnet as ln
    >>> layer = ln.layers.Dense(1, 1)
    >>> layer.params["weight"][:] = 10
    >>> opt = SGD(layer, lr=0.5, momentum=0.5, l2=0.1)
    >>> layer.grads.update(weight=np.float32([[3]]), bias=np.float32([2]))
    >>> opt.step()
    >>> layer.params["weight"].item(), layer.params["bias"].item()        # 10 - 0.5 * (3 + 0.1 * 10), 0 - 0.5 * 2
    (8.0, -1.0)
    >>> opt.step()                                       # v = 0.5 * -2 - 0.5 * (3 + 0.1 * 8), and 0.5 * -1 - 0.5 * 2
    >>> round(layer.params["weight"].item(), 4), layer.params["bias"].item()
    (5.1, -2.5)
    """

    def __init__(self, net, lr, momentum=0.9, l2=0.0, factors=None):
        check("lr", lr, 0 < lr < np.inf, "a number above 0")
        check("momentum", momentum, 0 <= momentum < 1, "a number of at least 0 and below 1")
        check("l2", l2, 0 <= l2 < np.inf, "a number of at least 0")
        self.net, self.lr, self.momentum, self.l2, self.factors = net, lr, momentum, l2, factors or {}
        for name, factor in self.factors.items():
            check(f"the factor of {name}", factor, 0 <= factor < np.inf, "a number of at least 0")
        if unknown := self.factors.keys() - net.params.keys():
            raise ArgumentError(f"factors of {', '.join(sorted(unknown))}; expected names of parameters: {', '.join(net.params)}")
        self.velocity = {name: np.zeros_like(w) for name, w in net.params.items()}

    def step(self):
        """One update of every parameter from the gradients of the last backward.

        Raises
        ------
        BackwardError
            A parameter has no gradient yet.
        ShapeError
            A parameter has another shape than when the optimizer, or its gradient, was made.
        """
        grads = self.net.grads
        move = fast_update() or update
        for name, w in self.net.params.items():             # all of them, before one moves
            if name not in grads:
                raise BackwardError(f"parameter {name!r} has no gradient: call backward before step")
            if not w.shape == grads[name].shape == self.velocity[name].shape:
                raise ShapeError(f"parameter {name!r} is of shape {w.shape}, its gradient of {grads[name].shape}, its velocity "
                                 f"of {self.velocity[name].shape}; after a change of parameters make another optimizer")
        for name, w in self.net.params.items():
            lr = self.lr * self.factors.get(name, 1)
            move(w, self.velocity[name], grads[name], lr, self.momentum, self.l2 if is_weight(name) else 0)


def update(w, v, gradient, lr, momentum, l2):
    """The two lines above, in place."""
    v *= momentum
    v -= lr * (gradient + l2 * w)
    w += v


def step_decay(factor, every=1, after=0):
    """A schedule: the learning rate is multiplied by ``factor`` after every so many epochs.

    Parameters
    ----------
    factor : float
        Above 0.
    every : int
        Epochs, at least 1.
    after : int
        So many epochs at the initial rate come first, before the counting begins.

    Returns
    -------
    callable
        From the number of epochs done to the factor on the initial rate.

    Raises
    ------
    ArgumentError
        Where one of these is not so.

    Examples
    --------
    The paper's "Learning Rate drop of 0.8 every 5 epochs":

    >>> schedule = step_decay(0.8, every=5)
    >>> [round(schedule(done), 2) for done in (0, 4, 5, 10)]
    [1.0, 1.0, 0.8, 0.64]
    """
    check("decay", factor, 0 < factor < np.inf, "a number above 0")
    check("decay every so many epochs", every, every >= 1, "at least 1")
    check("decay after so many epochs", after, after >= 0, "at least 0")
    return lambda done: factor ** (max(0, done - after) // every)


def check(name, value, is_right, expected):
    """Stop where a setting cannot train."""
    if not is_right:                                            # NaN is in no range
        raise ArgumentError(f"{name} {value}: expected {expected}")


def is_weight(name):
    """Whether L2 applies: to ``weight`` arrays, not to ``bias``, ``scale`` or ``shift``."""
    return name.split(".")[-1] == "weight"
