"""Passes over a Graph that return a new one, and leave the trained one alone.

Each result is a Graph that can be run: it computes what the network computes at inference, in fewer or cheaper steps. None of
them can be trained.
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
    copies, renamed = net.astype(net.dtype), {}
    folded = Graph(net.input_shape, net.sizes, copies.meta)
    for name, layer, inputs in copies.nodes.values():
        now = [renamed.get(wanted, wanted) for wanted in inputs]
        before = folded.nodes.get(now[0])
        if type(layer) is BatchNorm2D and before and read[inputs[0]] == 1 and absorb(before.layer, layer):
            renamed[name] = before.name
        else:
            folded.add(name, layer, *now)
    return folded


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
    result = Graph(net.input_shape, net.sizes, net.meta)
    for name, layer, inputs in net.nodes.values():
        if name in needed:
            result.add(name, layer, *inputs)
    return result


def without_dropout(net):
    """Leave out Dropout, which does nothing at inference."""
    result, renamed = Graph(net.input_shape, net.sizes, net.meta), {}
    for name, layer, inputs in net.nodes.values():
        now = [renamed.get(wanted, wanted) for wanted in inputs]
        if type(layer) is Dropout and now[0] != IMAGE and name != net.output_name:
            renamed[name] = now[0]
        else:
            result.add(name, layer, *now)
    return result


def pool_first(net):
    """Let a max pool that alone reads an ELU or ReLU come before it: of a 3x3 pool's pixels with stride 2 a quarter are left.

    The largest of the activations is the activation of the largest, since neither function ever falls.
    """
    read = readers(net)
    result, renamed = Graph(net.input_shape, net.sizes, net.meta), {}
    waiting = {}                                        # activations that come after the pool that reads them
    for name, layer, inputs in net.nodes.values():
        now = [renamed.get(wanted, wanted) for wanted in inputs]
        after = only_reader(net, name) if type(layer) in (ELU, ReLU) and read[name] == 1 else None
        if after and type(after.layer) is MaxPool2D:
            waiting[name] = layer, now[0]
        elif now[0] in waiting:
            activation, value = waiting.pop(now[0])
            result.add(name, layer, value)
            renamed[name] = result.add(inputs[0], activation, name)
        else:
            result.add(name, layer, *now)
    return result


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
    result, renamed = Graph(net.input_shape, net.sizes, net.meta), {}
    for name, layer, inputs in net.nodes.values():
        now = [renamed.get(wanted, wanted) for wanted in inputs]
        before = result.nodes.get(now[0])
        if ((type(layer) is ReLU or type(layer) is ELU and layer.alpha == 1) and before and read[inputs[0]] == 1
                and type(before.layer) in (Conv2D, ConvTranspose2D, Dense, MaxPool2D)):
            result.nodes[before.name] = before._replace(layer=Activated(before.layer, layer))
            renamed[name] = before.name
        else:
            result.add(name, layer, *now)
    return result


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
    H, W, _ = net.input_shape
    result = Graph((H, W, 1), net.sizes, net.meta)
    for name, layer, inputs in net.nodes.values():
        if IMAGE in inputs:
            first, activation = parts(layer)
            if not is_convolution(layer):
                raise GraphError(f"node {name!r} reads the image and is no convolution: it needs all channels, (N, H, W, C)")
            layer = summed(first) if activation is None else Activated(summed(first), activation)
        result.add(name, layer, *inputs)
    return result


def summed(layer):
    """A convolution of one channel that does what this one does to equal channels."""
    grey = Conv2D(1, layer.out_channels, layer.kernel, layer.stride, layer.padding)
    grey.params.update(weight=layer.params["weight"].sum(axis=2, keepdims=True), bias=layer.params["bias"])
    return grey
