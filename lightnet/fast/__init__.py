"""Fast versions of whole layers. Each has ``forward(layer, *xs, training)`` and ``backward(layer, dy)``, the signatures of the
layer's own functions, and further arguments for `lightnet.fast.schedule`: ``out``, an array to compute into, and what else is
computed with it or left to another. It keeps in ``layer.cache`` what its backward needs, and gives the same results;
`lightnet.backend` chooses.
"""

from ..kernels.compiling import announce
from ..layers import ELU, Add, BatchNorm2D, Concat, Conv2D, ConvTranspose2D, GlobalAvgPool, MaxPool2D, ReLU
from . import activation, batch_norm, conv, conv_transpose, merge, pooling

VERSIONS = {
    Conv2D: conv, ConvTranspose2D: conv_transpose, BatchNorm2D: batch_norm, ELU: activation.elu, ReLU: activation.relu,
    MaxPool2D: pooling.MaxPool2D, GlobalAvgPool: pooling.GlobalAvgPool, Concat: merge.Concat, Add: merge.Add,
}

announce()
