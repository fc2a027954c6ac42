"""SqueezeNet v1.1, the paper's baseline: fire modules, three pools, a 1x1 convolution to the classes, one average.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model size", 2016
(arXiv:1602.07360), figure 2, in the smaller version 1.1 that its authors published with their code. The three kinds of
bypass are the three columns of that figure.
"""

import numpy as np

from ..data.prepare import default_meta
from ..errors import ArgumentError
from ..graph import Graph
from ..layers import ELU, Add, Conv2D, Dropout, GlobalAvgPool, MaxPool2D, ReLU
from .fire import classic_fire, fire

BYPASSES = ("none", "simple", "complex")
FIRES = {"classic": (classic_fire, ReLU), "custom": (fire, ELU)}       # the fire module, and the activation elsewhere


def squeezenet(bypass="none", fire="classic", classes=1000, head_relu=True, seed=0):
    """SqueezeNet v1.1 in one of twelve forms.

    Parameters
    ----------
    bypass : "none", "simple" or "complex"
        "simple" adds the input of fire3, 5, 7 and 9 to its output; these four keep the number of channels. "complex" does
        the same for the other four, through a 1x1 convolution. No activation follows the addition.
    fire : "classic" or "custom"
        "classic": without batch norm, ReLU everywhere. "custom": light_cnn's fire module with batch norm, and ELU in place
        of every ReLU but the last.
    classes : int
    head_relu : bool
        Whether the ReLU after conv10 stands, as in the original. With few classes it can leave all logits at 0, and then no
        gradient ever comes back: the loss stays at ln 2 for two classes. False leaves it out.
    seed : int or numpy.random.Generator
        Of the initial weights, and of dropout's masks.

    Returns
    -------
    Graph
        1,235,496 parameters with 1000 classes, no bypass and classic fires.

    Raises
    ------
    ArgumentError
        For another bypass or fire.

    Examples
    --------
    >>> net = squeezenet(bypass="simple", fire="custom", classes=2)
    >>> net.shapes()["conv10"], net.nodes["fire3/add"].inputs
    ((1, 14, 14, 2), ('fire3/concat', 'fire2/concat'))
    """
    if bypass not in BYPASSES or fire not in FIRES:
        raise ArgumentError(f"bypass {bypass!r}, fire {fire!r}: expected one of {BYPASSES} and one of {tuple(FIRES)}")
    add_fire, activation = FIRES[fire]
    rng = np.random.default_rng(seed)
    g = Graph(input_shape=(227, 227, 3), meta=default_meta())

    def block(x, name, squeeze, expand):
        """A fire module with its bypass."""
        y = add_fire(g, x, name, squeeze, expand, rng)
        widens = g.shapes()[x][-1] != g.shapes()[y][-1]
        if bypass == "none" or (widens and bypass == "simple"):
            return y
        if widens:
            x = g.add(f"{name}/bypass", Conv2D(g.shapes()[x][-1], 2 * expand, kernel=1, seed=rng), x)
        return g.add(f"{name}/add", Add(), y, x)

    x = g.add("conv1", Conv2D(3, 64, kernel=3, stride=2, seed=rng), "image")       # 113x113x64
    x = g.add(f"conv1_{activation.__name__.lower()}", activation(), x)
    x = g.add("pool1", MaxPool2D(3, stride=2, ceil_mode=True), x)                  # 56x56x64
    x = block(x, "fire2", squeeze=16, expand=64)                                   # 56x56x128
    x = block(x, "fire3", squeeze=16, expand=64)
    x = g.add("pool3", MaxPool2D(3, stride=2, ceil_mode=True), x)                  # 28x28x128
    x = block(x, "fire4", squeeze=32, expand=128)                                  # 28x28x256
    x = block(x, "fire5", squeeze=32, expand=128)
    x = g.add("pool5", MaxPool2D(3, stride=2, ceil_mode=True), x)                  # 14x14x256
    x = block(x, "fire6", squeeze=48, expand=192)                                  # 14x14x384
    x = block(x, "fire7", squeeze=48, expand=192)
    x = block(x, "fire8", squeeze=64, expand=256)                                  # 14x14x512
    x = block(x, "fire9", squeeze=64, expand=256)
    x = g.add("dropout", Dropout(0.5, seed=rng.spawn(1)[0]), x)
    x = g.add("conv10", Conv2D(512, classes, kernel=1, seed=rng), x)               # 14x14xclasses
    conv10 = g.nodes[x].layer.params["weight"]
    conv10[:] = rng.normal(scale=0.01, size=conv10.shape)                          # as in the original: small logits at first
    if head_relu:
        x = g.add("conv10_relu", ReLU(), x)
    g.add("gap", GlobalAvgPool(), x)                                               # classes
    return g
