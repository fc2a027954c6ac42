"""Forward, what is computed in place of others: the rules are in ``schedule.py``."""

from ..backend import version_for, version_for_class
from ..kernels import memory
from ..layers import ELU, Add, BatchNorm2D, Concat, Conv2D, ConvTranspose2D, MaxPool2D
from . import winograd
from .fire import Module, fires
from .schedule import OVER_INPUT, Together, readers_of

OUTPUT_NOT_KEPT = (Conv2D, ConvTranspose2D, BatchNorm2D, MaxPool2D)     # what comes from these may be written over


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
        out = self.out(node, inputs)
        told = {} if out is None else {"out": out}
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
