"""What a network consists of and where its time goes: tables, made by walking the graph and by observing it run."""

import time
from typing import NamedTuple

import numpy as np

from .backend import version_that_ran
from .errors import ArgumentError


def table(rows, heads):
    """Rows as aligned text: words to the left, numbers to the right, with a line under the heads."""
    cells = [heads, *([f"{cell:,}" if isinstance(cell, int) else f"{cell:.2f}" if isinstance(cell, float) else str(cell)
                       for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    numeric = [all(isinstance(cell, (int, float)) for cell in column) for column in zip(*rows)]
    lines = ["  ".join(cell.rjust(width) if right else cell.ljust(width)
                       for cell, width, right in zip(row, widths, numeric)).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def costs(net, shapes):
    """(node, output shape, parameters, MACs) of every node."""
    for node in net.nodes.values():
        parameters = sum(array.size for array in node.layer.params.values())
        macs = int(node.layer.macs(*(shapes[name] for name in node.inputs)))
        yield node, shapes[node.name], parameters, macs


def summary(net):
    """A table of the network for one image: name, operation, inputs, output shape, parameters, MACs.

    Examples
    --------
    >>> import lightnet as ln
    >>> print(ln.models.light_cnn(seed=0).summary().splitlines()[-1])
    total                                                                                        1,272,450  467,226,560
    """
    rows = [(node.name, type(node.layer).__name__, ", ".join(node.inputs), "x".join(map(str, shape[1:])), parameters, macs)
            for node, shape, parameters, macs in costs(net, net.shapes())]
    rows.append(("total", "", "", "", sum(row[4] for row in rows), sum(row[5] for row in rows)))
    return table(rows, ["node", "operation", "inputs", "output", "parameters", "MACs"])


class NodeProfile(NamedTuple):
    """What one node costs for the batch that was profiled; times in milliseconds, sizes in bytes."""

    name: str
    operation: str
    version: str
    forward_ms: float
    backward_ms: float
    macs: int
    output_bytes: int
    cache_bytes: int


class Profile(list):
    """A list of NodeProfile, one for each node; ``print`` shows it as a table, with each node's share of the time."""

    def __str__(self):
        total = sum(node.forward_ms + node.backward_ms for node in self)
        rows = [(*node, 100 * (node.forward_ms + node.backward_ms) / total) for node in self]
        rows.append(("total", "", "", *(sum(row[i] for row in rows) for i in range(3, 9))))
        heads = ["node", "operation", "version", "forward ms", "backward ms", "MACs", "output bytes", "cache bytes", "% of time"]
        return table(rows, heads)


def profile(net, x, repeats=3):
    """Time every node of a training step, by an observer: forward, and backward from a random gradient.

    Parameters
    ----------
    net : Graph
        Its running statistics and gradients stay as they are: a copy is profiled.
    x : ndarray (N, H, W, C)
    repeats : int
        Steps to time, after one that is not counted; each node's median is given.

    Returns
    -------
    Profile
        ``version`` says which code ran: "numpy" the layer's own, "numba" a fast one. ``cache_bytes`` is what the node
        keeps between forward and backward; two nodes may keep the same array, which counts for both.

    Notes
    -----
    To time a node it must end before the next one begins: nothing is fused or computed in place, so a step takes less than the
    sum (``benchmarks/training.py`` times whole steps).

    Raises
    ------
    ArgumentError
        Where repeats is less than 1.

    Examples
    --------
    >>> import lightnet as ln
    >>> report = ln.models.light_cnn(seed=0).profile(np.zeros((1, 33, 33, 3), np.float32), repeats=1)
    >>> report[0].name, report[0].macs
    ('conv1', 442368)
    """
    if repeats < 1:
        raise ArgumentError(f"repeats {repeats}: expected at least 1")
    net = net.astype(net.dtype)
    x = net.admit(x)
    forward, backward = {name: [] for name in net.nodes}, {name: [] for name in net.nodes}
    rng = np.random.default_rng(0)
    for _ in range(1 + repeats):
        y = net.forward(x, training=True, observe=stopwatch(forward))
        net.backward(rng.standard_normal(y.shape), observe=stopwatch(backward))
    shapes = net.shapes(x.shape)
    return Profile(NodeProfile(
        node.name, type(node.layer).__name__, "numpy" if version_that_ran(node.layer) is type(node.layer) else "numba",
        float(np.median(forward[node.name][1:])), float(np.median(backward[node.name][1:])), macs,
        int(np.prod(shape)) * x.itemsize, sum(array.nbytes for array in node.layer.cache or () if isinstance(array, np.ndarray)))
        for node, shape, _, macs in costs(net, shapes))


def stopwatch(times):
    """An observer that notes, for each node, the milliseconds since the one before it."""
    last = time.perf_counter()

    def observe(node, inputs, output):
        nonlocal last
        now = time.perf_counter()
        times[node.name].append(1e3 * (now - last))
        last = now
    return observe
