"""A fire module's backward together with that of the layer behind it, and its forward with a max pool behind it
(``kernels/fire.py``).

The gradient between them, the largest of all, exists for a few images at a time; the pool finds its input in a near cache.

The schedule lets all but one hand on what they are given (``postponed``), and the one whose turn comes last do the work of all:
backward the 1x1 convolution, forward the pool.
"""

from typing import NamedTuple

import numpy as np

from ..kernels import fire as kernel
from ..kernels import memory
from ..kernels.columns import Window
from ..kernels.images import everywhere, images, regular
from ..kernels.pooling import Backward
from ..kernels.threads import later
from ..kernels.tile import ADD
from ..kernels.tile import ELU as ELU_OF_IT
from ..layers import ELU, Concat, Conv2D, MaxPool2D
from . import pointwise, pooling, products, winograd

NO_POOL = Backward(np.empty(1, np.uint8), everywhere(0, 1), everywhere(1, 1), np.float32(1), Window(*[0] * 6))


class Module(NamedTuple):
    """What the max pool is told: which convolutions it does before, and what they read."""

    one: Conv2D
    three: Conv2D
    x: np.ndarray

    def job(self, whole, y, winner, window):
        """A range of images of all three: their ELUs into ``whole``, the Concat's output; its pool into y and winner."""
        (weight, bias), (of_three, three_bias) = ((layer.params["weight"], layer.params["bias"]) for layer in self[:2])
        x = regular(self.x)
        one = pointwise.forward_work(x, whole, weight, bias, ELU_OF_IT)
        begin_three, few = winograd.forward_work(x, whole.shape[1:3], of_three, three_bias, self.three.padding, ELU_OF_IT)
        whole, y = images(whole), images(y)

        def job(start, stop):
            kernel.forward(one, len(bias), begin_three(), window, whole, y, winner.reshape(-1), start, stop, few)
        return job


class Fire(NamedTuple):
    """What the 1x1 convolution is told."""

    three: Conv2D
    behind: MaxPool2D | Conv2D | None                   # None: dy is the Concat's own gradient
    told: dict                                          # to that layer's backward


def fires(graph, readers):
    """Fire modules by the names of their Concats: (expand1x1, expand3x3), nodes that read one value, which nobody else does."""
    found = {}
    for node in graph.nodes.values():
        elus = [graph.nodes.get(name) for name in node.inputs] if type(node.layer) is Concat else []
        convolutions = [graph.nodes.get(elu.inputs[0]) for elu in elus if elu and type(elu.layer) is ELU]
        if len(elus) == len(convolutions) == 2 and all(conv and type(conv.layer) is Conv2D for conv in convolutions):
            one, three = convolutions
            if (pointwise.serves(one.layer) and winograd.serves(three.layer) and one.inputs[0] in graph.nodes
                    and readers[one.inputs[0]] == convolutions
                    and all(len(readers[name]) == 1 for name in (one.name, three.name, *node.inputs))):
                found[node.name] = one, three
    return found


def suits(layer):
    """Whether this layer can be the one behind."""
    return type(layer) is MaxPool2D and not pooling.is_pooled(layer) or type(layer) is Conv2D and pointwise.serves(layer)


def backward(layer, dy, fire, x_elu=None):
    """dx of what both expands read, and all gradients of parameters: ``layer`` is the 1x1 convolution, dy the other's behind.

    ``x_elu``: see ``activation.finish``.
    """
    (x,), three, dy, convolutions = layer.cache, fire.three, regular(dy), [layer, fire.three]
    dx, F = memory.empty(x.shape), layer.out_channels + three.out_channels
    begin_three, few = winograd.work(x, x.shape[1:3], three.params["weight"], three.padding)
    begins = [pointwise.work(x, F, layer.params["weight"], x_elu=x_elu, ending=ADD), begin_three]
    pool, behind = NO_POOL, kernel.NOTHING
    if type(fire.behind) is MaxPool2D:
        behind, pool = kernel.POOL, pooling.work(fire.behind, **fire.told)
    elif fire.behind:
        behind = kernel.SQUEEZE
        convolutions.append(fire.behind)
        begins.append(pointwise.work(*fire.behind.cache, images(dy).pitch, fire.behind.params["weight"], **fire.told))
    from_dy, to_dx = images(dy), images(dx)

    def job(start, stop):
        passed = memory.empty((few, *x.shape[1:3], F)) if behind else dy[:few]
        works, sums = zip(*(begin() for begin in begins))
        one, three, squeeze = works if len(works) == 3 else (*works, works[0])          # in the place of none
        kernel.backward(behind, pool, squeeze, three, one, from_dy, images(passed), to_dx, start, stop)
        return sums

    def then(of_ranges):
        for convolution, pairs in zip(convolutions, zip(*of_ranges)):
            convolution.grads.update(products.added(pairs, convolution.params["weight"].shape))
    later(job, len(x), then)
    return dx
