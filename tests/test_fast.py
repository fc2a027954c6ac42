"""Fast versions of layers: equal to the layers, chosen when they should be, the same on any number of threads."""

from unittest.mock import Mock, patch

import numpy as np
import pytest
from test_layers import RANDOM

import lightnet as ln
from lightnet import backend as backend_class
from lightnet.backend import run_backward, run_forward, version_for, version_that_ran
from lightnet.fast import VERSIONS, pointwise, products, strassen
from lightnet.fast import conv as fast_conv
from lightnet.kernels import fire as fire_kernel
from lightnet.kernels import winograd
from lightnet.kernels.threads import groups
from lightnet.layers import (
    ELU,
    Add,
    BatchNorm2D,
    Concat,
    Conv2D,
    ConvTranspose2D,
    Dense,
    GlobalAvgPool,
    Layer,
    MaxPool2D,
    ReLU,
)


@pytest.fixture(autouse=True)
def threads_as_before():
    yield
    ln.set_num_threads(1)


def both(layer, *xs, seed=0, layout=lambda dy: dy):
    """(y, dx, gradients) of the layer's own code and of its fast version, for float32 inputs."""
    results = []
    for name in ("numpy", "numba"):
        with ln.backend(name):
            y = run_forward(layer, *xs, training=True)
            dy = np.random.default_rng(seed).standard_normal(y.shape, dtype=np.float32)
            dx = run_backward(layer, layout(dy))
            assert (version_that_ran(layer) is type(layer)) == (name == "numpy")
            results.append((y, dx, dict(layer.grads)))
    return results


def random_layer(kind, rng):
    """One of that kind and its inputs' shapes, with a bias, which a new layer has not."""
    layer, shapes = RANDOM[kind](rng)
    if "bias" in layer.params:
        layer.params["bias"][:] = rng.standard_normal(layer.params["bias"].shape)
    return layer, shapes


def agree(layer, *xs, **how):
    (y, dx, grads), (fast_y, fast_dx, fast_grads) = both(layer, *xs, **how)
    inputs = zip(*(d if isinstance(d, tuple) else (d,) for d in (dx, fast_dx)))
    for name, a, b in [("y", y, fast_y), *(("dx", *pair) for pair in inputs),
                       *((key, grads[key], fast_grads[key]) for key in grads)]:
        assert b.dtype == np.float32
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * max(np.abs(a).max(), 1),
                                   err_msg=f"{name} of {layer}, {[x.shape for x in xs]}")


@pytest.mark.parametrize("kind", sorted(cls.__name__ for cls in VERSIONS))
def test_equal_over_random_shapes(kind, seeds=25):
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        layer, shapes = random_layer(kind, rng)
        agree(layer, *(rng.standard_normal(shape, dtype=np.float32) for shape in shapes), seed=seed)


def channels_of_a_wider_array(x):
    wide = np.full((*x.shape[:-1], x.shape[-1] + 5), 99, np.float32)
    wide[..., 2:-3] = x
    return wide[..., 2:-3]


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "channels of a wider array": channels_of_a_wider_array,
    "transposed": lambda x: np.ascontiguousarray(x.swapaxes(1, -2)).swapaxes(1, -2) if x.ndim == 4 else np.asfortranarray(x),
    "channels first": lambda x: np.ascontiguousarray(np.moveaxis(x, -1, 1)).transpose(0, 2, 3, 1) if x.ndim == 4 else x,
    "backwards": lambda x: np.ascontiguousarray(x[::-1, ..., ::-1])[::-1, ..., ::-1],
    "every other image": lambda x: np.repeat(x, 2, axis=0)[::2],
    "read-only": read_only,
}


@pytest.mark.parametrize("kind", sorted(cls.__name__ for cls in VERSIONS))
def test_any_layout_of_memory_gives_the_same(kind):
    """Forward and backward of arrays that lie in memory in another way, which nobody writes."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        layer, shapes = random_layer(kind, rng)
        xs = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
        y = run_forward(layer, *xs, training=True)
        dy = rng.standard_normal(y.shape, dtype=np.float32)
        dx, grads = run_backward(layer, dy), dict(layer.grads)
        for name, layout in LAYOUTS.items():
            others, other_dy = [layout(x) for x in xs], layout(dy)
            results = run_forward(layer, *others, training=True), run_backward(layer, other_dy)
            for a, b in [(y, results[0]), *pairs_of(dx, results[1]), *((grads[key], layer.grads[key]) for key in grads)]:
                np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5, err_msg=f"{name}: {layer}, {shapes}")
            assert all(np.array_equal(*pair) for pair in zip([*xs, dy], [*others, other_dy])), f"{name}: {layer} writes its input"
            for part in (x.base for x in [*others, other_dy] if name == "channels of a wider array"):
                assert (part[..., :2] == 99).all() and (part[..., -3:] == 99).all(), f"{layer} writes beside its input"


@pytest.mark.parametrize("kind", sorted(cls.__name__ for cls in VERSIONS))
def test_images_whose_pixels_are_all_one(kind):
    """In memory as well, as a global average's gradient is; but images may lie there in any order. Or one is all of them."""
    def one_pixel(x):
        return np.broadcast_to(x[:, :1, :1], x.shape) if x.ndim == 4 else x

    for layout in one_pixel, lambda x: one_pixel(x)[::-1], lambda x: np.broadcast_to(x[:1], x.shape):
        for seed in range(4):
            rng = np.random.default_rng(seed)
            layer, shapes = random_layer(kind, rng)
            agree(layer, *(layout(rng.standard_normal((3, *shape[1:]), dtype=np.float32)) for shape in shapes), layout=layout)


@pytest.mark.parametrize("kind", sorted(cls.__name__ for cls in VERSIONS))
def test_no_images_give_no_outputs(kind):
    layer, shapes = RANDOM[kind](np.random.default_rng(0))
    for axes in (2, 3, 4) if kind in ("ELU", "ReLU", "Concat", "Add") else [len(shapes[0])]:
        xs = [np.empty((0, *shape[1:axes - 1], shape[-1]), np.float32) for shape in shapes]
        assert run_forward(layer, *xs).shape == layer.output_shape(*(x.shape for x in xs))


def pairs_of(a, b):
    return zip(a, b) if isinstance(a, tuple) else [(a, b)]


@pytest.mark.parametrize("layer", [Conv2D(64, 32, 3, padding=1, seed=0), Conv2D(64, 16, 1, seed=0),
                                   ConvTranspose2D(64, 8, 4, stride=4, seed=0), MaxPool2D(3, 2, ceil_mode=True), ELU()])
def test_equal_at_the_networks_sizes(layer):
    agree(layer, np.random.default_rng(0).standard_normal((5, 28, 28, 64), dtype=np.float32))


def test_elu_is_precise_everywhere():
    """Within four units in the last place of float64's expm1, from the smallest numbers to where it is -1."""
    x = -np.geomspace(1e-30, 100, 20_000, dtype=np.float32)
    with ln.backend("numba"):
        y = run_forward(ELU(), x)
    exact = np.expm1(x.astype(np.float64))
    np.testing.assert_allclose(y, exact, rtol=5e-7)
    assert y[-1] == pytest.approx(-1, abs=1e-6)
    special = np.float32([0, 3, np.inf, -np.inf])
    with ln.backend("numba"):
        np.testing.assert_allclose(run_forward(ELU(), special), [0, 3, np.inf, -1], atol=2e-7)


def test_nan_is_not_swallowed():
    """A diverged training must show: NaN comes out of every fast version."""
    x = np.zeros((1, 6, 6, 3), np.float32)
    x[0, 3, 3, 1] = np.nan
    for layer in (Conv2D(3, 2, 3, seed=0), ConvTranspose2D(3, 2, 2, seed=0), MaxPool2D(2), ELU()):
        with ln.backend("numba"):
            assert np.isnan(run_forward(layer, x)).any(), layer


@pytest.mark.parametrize("C", [1, 7, 8, 31, 64, 73, 201])
@pytest.mark.parametrize("kernel", [2, 3])
def test_max_pool_of_numbers_that_are_not_finite(C, kernel):
    """The first NaN wins over infinity; infinities of both signs, whose sum would be NaN, are numbers like others."""
    rng = np.random.default_rng(C)
    x = rng.standard_normal((2, 13, 11, C), dtype=np.float32)
    for value in (np.inf, -np.inf, np.nan):
        x[rng.random(x.shape) < 0.07] = value
    (y, dx, _), (fast_y, fast_dx, _) = both(MaxPool2D(kernel, 2), x)
    np.testing.assert_array_equal(fast_y, y)
    np.testing.assert_allclose(fast_dx, dx, atol=1e-6)


def test_max_pool_ties_go_to_the_first():
    agree(MaxPool2D(3, 2, padding=1), np.zeros((2, 7, 7, 3), np.float32))
    agree(MaxPool2D(3, 2, padding=1), np.full((2, 7, 7, 3), -np.inf, np.float32).clip(-1e30))


def test_float64_and_subclasses_run_the_layer_itself():
    class Mine(ELU):
        pass
    x = np.zeros((1, 2, 2, 3))
    assert version_for(ELU(), x) is ELU
    assert version_for(ELU(), x.astype(np.float32)) is VERSIONS[ELU]
    assert version_for(Mine(), x.astype(np.float32)) is Mine
    assert version_for(Dense(2, 2), np.zeros((1, 2), np.float32)) is Dense


@pytest.mark.parametrize("change", [lambda w: w.astype(np.float64), np.asfortranarray], ids=["float64", "Fortran's order"])
@pytest.mark.parametrize("kind, F, kernel", [(Conv2D, 16, 3), (Conv2D, 8, 1), (ConvTranspose2D, 16, 2)])
def test_a_weight_that_was_put_in_the_layers_place(kind, F, kernel, change):
    """Whatever array it is: the layer's own code takes it, and so must what runs in its place."""
    layer = kind(16, F, kernel, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 16), dtype=np.float32)
    wanted = layer.forward(x)
    layer.params["weight"] = change(layer.params["weight"])
    np.testing.assert_allclose(run_forward(layer, x), wanted, rtol=1e-4, atol=1e-5)
    layer.params["weight"] = np.zeros((*layer.params["weight"].shape[:3], 24), np.float32)
    with pytest.raises(ln.ShapeError, match="a weight of shape"):
        run_forward(layer, x)
    layer = kind(16, F, kernel, seed=0)
    layer.params["bias"] = np.ones(1, np.float32)
    with pytest.raises(ln.ShapeError, match="a bias of"):
        run_forward(layer, x)


class Binary(Layer):
    """1 where x > 0, of a type that fast versions do not serve."""

    def forward(self, x, training=False):
        return x > 0

    def output_shape(self, shape):
        return shape


@pytest.mark.parametrize("last", [(), (MaxPool2D(2, 2),)], ids=["ELU", "ELU and pool"])
def test_a_fused_activation_is_done_by_itself_where_the_convolution_does_not(last):
    g, name = ln.Graph((6, 6, 3)), "image"
    for k, layer in enumerate((Binary(), Conv2D(3, 4, 3, seed=0), ELU(), *last)):
        name = g.add(f"n{k}", layer, name)
    x, results = np.random.default_rng(0).standard_normal((2, 6, 6, 3), dtype=np.float32), []
    for which in ("numpy", "numba"):
        with ln.backend(which):
            results.append(g.forward(x))
    np.testing.assert_allclose(*results, rtol=1e-5)


def test_backward_goes_where_forward_went():
    """Switching between forward and backward must not mix caches."""
    layer, x = Conv2D(3, 4, 3, padding=1, seed=0), np.random.default_rng(0).standard_normal((2, 6, 6, 3)).astype(np.float32)
    results = []
    for first, second in (("numba", "numpy"), ("numpy", "numba")):
        with ln.backend(first):
            y = run_forward(layer, x, training=True)
        with ln.backend(second):
            results.append(run_backward(layer, np.ones_like(y)))
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-5)


def test_backend_is_set_by_a_call_and_for_a_block():
    x = np.zeros((1, 2, 2, 3), np.float32)
    ln.backend("numpy")
    try:
        assert version_for(ELU(), x) is ELU
        with ln.backend("numba"):
            assert version_for(ELU(), x) is VERSIONS[ELU]
        assert version_for(ELU(), x) is ELU
    finally:
        ln.backend("numba")
    with pytest.raises(ln.BackendError, match="'numpy' or 'numba'"):
        ln.backend("cuda")
    assert backend_class is ln.backend


def test_the_same_bits_on_any_number_of_threads():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((5, 49, 49, 3)).astype(np.float32), rng.integers(0, 2, 5)

    def train(threads):
        ln.set_num_threads(threads)
        net = ln.models.light_cnn(seed=0)
        opt = ln.SGD(net, lr=0.01)
        for _ in range(2):
            _, dlogits = ln.softmax_cross_entropy(net.forward(x, training=True), labels)
            net.backward(dlogits, to_image=False)
            opt.step()
        return net
    ln.set_num_threads(1)
    alone = ln.models.light_cnn(seed=0).forward(x[:1])
    ln.set_num_threads(2)
    assert np.array_equal(alone, ln.models.light_cnn(seed=0).forward(x[:1]))        # a single image is no exception
    one, two, three = train(1), train(2), train(3)
    for name, array in one.params.items():
        assert np.array_equal(array, two.params[name]) and np.array_equal(array, three.params[name]), name


def test_threads_are_counted_from_one():
    for wrong in (0, -1, 1.5, "2"):
        with pytest.raises(ln.ArgumentError, match="at least 1"):
            ln.set_num_threads(wrong)
    ln.set_num_threads(3)
    assert ln.num_threads() == 3


def test_an_error_in_a_thread_reaches_the_caller():
    from lightnet.kernels.threads import over_images

    def job(start, stop):
        if stop == 4:
            raise ValueError("in the last range")
        return start
    ln.set_num_threads(2)
    with pytest.raises(ValueError, match="last range"):
        over_images(job, 4)


def test_profile_says_which_version_ran():
    net = ln.models.light_cnn(seed=0)
    versions = {row.operation: row.version for row in net.profile(np.zeros((1, 33, 33, 3), np.float32), repeats=1)}
    assert versions["Conv2D"] == versions["ELU"] == "numba" and versions["Dense"] == "numpy"
    with ln.backend("numpy"):
        assert {row.version for row in net.profile(np.zeros((1, 33, 33, 3), np.float32), repeats=1)} == {"numpy"}


def graph_of(*nodes):
    """A Graph of (name, layer, inputs...), of images with 3 channels."""
    g = ln.Graph(input_shape=(6, 6, 3))
    for name, layer, *inputs in nodes:
        g.add(name, layer, *inputs)
    return g


def conv(C, F, seed, kernel=1):
    return Conv2D(C, F, kernel, padding=kernel // 2, seed=seed)


def fire(name, C, x, alpha=1, other=None):
    """The nodes of a fire module for C channels, of 48, its ELUs of these alphas."""
    s, one, three = (f"{name}/{part}" for part in ("s", "one", "three"))
    return ((s, conv(C, 16, 0), x), (f"{s}_norm", BatchNorm2D(16), s), (f"{s}_elu", ELU(0.5), f"{s}_norm"),
            (one, conv(16, 16, 1), f"{s}_elu"), (f"{one}_elu", ELU(alpha), one),
            (three, conv(16, 32, 2, 3), f"{s}_elu"), (f"{three}_elu", ELU(other or alpha), three),
            (name, Concat(), f"{one}_elu", f"{three}_elu"))


SCHEDULES = {
    "nested Concats": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("a_elu", ELU(), "a"), ("b", conv(3, 5, 1, 3), "image"), ("inner", Concat(), "a_elu", "b"),
        ("c", conv(9, 2, 2), "inner"), ("c_relu", ReLU(), "c"), ("middle", Concat(), "c_relu", "inner"),
        ("d", conv(3, 3, 3), "image"), ("outer", Concat(), "d", "middle"), ("e", conv(14, 2, 4, 3), "outer")),
    "a Concat only in a Concat": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("b", conv(3, 16, 1), "image"), ("b_elu", ELU(), "b"), ("inner", Concat(), "a", "b_elu"),
        ("c", conv(3, 5, 2), "image"), ("outer", Concat(), "c", "inner"), ("e", conv(25, 2, 4), "outer")),
    "an ELU read by two": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("elu", ELU(), "a"), ("b", conv(4, 4, 1, 3), "elu"), ("b_elu", ELU(0.5), "b"),
        ("sum", Add(), "elu", "b_elu"), ("c", conv(4, 2, 2), "sum")),
    "a convolution read by an ELU and another": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("elu", ELU(), "a"), ("b", conv(4, 4, 1), "a"), ("sum", Add(), "elu", "b")),
    "Concat of one value twice": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("elu", ELU(), "a"), ("twice", Concat(), "elu", "elu"), ("b", conv(8, 2, 1), "twice")),
    "one value in two Concats": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("b", conv(3, 4, 1), "image"), ("ab", Concat(), "a", "b"), ("ba", Concat(), "b", "a"),
        ("sum", Add(), "ab", "ba"), ("c", conv(8, 2, 2), "sum")),
    "Concat reads the image": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("elu", ELU(), "a"), ("both", Concat(), "image", "elu"), ("b", conv(7, 2, 1, 3), "both")),
    "Add, then ELU": lambda: graph_of(
        ("a", conv(3, 3, 0), "image"), ("sum", Add(), "a", "image"), ("elu", ELU(), "sum"), ("b", conv(3, 2, 1), "elu")),
    "ELU last": lambda: graph_of(("a", conv(3, 3, 0), "image"), ("elu", ELU(), "a")),
    "ReLU first and last": lambda: graph_of(("first", ReLU(), "image"), ("a", conv(3, 3, 0), "first"), ("last", ReLU(), "a")),
    "ELU of the image only": lambda: graph_of(("elu", ELU(), "image")),
    "batch norm first and last": lambda: graph_of(
        ("first", BatchNorm2D(3), "image"), ("elu", ELU(), "first"), ("a", conv(3, 3, 0, 3), "elu"),
        ("last", BatchNorm2D(3), "a")),
    "Concat last": lambda: graph_of(
        ("a", conv(3, 16, 0), "image"), ("elu", ELU(), "a"), ("b", conv(3, 3, 1), "image"), ("b_relu", ReLU(), "b"),
        ("both", Concat(), "elu", "b_relu")),
    "Add last": lambda: graph_of(
        ("a", conv(3, 3, 0), "image"), ("elu", ELU(), "a"), ("b", conv(3, 3, 1), "image"), ("norm", BatchNorm2D(3), "b"),
        ("sum", Add(), "elu", "norm", "image")),
    "pools in a Concat": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("mean", GlobalAvgPool(), "a"), ("mean_elu", ELU(), "mean"),
        ("other", GlobalAvgPool(), "image"), ("both", Concat(), "mean_elu", "other"), ("fc", Dense(7, 2, seed=1), "both")),
    "an ELU of pools in a Concat": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("mean", GlobalAvgPool(), "a"), ("other", GlobalAvgPool(), "image"),
        ("both", Concat(), "mean", "other"), ("elu", ELU(), "both"), ("fc", Dense(7, 2, seed=1), "elu")),
    "something of everything": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("elu", ELU(), "a"), ("b", ConvTranspose2D(4, 16, 2, 2, seed=1), "elu"),
        ("b_elu", ELU(), "b"), ("pool", MaxPool2D(2), "b_elu"), ("norm", BatchNorm2D(16), "pool"), ("relu", ReLU(), "norm"),
        ("both", Concat(), "image", "relu"), ("c", conv(19, 16, 2, 3), "both"), ("c_elu", ELU(), "c"),
        ("d", conv(16, 32, 3, 3), "c_elu"), ("sum", Add(), "c_elu", "norm"), ("all", Concat(), "sum", "d"),
        ("mean", GlobalAvgPool(), "all"), ("fc", Dense(48, 2, seed=1), "mean")),
    "Winograd, padding and a pool": lambda: graph_of(
        ("a", conv(3, 16, 0), "image"), ("elu", ELU(), "a"), ("b", conv(16, 16, 1, 3), "elu"), ("b_elu", ELU(), "b"),
        ("pool", MaxPool2D(3, 2, ceil_mode=True), "b_elu"), ("up", ConvTranspose2D(16, 3, 2, 2, seed=2), "pool"),
        ("sum", Add(), "image", "up"), ("c", conv(3, 2, 3), "sum")),
    "Winograd, an ELU of another alpha, and a fork to a pool": lambda: graph_of(
        ("a", conv(3, 16, 0), "image"), ("b", conv(16, 16, 1, 3), "a"), ("elu", ELU(0.5), "b"),
        ("pool", MaxPool2D(3, 1, 1), "elu"), ("both", Concat(), "elu", "pool"), ("c", conv(32, 2, 2), "both")),
    "a fire module, an enlargement and an average": lambda: graph_of(
        ("s", conv(3, 16, 0), "image"), ("s_norm", BatchNorm2D(16), "s"), ("s_elu", ELU(), "s_norm"),
        ("a", conv(16, 16, 1), "s_elu"), ("a_elu", ELU(), "a"), ("b", conv(16, 32, 2, 3), "s_elu"), ("b_elu", ELU(), "b"),
        ("both", Concat(), "a_elu", "b_elu"), ("up", ConvTranspose2D(48, 16, (2, 3), (2, 3), seed=3), "both"),
        ("c", conv(16, 32, 4), "up"), ("c_elu", ELU(), "c"), ("mean", GlobalAvgPool(), "c_elu"),
        ("fc", Dense(32, 2, seed=1), "mean")),
    "fire modules before a squeeze and before a pool": lambda: graph_of(
        *fire("f1", 3, "image"), *fire("f2", 48, "f1"), ("pool", MaxPool2D(3, 2, ceil_mode=True), "f2"),
        ("c", conv(48, 2, 4), "pool")),
    "a fire module before a pool and others": lambda: graph_of(
        *fire("f1", 3, "image", 0.5), ("pool", MaxPool2D(3, 1, 1), "f1"), ("both", Concat(), "pool", "f1"),
        ("c", conv(96, 2, 4), "both")),
    "a fire module, part of another Concat, before a pool": lambda: graph_of(
        *fire("f1", 3, "image"), ("pool", MaxPool2D(3, 1, 1), "f1"), ("both", Concat(), "pool", "f1"),
        ("c", conv(96, 2, 4), "both")),
    "a fire module read by a convolution, and then by a pool": lambda: graph_of(
        *fire("f1", 3, "image"), ("a", conv(48, 16, 4), "f1"), ("pool", MaxPool2D(3, 1, 1), "f1"),
        ("both", Concat(), "a", "pool"), ("c", conv(64, 2, 5), "both")),
    "a fire module before a squeeze of few channels, and others": lambda: graph_of(
        *fire("f1", 3, "image"), ("a", conv(48, 3, 4), "f1"), ("b", conv(48, 3, 5), "f1"), ("sum", Add(), "a", "b", "image")),
    "a fire module before a squeeze and its ELU, and others": lambda: graph_of(
        *fire("f1", 3, "image"), ("a", conv(48, 16, 4), "f1"), ("a_elu", ELU(0.5), "a"), ("b", conv(48, 16, 5), "f1"),
        ("sum", Add(), "a_elu", "b")),
    "a fire module before a squeeze, its ELU and a pool": lambda: graph_of(
        *fire("f1", 3, "image"), ("a", conv(48, 16, 4), "f1"), ("a_elu", ELU(), "a"), ("pool", MaxPool2D(2), "a_elu"),
        ("b", conv(16, 2, 5), "pool")),
    "a fire module of which somebody else reads a part": lambda: graph_of(
        *fire("f1", 3, "image"), ("a", conv(48, 16, 4), "f1"), ("sum", Add(), "a", "f1/one_elu")),
    "a fire module whose input somebody else reads": lambda: graph_of(
        *fire("f1", 3, "image"), ("a", conv(48, 16, 4), "f1"), ("sum", Add(), "a", "f1/s_elu")),
    "a fire module with ELUs that are not alike": lambda: graph_of(
        *fire("f1", 3, "image", 1, 0.5), ("a", conv(48, 16, 4), "f1")),
    "a fire module before an average": lambda: graph_of(
        *fire("f1", 3, "image"), ("mean", GlobalAvgPool(), "f1"), ("fc", Dense(48, 2, seed=1), "mean")),
    "a Concat of ELUs": lambda: graph_of(
        ("a", conv(3, 16, 0), "image"), ("a_elu", ELU(0.5), "a"), ("b", conv(3, 16, 1), "image"), ("b_elu", ELU(0.5), "b"),
        ("both", Concat(), "a_elu", "b_elu"), ("c", conv(32, 16, 2), "both")),
    "a Concat of ELUs that are not alike": lambda: graph_of(
        ("a", conv(3, 16, 0), "image"), ("a_elu", ELU(0.5), "a"), ("b", conv(3, 16, 1), "image"), ("b_elu", ELU(), "b"),
        ("both", Concat(), "a_elu", "b_elu"), ("c", conv(32, 16, 2), "both")),
    "a Concat of ELUs, one with another reader": lambda: graph_of(
        ("a", conv(3, 16, 0), "image"), ("a_elu", ELU(), "a"), ("b", conv(3, 16, 1), "image"), ("b_elu", ELU(), "b"),
        ("both", Concat(), "a_elu", "b_elu"), ("c", conv(32, 16, 2), "both"), ("sum", Add(), "a_elu", "c")),
    "a 1x1 convolution between an ELU and a pool": lambda: graph_of(
        ("a", conv(3, 16, 0), "image"), ("a_elu", ELU(), "a"), ("b", conv(16, 32, 1), "a_elu"), ("b_elu", ELU(), "b"),
        ("pool", MaxPool2D(2), "b_elu"), ("c", conv(32, 2, 2), "pool")),
    "an ELU before few channels and before a stride": lambda: graph_of(
        ("a", conv(3, 5, 0), "image"), ("elu", ELU(0.5), "a"), ("b", conv(5, 3, 1), "elu"), ("c", conv(5, 3, 2), "elu"),
        ("sum", Add(), "b", "c"), ("d_elu", ELU(), "sum"), ("up", ConvTranspose2D(3, 3, 3, 2, seed=2), "d_elu")),
    "a transposed convolution in a Concat": lambda: graph_of(
        ("up", ConvTranspose2D(3, 3, 3, padding=1, seed=2), "image"), ("wide", ConvTranspose2D(3, 16, 1, seed=3), "image"),
        ("both", Concat(), "up", "wide"), ("c", conv(19, 2, 3), "both")),
    "a transposed convolution with a stride in a Concat": lambda: graph_of(
        ("pool", MaxPool2D(2), "image"), ("up", ConvTranspose2D(3, 3, 2, 2, seed=2), "pool"),
        ("both", Concat(), "image", "up"), ("c", conv(6, 2, 3), "both")),
    "convolution, ELU and pool": lambda: graph_of(
        ("a", conv(3, 16, 0, 3), "image"), ("elu", ELU(), "a"), ("pool", MaxPool2D(3, 2, ceil_mode=True), "elu"),
        ("b", conv(16, 2, 1), "pool")),
    "convolution, ELU and pool in a Concat": lambda: graph_of(
        ("a", Conv2D(3, 5, 3, 2, padding=1, seed=0), "image"), ("elu", ELU(), "a"), ("pool", MaxPool2D(2, 1), "elu"),
        ("other", Conv2D(3, 4, 5, seed=1), "image"), ("both", Concat(), "other", "pool"), ("b", conv(9, 2, 1), "both")),
    "convolution, ELU, pool, and an activation": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("elu", ELU(), "a"), ("pool", MaxPool2D(2), "elu"), ("again", ELU(0.5), "pool"),
        ("b", conv(4, 2, 1), "again")),
    "convolution, ELU and pool, read by two": lambda: graph_of(
        ("first", conv(3, 3, 2), "image"), ("a", conv(3, 4, 0), "first"), ("elu", ELU(), "a"), ("pool", MaxPool2D(2), "elu"),
        ("b", conv(4, 4, 1), "pool"), ("sum", Add(), "b", "pool")),
    "a first layer of whole panels": lambda: graph_of(
        ("wide", ConvTranspose2D(3, 16, 1, seed=3), "image"), ("a", conv(16, 16, 0), "wide"), ("elu", ELU(), "a"),
        ("pool", MaxPool2D(2), "elu"), ("b", conv(16, 32, 1), "pool"), ("b_elu", ELU(), "b"), ("c", conv(32, 2, 2), "b_elu")),
    "convolution, ELU and pool last": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("elu", ELU(), "a"), ("pool", MaxPool2D(2), "elu")),
    "convolution and ELU, read by a pool and another": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("elu", ELU(), "a"), ("pool", MaxPool2D(3, 1, 1), "elu"), ("sum", Add(), "pool", "elu")),
    "Winograd, an ELU of another alpha and batch norm": lambda: graph_of(
        ("first", conv(3, 16, 0), "image"), ("a", conv(16, 16, 1, 3), "first"), ("elu", ELU(0.5), "a"),
        ("bn", BatchNorm2D(16), "elu"), ("b", conv(16, 2, 2), "bn")),
    "an ELU read by a pool with gaps and another": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("elu", ELU(0.5), "a"), ("pool", MaxPool2D(1, 2), "elu"),
        ("b", Conv2D(4, 4, 2, 2, seed=1), "elu"), ("sum", Add(), "pool", "b")),
    "an activation of an activation": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("elu", ELU(), "a"), ("again", ELU(0.5), "elu"), ("b", conv(4, 2, 1), "again")),
    "an activation of a Concat of an activation": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("elu", ELU(), "a"), ("b", conv(3, 4, 1), "image"), ("both", Concat(), "elu", "b"),
        ("again", ELU(), "both"), ("c", conv(8, 2, 2), "again")),
    "an activation of a Concat, of which a part is read later": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("b", conv(3, 4, 1), "image"), ("both", Concat(), "a", "b"), ("elu", ELU(), "both"),
        ("c", conv(4, 8, 2), "a"), ("sum", Add(), "c", "elu")),
    "an activation of a Concat, of which a part was read before": lambda: graph_of(
        ("a", conv(3, 4, 0), "image"), ("c", conv(4, 8, 2), "a"), ("b", conv(3, 4, 1), "image"), ("both", Concat(), "a", "b"),
        ("relu", ReLU(), "both"), ("sum", Add(), "c", "relu")),
}


def step_of(make, x, seed, backend, **observer):
    """Logits, dx and gradients of a step; what the caller gave is read-only."""
    with ln.backend(backend):
        g = make()
        y = g.forward(x, training=True, **observer)
        dy = read_only(np.random.default_rng(seed).standard_normal(y.shape, dtype=np.float32))
        before, logits = dy.copy(), y.copy()
        dx = g.backward(dy, **observer)
        assert np.array_equal(dy, before) and np.array_equal(y, logits)
        return {"logits": y, "dx": dx, **g.grads}


@pytest.mark.parametrize("N", [3, 17])                   # in ranges of one image, and of two and three
@pytest.mark.parametrize("name", SCHEDULES)
def test_what_is_computed_in_place_is_the_same(name, N):
    """As NumPy computes it, and as with an observer, for whom nothing is computed in place."""
    x = np.random.default_rng(0).standard_normal((N, 6, 6, 3), dtype=np.float32)
    before = x.copy()
    numpy, plain, fast = (step_of(SCHEDULES[name], x, 1, *how[:1], **dict(how[1:])) for how in (
        ("numpy",), ("numba", ("observe", lambda *_: None)), ("numba",)))
    assert np.array_equal(x, before)
    for key in numpy:
        node = key.split(".")[0]        # a bias before batch norm has a gradient of 0, and so nothing but rounding errors
        size = max(np.abs(array).max() for other, array in numpy.items() if other.split(".")[0] == node) * N / 3
        np.testing.assert_allclose(fast[key], numpy[key], rtol=1e-4, atol=1e-5 * size, err_msg=key)
        np.testing.assert_allclose(fast[key], plain[key], rtol=1e-5, atol=1e-6 * size, err_msg=key)


@pytest.mark.parametrize("name", SCHEDULES)
def test_an_observer_may_come_late(name):
    """Who observes backward alone, after a forward in place, sees what he would have seen after one that was observed."""
    net, rng = SCHEDULES[name](), np.random.default_rng(0)
    x, seen = rng.standard_normal((3, 6, 6, 3), dtype=np.float32), []
    dy = rng.standard_normal(net.shapes(x.shape)[net.output_name], dtype=np.float32)
    for observe in (lambda *_: None), None:
        net.forward(x, training=True, observe=observe)
        seen.append({})
        net.backward(dy, observe=lambda node, inputs, output: seen[-1].update({node.name: inputs[0].copy()}))
        seen[-1].update({key: array.copy() for key, array in net.grads.items()})
    for key, array in seen[0].items():
        np.testing.assert_allclose(seen[1][key], array, rtol=1e-5, atol=1e-5 * max(1, np.abs(array).max()), err_msg=key)


@pytest.mark.parametrize("name", SCHEDULES)
def test_inference_in_between_leaves_backward_alone(name):
    net, rng = SCHEDULES[name](), np.random.default_rng(0)
    x, other = rng.standard_normal((2, 3, 6, 6, 3), dtype=np.float32)
    dy = rng.standard_normal(net.shapes(x.shape)[net.output_name], dtype=np.float32)
    net.forward(x, training=True)
    dx = net.backward(dy).copy()
    net.forward(other)
    assert np.array_equal(net.backward(dy), dx)


@pytest.mark.parametrize("name", SCHEDULES)
def test_without_the_images_gradient_the_others_are_the_same(name):
    net, rng = SCHEDULES[name](), np.random.default_rng(0)
    y = net.forward(rng.standard_normal((3, 6, 6, 3), dtype=np.float32), training=True)
    dy = rng.standard_normal(y.shape, dtype=np.float32)
    net.backward(dy)
    grads = {key: array.copy() for key, array in net.grads.items()}
    assert net.backward(dy, to_image=False) is None
    assert all(np.array_equal(net.grads[key], array) for key, array in grads.items())


@pytest.mark.parametrize("seed", range(30))
def test_gradients_by_winners_are_the_layers(seed, most=140):
    """Any windows of convolution and pool, any number of channels: as the layers do in float64, for the same winners."""
    rng = np.random.default_rng(seed)
    C, F, S, P, T = (int(rng.integers(1, high)) for high in (8, most, 4, 3, 4))
    K, W = tuple(rng.integers(1, 8, 2)), (17 if seed == 0 else int(rng.integers(1, 4)))         # 17 * 17: more than a byte holds
    convolution, pool = Conv2D(C, F, K, S, padding=min(P, *K) - 1, seed=seed), MaxPool2D(W, T, int(rng.integers(W // 2 + 1)))
    size = int((W + rng.integers(4)) * S + max(K))
    x = rng.standard_normal((3, size, size + 1, C), dtype=np.float32)
    y = fast_conv.forward(convolution, x, training=True, pool=pool)
    dy, (between, winner, *_) = rng.standard_normal(y.shape, dtype=np.float32), pool.cache
    dx = fast_conv.backward(convolution, dy.copy(), pool=pool)
    results = {"dx": dx, **convolution.grads}
    convolution.forward(x.astype(np.float64), training=True)
    expected_dx = convolution.backward(scattered(pool, dy * np.where(y > 0, 1.0, y + 1), winner, between))
    for name, expected in {"dx": expected_dx, **convolution.grads}.items():
        np.testing.assert_allclose(results[name], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max(), err_msg=name)


def scattered(pool, dy, winner, shape):
    """A pool's dx, number by number."""
    dx = np.zeros(shape)
    for (n, i, j, f), number in np.ndenumerate(winner):
        p, q = divmod(int(number), pool.kernel[1])
        dx[n, i * pool.stride[0] + p - pool.padding[0][0], j * pool.stride[1] + q - pool.padding[1][0], f] += dy[n, i, j, f]
    return dx


@pytest.mark.parametrize("layer", [Conv2D(3, 16, 3, seed=0), Conv2D(3, 16, 1, seed=0)])
def test_the_images_gradient_is_not_computed_where_nobody_wants_it(layer):
    net = graph_of(("a", layer, "image"), ("elu", ELU(), "a"), ("pool", MaxPool2D(2), "elu"))
    y = net.forward(np.zeros((2, 6, 6, 3), np.float32), training=True)
    with patch.object(products, "adjoint", side_effect=AssertionError("it was computed")):
        net.backward(y, to_image=False)
        with pytest.raises(AssertionError, match="it was computed"):
            net.backward(y)


def test_conv1_and_its_pool_are_one():
    net = ln.models.light_cnn(seed=0)
    net.forward(np.zeros((2, 33, 33, 3), np.float32), training=True)
    pool1, pool3 = (net.nodes[name].layer.cache for name in ("pool1", "pool3"))
    assert pool1[2] is not None and pool3[2] is None


@pytest.mark.parametrize("seed", range(12))
def test_a_fire_module_and_what_is_behind_it_are_done_together(seed):
    """In one call for each range of images, of which so many at a time share the place of a gradient; as NumPy computes it.

    Forward only with a pool behind it, and ELUs that a convolution can do.
    """
    rng = np.random.default_rng(seed)
    S, C, F, G = (16 * rng.integers(1, 4, 4)).tolist()
    (N, H, W), few, alpha = rng.integers((1, 4, 4), (9, 15, 15)).tolist(), 1 + seed // 3 % 3, (1, 0.5)[seed % 2]
    few = 2 * few if seed % 3 == 1 else few             # a pool's forward takes half as many at a time
    behind = (Conv2D(C + F, G, 1, seed=4), MaxPool2D(int(rng.integers(2, 4)), int(rng.integers(1, 3))),
              ConvTranspose2D(C + F, 3, 2, 2, seed=4))[seed % 3]

    def network():
        return graph_of(
            ("s", conv(3, S, 0), "image"), ("s_elu", ELU(), "s"), ("one", conv(S, C, 1), "s_elu"), ("one_elu", ELU(alpha), "one"),
            ("three", conv(S, F, 2, 3), "s_elu"), ("three_elu", ELU(alpha), "three"),
            ("both", Concat(), "one_elu", "three_elu"), ("last", behind, "both"))
    x = rng.standard_normal((N, H, W, 3), dtype=np.float32)
    numpy = step_of(network, x, 1, "numpy")
    patches = winograd.patches(winograd.side_for(H, W), H, W)
    with (patch.object(winograd, "most", lambda side: max(2, few * patches)),
          patch.object(fire_kernel, "forward", Mock(wraps=fire_kernel.forward)) as forward,
          patch.object(fire_kernel, "backward", Mock(wraps=fire_kernel.backward)) as backward):
        fast = step_of(network, x, 1, "numba")
    assert backward.call_count == groups(N)
    assert forward.called == (alpha == 1 and type(behind) is MaxPool2D)
    for key, array in numpy.items():
        np.testing.assert_allclose(fast[key], array, rtol=1e-4, atol=1e-5 * max(np.abs(array).max(), 1), err_msg=key)


@pytest.mark.parametrize("shape, F, kernel", [
    ((1, 2, 2, 64), 32, (1, 2)), ((3, 4, 2, 64), 64, (3, 2)), ((5, 2, 6, 128), 32, (2, 4)), ((2, 2, 2, 192), 32, (1, 2))])
def test_strassens_transposed_convolution_is_exact_on_integers(shape, F, kernel):
    """Forward and backward, of channels of wider arrays, in ranges of images: every digit is right."""
    rng, layer = np.random.default_rng(F), ConvTranspose2D(shape[3], F, kernel, kernel)

    def some(shape):
        return rng.integers(-3, 4, shape).astype(np.float32)
    x, weight, bias = some(shape), some((*kernel, F, shape[3])), some(F)
    elu = ELU(0.5)
    layer.params.update(weight=weight.astype(np.float64), bias=bias.astype(np.float64))
    y = layer.forward(x.astype(np.float64), training=True)
    dy = some(y.shape)
    dx = layer.backward(dy.astype(np.float64)) * np.where(x > 0, 1, x + elu.alpha)
    found_y, found_dx = (channels_of_a_wider_array(np.zeros_like(array, np.float32)) for array in (y, dx))
    x, dy = channels_of_a_wider_array(x), channels_of_a_wider_array(dy)
    forward, backward = strassen.adjoint(x, weight, bias, found_y), strassen.gradients(x, dy, weight, found_dx, elu)
    edges = sorted({0, len(x) // 2, len(x)})
    for first, last in zip(edges, edges[1:]):
        forward(first, last)
    dW, db = map(sum, zip(*(backward(first, last) for first, last in zip(edges, edges[1:]))))
    for name, a, b in ("y", found_y, y), ("dx", found_dx, dx), ("dW", dW, layer.grads["weight"]), ("db", db, layer.grads["bias"]):
        np.testing.assert_array_equal(a, b, err_msg=name)
    for array in (found_y, found_dx, x, dy):
        assert (array.base[..., :2] == 99).all() and (array.base[..., -3:] == 99).all()


def test_a_large_transposed_convolution_goes_by_strassens_method():
    """Behind an ELU, in a Concat, and as NumPy computes it."""
    def network():
        return graph_of(
            ("a", conv(3, 256, 0), "image"), ("elu", ELU(), "a"), ("up", ConvTranspose2D(256, 32, 2, 2, seed=1), "elu"),
            ("skip", ConvTranspose2D(3, 5, 2, 2, seed=2), "image"), ("both", Concat(), "up", "skip"),
            ("b", conv(37, 2, 3), "both"))
    x = np.random.default_rng(0).standard_normal((5, 6, 6, 3), dtype=np.float32)
    numpy = step_of(network, x, 1, "numpy")
    with patch.multiple(strassen, WORTH=True, adjoint=Mock(wraps=strassen.adjoint), gradients=Mock(wraps=strassen.gradients)):
        fast = step_of(network, x, 1, "numba")
        assert strassen.adjoint.call_count == strassen.gradients.call_count == 1
    for key, array in numpy.items():
        np.testing.assert_allclose(fast[key], array, rtol=1e-4, atol=1e-5 * max(np.abs(array).max(), 1), err_msg=key)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (9, 4, 4), (2, 13, 13)])
@pytest.mark.parametrize("channels", [(16, 16), (32, 16), (64, 96)])
@pytest.mark.parametrize("pixels", [1, 10, 64, 1000])
def test_blocks_of_pixels_need_not_fit(shape, channels, pixels):
    """A 1x1 convolution before an ELU, its output in a Concat: with blocks of so many pixels, as NumPy computes it."""
    C, F = channels

    def network():
        g = ln.Graph(input_shape=(6, 6, 3))
        g.add("first", conv(3, C, 0), "image")
        g.add("a", conv(C, F, 1), "first")
        g.add("elu", ELU(), "a")
        g.add("both", Concat(), "elu", "first")
        g.add("last", conv(C + F, 2, 2), "both")
        return g
    x = np.random.default_rng(0).standard_normal((*shape, 3), dtype=np.float32)
    with patch.multiple(pointwise, NEAR=4 * pixels * (2 * C + F), RUN=min(pixels, pointwise.RUN)):
        numpy, fast = step_of(network, x, 1, "numpy"), step_of(network, x, 1, "numba")
    for key, array in numpy.items():
        np.testing.assert_allclose(fast[key], array, rtol=1e-4, atol=1e-5 * max(np.abs(array).max(), 1), err_msg=key)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_callers_arrays_are_never_written(name):
    """Writable ones, which a version could take for its own: neither x nor dlogits, and no logits or dx of an earlier step."""
    rng = np.random.default_rng(0)
    net, kept = SCHEDULES[name](), []
    for training in (True, False, True):
        x = rng.standard_normal((2, 6, 6, 3), dtype=np.float32)
        y = net.forward(x, training=training)
        mine = [x, y]
        if training:
            dy = rng.standard_normal(y.shape, dtype=np.float32)
            mine += [dy]
            kept += [(array, array.copy()) for array in mine]
            mine += [net.backward(dy)]
        kept += [(array, array.copy()) for array in mine]
        assert all(np.array_equal(array, copy) for array, copy in kept)
    arrays = [array for array, _ in kept if array.base is None or array.flags.owndata]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i] if a is not b)


@pytest.mark.parametrize("name", SCHEDULES)
def test_backward_twice_gives_the_same(name):
    """Nothing that backward reads is left changed."""
    net, rng = SCHEDULES[name](), np.random.default_rng(0)
    y = net.forward(rng.standard_normal((2, 6, 6, 3), dtype=np.float32), training=True)
    dy = rng.standard_normal(y.shape, dtype=np.float32)
    first = net.backward(dy).copy(), {key: array.copy() for key, array in net.grads.items()}
    assert np.array_equal(net.backward(dy), first[0])
    assert all(np.array_equal(net.grads[key], array) for key, array in first[1].items())


def test_two_networks_do_not_disturb_each_other():
    """Forward of one, forward of the other, then backward of the first: as if alone."""
    x = np.random.default_rng(0).standard_normal((2, 33, 33, 3)).astype(np.float32)
    dy = np.float32([[1, -1], [0.5, -0.5]])
    alone = ln.models.light_cnn(seed=0)
    logits, dx = alone.forward(x, training=True), alone.backward(dy)
    one, two = ln.models.light_cnn(seed=0), ln.models.light_cnn(seed=1)
    first = one.forward(x, training=True)
    two.forward(2 * x, training=True)
    two.backward(dy)
    assert np.array_equal(first, logits) and np.array_equal(one.backward(dy), dx)
    assert all(np.array_equal(one.grads[key], array) for key, array in alone.grads.items())
