"""Passes over a Graph that return a new one, and leave the trained one alone."""

from collections import Counter

import numpy as np

from .graph import Graph
from .layers import BatchNorm2D, Conv2D, ConvTranspose2D


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
    readers = Counter(name for node in net.nodes.values() for name in node.inputs)
    copies, renamed = net.astype(net.dtype), {}
    folded = Graph(net.input_shape, net.sizes, copies.meta)
    for name, layer, inputs in copies.nodes.values():
        now = [renamed.get(wanted, wanted) for wanted in inputs]
        before = folded.nodes.get(now[0])
        if type(layer) is BatchNorm2D and before and readers[inputs[0]] == 1 and absorb(before.layer, layer):
            renamed[name] = before.name
        else:
            folded.add(name, layer, *now)
    return folded


def absorb(convolution, norm):
    """Give a convolution the parameters of itself and the batch norm after it; False where it is no convolution."""
    if type(convolution) not in (Conv2D, ConvTranspose2D):
        return False
    weight, bias = convolution.params["weight"], convolution.params["bias"]
    a = norm.params["scale"] / np.sqrt(norm.state["running_var"] + weight.dtype.type(norm.eps))
    weight *= a if type(convolution) is Conv2D else a[:, None]          # (KH, KW, C, F), or (KH, KW, F, C)
    bias[:] = (bias - norm.state["running_mean"]) * a + norm.params["shift"]
    return True
