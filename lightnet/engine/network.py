"""A compiled network: what `lightnet.compile` returns."""

import threading

import numpy as np

from ..backend import has_numba
from ..cores import num_threads, positive
from ..graph import IMAGE
from ..transform import (
    fold_batch_norm,
    for_grey,
    fuse_activations,
    is_convolution,
    pool_first,
    without_dead_ends,
    without_dropout,
)

PASSES = without_dead_ends, without_dropout, fold_batch_norm, pool_first, fuse_activations
SIZES = 8                                               # image sizes that are kept ready
FLOAT32 = np.dtype(np.float32)


class Network:
    """A snapshot of a network, ready to run; see `compile`.

    Attributes
    ----------
    net : Graph
        What is computed: the network after all passes.
    threads : int
    """

    def __init__(self, net, threads=None):
        self.net, self.threads = net.astype("float32"), num_threads() if threads is None else positive(threads)
        for change in PASSES:
            self.net = change(self.net)
        self.grey_net = None                            # the same for images of one channel, made when there are some
        self.runners, self.lock = {}, threading.Lock()

    def __call__(self, x):
        """The network's output for images x (N, H, W, C), or (N, H, W, 1) for grey ones."""
        with self.lock:                                 # the memory is one
            runner = self.runners.get(x.shape[1:]) if is_float32(x) else None
            if runner is None:                          # what has run before needs no look
                net, x = self.admit(x)
                runner = self.runner(net, x.shape[1:])
            return runner(x)

    def admit(self, x):
        """The Graph to run, and x in the form that it takes; or a typed error."""
        x = np.asarray(x)
        if x.ndim == 4 and x.shape[3] == 1 != self.net.input_shape[2]:
            if self.reads_grey():
                return self.grey_net, self.grey_net.admit(x)
            x = np.repeat(x, self.net.input_shape[2], axis=3)
        return self.net, self.net.admit(x)

    def reads_grey(self):
        """Whether only convolutions read the image, whose weights then can be summed over its channels."""
        if self.grey_net is None and all(is_convolution(node.layer) for node in self.net.nodes.values() if IMAGE in node.inputs):
            self.grey_net = for_grey(self.net)
        return self.grey_net is not None

    def runner(self, net, shape):
        """What runs images of this shape; planned when the first one comes."""
        if shape not in self.runners:
            if len(self.runners) == SIZES:
                del self.runners[next(iter(self.runners))]              # the oldest; each has megabytes of memory
            self.runners[shape] = make_runner(net, shape, self.threads)
        return self.runners[shape]

    @property
    def plan(self):
        """The plan for an image of the network's own size; to be printed."""
        with self.lock:
            return self.runner(self.net, self.net.input_shape).plan


def is_float32(x):
    """Whether x is an array in the precision in which the network runs."""
    return type(x) is np.ndarray and x.dtype == FLOAT32


def make_runner(net, shape, threads):
    """The plan and its memory; without Numba the layers themselves."""
    if not has_numba() or 0 in shape:                   # of an image without pixels there is nothing to cut
        return Layers(net)
    from .plan import Plan
    from .runner import Runner
    return Runner(Plan(net, shape, threads))


class Layers:
    """Where Numba cannot be imported: each layer's own code, image by image, so that the batch does not change the bits."""

    def __init__(self, net):
        self.net = net
        self.plan = "Numba cannot be imported: the layers' own code runs.\n" + "\n".join(
            f"{name}: {type(layer).__name__}" for name, layer, _ in net.nodes.values())

    def __call__(self, x):
        if not len(x):
            return np.empty((0, *self.net.shapes((1, *x.shape[1:]))[self.net.output_name][1:]), np.float32)
        return np.concatenate([self.net.forward(x[n:n + 1]) for n in range(len(x))])
