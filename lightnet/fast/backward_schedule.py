"""Backward, which gradients are computed in place of others, or by another layer: the rules are in ``schedule.py``."""

from ..backend import version_that_ran
from ..kernels.images import is_even, is_regular
from ..layers import ELU, Add, BatchNorm2D, Concat, Conv2D, ConvTranspose2D, GlobalAvgPool, MaxPool2D, ReLU
from .activation import is_kept
from .fire import Fire, fires, suits
from .pooling import is_pooled
from .schedule import OVER_INPUT, Together, readers_of

OVER_GRADIENT = (ELU, ReLU, BatchNorm2D, MaxPool2D)     # may write over dy; of a pool, the convolution that does it


class Backward(Together):
    """Which nodes may write over the gradient of their output, and which leave it to the convolution before them."""

    def __init__(self, graph, to_image):
        self.graph, self.to_image, self.readers, self.left, self.done = graph, to_image, readers_of(graph), {}, set()
        self.fires, self.postponed = fires(graph, self.readers), set()

    def place(self, node, dy, gradients):
        """What to tell the version: to compute dx into dy, to leave it to the next, or to begin with what was left."""
        kind, before = type(node.layer), self.graph.nodes.get(node.inputs[0])
        if version_that_ran(node.layer) is kind:
            return {}
        if node.name in self.postponed or self.is_left_to_fire(node, gradients):
            return {"postponed": True}
        if "fire" in self.left.get(node.name, {}):
            del gradients[node.inputs[0]]               # what the other expand has handed on
        if kind is Conv2D:
            wanted = {"to_image": self.to_image or before is not None}
            return {**wanted, **self.left.pop(node.name, {}), **self.to_finish(node, gradients)}
        if kind is ConvTranspose2D:
            return self.to_finish(node, gradients)
        if node.name in self.done:
            return {"done": True}
        if kind is GlobalAvgPool:
            kind = before and type(before.layer)
            return {"even": kind in OVER_INPUT and version_that_ran(before.layer) is not kind}      # others would copy it
        if node.inputs[0] in self.left:                 # the pool behind this ELU left both to the convolution
            return {"postponed": True}
        if kind is MaxPool2D and not is_pooled(node.layer):
            return self.to_finish(node, gradients)
        if kind not in OVER_GRADIENT or dy.ndim != 4 or not self.is_unshared(node.name):
            return {}
        if ((is_regular(dy) or is_even(dy)) and kind is ELU and is_kept(node.layer) and before and type(before.layer) is Conv2D
                and len(self.readers[before.name]) == 1 and version_that_ran(before.layer) is not Conv2D):
            return self.leave(before.name, elu=node.layer)
        if not is_regular(dy):
            return {}
        if kind is MaxPool2D:
            return self.leave(before.inputs[0], pool=node.layer)
        return {"out": dy}

    def is_left_to_fire(self, node, gradients):
        """Whether the work of this node, which is behind a fire module, is left to the module's 1x1 convolution, and with it the
        module's own; likewise where a module's Concat gets its gradient from others."""
        if self.is_behind_fire(node):
            concat, behind = node.inputs[0], node.layer
            told = {**self.left.pop(node.name, {}), **self.to_finish(node, gradients)}
        elif self.is_fire(node.name) and self.done.issuperset(node.inputs):
            concat, behind, told = node.name, None, {}
        else:
            return False
        one, three = self.fires[concat]                 # one's turn comes last
        self.left[one.name] = {"fire": Fire(three.layer, behind, told)}
        self.postponed.update((concat, three.name))
        return True

    def is_fire(self, name):
        """Whether this value is the Concat of a fire module of which fast versions ran."""
        return name in self.fires and all(version_that_ran(node.layer) is not type(node.layer)
                                          for node in (self.graph.nodes[name], *self.fires[name]))

    def is_behind_fire(self, node):
        """Whether all else of the gradient of a fire module's Concat is there, and this node's part can wait for the module."""
        (name, *_) = node.inputs
        return (self.is_fire(name) and self.readers[name][0] is node and bool(self.elus_before(name))
                and suits(node.layer) and "pool" not in self.left.get(node.name, {}))

    def to_finish(self, node, gradients):
        """What a node behind an ELU, or behind a Concat of ELUs, can do while it has their outputs at hand: its input."""
        (name,) = node.inputs
        told = {}
        if name in gradients and (type(node.layer) is MaxPool2D or type(node.layer) is Conv2D and node.layer.is_pointwise):
            told["onto"] = gradients.pop(name)
        if name in gradients or self.readers[name][0] is not node:      # more of its gradient is to come
            return told
        if elus := self.elus_before(name):
            self.done.update(elu.name for elu in elus)
            told["x_elu"] = elus[0].layer
        return told

    def elus_before(self, name):
        """The ELUs whose outputs this value is, one, or alike and joined by a Concat, if somebody else can do their backward."""
        node = self.graph.nodes.get(name)
        if not node or type(node.layer) not in (ELU, Concat):
            return []
        elus = [node] if type(node.layer) is ELU else [self.graph.nodes.get(part) for part in node.inputs]
        fit = all(elu and type(elu.layer) is ELU and (elu is node or len(self.readers[elu.name]) == 1)
                  and elu.layer.alpha == elus[0].layer.alpha and is_kept(elu.layer) and version_that_ran(elu.layer) is not ELU
                  for elu in elus)
        return elus if fit else []

    def leave(self, name, **told):
        """Leave a node's work to a convolution, which is told so."""
        self.left[name] = told
        return {"postponed": True}

    def is_unshared(self, name):
        """Whether nobody else holds the gradient of this value."""
        readers = self.readers.get(name, [])
        if len(readers) != 1:
            return len(readers) > 1                     # a sum, made for this value; or the caller's own
        (reader,) = readers
        kind = type(reader.layer)
        if version_that_ran(reader.layer) is kind or kind is Add:
            return False                                # unknown, or the same array for all inputs
        return self.is_unshared(reader.name) if kind is Concat else True
