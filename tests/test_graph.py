"""The graph: two loops, names, errors, observers, and what walks it."""

from contextlib import nullcontext

import numpy as np
import pytest

import lightnet as ln
from lightnet.backend import has_numba
from lightnet.layers import ELU, Add, BatchNorm2D, Conv2D, Dense, Dropout, Flatten, GlobalAvgPool, Layer


class Times(Layer):
    """y = factor * x, with a trained factor: enough to work a graph out by hand."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor
        self.params["factor"] = np.full(1, factor, np.float32)

    def forward(self, x, training=False):
        if training:
            self.cache = (x,)
        return self.params["factor"] * x

    def backward(self, dy):
        (x,) = self.recall()
        self.grads["factor"] = np.reshape((dy * x).sum(), 1)
        return self.params["factor"] * dy


def diamond():
    """a = 2x is read three times: y = 3a + 5a + a."""
    g = ln.Graph(input_shape=(1, 1, 1))
    a = g.add("a", Times(2), "image")
    g.add("sum", Add(), g.add("b", Times(3), a), g.add("c", Times(5), a), a)
    return g


def small_net(seed=0):
    rng = np.random.default_rng(seed)
    g = ln.Graph(input_shape=(6, 6, 2))
    x = g.add("conv", Conv2D(2, 4, 3, padding=1, seed=rng), "image")
    y = g.add("norm", BatchNorm2D(4), x)
    y = g.add("elu", ELU(), y)
    y = g.add("bypass", Add(), x, y)
    y = g.add("drop", Dropout(0.3, seed=rng), y)
    y = g.add("gap", GlobalAvgPool(), y)
    g.add("fc", Dense(4, 3, seed=rng), y)
    return g


IMAGE = np.full((1, 1, 1, 1), 7, np.float32)


def test_gradients_of_a_fan_out_add_up():
    """By hand: y = 9 a = 18 x, so dx = 18 and d(factor of a) = 9 x = 63."""
    g = diamond()
    assert g.forward(IMAGE, training=True).item() == 126
    assert g.backward(np.ones((1, 1, 1, 1))).item() == 18
    assert g.grads["a.factor"].item() == 63
    assert g.grads["b.factor"].item() == g.grads["c.factor"].item() == 14


def test_backward_assigns_and_never_adds():
    g = diamond()
    for _ in range(2):
        g.forward(IMAGE, training=True)
        g.backward(np.ones((1, 1, 1, 1)))
        assert g.backward(np.ones((1, 1, 1, 1))).item() == 18
        assert g.grads["a.factor"].item() == 63


def test_gradients_of_a_graph():
    report = ln.gradcheck(small_net(), np.random.default_rng(1).standard_normal((2, 6, 6, 2)))
    assert report and report.worst <= 1e-6
    assert report.errors.keys() == {"input", *small_net().params}


def test_a_layer_read_by_add_twice():
    g = ln.Graph(input_shape=(1, 1, 1))
    g.add("double", Add(), "image", "image")
    assert g.forward(IMAGE, training=True).item() == 14
    assert g.backward(np.full((1, 1, 1, 1), 3)).item() == 6


def test_parameters_are_the_layers_own_arrays():
    g = small_net()
    weight = g.nodes["fc"].layer.params["weight"]
    assert g.params["fc.weight"] is weight
    ln.SGD(g, lr=1).velocity["fc.weight"] += 0
    g.forward(np.ones((1, 6, 6, 2), np.float32), training=True)
    g.backward(np.ones((1, 3)))
    before = weight.copy()
    ln.SGD(g, lr=1).step()
    assert g.params["fc.weight"] is weight and not np.array_equal(weight, before)
    with pytest.raises(TypeError):
        g.params["fc.weight"] = before


@pytest.mark.parametrize("add, words", [
    (lambda g: g.add("c", Times(), "bb"), "did you mean 'b'"),
    (lambda g: g.add("c", Times(), "nothing"), "There are: image, a, b"),
    (lambda g: g.add("a", Times(), "b"), "in use"),
    (lambda g: g.add("image", Times(), "b"), "in use"),
    (lambda g: g.add("c.d", Times(), "b"), "dot"),
    (lambda g: g.add("c", Times()), "reads nothing"),
    (lambda g: g.add("c", "conv", "b"), "expected a Layer"),
    (lambda g: g.add("c", g.nodes["a"].layer, "b"), "that of node 'a'"),
])
def test_wrong_wiring_fails_at_once(add, words):
    g = ln.Graph(input_shape=(1, 1, 1))
    g.add("b", Times(), g.add("a", Times(), "image"))
    with pytest.raises(ln.GraphError) as error:
        add(g)
    assert words in str(error.value)


def test_a_node_that_leads_nowhere():
    g = ln.Graph(input_shape=(1, 1, 1))
    g.add("lost", Times(), "image")
    g.add("out", Times(), "image")
    g.forward(IMAGE, training=True)
    with pytest.raises(ln.GraphError, match="'lost'"):
        g.backward(np.ones((1, 1, 1, 1)))


def test_wrong_input():
    g = small_net()
    with pytest.raises(ln.ShapeError, match=r"x\[None\]"):
        g.forward(np.zeros((6, 6, 2), np.float32))
    with pytest.raises(ln.ShapeError, match=r"expected \(N, H, W, 2\)"):
        g.forward(np.zeros((1, 6, 6, 3), np.float32))
    with pytest.raises(ln.DtypeError, match="uint8"):
        g.forward(np.zeros((1, 6, 6, 2), np.uint8))
    with pytest.raises(ln.DtypeError):
        g.forward("text")
    with pytest.raises(ln.GraphError, match="no nodes"):
        ln.Graph().forward(np.zeros((1, 6, 6, 3), np.float32))
    with pytest.raises(ln.BackwardError):
        small_net().backward(np.ones((1, 3)))
    g.forward(np.zeros((1, 6, 6, 2), np.float32), training=True)
    with pytest.raises(ln.ShapeError, match=r"expected the output's \(1, 3\)"):
        g.backward(np.ones(3))


class Halved(Layer):
    """Every other pixel; what it gives back can be wrong in shape."""

    def __init__(self, foretells=True, broadcasts=True):
        super().__init__()
        self.foretells, self.broadcasts = foretells, broadcasts

    def forward(self, x, training=False):
        self.cache = (x.shape,) if training else None
        return x[:, ::2, ::2]

    def backward(self, dy):
        (shape,) = self.recall()
        dx = np.zeros(shape, dy.dtype)
        dx[:, ::2, ::2] = dy
        return dx if self.broadcasts else dy

    def output_shape(self, shape):
        N, H, W, C = shape
        return (N, -(-H // 2), -(-W // 2), C) if self.foretells else shape


@pytest.mark.parametrize("which", ["numpy", *["numba"] * has_numba()])
def test_a_layer_of_ones_own_whose_shapes_are_wrong_is_named(which):
    """Fast versions behind it compute addresses from them."""
    x = np.random.default_rng(0).random((2, 6, 6, 3), np.float32)
    for layer, words in ((Halved(), None), (Halved(foretells=False), "'own': its output is of shape .2, 3, 3, 4"),
                         (Halved(broadcasts=False), "'own': its backward returns a gradient of shape .2, 3, 3, 4")):
        g = ln.Graph((6, 6, 3))
        g.add("after", Conv2D(4, 4, 3, padding=1, seed=1), g.add("own", layer, g.add("elu", ELU(), g.add(
            "conv", Conv2D(3, 4, 3, padding=1, seed=0), "image"))))
        with ln.backend(which), nullcontext() if words is None else pytest.raises(ln.ShapeError, match=words):
            g.backward(np.ones_like(g.forward(x, training=True)))


def test_training_on_no_images():
    g = ln.Graph((6, 6, 3))
    g.add("conv", Conv2D(3, 4, 3, seed=0), "image")
    assert g.forward(np.zeros((0, 6, 6, 3), np.float32)).shape == (0, 4, 4, 4)
    with pytest.raises(ln.ShapeError, match="no images"):
        g.forward(np.zeros((0, 6, 6, 3), np.float32), training=True)


def test_a_shape_error_from_inside_names_the_node():
    g = ln.Graph(input_shape=(6, 6, 2))
    g.add("narrow", Conv2D(2, 1, 5), "image")
    for attempt in (lambda: g.forward(np.zeros((1, 3, 3, 2), np.float32)), lambda: g.shapes((1, 3, 3, 2))):
        with pytest.raises(ln.ShapeError, match="node 'narrow'"):
            attempt()


def test_float64_input_gives_no_silent_float64():
    g = small_net()
    assert g.forward(np.zeros((1, 6, 6, 2)), training=True).dtype == np.float32
    assert g.backward(np.ones((1, 3))).dtype == np.float32
    assert g.astype("float64").forward(np.zeros((1, 6, 6, 2), np.float32)).dtype == np.float64


def test_astype_is_a_copy():
    g = small_net()
    twin = g.astype("float64")
    twin.params["fc.weight"][:] = 0
    assert g.params["fc.weight"].any() and g.dtype == np.float32


def test_observers_see_every_node():
    g, seen = small_net(), []
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 2)).astype(np.float32)
    y = g.forward(x, training=True, observe=lambda node, inputs, output: seen.append((node.name, len(inputs), output)))
    assert [name for name, _, _ in seen] == list(g.nodes)
    assert dict((name, count) for name, count, _ in seen)["bypass"] == 2
    assert seen[-1][2] is y
    back = []
    dx = g.backward(np.ones((2, 3)), observe=lambda node, inputs, output: back.append((node.name, inputs[0].shape, output)))
    assert [name for name, _, _ in back] == list(reversed(g.nodes))
    assert isinstance(dict((name, output) for name, _, output in back)["bypass"], tuple)
    assert back[-1][1] == (2, 6, 6, 4) and dx.shape == x.shape


def test_values_are_freed_when_nobody_reads_them(monkeypatch):
    """At inference a chain of layers holds two values at a time, not all of them."""
    import weakref
    g, alive, most = ln.Graph(input_shape=(1, 1, 1)), weakref.WeakSet(), 0

    class Value(np.ndarray):
        pass

    class Fresh(Times):
        def forward(self, x, training=False):
            y = (x + 1).view(Value)
            alive.add(y)
            return y
    Value.__hash__ = object.__hash__
    x = "image"
    for i in range(10):
        x = g.add(f"n{i}", Fresh(), x)

    def count(node, inputs, output):
        nonlocal most
        most = max(most, len(alive))
    g.forward(IMAGE, observe=count)
    assert most <= 3


def test_training_and_state():
    g = small_net()
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 2)).astype(np.float32)
    before = {name: array.copy() for name, array in g.state.items()}
    g.forward(x)
    assert all(np.array_equal(before[name], array) for name, array in g.state.items())
    g.forward(x, training=True)
    assert set(g.state) == {"norm.running_mean", "norm.running_var"} and g.state["norm.running_mean"].any()


def test_summary_and_profile():
    g = small_net()
    text = g.summary()
    assert "2 x" not in text and "bypass" in text and "conv, elu" in text and "6x6x4" in text
    parameters, macs = 76 + 8 + 15, 9 * 2 * 36 * 4 + 4 * 3
    assert text.splitlines()[-1].split()[1:] == [f"{parameters:,}", f"{macs:,}"]
    state = {name: array.copy() for name, array in g.state.items()}
    report = g.profile(np.ones((2, 6, 6, 2), np.float32), repeats=1)
    assert [row.name for row in report] == list(g.nodes)
    assert all(row.forward_ms > 0 and row.backward_ms > 0 for row in report)
    assert report[0].macs == 2 * 9 * 2 * 36 * 4 and report[0].output_bytes == 2 * 36 * 4 * 4
    assert "norm" in str(report) and "total" in str(report)
    assert all(np.array_equal(state[name], array) for name, array in g.state.items()) and not g.grads


def test_size_rule_names_the_nearest_sides():
    rule = ln.SizeRule(16, 1, 4, "why")
    for side in (17, 20, 113, 116, 227):
        rule.check(side, side)
    for side, nearest in ((128, "113-116 and 129-132"), (224, "209-212 and 225-228"), (16, "17-20"), (3, "17-20")):
        with pytest.raises(ln.ShapeError) as error:
            rule.check(227, side)
        assert nearest in str(error.value)


def test_flatten_then_dense():
    g = ln.Graph(input_shape=(2, 3, 1))
    g.add("fc", Dense(6, 2, seed=0), g.add("flat", Flatten(), "image"))
    assert ln.gradcheck(g, np.random.default_rng(0).standard_normal((2, 2, 3, 1)))
