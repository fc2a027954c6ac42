"""A check is worth what it finds: layers with one fault each, and the report that must name it."""

import subprocess
import sys

import numpy as np
import pytest

import lightnet as ln
from lightnet.layers import BatchNorm2D, Conv2D, Dense, Layer

SHAPE = (2, 4, 4, 3)


class Right(Layer):
    """y = factor * x**2 + shift, right in everything; the classes below have one fault each."""

    def __init__(self, channels=3):
        super().__init__()
        self.channels = channels
        self.params["factor"], self.params["shift"] = np.full(channels, 2, np.float32), np.zeros(channels, np.float32)
        self.state["calls"] = np.zeros(1, np.float32)

    def forward(self, x, training=False):
        if training:
            self.cache = (x,)
            self.state["calls"] += 1
        return self.params["factor"] * x * x + self.params["shift"]

    def backward(self, dy):
        (x,) = self.recall()
        self.grads["factor"] = (dy * x * x).sum(axis=(0, 1, 2))
        self.grads["shift"] = dy.sum(axis=(0, 1, 2))
        return 2 * self.params["factor"] * x * dy


class WrongSign(Right):
    def backward(self, dy):
        return -super().backward(dy)


class OneWrongElement(Right):
    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["factor"][1] *= 1.01
        return dx


class Forgotten(Right):
    def backward(self, dy):
        dx = super().backward(dy)
        del self.grads["shift"]
        return dx


class WrongShape(Right):
    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["shift"] = self.grads["shift"].sum()
        return dx


class Zero(Right):
    def backward(self, dy):
        return 0 * super().backward(dy)


class Adds(Right):
    def backward(self, dy):
        before = self.grads.get("shift", 0)
        dx = super().backward(dy)
        self.grads["shift"] = self.grads["shift"] + before
        return dx


class Double(Right):
    def forward(self, x, training=False):
        return super().forward(x, training).astype(np.float64)


class DoubleGradient(Right):
    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["shift"] = self.grads["shift"].astype(np.float64)
        return dx


class WritesInput(Right):
    def forward(self, x, training=False):
        y = super().forward(x.copy(), training)
        if x.flags.writeable:
            x += 0.5
        return y


class WritesInputAtInference(Right):
    def forward(self, x, training=False):
        y = super().forward(x.copy(), training)
        if not training and x.flags.writeable:
            x += 0.5
        return y


class DoubleAtInference(Right):
    def forward(self, x, training=False):
        y = super().forward(x, training)
        return y if training else y.astype(np.float64)


class WritesUpstream(Right):
    def backward(self, dy):
        dx = super().backward(dy.copy())
        if dy.flags.writeable:
            dy *= 2
        return dx


class InferenceState(Right):
    def forward(self, x, training=False):
        self.state["calls"] += 1
        return super().forward(x, training)


class InferenceCache(Right):
    def forward(self, x, training=False):
        self.cache = (x,)
        return super().forward(x, training)


class NoRecall(Right):
    def backward(self, dy):
        self.cache = self.cache[:]                  # TypeError instead of a message
        return super().backward(dy)


class WrongOutputShape(Right):
    def output_shape(self, shape):
        return shape[:-1]


class ForgottenArgument(Right):
    def __init__(self, channels=3):
        super().__init__(channels)
        del self.channels


class ReadsMemory(Right):
    def forward(self, x, training=False):
        if not x.flags.c_contiguous:
            x = np.zeros_like(x)
        return super().forward(x, training)


class Raises(Right):
    def forward(self, x, training=False):
        raise ZeroDivisionError("in the student's code")


class BrokenNorm(BatchNorm2D):
    """Batch norm whose dx is 0: right for dy = 1, and for nothing else."""

    def __init__(self, channels=3):
        super().__init__(channels)

    def backward(self, dy):
        return 0 * super().backward(dy)


class OtherArgument(Right):
    """What it keeps is not what it was given."""

    def __init__(self, channels=3, slope=4.0):
        super().__init__(channels)
        self.slope = 1 / slope


FAULTS = {
    BrokenNorm: "input", WrongSign: "input", OneWrongElement: "factor", Forgotten: "shift", WrongShape: "shift",
    Zero: "input", Adds: "shift", Double: "y", DoubleGradient: "shift", WritesInput: "input 0",
    WritesInputAtInference: "input 0", DoubleAtInference: "y outside training", WritesUpstream: "dy",
    InferenceState: "calls", InferenceCache: "cache", NoRecall: "backward", WrongOutputShape: "output_shape",
    ForgottenArgument: "config", OtherArgument: "config", ReadsMemory: "y", Raises: "forward",
}


def test_a_right_layer_passes():
    report = ln.check_layer(Right(), SHAPE)
    assert report and not report.problems and report.worst < 1e-6
    assert report.errors.keys() == {"input", "factor", "shift"}
    assert "right" in str(report)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named(fault):
    report = ln.check_layer(fault(), SHAPE)
    assert not report
    assert FAULTS[fault] in [problem.name for problem in report.problems], str(report)


def test_the_report_shows_where_to_look():
    report = ln.gradcheck(OneWrongElement(), np.random.default_rng(0).standard_normal(SHAPE))
    assert not report and [problem.name for problem in report.problems] == ["factor"]
    assert "at [1]: backward" in str(report) and "at [0]" not in str(report)
    assert report.worst == pytest.approx(0.01, rel=0.9)


def test_in_a_graph_the_culprit_carries_its_node():
    g = ln.Graph(input_shape=SHAPE[1:])
    g.add("second", OneWrongElement(), g.add("first", Right(), "image"))
    assert [problem.name for problem in ln.gradcheck(g, np.ones(SHAPE)).problems] == ["second.factor"]


def test_a_zero_gradient_is_no_fault():
    """A bias before batch norm has gradient 0: noise must not count as an error."""
    g = ln.Graph(input_shape=SHAPE[1:])
    g.add("norm", ln.layers.BatchNorm2D(4), g.add("conv", Conv2D(3, 4, 1, seed=0), "image"))
    report = ln.gradcheck(g, np.random.default_rng(0).standard_normal(SHAPE))
    assert report, str(report)


def test_the_checked_layer_stays_as_it_is():
    layer = Right()
    ln.check_layer(layer, SHAPE)
    assert layer.state["calls"] == 0 and layer.cache is None and not layer.grads and layer.params["factor"][0] == 2


def test_a_subclass_never_runs_the_fast_version():
    """Fast versions are for exactly their class: a subclass may compute something else."""
    class Doubled(Conv2D):
        def forward(self, x, training=False):
            return 2 * super().forward(x, training)

    g = ln.Graph(input_shape=SHAPE[1:])
    g.add("conv", Doubled(3, 4, 3, seed=0), "image")
    x = np.ones(SHAPE, np.float32)
    np.testing.assert_allclose(g.forward(x), 2 * Conv2D(3, 4, 3, seed=0).forward(x), rtol=1e-6)


class NoGradients:
    """A fast version that computes y, and nothing else."""

    @staticmethod
    def forward(layer, x, training=False):
        layer.cache = (x,)
        return Right.forward(layer, x)

    @staticmethod
    def backward(layer, dy):
        return ()


def test_a_fast_version_that_forgets_gradients_is_found(monkeypatch):
    monkeypatch.setattr("lightnet.checks.contract.version_for", lambda layer, *xs: NoGradients)
    found = {problem.name: problem.text for problem in ln.check_layer(Right(), SHAPE).problems}
    assert {"dx of input 0", "factor", "shift"} <= found.keys() and "is missing" in found["factor"]


MY_LAYER = """
import numpy as np
from lightnet.layers import Layer

class Half(Layer):
    def forward(self, x, training=False):
        if training:
            self.cache = (x,)
        return x * np.float32({factor})

    def backward(self, dy):
        self.recall()
        return dy * np.float32(0.5)

def make():
    return Half(), (2, 3)

def several():
    from lightnet.layers import Add
    return Add(), [(2, 3), (2, 3)]
"""


def run_check(target):
    return subprocess.run([sys.executable, "-c", "import sys; from lightnet.cli import main; sys.exit(main())", "check", target],
                          capture_output=True, text=True)


def test_command_line(tmp_path):
    (tmp_path / "good.py").write_text(MY_LAYER.format(factor=0.5))
    (tmp_path / "bad.py").write_text(MY_LAYER.format(factor=0.6))
    good, several, bad = (run_check(f"{tmp_path}/{name}") for name in ("good.py:make", "good.py:several", "bad.py:make"))
    assert (good.returncode, several.returncode, bad.returncode) == (0, 0, 1)
    assert "right" in good.stdout and "input" in bad.stdout
    for wrong, words in ((f"{tmp_path}/good.py:other", "make"), (f"{tmp_path}/none.py:make", "none.py"), ("nothing", "FILE.py")):
        failed = run_check(wrong)
        assert failed.returncode == 2 and words in failed.stderr and "Traceback" not in failed.stderr


def test_dense_gradients_by_element():
    """The report's element-wise view agrees with a derivative taken here."""
    layer, x, dy = Dense(3, 2, seed=0).astype("float64"), np.ones((1, 3)), np.array([[1.0, -2.0]])
    layer.forward(x, training=True)
    layer.backward(dy)
    np.testing.assert_allclose(layer.grads["weight"], [[1, -2]] * 3)
