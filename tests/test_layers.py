"""Every layer, over random shapes, kernels, strides and paddings: against plain loops, numerical gradients, its contract."""

import numpy as np
import pytest

import lightnet as ln
from lightnet import loops
from lightnet.layers import (
    ELU,
    Add,
    AvgPool2D,
    BatchNorm2D,
    Concat,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool2D,
    ReLU,
)
from lightnet.layers.conv import col2im, im2col


def some(rng, low, high):
    return int(rng.integers(low, high + 1))


def random_window(rng):
    """Kernel, stride and four paddings, none of them square."""
    kernel = some(rng, 1, 4), some(rng, 1, 4)
    padding = tuple(tuple(some(rng, 0, size - 1) for _ in range(2)) for size in kernel)
    return kernel, (some(rng, 1, 3), some(rng, 1, 3)), padding


def random_image(rng, channels):
    return some(rng, 1, 3), some(rng, 5, 8), some(rng, 5, 8), channels


def random_conv(rng):
    kernel, stride, padding = random_window(rng)
    if rng.random() < 0.2:
        kernel, stride, padding = 1, 1, 0                   # the case without im2col
    return Conv2D(3, some(rng, 1, 4), kernel, stride, padding, seed=rng), [random_image(rng, 3)]


def random_conv_transpose(rng):
    kernel, stride, padding = random_window(rng)
    output_padding = tuple(some(rng, 0, step - 1) for step in stride)
    return ConvTranspose2D(3, some(rng, 1, 3), kernel, stride, padding, output_padding, seed=rng), [random_image(rng, 3)]


def random_max_pool(rng):
    return MaxPool2D(*random_window(rng), ceil_mode=rng.random() < 0.5), [random_image(rng, 2)]


def random_avg_pool(rng):
    layer = AvgPool2D(*random_window(rng), ceil_mode=rng.random() < 0.5, count_include_pad=rng.random() < 0.5)
    return layer, [random_image(rng, 2)]


def random_batch_norm(rng):
    layer = BatchNorm2D(3, eps=1e-3)
    layer.params["scale"][:], layer.params["shift"][:] = rng.standard_normal((2, 3))
    return layer, [random_image(rng, 3)]


RANDOM = {
    "Conv2D": random_conv,
    "ConvTranspose2D": random_conv_transpose,
    "MaxPool2D": random_max_pool,
    "AvgPool2D": random_avg_pool,
    "BatchNorm2D": random_batch_norm,
    "GlobalAvgPool": lambda rng: (GlobalAvgPool(), [random_image(rng, 2)]),
    "ELU": lambda rng: (ELU(alpha=float(rng.uniform(0.2, 2))), [random_image(rng, 2)]),
    "ReLU": lambda rng: (ReLU(), [random_image(rng, 2)]),
    "Concat": lambda rng: (Concat(), [(2, 3, 4, some(rng, 1, 3)) for _ in range(some(rng, 2, 4))]),
    "Add": lambda rng: (Add(), [random_image(rng, 2)] * some(rng, 2, 4)),
    "Flatten": lambda rng: (Flatten(), [random_image(rng, 2)]),
    "Dropout": lambda rng: (Dropout(float(rng.uniform(0, 0.9)), seed=some(rng, 0, 99)), [random_image(rng, 2)]),
    "Dense": lambda rng: (Dense(5, some(rng, 1, 4), seed=rng), [(some(rng, 1, 4), 5)]),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_contract_and_gradients(kind):
    """`check_layer` on random configurations; every gradient within 1e-6 of the numerical one."""
    for seed in range(12):
        layer, shapes = RANDOM[kind](np.random.default_rng(seed))
        report = ln.check_layer(layer, *shapes, seed=seed)
        assert report, f"seed {seed}, inputs {shapes}: {report}"
        assert report.worst <= 1e-6
        assert report.errors.keys() >= layer.params.keys()


def test_every_layer_is_in_these_tests():
    assert set(RANDOM) == set(ln.layers.__all__) - {"Layer"}


def expected_by_loops(layer, x):
    """What ``loops.py`` says that the layer computes."""
    p = layer.params
    if isinstance(layer, Conv2D):
        return loops.conv2d(x, p["weight"], p["bias"], layer.stride, layer.padding)
    if isinstance(layer, ConvTranspose2D):
        return loops.conv_transpose2d(x, p["weight"], p["bias"], layer.stride, layer.padding, layer.output_padding)
    if isinstance(layer, MaxPool2D):
        return loops.pool2d(x, layer.kernel, layer.stride, layer.padding, layer.ceil_mode, loops.largest)
    if isinstance(layer, AvgPool2D):
        reduce = loops.mean_with_padding if layer.count_include_pad else loops.mean
        return loops.pool2d(x, layer.kernel, layer.stride, layer.padding, layer.ceil_mode, reduce)
    if isinstance(layer, BatchNorm2D):
        return loops.batch_norm(x, p["scale"], p["shift"], layer.eps)
    return loops.elu(x, layer.alpha)


@pytest.mark.parametrize("kind", ["Conv2D", "ConvTranspose2D", "MaxPool2D", "AvgPool2D", "BatchNorm2D", "ELU"])
def test_against_loops(kind):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        layer, (shape,) = RANDOM[kind](rng)
        layer = layer.astype("float64")
        if "bias" in layer.params:
            layer.params["bias"][:] = rng.standard_normal(layer.params["bias"].shape)
        x = rng.standard_normal(shape)
        np.testing.assert_allclose(layer.forward(x, training=True), expected_by_loops(layer, x), rtol=1e-10, atol=1e-12,
                                   err_msg=f"seed {seed}: {layer} of {shape}")


def test_col2im_is_the_adjoint_of_im2col():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        window, x = random_window(rng), rng.standard_normal(random_image(rng, 2))
        cols = im2col(x, *window)
        g = rng.standard_normal(cols.shape)
        assert np.vdot(cols, g) == pytest.approx(np.vdot(x, col2im(g, x.shape, *window)), rel=1e-10), (window, x.shape)


def test_transposed_convolution_is_the_adjoint_of_convolution():
    """<conv(u), x> = <u, conv_transpose(x)> for one and the same weight array."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        up, (shape,) = random_conv_transpose(rng)
        up = up.astype("float64")
        down = Conv2D(up.out_channels, up.in_channels, up.kernel, up.stride, up.padding).astype("float64")
        down.params["weight"][:] = up.params["weight"]
        x, u = rng.standard_normal(shape), rng.standard_normal(up.output_shape(shape))
        assert down.output_shape(u.shape) == shape
        assert np.vdot(down.forward(u), x) == pytest.approx(np.vdot(u, up.forward(x)), rel=1e-10), (up, shape)


def test_max_pool_gives_a_tie_to_the_first():
    layer = MaxPool2D(2)
    layer.forward(np.ones((1, 2, 2, 1)), training=True)
    assert layer.backward(np.full((1, 1, 1, 1), 7.0)).ravel().tolist() == [7, 0, 0, 0]


def test_max_pool_ignores_padding_below_zero():
    x = np.full((1, 2, 2, 1), -5.0)
    assert (MaxPool2D(2, padding=1).forward(x) == -5).all()


def test_batch_norm_statistics_run():
    """running = 0.9 * running + 0.1 * batch, biased variance; inference uses them and leaves them."""
    rng = np.random.default_rng(0)
    layer, x = BatchNorm2D(2).astype("float64"), rng.standard_normal((3, 4, 5, 2)) * [2, 3] + [1, -1]
    for _ in range(2):
        layer.forward(x, training=True)
    mean, var = x.reshape(-1, 2).mean(axis=0), x.reshape(-1, 2).var(axis=0)
    np.testing.assert_allclose(layer.state["running_mean"], 0.19 * mean)
    np.testing.assert_allclose(layer.state["running_var"], 0.81 + 0.19 * var)
    y = layer.forward(x)
    np.testing.assert_allclose(y, (x - 0.19 * mean) / np.sqrt(0.81 + 0.19 * var + 1e-5))
    np.testing.assert_allclose(layer.state["running_mean"], 0.19 * mean)


def test_batch_norm_of_many_pixels():
    """A constant channel gives 0: added one by one in float32, its 400,000 numbers would not have their own mean."""
    layer = BatchNorm2D(1)
    y = layer.forward(np.full((32, 113, 113, 1), 3.3, np.float32), training=True)
    assert np.abs(y).max() < 1e-3 and layer.state["running_var"] == pytest.approx(0.9)
    layer.backward(np.full(y.shape, 0.1, np.float32))
    assert layer.grads["shift"] == pytest.approx(0.1 * y.size, rel=1e-6)


@pytest.mark.parametrize("kind, arguments", [(ELU, [1.0]), (BatchNorm2D, [3, 1e-5, 0.1]), (Dropout, [0.5])])
def test_a_number_of_numpys_does_not_change_the_precision(kind, arguments):
    """With one of its float64 scalars NumPy would compute in float64 from there on."""
    layer = kind(*(np.float64(one) if isinstance(one, float) else one for one in arguments))
    x = np.ones((2, 3, 3, 3), np.float32)
    y = layer.forward(x, training=True)
    assert y.dtype == layer.backward(x).dtype == layer.forward(x).dtype == np.float32


def test_batch_norm_undoes_a_bias_and_a_stretch():
    """dx has no part along the constant and none along xhat."""
    rng = np.random.default_rng(0)
    layer, x, dy = BatchNorm2D(3, eps=0).astype("float64"), rng.standard_normal((2, 4, 4, 3)), rng.standard_normal((2, 4, 4, 3))
    y = layer.forward(x, training=True)
    dx = layer.backward(dy)
    np.testing.assert_allclose(dx.sum(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose((dx * y).sum(axis=(0, 1, 2)), 0, atol=1e-12)
    assert np.abs(dx).max() > 0.1


def test_dropout_keeps_the_expected_value_and_drops_anew():
    layer, x = Dropout(0.3, seed=0), np.ones((100, 100), np.float32)
    a, b = layer.forward(x, training=True), layer.forward(x, training=True)
    assert a.mean() == pytest.approx(1, abs=0.02) and (a == 0).mean() == pytest.approx(0.3, abs=0.02)
    assert not np.array_equal(a, b)
    assert layer.forward(x) is x


def test_he_initialization_keeps_the_signal():
    """Through ten 3x3 convolutions with ReLU the mean square stays within a factor of 2; also through a transposed one."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 16, 16, 64))
    for _ in range(10):
        x = np.maximum(Conv2D(64, 64, 3, padding=1, seed=rng).forward(x)[:, 1:-1, 1:-1], 0) if x.shape[1] > 6 else x
    assert 0.5 < np.square(x).mean() < 2
    y = ConvTranspose2D(64, 32, 4, stride=4, seed=rng).forward(np.maximum(rng.standard_normal((2, 8, 8, 64)), 0))
    assert 0.8 < np.square(y).mean() < 1.2


@pytest.mark.parametrize("layer, shape, words", [
    (Conv2D(3, 4, 3), (2, 8, 8, 4), "(N, H, W, 3)"),
    (Conv2D(3, 4, 3), (8, 8, 3), "x[None]"),
    (Conv2D(3, 4, 5), (1, 4, 8, 3), "smaller than the kernel"),
    (ConvTranspose2D(3, 4, 2, padding=1), (1, 1, 1, 3), "leaves nothing"),
    (MaxPool2D(3), (1, 2, 8, 3), "smaller than the window"),
    (BatchNorm2D(3), (1, 2, 8, 4), "(N, H, W, 3)"),
    (Dense(5, 2), (1, 1, 1, 5), "GlobalAvgPool"),
    (GlobalAvgPool(), (1, 0, 3, 2), "at least 1x1"),
])
def test_shapes_that_do_not_fit(layer, shape, words):
    """The same typed error from forward and from output_shape."""
    for attempt in (lambda: layer.forward(np.zeros(shape, np.float32)), lambda: layer.output_shape(shape)):
        with pytest.raises(ln.ShapeError, match=r".*") as error:
            attempt()
        assert words in str(error.value)


@pytest.mark.parametrize("make", [
    lambda: Conv2D(3, 4, (1, 2, 3)), lambda: Conv2D(3, 4, 3, padding=(1, 2, 3)), lambda: ConvTranspose2D(3, 4, 3, 2, 0, 1.5),
    lambda: ConvTranspose2D(3, 4, 3, 2, 0, (1,)),
    lambda: Conv2D(3, 4, 0), lambda: Conv2D(3, 4, 3, stride=0), lambda: Conv2D(3, 4, 3, padding=-1),
    lambda: MaxPool2D(2, padding=2), lambda: ConvTranspose2D(3, 4, 3, stride=2, output_padding=2),
    lambda: Dropout(1.0), lambda: Concat().output_shape((1, 2, 2, 3), (1, 2, 3, 3)), lambda: Add().output_shape((1, 2), (1, 3)),
])
def test_arguments_that_do_not_fit(make):
    with pytest.raises(ln.LightnetError, match=r"expected|must be"):
        make()
