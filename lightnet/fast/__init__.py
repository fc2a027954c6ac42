"""Fast versions of whole layers. Each file has ``forward(layer, *xs, training)`` and ``backward(layer, dy)``, the signatures of
the layer's own, keeps in ``layer.cache`` what its backward needs, and gives the same results; `lightnet.backend` chooses.
"""

from ..layers import ELU, Conv2D, ConvTranspose2D, MaxPool2D
from . import conv, conv_transpose, elu, max_pool

VERSIONS = {Conv2D: conv, ConvTranspose2D: conv_transpose, ELU: elu, MaxPool2D: max_pool}
