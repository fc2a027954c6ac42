"""What a Graph relies on in every layer, beyond right gradients.

Each check below gets the layer, float32 inputs and a fitting dy, and yields (name, text) of what is wrong.
"""

import copy
from itertools import zip_longest

import numpy as np

from ..backend import version_for
from ..errors import BackwardError
from .gradients import as_tuple, describe, gradcheck, run
from .report import Problem


def shape_is_foretold(layer, xs, dy):
    """``output_shape`` is the real output's shape."""
    foretold = layer.output_shape(*(x.shape for x in xs))
    for training in (False, True):
        found = copy.deepcopy(layer).forward(*xs, training=training).shape
        if tuple(foretold) != found:
            yield "output_shape", f"says {tuple(foretold)}, forward gives {found}"


def precision_is_kept(layer, xs, dy):
    """float32 in, float32 out: a constant of float64 would double the time of everything after it."""
    y, dxs, grads, state = run(layer, xs, dy)
    outputs = {"y": y, "y outside training": copy.deepcopy(layer).forward(*xs)}
    for name, array in {**outputs, **{f"dx of input {i}": dx for i, dx in enumerate(dxs)}, **grads, **state}.items():
        if array.dtype != np.float32:
            yield name, f"is {array.dtype} for float32 inputs and parameters, expected float32"


def any_memory_layout_does(layer, xs, dy):
    """Views with gaps, read-only, give the same result, and neither inputs nor dy are written."""
    views = [np.repeat(x, 2, axis=-1)[..., ::2] for x in (*xs, dy)]
    for view in views:
        view.flags.writeable = False
    before = [view.copy() for view in views]
    same = run(layer, xs, dy)
    for name, a, b in pairs(same, run(layer, views[:-1], views[-1])):
        if not close(a, b, 1e-5):
            yield name, "differs where inputs are views with gaps in memory"
    written = [x.copy() for x in (*xs, dy)]
    run(layer, written[:-1], written[-1])
    copy.deepcopy(layer).forward(*written[:-1])             # outside training as well
    for i, (array, kept) in enumerate(zip(written, before)):
        if not np.array_equal(array, kept):
            yield ("dy" if i == len(xs) else f"input {i}"), "is written: compute in a new array"


def inference_leaves_no_trace(layer, xs, dy):
    """A forward outside training changes no state and fills no cache; backward then says what is missing."""
    twin = copy.deepcopy(layer)
    twin.forward(*xs)
    for name, array in twin.state.items():
        if not np.array_equal(array, layer.state[name]):
            yield name, "is changed by a forward outside training"
    if twin.cache is not None:
        yield "cache", "is filled by a forward outside training, where memory should stay free"
    try:
        twin.backward(dy)
    except BackwardError:
        return
    except Exception as error:                  # any other error leaves the reader guessing
        yield "backward", f"without a training forward raises {type(error).__name__}, expected BackwardError: use self.recall()"
    else:
        yield "backward", "without a training forward raises nothing, expected BackwardError: use self.recall()"


def backward_repeats(layer, xs, dy):
    """Backward twice gives the same: gradients are assigned, not added, and the cache is not used up."""
    twin = copy.deepcopy(layer)
    twin.forward(*xs, training=True)
    once, grads = copy.deepcopy(twin.backward(dy)), copy.deepcopy(twin.grads)
    twice = twin.backward(dy)
    if not all(np.array_equal(a, b) for a, b in zip(as_tuple(once), as_tuple(twice))):
        yield "dx", "differs when backward is called a second time"
    for name, gradient in grads.items():
        if not np.array_equal(gradient, twin.grads[name]):
            yield name, "its gradient differs when backward is called a second time: assign it, do not add"


def config_rebuilds(layer, xs, dy):
    """``config`` holds what the constructor needs to build the layer again: `lightnet.save` relies on it."""
    try:
        twin = type(layer)(**layer.config)
    except AttributeError as error:
        yield "config", f"{error}: keep every argument of the constructor as an attribute of its name"
        return
    for name, array in layer.params.items():
        if twin.params[name].shape != array.shape:
            yield "config", f"rebuilds {name} with shape {twin.params[name].shape}, expected {array.shape}"
    for name, value in twin.config.items():
        if not np.array_equal(value, layer.config[name]):
            yield "config", f"rebuilds {name} as {value}, expected {layer.config[name]}: keep the argument as it was given"


def fast_version_agrees(layer, xs, dy):
    """The fast version, where there is one, gives the layer's own results."""
    version = version_for(layer, *xs)
    if version is type(layer):
        return
    for training in (False, True):
        twin = copy.deepcopy(layer)
        if not close(version.forward(twin, *xs, training=training), copy.deepcopy(layer).forward(*xs, training=training), 1e-5):
            yield "y", f"of the fast version differs (training={training})"
    dxs, (y, *right) = as_tuple(version.backward(twin, dy)), run(layer, xs, dy)
    for name, a, b in pairs((y, *right), (y, dxs, twin.grads, twin.state)):
        if b is None or not close(a, b, 1e-4):
            yield name, "of the fast version " + ("is missing" if b is None else "differs")


CONTRACT = (shape_is_foretold, precision_is_kept, any_memory_layout_does, inference_leaves_no_trace, backward_repeats,
            config_rebuilds, fast_version_agrees)


def check_layer(layer, *input_shapes, seed=0):
    """Check a layer's gradients (`gradcheck`) and everything else that a Graph relies on.

    Parameters
    ----------
    layer : Layer
        Yours or lightnet's; stays as it is.
    input_shapes : tuple of int
        One for each input, N included: small ones, N of at least 2.
    seed : int
        Of the inputs and the upstream gradient.

    Returns
    -------
    Report

    Examples
    --------
    >>> import lightnet as ln
    >>> bool(check_layer(ln.layers.Concat(), (2, 3, 3, 4), (2, 3, 3, 1)))
    True
    """
    rng = np.random.default_rng(seed)
    xs = [rng.standard_normal(shape, dtype=np.float32) for shape in input_shapes]
    report = gradcheck(layer, *xs, seed=seed)
    report.title = describe(layer)
    try:
        dy = rng.standard_normal(copy.deepcopy(layer).forward(*xs).shape, dtype=np.float32)
    except Exception as error:                  # as in gradcheck: a finding
        report.add("forward", f"raises {type(error).__name__}: {error}")
        return report
    for check in CONTRACT:
        try:
            report.problems.extend(Problem(*found) for found in check(layer, xs, dy))
        except Exception as error:
            report.add(check.__name__.replace("_", " "), f"raises {type(error).__name__}: {error}")
    return report


def pairs(run_a, run_b):
    """(name, array of a, array of b) for everything in two results of `run`."""
    (y, dxs, grads, state), (y_b, dxs_b, grads_b, state_b) = run_a, run_b
    yield "y", y, y_b
    yield from ((f"dx of input {i}", a, b) for i, (a, b) in enumerate(zip_longest(dxs, dxs_b)))
    for ours, theirs in ((grads, grads_b), (state, state_b)):
        yield from ((name, array, theirs.get(name)) for name, array in ours.items())


def close(a, b, tolerance):
    """Whether two arrays agree, relative to their largest value (or to 1, for gradients that are 0 but for rounding)."""
    return np.shape(a) == np.shape(b) and bool(np.all(np.abs(a - b) <= tolerance * max(np.abs(a).max(initial=0), 1)))
