"""The paper's network, top to bottom as in its figure 2.

Polsinelli, Cinque, Placidi, "A light CNN for detecting COVID-19 from CT scans of the chest", 2020 (arXiv:2004.12837).
A SqueezeNet v1.1 trunk (Iandola et al. 2016, arXiv:1602.07360: eight "fire modules" and three pools) with batch norm and ELU
in its fire modules; its last, coarse 14x14 map is enlarged four times, put beside the fine 56x56 map of fire3 and mixed with it
by a 1x1 convolution, which the paper calls a weighted sum, before one average and two outputs.
"""

import numpy as np

from ..data.prepare import default_meta
from ..errors import ArgumentError
from ..graph import Graph
from ..layers import ELU, Concat, Conv2D, ConvTranspose2D, Dense, GlobalAvgPool, MaxPool2D
from ..sizes import SizeRule
from .fire import fire

# conv1 and pool1 leave (s - 1) // 4 pixels of a side s, pool3 and pool5 halve that, rounding down; four times the last is the
# first again where (s - 1) // 4 is divisible by 4, so where s is 16k + 1 to 16k + 4.
SIZES = SizeRule(16, 1, 4, "light_cnn joins fire9, enlarged 4 times, to fire3, so 4 x fire9's side must be fire3's side")


def light_cnn(classes=2, seed=0, upsample_kernel=4, upsample_channels=64):
    """The paper's network: 227x227x3 to two logits, 1,272,450 parameters, 467 million multiply-accumulates (MACs).

    Parameters
    ----------
    classes : int
        Outputs; 0 = non-COVID, 1 = COVID.
    seed : int or numpy.random.Generator
        Of the initial weights.
    upsample_kernel, upsample_channels : int
        Of the transposed convolution, whose stride is 4; the kernel even and at least 4. The paper says only that it
        "expands the feature maps 4 times" and that the network has 1.26 M parameters. 4 and 64 give 1,272,450, and every
        4x4 block of the enlarged map comes from one cell of fire9; 8 and 16 give 1,266,258 and blocks that overlap. The
        default is the simplest layer that does what the text says: see docs/light_cnn.md.

    Raises
    ------
    ArgumentError
        For an upsample_kernel that is odd or below 4. The network's ``forward`` raises a ShapeError for other image sizes.

    Returns
    -------
    Graph
        For images of 227x227 pixels; any with sides of 16k + 1 to 16k + 4 fit, from 17 on.

    Examples
    --------
    >>> net = light_cnn(seed=0)
    >>> sum(p.size for p in net.params.values())
    1272450
    >>> net.shapes((1, 131, 131, 3))["concat"]
    (1, 32, 32, 192)
    """
    if upsample_kernel < 4 or upsample_kernel % 2:
        raise ArgumentError(f"upsample_kernel {upsample_kernel}: expected an even number, at least the stride of 4")
    rng = np.random.default_rng(seed)
    g = Graph(input_shape=(227, 227, 3), sizes=SIZES, meta=default_meta())
    x = g.add("conv1", Conv2D(3, 64, kernel=3, stride=2, seed=rng), "image")       # 113x113x64
    x = g.add("conv1_elu", ELU(), x)
    x = g.add("pool1", MaxPool2D(3, stride=2, ceil_mode=True), x)                  # 56x56x64
    x = fire(g, x, "fire2", squeeze=16, expand=64, rng=rng)                        # 56x56x128
    fine = fire(g, x, "fire3", squeeze=16, expand=64, rng=rng)
    x = g.add("pool3", MaxPool2D(3, stride=2, ceil_mode=True), fine)               # 28x28x128
    x = fire(g, x, "fire4", squeeze=32, expand=128, rng=rng)                       # 28x28x256
    x = fire(g, x, "fire5", squeeze=32, expand=128, rng=rng)
    x = g.add("pool5", MaxPool2D(3, stride=2, ceil_mode=True), x)                  # 14x14x256
    x = fire(g, x, "fire6", squeeze=48, expand=192, rng=rng)                       # 14x14x384
    x = fire(g, x, "fire7", squeeze=48, expand=192, rng=rng)
    x = fire(g, x, "fire8", squeeze=64, expand=256, rng=rng)                       # 14x14x512
    x = fire(g, x, "fire9", squeeze=64, expand=256, rng=rng)
    crop = (upsample_kernel - 4) // 2                                              # so that the side is exactly 4 times 14
    up = ConvTranspose2D(512, upsample_channels, upsample_kernel, stride=4, padding=crop, seed=rng)
    x = g.add("upsample", up, x)                                                   # 56x56x64
    x = g.add("concat", Concat(), x, fine)                                         # 56x56x192; fire3 has a second reader
    x = g.add("mix", Conv2D(upsample_channels + 128, 128, kernel=1, seed=rng), x)  # 56x56x128, the "weighted sum"
    x = g.add("mix_elu", ELU(), x)
    x = g.add("gap", GlobalAvgPool(), x)                                           # 128
    g.add("fc", Dense(128, classes, seed=rng), x)
    return g
