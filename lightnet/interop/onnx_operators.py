"""ONNX's operators as lightnet's layers: attributes and NCHW weights in, a layer in NHWC out.

What `onnx_import` puts into a Graph and `onnx_backend` runs at once. ONNX writes a convolution's weight (F, C, KH, KW), padding
as [top, left, bottom, right], and has modes that leave the padding to be worked out from the image's size.

Source: https://onnx.ai/onnx/operators, of which each function's comment names its peculiarities.
"""

import numpy as np

from ..errors import ShapeError
from ..layers import AvgPool2D, BatchNorm2D, Conv2D, ConvTranspose2D, MaxPool2D


def conv(attributes, weight, bias, image):
    """``Conv`` with weight (F, C, KH, KW) for an image (N, H, W, C)."""
    expect_single(attributes, "dilations", "group")
    F, C, *kernel = weight.shape
    stride = sides(attributes, "strides")
    layer = Conv2D(C, F, kernel, stride, padding(attributes, image[1:3], kernel, stride))
    return with_weights(layer, weight.transpose(2, 3, 1, 0), bias)


def conv_transpose(attributes, weight, bias, image):
    """``ConvTranspose`` with weight (C, F, KH, KW): the weight of the convolution whose adjoint it is, as in lightnet."""
    expect_single(attributes, "dilations", "group")
    C, F, *kernel = weight.shape
    stride, extra = sides(attributes, "strides"), sides(attributes, "output_padding", 0)
    grown = [(size - 1) * step + side + more for size, step, side, more in zip(image[1:3], stride, kernel, extra)]
    wanted = attributes.get("output_shape")
    if wanted is None and attributes.get("auto_pad", "NOTSET").startswith("SAME"):
        wanted = [size * step for size, step in zip(image[1:3], stride)]
    if wanted is None:
        crop = padding(attributes, image[1:3], kernel, stride)
    else:                                                               # the size is given, and the padding follows
        cut = [have - want for have, want in zip(grown, wanted[-2:])]
        extra = [more + max(0, -missing) for more, missing in zip(extra, cut)]
        upper = attributes.get("auto_pad", "NOTSET") == "SAME_UPPER"
        crop = tuple(halves(max(0, side), not upper) for side in cut)   # the larger half first, unless SAME_UPPER
    layer = ConvTranspose2D(C, F, kernel, stride, crop, extra)
    return with_weights(layer, weight.transpose(2, 3, 1, 0), bias)


def batch_norm(attributes, scale, shift, mean, variance):
    """``BatchNormalization``: its momentum is the old value's share, lightnet's the new one's."""
    layer = BatchNorm2D(len(scale), float(attributes.get("epsilon", 1e-5)), 1 - float(attributes.get("momentum", 0.9)))
    layer.params.update(scale=np.array(scale), shift=np.array(shift))
    layer.state.update(running_mean=np.array(mean), running_var=np.array(variance))
    return layer


def max_pool(attributes, image):
    """``MaxPool`` of an image (N, H, W, C)."""
    return MaxPool2D(*window(attributes, image))


def average_pool(attributes, image):
    """``AveragePool``."""
    return AvgPool2D(*window(attributes, image), count_include_pad=bool(attributes.get("count_include_pad", 0)))


def window(attributes, image):
    """A pool's kernel, stride, padding and ceil_mode."""
    expect_single(attributes, "dilations", "storage_order")
    kernel, stride = attributes["kernel_shape"], sides(attributes, "strides")
    return kernel, stride, padding(attributes, image[1:3], kernel, stride), bool(attributes.get("ceil_mode", 0))


def padding(attributes, size, kernel, stride):
    """((top, bottom), (left, right)), given or worked out: SAME means as many windows as steps of the stride fit the image."""
    mode = attributes.get("auto_pad", "NOTSET")
    if mode == "VALID":
        return (0, 0), (0, 0)
    if mode == "NOTSET":
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
        return (top, bottom), (left, right)
    missing = [max(0, (-(-pixels // step) - 1) * step + side - pixels) for pixels, step, side in zip(size, stride, kernel)]
    return tuple(halves(total, mode == "SAME_LOWER") for total in missing)


def halves(total, larger_first):
    """An amount of padding before and after."""
    small, large = total // 2, total - total // 2
    return (large, small) if larger_first else (small, large)


def sides(attributes, name, default=1):
    """An attribute of two numbers."""
    return tuple(attributes.get(name, (default, default)))


def expect_single(attributes, *names):
    """Refuse what lightnet's layers do not have."""
    for name in names:
        plain = 0 if name == "storage_order" else 1
        if np.any(np.array(attributes.get(name, plain)) != plain):
            raise ShapeError(f"{name} {attributes[name]} is not supported, only {plain}")


def with_weights(layer, weight, bias):
    """The layer with these parameters, in their precision."""
    layer.params["weight"] = np.ascontiguousarray(weight)
    layer.params["bias"] = np.zeros(layer.params["bias"].shape, weight.dtype) if bias is None else np.array(bias)
    return layer
