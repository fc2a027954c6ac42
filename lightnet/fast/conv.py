"""Convolution on the register tile (``kernels/tile.py``): no columns are made, but for some gradients (``products.py``,
``pooled.py``)."""

from ..kernels import memory
from ..kernels.images import is_even, regular
from ..kernels.threads import later
from ..kernels.tile import ELU, STORE
from . import fire as fire_module
from . import pointwise, pooled, products, winograd
from .activation import finish


def forward(layer, x, training=False, out=None, elu=False, pool=None, postponed=False):
    """``y = im2col(x) @ W + b``, or with ``elu`` its ELU, while it is in registers; keeps x. With ``pool``: see ``pooled.py``.

    ``postponed``: keep x and return ``out`` as it is, a max pool will compute it (``fire.py``).
    """
    if pool:
        return pooled.forward(layer, x, pool, training, out)
    shape = layer.output_shape(x.shape)
    weight, bias = products.parameters(layer, (layer.in_channels, layer.out_channels))
    x, ending = regular(x), ELU if elu else STORE
    if training:
        layer.cache = (x,)
    if postponed:
        return out
    y = memory.empty(shape) if out is None else out
    if winograd.serves(layer):
        job = winograd.correlation(x, weight, bias, layer.padding, y, ending)
    else:
        job = products.correlation(x, weight, bias, layer.stride, layer.padding, y, ending)
    later(job, len(x))
    return y


def backward(layer, dy, elu=None, pool=None, to_image=True, onto=None, x_elu=None, fire=None, postponed=False):
    """``dW = im2col(x).T @ dy``, ``db = sum of dy``, ``dx = col2im(dy @ W.T)``.

    ``elu``: the layer whose slope dy has still to be multiplied by, maybe in place. ``pool``: the MaxPool2D whose dy this is.
    Without ``to_image`` nobody wants dx; where it is work of its own, it is left out. ``onto``, ``x_elu``: see
    ``activation.finish``. ``fire``, ``postponed``: see ``fire.py``.
    """
    if postponed:
        return dy
    if fire:
        return fire_module.backward(layer, dy, fire, x_elu)
    (x,) = layer.cache
    in_blocks = not pool and pointwise.serves(layer)
    if not (in_blocks and elu and is_even(dy)):
        dy = regular(dy)
    dx, weight = memory.empty(x.shape), layer.params["weight"]
    if pool:
        job = pooled.gradients(layer, x, dy, pool, dx, to_image)
    elif winograd.serves(layer):
        job = winograd.gradients(x, dy, weight, layer.padding, dx, elu)
    elif in_blocks:
        job = pointwise.gradients(x, dy, weight, dx, elu, onto, x_elu)
    else:
        job = products.gradients(products.to_input(layer, dy, dx, to_image), products.to_weight(layer, x, dy), dy, weight, elu)
    later(job, len(x), lambda pairs: layer.grads.update(products.added(pairs, weight.shape)))
    if not in_blocks:
        finish(dx, x, onto, x_elu)
    return dx if to_image else None
