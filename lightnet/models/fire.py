"""Fire modules: squeeze the image to few channels by 1x1 kernels, then expand it by 1x1 and by 3x3 kernels side by side.

The 3x3 kernels, which cost nine times as much, so see few channels. Each function adds its nodes to a Graph and returns the
name of the last: a value of ``2 * expand`` channels.
"""

from ..layers import ELU, BatchNorm2D, Concat, Conv2D, ReLU


def classic_fire(g, x, name, squeeze, expand, rng):
    """SqueezeNet's own (Iandola et al. 2016, figure 1): a ReLU after each convolution."""
    channels = g.shapes()[x][-1]
    s = g.add(f"{name}/squeeze", Conv2D(channels, squeeze, kernel=1, seed=rng), x)
    s = g.add(f"{name}/squeeze_relu", ReLU(), s)
    a = g.add(f"{name}/expand1x1", Conv2D(squeeze, expand, kernel=1, seed=rng), s)
    a = g.add(f"{name}/expand1x1_relu", ReLU(), a)
    b = g.add(f"{name}/expand3x3", Conv2D(squeeze, expand, kernel=3, padding=1, seed=rng), s)
    b = g.add(f"{name}/expand3x3_relu", ReLU(), b)
    return g.add(f"{name}/concat", Concat(), a, b)


def fire(g, x, name, squeeze, expand, rng):
    """The paper's (Polsinelli et al. 2020, figure 3): batch norm after the squeeze, and ELU instead of ReLU."""
    channels = g.shapes()[x][-1]
    s = g.add(f"{name}/squeeze", Conv2D(channels, squeeze, kernel=1, seed=rng), x)     # its bias: batch norm undoes it
    s = g.add(f"{name}/squeeze_bn", BatchNorm2D(squeeze), s)
    s = g.add(f"{name}/squeeze_elu", ELU(), s)
    a = g.add(f"{name}/expand1x1", Conv2D(squeeze, expand, kernel=1, seed=rng), s)
    a = g.add(f"{name}/expand1x1_elu", ELU(), a)
    b = g.add(f"{name}/expand3x3", Conv2D(squeeze, expand, kernel=3, padding=1, seed=rng), s)
    b = g.add(f"{name}/expand3x3_elu", ELU(), b)
    return g.add(f"{name}/concat", Concat(), a, b)
