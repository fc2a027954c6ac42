"""Which values may be computed in place of others, or not on their own at all: less memory to go through.

- The inputs of a Concat are computed where they belong in its output, so that nothing is left to copy.
- An activation that alone reads a value writes over it, where nobody else keeps that value: a convolution does not, another
  activation would.
- Where that value comes from a convolution and the activation is an ELU, the convolution computes it with its sums still in
  registers.
- Where a max pool alone reads that ELU, the convolution computes the pool as well, before the ELU (``pooled.py``).
- Where a value's gradient is a sum, a MaxPool or a 1x1 convolution adds its own part to the other one while it computes it.
- A convolution or a MaxPool behind an ELU, or behind a Concat of ELUs, does their backward too: it has their outputs at hand, or
  goes through their gradients anyway.
- In backward an activation writes over the gradient that it is given, where nobody else holds it; an ELU that was fused
  leaves even that to the convolution, which does it image by image, just before it reads the gradient anyway.
- A fire module's two convolutions do their backward together with the layer behind their Concat (``fire.py``), and are
  themselves done by it, if it is a max pool.
- The image's gradient is not computed where nobody wants it.

Nothing in ``layers/`` or in a model knows of it. It goes for versions from this room only, and not while someone observes: who
asked to see each value finds them all.

What a version is told, by keyword:

    forward     out         all             an array to compute into
                elu         Conv2D          True: compute the ELU of the output
                pool        Conv2D          the MaxPool2D of that ELU: compute its output
                done        ELU             True: x is the ELU already
                pooled      ELU, MaxPool2D  the convolution that has done all three
                postponed   Conv2D          True: nothing but keep x, a pool will do it
                fire        MaxPool2D       the fire module to do before, see fire.py
    backward    out         activations     dy: write over it
                onto        MaxPool2D, 1x1  what to add to dx
                x_elu       pools, convs    the ELU that x comes from: multiply dx by its slope
                done        ELU             True: whose dy this is has done that
                even        GlobalAvgPool   True: one pixel of dx will do for all of an image
                postponed   ELU, MaxPool2D  True: hand dy on, a convolution will do it;
                            Concat, Conv2D  likewise
                elu, pool   Conv2D          the layers that have handed it on
                fire        1x1             likewise, see fire.py
                to_image    Conv2D          False: nobody wants dx
"""

from collections import defaultdict

from ..backend import version_for, version_for_class, version_that_ran
from ..kernels import memory
from ..kernels.images import is_even, is_regular
from ..kernels.threads import together
from ..layers import ELU, Add, BatchNorm2D, Concat, Conv2D, ConvTranspose2D, GlobalAvgPool, MaxPool2D, ReLU
from . import winograd
from .activation import is_kept
from .fire import Fire, Module, fires, suits
from .pooling import is_pooled

OVER_INPUT = (ELU, ReLU)                                # forward may write over its input,
OUTPUT_NOT_KEPT = (Conv2D, ConvTranspose2D, BatchNorm2D, MaxPool2D)     # which comes from one of these
OVER_GRADIENT = (ELU, ReLU, BatchNorm2D, MaxPool2D)     # backward may write over dy; of a pool, the convolution that does it


class Together:
    """A block within which what need not be done at once waits: ``with`` a schedule."""

    def __enter__(self):
        self.block = together()
        self.block.__enter__()
        return self

    def __exit__(self, *error):
        return self.block.__exit__(*error)


def readers_of(graph):
    """The nodes that read each value, in order."""
    readers = defaultdict(list)
    for node in graph.nodes.values():
        for name in node.inputs:
            readers[name].append(node)
    return readers


class Forward(Together):
    """Where each node of a graph may compute its output, given the shapes of all values."""

    def __init__(self, graph, shapes):
        self.shapes, self.readers = shapes, readers_of(graph)
        self.homes, self.over_input, self.then_elu, self.wholes = {}, set(), set(), {}
        self.then_pool, self.pooled = {}, {}            # pooled: the convolution that computes an ELU and its pool
        for node in reversed(graph.nodes.values()):     # outer Concats come before those that they read
            kind = type(node.layer)
            if version_for_class(kind) is kind:
                continue
            if kind is Concat:
                self.place_inputs(graph, node)
            elif kind is MaxPool2D:
                self.fuse_conv_elu_pool(graph, node)
            elif (node.name not in self.pooled and kind in OVER_INPUT and len(self.readers[node.inputs[0]]) == 1
                  and self.can_place(graph, node.inputs[0])):
                self.place_over(node, type(graph.nodes[node.inputs[0]].layer))
        self.modules = {}                               # name of a convolution or of the pool: the pool's name, both convolutions
        self.read = {}                                  # name of the pool: what they read
        for concat, convolutions in fires(graph, self.readers).items():
            self.fuse_fire_pool(graph.nodes[concat], convolutions)

    def fuse_fire_pool(self, concat, convolutions):
        """Let a max pool compute the fire module before it, image by image, if it is the first to read that."""
        pool, names = next(iter(self.readers[concat.name]), None), {node.name for node in convolutions}
        if (pool and type(pool.layer) is MaxPool2D and version_for_class(MaxPool2D) is not MaxPool2D
                and all(version_for(node.layer) is not Conv2D for node in convolutions)
                and names <= self.then_elu and names <= self.homes.keys()):
            self.modules.update(dict.fromkeys((*names, pool.name), (pool.name, convolutions)))

    def fuse_conv_elu_pool(self, graph, node):
        """Let a convolution compute its ELU's max pool, where nobody else reads what lies between."""
        elu = graph.nodes.get(node.inputs[0])
        before = elu and graph.nodes.get(elu.inputs[0])
        if (before and type(elu.layer) is ELU and elu.layer.alpha == 1 and type(before.layer) is Conv2D
                and len(self.readers[elu.name]) == len(self.readers[before.name]) == 1
                and all(self.can_place(graph, name) for name in (elu.name, before.name)) and not winograd.serves(before.layer)
                # nobody may write over the pool's output, from which its backward reads the slope
                and not any(node.name in graph.nodes[over].inputs for over in self.over_input)):
            self.then_pool[before.name] = node.layer
            self.pooled[elu.name] = self.pooled[node.name] = before.layer
            if node.name in self.homes:
                self.homes[before.name] = self.homes.pop(node.name)

    def place_over(self, node, before):
        """Let an activation write over its input, which then is computed where the activation's output belongs."""
        (name,) = node.inputs
        if before in OUTPUT_NOT_KEPT:
            self.over_input.add(node.name)
            if node.name in self.homes:
                self.homes[name] = self.homes.pop(node.name)
            if before is Conv2D and type(node.layer) is ELU and node.layer.alpha == 1:
                self.then_elu.add(name)

    def place_inputs(self, graph, concat):
        """Give each input its channels of the Concat's output."""
        whole, channel = self.homes.get(concat.name, (concat.name, 0))
        for name in concat.inputs:
            if self.can_place(graph, name) and name not in self.homes and concat.inputs.count(name) == 1:
                self.homes[name] = whole, channel
            channel += self.shapes[name][-1]

    def can_place(self, graph, name):
        """Whether the value is images, from a node whose version computes where it is told."""
        if name not in graph.nodes or len(self.shapes[name]) != 4:
            return False
        kind = type(graph.nodes[name].layer)
        return version_for_class(kind) is not kind and kind is not Add

    def place(self, node, inputs):
        """What to tell the version: the array to compute into, if any, and whether an ELU is fused."""
        if version_for(node.layer, *inputs) is type(node.layer):            # not float32 after all
            self.take_back(node)
            return {}
        if node.name in self.pooled:
            return {"pooled": self.pooled[node.name]}
        told = {"out": self.out(node, inputs)}
        if node.name in self.modules:
            return {**told, **self.of_module(node, inputs)}
        if node.name in self.then_pool:
            told["pool"] = self.then_pool[node.name]
        elif node.name in self.then_elu:
            told["elu"] = True
        elif node.inputs[0] in self.then_elu:
            told["done"] = True
        return told

    def of_module(self, node, inputs):
        """What to tell a convolution of a fire module, or the pool behind."""
        pool, convolutions = self.modules[node.name]
        if node.name == pool:
            return {"fire": Module(*(node.layer for node in convolutions), self.read.pop(pool))}
        (self.read[pool],) = inputs
        return {"elu": True, "postponed": True}

    def take_back(self, node):
        """Let others do what this node was to do for them: its own code runs, which does its own work only."""
        self.then_elu.discard(node.name)
        pool, _ = self.modules.get(node.name, (None, None))
        assert pool not in self.read, "a convolution was left to the pool; its like, which reads the same, or the pool is slow"
        self.modules = {name: module for name, module in self.modules.items() if module[0] != pool}
        self.then_pool.pop(node.name, None)
        self.pooled = {name: convolution for name, convolution in self.pooled.items() if convolution is not node.layer}

    def out(self, node, inputs):
        """The array to compute into, or None: wherever the version likes."""
        if node.name in self.over_input:
            return inputs[0]
        if node.name in self.homes:
            whole, channel = self.homes[node.name]
            return self.whole(whole)[..., channel:channel + self.shapes[node.name][-1]]
        return self.wholes.pop(node.name, None)         # a Concat whose parts are there

    def whole(self, name):
        """The output of a Concat, from when the first of its parts is computed."""
        if name not in self.wholes:
            self.wholes[name] = memory.empty(self.shapes[name])
        return self.wholes[name]


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
