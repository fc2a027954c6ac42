"""Gradients against numerical derivatives.

The derivative along a direction v is a number that needs no backward at all:

    d/dh L(a + h v)  at h = 0   ~   (L(a + h v) - L(a - h v)) / 2h,        and must be  <dL/da, v>.

One random v tests every element of dL/da at once: a wrong element is missed only if v is orthogonal to the error. The
loss is ``L = <dy, y>`` with a *random* dy. With dy = 1 a broken batch norm passes: its true dx is then 0.
"""

import copy
from functools import partial

import numpy as np

from .report import Report

STEPS = (1e-5, 1e-6, 1e-7)      # smaller ones for inputs so near a kink (of a max, of ReLU) that the larger ones cross it
TOLERANCE = 1e-6


def gradcheck(target, *inputs, seed=0):
    """Compare the gradients of ``backward`` with numerical derivatives, for every input and parameter, in float64.

    Parameters
    ----------
    target : Layer or Graph
        Stays as it is: a float64 copy is checked, in training mode.
    inputs : ndarray
        One for each of its inputs; values around 1, without ties where a maximum is taken.
    seed : int
        Of the upstream gradient and the directions.

    Returns
    -------
    Report
        Names each culprit ("weight", "input 1"; in a Graph "norm.shift") and shows the first elements that differ.

    Examples
    --------
    >>> import lightnet as ln
    >>> x = np.random.default_rng(0).standard_normal((2, 6, 6, 3))
    >>> report = ln.gradcheck(ln.layers.Conv2D(3, 4, kernel=3, stride=2, seed=0), x)
    >>> bool(report), report.worst < 1e-6
    (True, True)
    """
    report = Report(f"gradients of {describe(target)}")
    try:
        compare_gradients(report, target.astype("float64"), [np.array(x, np.float64) for x in inputs],
                          np.random.default_rng(seed))
    except Exception as error:                  # whatever a student's layer raises is a finding, not the end of the check
        report.add(type(error).__name__, str(error))
    return report


def compare_gradients(report, net, xs, rng):
    """Fill the report with every gradient's error along two random directions."""
    y, _, _, _ = run(net, xs)
    dy = rng.standard_normal(y.shape)
    _, dxs, grads, _ = run(net, xs, dy)
    names = ["input"] if len(xs) == 1 else [f"input {i}" for i in range(len(xs))]
    arrays, gradients = {**dict(zip(names, xs)), **net.params}, {**dict(zip(names, dxs)), **grads}
    scale = np.sqrt(np.square(dy * y).sum())

    def slope(name, direction, h):
        """The numerical derivative of L along a direction of one array."""
        def loss(step):
            moved = [x + step * direction if name == input_name else x for input_name, x in zip(names, xs)]
            return (dy * run(net, moved, shift=(name, step * direction))[0]).sum()
        return (loss(h) - loss(-h)) / (2 * h)

    for name, array in arrays.items():
        if np.shape(gradients.get(name)) != array.shape:
            report.add(name, f"backward gives it a gradient of shape {np.shape(gradients.get(name))}, expected {array.shape}"
                       if name in gradients else "backward gives it no gradient")
            continue
        for _ in range(2):
            direction = rng.standard_normal(array.shape)
            error, ours, numeric = closest(partial(slope, name, direction), np.vdot(gradients[name], direction), scale)
            report.errors[name] = max(error, report.errors.get(name, 0.0))
        if not report.errors[name] <= TOLERANCE:
            report.add(name, f"relative error {report.errors[name]:.1e} along a random direction: backward says {ours:.6g}, "
                       f"numerically {numeric:.6g}{differing_elements(name, gradients[name], slope, scale, rng)}")


def closest(slope, ours, scale):
    """(relative error, ours, numeric) at the step where they agree best; a wrong gradient agrees at none.

    Errors are relative to the larger of the two, or to a thousandth of the loss's scale where both are nearly 0.
    """
    tries = []
    for h in STEPS:
        numeric = slope(h)
        error = float(abs(ours - numeric) / max(abs(ours), abs(numeric), 1e-3 * scale, np.finfo(float).tiny))
        tries.append((error if np.isfinite(error) else np.inf, float(ours), float(numeric)))
        if tries[-1][0] <= TOLERANCE / 10:
            break
    return min(tries)


def differing_elements(name, gradient, slope, scale, rng, looks=60, shows=3):
    """The first elements whose gradient differs, as lines of text: where a student should look."""
    some = range(gradient.size) if gradient.size <= looks else sorted(rng.choice(gradient.size, looks, replace=False))
    lines = []
    for flat in some:
        index = np.unravel_index(flat, gradient.shape)
        direction = np.zeros(gradient.shape)
        direction[index] = 1
        error, ours, numeric = closest(partial(slope, name, direction), gradient[index], scale)
        if error > TOLERANCE:
            lines.append(f"\n    at [{', '.join(map(str, index))}]: backward {ours:.6g}, numerically {numeric:.6g}")
        if len(lines) == shows:
            break
    return "".join(lines)


def run(net, xs, dy=None, shift=None):
    """Forward and, with dy, backward in training mode on a copy, so that neither state nor random generators move on.

    Returns y, the tuple of dx, the gradients and the state; ``shift`` is the name of a parameter and what to add to it.
    """
    twin = copy.deepcopy(net)
    if shift and shift[0] in twin.params:
        twin.params[shift[0]][...] += shift[1]
    y = twin.forward(*xs, training=True)
    if dy is None:
        return y, (), {}, dict(twin.state)
    dxs = twin.backward(dy)
    return y, as_tuple(dxs), dict(twin.grads), dict(twin.state)


def describe(target):
    """How reports call what they check."""
    if hasattr(target, "nodes"):
        return f"a Graph of {len(target.nodes)} nodes"
    try:
        return repr(target)
    except AttributeError:                      # a constructor's argument that is not kept; `check_layer` says so
        return type(target).__name__


def as_tuple(dxs):
    """What backward returned, always as a tuple."""
    return dxs if isinstance(dxs, tuple) else (dxs,)
