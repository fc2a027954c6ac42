"""Passes over a Graph that return a new one: it computes what the network computes at inference, in fewer or cheaper steps.

What a pass does not change it shares with the network that it was given: results are for inference, and to train one would train
both. (`fold_batch_norm`, which changes parameters, copies all.)
"""

from collections import Counter

import numpy as np

from .errors import GraphError
from .graph import IMAGE, Graph
from .layers import ELU, BatchNorm2D, Conv2D, ConvTranspose2D, Dense, Dropout, Layer, MaxPool2D, ReLU


def fold_batch_norm(net):
    """Put each batch norm into the convolution before it, where that is legal.

    At inference batch norm multiplies each channel by ``a = scale / std`` and adds ``shift - a * mean``, and so does a
    convolution with other numbers: ``W * a`` and ``(b - mean) * a + shift``, channel by channel. It is legal where nobody else
    reads the convolution's output.

    Parameters
    ----------
    net : Graph
        As at inference: its running statistics are used.

    Returns
    -------
    Graph
        Without those batch norms; what read one reads the convolution. All layers are copies.

    Examples
    --------
    >>> import lightnet as ln
    >>> net = ln.models.light_cnn(seed=0)
    >>> folded = fold_batch_norm(net)
    >>> len(net.nodes), len(folded.nodes)
    (75, 67)
    >>> x = np.random.default_rng(0).random((1, 17, 17, 3), np.float32)
    >>> bool(np.allclose(net.forward(x), folded.forward(x), atol=1e-5))
    True
    """
    read = readers(net)

    def change(folded, node, inputs):
        before = folded.nodes.get(inputs[0])
        if type(node.layer) is BatchNorm2D and before and read[node.inputs[0]] == 1 and absorb(before.layer, node.layer):
            return before.name
        return folded.add(node.name, node.layer, *inputs)
    return rebuilt(net.astype(net.dtype), change)


def rebuilt(net, change):
    """A Graph of what a pass makes of each node: the frame of all of them.

    ``change(result, node, inputs)`` adds to the result what is to stand for the node, whose inputs now have these names, and
    returns the name under which later nodes find its value.
    """
    result, renamed = Graph(net.input_shape, net.sizes, net.meta), {}
    for node in net.nodes.values():
        renamed[node.name] = change(result, node, [renamed.get(name, name) for name in node.inputs])
    return result


def readers(net):
    """How many nodes read each value."""
    return Counter(name for node in net.nodes.values() for name in node.inputs)


def absorb(convolution, norm):
    """Give a convolution the parameters of itself and the batch norm after it; False where it is no convolution."""
    if type(convolution) not in (Conv2D, ConvTranspose2D):
        return False
    weight, bias = convolution.params["weight"], convolution.params["bias"]
    a = norm.params["scale"] / np.sqrt(norm.state["running_var"] + weight.dtype.type(norm.eps))
    weight *= a if type(convolution) is Conv2D else a[:, None]          # (KH, KW, C, F), or (KH, KW, F, C)
    bias[:] = (bias - norm.state["running_mean"]) * a + norm.params["shift"]
    return True


def without_dead_ends(net):
    """Leave out nodes on which the output does not depend."""
    needed = {net.output_name}
    for node in reversed(net.nodes.values()):
        if node.name in needed:
            needed.update(node.inputs)
    return rebuilt(net, lambda result, node, inputs: result.add(node.name, node.layer, *inputs) if node.name in needed else None)


def without_dropout(net):
    """Leave out Dropout, which does nothing at inference."""
    def change(result, node, inputs):
        if type(node.layer) is Dropout and inputs[0] != IMAGE and node.name != net.output_name:
            return inputs[0]
        return result.add(node.name, node.layer, *inputs)
    return rebuilt(net, change)


def pool_first(net):
    """Let a max pool that alone reads an ELU or ReLU come before it: of a 3x3 pool's pixels with stride 2 a quarter are left.

    The largest of the activations is the activation of the largest, since neither function ever falls.
    """
    read, waiting = readers(net), {}                    # waiting: activations that come after the pool that reads them

    def change(result, node, inputs):
        after = only_reader(net, node.name) if type(node.layer) in (ELU, ReLU) and read[node.name] == 1 else None
        if after and type(after.layer) is MaxPool2D:
            waiting[node.name] = node.layer, inputs[0]
            return node.name
        if inputs[0] in waiting:
            activation, value = waiting.pop(inputs[0])
            return result.add(inputs[0], activation, result.add(node.name, node.layer, value))
        return result.add(node.name, node.layer, *inputs)
    return rebuilt(net, change)


def only_reader(net, name):
    """The node that reads a value which one node reads."""
    return next(node for node in net.nodes.values() if name in node.inputs)


class Activated(Layer):
    """A layer and the activation after it, as one: what computes the one can do the other while the numbers are at hand."""

    def __init__(self, layer, activation):
        super().__init__()
        self.layer, self.activation = layer, activation
        self.params = layer.params

    def forward(self, x, training=False):
        """``activation(layer(x))``; inference only."""
        return self.activation.forward(self.layer.forward(x))

    def output_shape(self, shape):
        """The layer's."""
        return self.layer.output_shape(shape)

    def macs(self, shape):
        """The layer's."""
        return self.layer.macs(shape)


def fuse_activations(net):
    """Put each ReLU, and ELU of alpha 1, into the convolution, dense layer or max pool before it, if nobody else reads that."""
    read = readers(net)

    def change(result, node, inputs):
        layer, before = node.layer, result.nodes.get(inputs[0])
        if ((type(layer) is ReLU or type(layer) is ELU and layer.alpha == 1) and before and read[node.inputs[0]] == 1
                and type(before.layer) in (Conv2D, ConvTranspose2D, Dense, MaxPool2D)):
            result.nodes[before.name] = before._replace(layer=Activated(before.layer, layer))
            return before.name
        return result.add(node.name, layer, *inputs)
    return rebuilt(net, change)


def parts(layer):
    """A layer and the activation that is fused with it, or None."""
    return (layer.layer, layer.activation) if type(layer) is Activated else (layer, None)


def is_convolution(layer):
    """Whether it is a convolution, with an activation or without."""
    return type(parts(layer)[0]) is Conv2D


def for_grey(net):
    """For images of one channel, which the network would get repeated in each: convolve them with the weights' sum.

    Raises
    ------
    GraphError
        Where something else than a convolution reads the image.
    """
    def change(result, node, inputs):
        layer = node.layer
        if IMAGE in inputs:
            first, activation = parts(layer)
            if not is_convolution(layer):
                raise GraphError(f"node {node.name!r} reads the image and is no convolution: it needs all channels, (N, H, W, C)")
            layer = summed(first) if activation is None else Activated(summed(first), activation)
        return result.add(node.name, layer, *inputs)
    grey = rebuilt(net, change)
    grey.input_shape = (*net.input_shape[:2], 1)
    return grey


def summed(layer):
    """A convolution of one channel that does what this one does to equal channels."""
    grey = Conv2D(1, layer.out_channels, layer.kernel, layer.stride, layer.padding)
    grey.params.update(weight=layer.params["weight"].sum(axis=2, keepdims=True), bias=layer.params["bias"])
    return grey
