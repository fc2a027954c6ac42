"""Any lightnet Graph as a PyTorch module with the same parameters: what the benchmarks compare with."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lightnet.layers import ELU, Add, BatchNorm2D, Concat, Conv2D, ConvTranspose2D, Dense, Dropout, GlobalAvgPool, MaxPool2D, ReLU


class Twin(nn.Module):
    """The graph's nodes on PyTorch's functions, NCHW inside; parameters by lightnet's names, dots and slashes as underscores.

    Supports the layers of the library's models; padding alike on opposite sides.
    """

    def __init__(self, net):
        super().__init__()
        self.nodes = list(net.nodes.values())
        self.sources = dict(net.params)
        for name, array in net.params.items():
            self.register_parameter(plain(name), nn.Parameter(torch.from_numpy(to_torch(array))))
        for name, array in net.state.items():
            self.register_buffer(plain(name), torch.from_numpy(array.copy()))

    def forward(self, x):
        """(N, C, H, W) to (N, classes)."""
        values = {"image": x}
        for node in self.nodes:
            values[node.name] = self.run(node, *(values[name] for name in node.inputs))
        return values[self.nodes[-1].name]

    def run(self, node, *xs):
        """One node."""
        layer, x = node.layer, xs[0]

        def own(key):
            return getattr(self, plain(f"{node.name}.{key}"))
        match layer:
            case Conv2D():
                return F.conv2d(x, own("weight"), own("bias"), layer.stride, [before for before, _ in layer.padding])
            case ConvTranspose2D():
                return F.conv_transpose2d(x, own("weight"), own("bias"), layer.stride, [before for before, _ in layer.padding],
                                          layer.output_padding)
            case BatchNorm2D():
                return F.batch_norm(x, own("running_mean"), own("running_var"), own("scale"), own("shift"), self.training,
                                    layer.momentum, layer.eps)
            case ELU():
                return F.elu(x, layer.alpha)
            case ReLU():
                return F.relu(x)
            case MaxPool2D():
                return F.max_pool2d(x, layer.kernel, layer.stride, [before for before, _ in layer.padding],
                                    ceil_mode=layer.ceil_mode)
            case Concat():
                return torch.cat(xs, 1)
            case Add():
                return sum(xs[1:], start=x)
            case GlobalAvgPool():
                return x.mean((2, 3))
            case Dropout():
                return F.dropout(x, layer.rate, self.training)
            case Dense():
                return F.linear(x, own("weight"), own("bias"))
        raise NotImplementedError(f"node {node.name!r}: {type(layer).__name__} has no twin")

    def sgd(self, lr, momentum, l2):
        """PyTorch's optimizer with lightnet's rule: L2 on weights alone."""
        groups = {True: [], False: []}
        for name in self.sources:
            groups[name.endswith(".weight")].append(getattr(self, plain(name)))
        return torch.optim.SGD([{"params": groups[True], "weight_decay": l2}, {"params": groups[False]}], lr=lr,
                               momentum=momentum)


def plain(name):
    """A parameter's name as PyTorch admits it."""
    return name.replace(".", "__").replace("/", "_")


def to_torch(array):
    """(KH, KW, C, F) to (F, C, KH, KW), (C, F) to (F, C); vectors stay."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim]
    return np.array(array.transpose(axes), order="C")
