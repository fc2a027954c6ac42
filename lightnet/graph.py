"""A network is a list of named nodes: (name, layer, names of the inputs).

There are two loops to know; this is all of them:

    for node in nodes:                          # in the order they were added: what a node reads is there already
        values[node.name] = node.layer.forward(*(values[name] for name in node.inputs))

    for node in reversed(nodes):                # each turns the gradient of its output into those of its inputs
        for name, dx in zip(node.inputs, as_tuple(node.layer.backward(gradients[node.name]))):
            gradients[name] = gradients[name] + dx          # from 0: where a value has several readers, gradients add up

In reverse order a value's readers, which were added after it, have all spoken before its own node is asked: its gradient is
complete. The loops below do the same, and besides free memory, name the node in errors, let observers look on, and let a fast
version of the layer run (``backend.py``).

Everything else that lightnet does to a network (summary, profile, saving, drawing, ...) walks the same list.
"""

import copy
import difflib
from collections import Counter
from contextlib import contextmanager
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from .backend import add, backward_schedule, forward_schedule, run_backward, run_forward
from .errors import BackwardError, DtypeError, GraphError, ShapeError
from .layers import Layer

IMAGE = "image"                         # the name under which nodes read the network's input


class Node(NamedTuple):
    """One step of a network: a layer, its name, and the names of the values that it reads."""

    name: str
    layer: Layer
    inputs: tuple


class Graph:
    """A network of named nodes.

    Parameters
    ----------
    input_shape : (H, W, C)
        Without N. Forward takes any H and W that fit; these are the ones that ``summary`` shows.
    sizes : SizeRule, optional
        Image sides that the network admits, where its layers cannot know it themselves.
    meta : dict, optional
        What travels with the model: input scaling, class names, provenance.

    Attributes
    ----------
    nodes : dict of str to Node
        In the order of computation; the last one is the output.

    Examples
    --------
    >>> import lightnet as ln
    >>> from lightnet.layers import Add, Conv2D, GlobalAvgPool
    >>> g = ln.Graph(input_shape=(8, 8, 3))
    >>> x = g.add("conv", Conv2D(3, 4, kernel=3, padding=1, seed=0), "image")
    >>> y = g.add("again", Conv2D(4, 4, kernel=3, padding=1, seed=1), x)
    >>> y = g.add("bypass", Add(), x, y)                          # "conv" has two consumers now
    >>> y = g.add("mean", GlobalAvgPool(), y)

    One step of training is forward, loss, backward, update:

    >>> x, labels = np.random.default_rng(0).random((2, 8, 8, 3), np.float32), [0, 3]
    >>> logits = g.forward(x, training=True)
    >>> loss, dlogits = ln.softmax_cross_entropy(logits, labels)
    >>> dx = g.backward(dlogits)
    >>> ln.SGD(g, lr=0.01).step()
    >>> logits.shape, dx.shape, g.grads["conv.weight"].shape
    ((2, 4), (2, 8, 8, 3), (3, 3, 3, 4))
    >>> ln.softmax_cross_entropy(g.forward(x), labels)[0] < loss
    True
    """

    def __init__(self, input_shape=(227, 227, 3), sizes=None, meta=None):
        self.input_shape, self.sizes, self.meta = tuple(input_shape), sizes, meta or {}
        self.nodes = {}
        self.trained_shapes = {}                            # of all values in the last training forward: their gradients' too

    def add(self, name, layer, *inputs):
        """Add a node that applies ``layer`` to the values named by ``inputs``; returns its name, for the next one to read.

        Raises
        ------
        GraphError
            For a name in use or with a dot, an input that does not exist (yet), or a layer that is in the graph already.
        """
        known = [IMAGE, *self.nodes]
        if name in known or "." in name:
            raise GraphError(f"node {name!r}: " + ("that name is in use" if name in known else "a name cannot hold a dot"))
        for wanted in inputs:
            if wanted not in known:
                close = difflib.get_close_matches(str(wanted), known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else "."
                raise GraphError(f"node {name!r} reads {wanted!r}, which does not exist{hint} There are: {', '.join(known)}")
        if not inputs:
            raise GraphError(f"node {name!r} reads nothing: name at least one input, such as {known[-1]!r}")
        if not isinstance(layer, Layer):
            raise GraphError(f"node {name!r}: expected a Layer, found {layer!r}")
        for node in self.nodes.values():
            if node.layer is layer:                         # its cache would be overwritten before backward reads it
                raise GraphError(f"node {name!r}: its layer is that of node {node.name!r} already; make a second layer")
        self.nodes[name] = Node(name, layer, inputs)
        return name

    def forward(self, x, training=False, observe=None):
        """Run the network.

        Parameters
        ----------
        x : ndarray (N, H, W, C)
            Floating point; taken into the network's precision.
        training : bool
            Batch norm uses the batch's statistics, dropout drops, and every layer keeps what ``backward`` needs.
        observe : callable, optional
            ``observe(node, inputs, output)`` after every node; the arrays are valid until the next step, and not to be
            written.

        Returns
        -------
        ndarray
            The last node's output; for a classifier the logits (N, classes).

        Raises
        ------
        ShapeError, DtypeError
            Where x does not fit, or is a batch of no images in training; a ShapeError from inside names the node.
        """
        values = {IMAGE: self.admit(x)}
        if training and not len(values[IMAGE]):
            raise ShapeError("training on no images: they have no mean, no variance and no loss; expected one or more")
        shapes = self.shapes(values[IMAGE].shape)
        readers = Counter(name for node in self.nodes.values() for name in node.inputs)
        with forward_schedule(self, values[IMAGE], shapes, training, observe) as schedule:
            for node in self.nodes.values():
                inputs = [values[name] for name in node.inputs]
                told = schedule.place(node, inputs)
                with naming(node):
                    y = values[node.name] = run_forward(node.layer, *inputs, training=training, **told)
                    if not told and y.shape != shapes[node.name]:           # who is told something is lightnet's own
                        raise ShapeError(f"its output is of shape {y.shape}, its output_shape says {shapes[node.name]}")
                if observe:
                    observe(node, inputs, y)
                for name in node.inputs:                    # free what nobody will read any more
                    readers[name] -= 1
                    if not readers[name]:
                        del values[name]
        y = values[self.output_name]
        if training:
            self.trained_shapes = shapes
        return y

    def backward(self, dy, observe=None, to_image=True):
        """From the gradient of the output to that of the image, filling every layer's ``grads`` on the way.

        Parameters
        ----------
        dy : ndarray
            dL/doutput, of the shape of the last training forward's output; for a classifier the loss's dlogits.
        observe : callable, optional
            ``observe(node, inputs, output)`` after every node: ``inputs`` is ``[dy]`` of the node, ``output`` what its
            ``backward`` returned.
        to_image : bool
            Whether the gradient of the image is wanted. Training needs none, and the first layer's dx takes its time.

        Returns
        -------
        ndarray (N, H, W, C), or None
        """
        gradients = {self.output_name: self.admit_gradient(dy)}
        with backward_schedule(self, observe, to_image) as schedule:
            for node in reversed(self.nodes.values()):
                if node.name not in gradients:
                    raise GraphError(f"node {node.name!r} leads nowhere: {self.output_name!r}, the output, does not depend on it")
                node_dy = gradients.pop(node.name)
                told = schedule.place(node, node_dy, gradients)
                with naming(node):
                    node_dx = run_backward(node.layer, node_dy, **told)
                for name, dx in zip(node.inputs, node_dx if isinstance(node_dx, tuple) else (node_dx,)):
                    if name == IMAGE and not to_image:
                        continue
                    if not told and dx.shape != self.trained_shapes[name]:
                        raise ShapeError(f"node {node.name!r}: its backward returns a gradient of shape {dx.shape} for {name!r}, "
                                         f"which is of shape {self.trained_shapes[name]}")
                    # A value that several nodes read acts on the loss through each of them: the gradients add up. Into a new
                    # array, not +=, since a layer may hand the same one to all its inputs (Add does).
                    gradients[name] = add(gradients[name], dx) if name in gradients else dx
                if observe:
                    observe(node, [node_dy], node_dx)
        return gradients[IMAGE] if to_image else None

    def admit(self, x):
        """x as an array in the network's precision, or a typed error."""
        x = np.asarray(x)
        if not np.issubdtype(x.dtype, np.floating):
            raise DtypeError(f"the network got an image of {x.dtype}, expected floating point, scaled as in training: see "
                             "lightnet.data.prepare")
        C = self.input_shape[-1]
        if x.ndim != 4 or x.shape[-1] != C:
            hint = "; a single image needs a batch axis, x[None]" if x.ndim == 3 else ""
            raise ShapeError(f"the network got an input of shape {x.shape}, expected (N, H, W, {C}){hint}")
        if self.sizes:
            self.sizes.check(*x.shape[1:3])
        return x.astype(self.dtype, copy=False)

    def admit_gradient(self, dy):
        """dy as an array in the network's precision, or a typed error."""
        if not self.trained_shapes:
            raise BackwardError("backward needs a forward(..., training=True) before it")
        expected = self.trained_shapes[self.output_name]
        if np.shape(dy) != expected:
            raise ShapeError(f"backward got a gradient of shape {np.shape(dy)}, expected the output's {expected}")
        return np.asarray(dy, self.dtype)

    @property
    def output_name(self):
        """The last node: its value is the network's output."""
        if not self.nodes:
            raise GraphError("the graph has no nodes; add some with g.add(name, layer, 'image')")
        return next(reversed(self.nodes))

    @property
    def params(self):
        """All parameters by name, ``"fire2/squeeze.weight"``: the layers' own arrays, to be written in place."""
        return self.collect("params")

    @property
    def grads(self):
        """dL/dparam of the last backward, by the same names."""
        return self.collect("grads")

    @property
    def state(self):
        """Batch norm's running statistics, ``"fire2/squeeze_bn.running_mean"``: the layers' own arrays."""
        return self.collect("state")

    def collect(self, kind):
        """One read-only dict of the layers' arrays: assigning to it would not reach the layer, so it is refused."""
        return MappingProxyType({f"{node.name}.{key}": array for node in self.nodes.values()
                                 for key, array in getattr(node.layer, kind).items()})

    @property
    def dtype(self):
        """The precision that the network computes in: its parameters'."""
        arrays = (array for node in self.nodes.values() for array in node.layer.params.values())
        return next((array.dtype for array in arrays), np.dtype(np.float32))

    def astype(self, dtype):
        """A copy of the network in another precision, ``"float64"`` for checks."""
        twin = Graph(self.input_shape, self.sizes, copy.deepcopy(self.meta))
        twin.nodes = {name: node._replace(layer=node.layer.astype(dtype)) for name, node in self.nodes.items()}
        return twin

    def shapes(self, input_shape=None):
        """The shape of every value for an input (N, H, W, C), by name, without computing any."""
        shapes = {IMAGE: tuple(input_shape or (1, *self.input_shape))}
        for node in self.nodes.values():
            with naming(node):
                shapes[node.name] = tuple(node.layer.output_shape(*(shapes[name] for name in node.inputs)))
        return shapes

    def summary(self):
        """A table of the network for one image: name, operation, inputs, output shape, parameters, MACs."""
        from .profiling import summary
        return summary(self)

    def profile(self, x, repeats=3):
        """Time, MACs and bytes of every node, forward and backward: see `lightnet.profiling.profile`."""
        from .profiling import profile
        return profile(self, x, repeats)


@contextmanager
def naming(node):
    """Put the node's name in front of a ShapeError that its layer raises."""
    try:
        yield
    except ShapeError as error:
        raise ShapeError(f"node {node.name!r}: {error}") from error
