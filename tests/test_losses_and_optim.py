"""Loss and optimizer, by numerical gradients and by hand."""

import numpy as np
import pytest

import lightnet as ln
from lightnet.optim import step_decay


def test_loss_gradient_is_the_numerical_one():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((4, 3)), rng.integers(0, 3, 4)
    _, dlogits = ln.softmax_cross_entropy(logits, labels)
    for index in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-6
        up, down = (ln.softmax_cross_entropy(logits + sign * step, labels)[0] for sign in (1, -1))
        assert dlogits[index] == pytest.approx((up - down) / 2e-6, abs=1e-9)


def test_loss_is_the_mean_over_the_batch():
    """One row twice: the same loss, half the gradient in each."""
    loss, dlogits = ln.softmax_cross_entropy(np.array([[0.3, -0.2]]), [1])
    again, halves = ln.softmax_cross_entropy(np.array([[0.3, -0.2]] * 2), [1, 1])
    assert again == pytest.approx(loss, rel=1e-14)
    np.testing.assert_allclose(halves, [dlogits[0] / 2] * 2)


def test_loss_of_extreme_logits_is_finite():
    loss, dlogits = ln.softmax_cross_entropy(np.float32([[1000, -1000], [-1000, 1000]]), [1, 1])
    assert loss == pytest.approx(1000) and np.isfinite(dlogits).all() and dlogits.dtype == np.float32
    assert ln.softmax(np.float32([[1000, 0]])).tolist() == [[1, 0]]


@pytest.mark.parametrize("logits, labels", [
    (np.zeros((2, 3)), [0]), (np.zeros(3), [0]), (np.zeros((2, 3)), [0, 3]), (np.zeros((2, 3)), [-1, 0]),
    (np.zeros((2, 3)), [0.0, 1.0]), (np.zeros((0, 3)), np.zeros(0, int)),
])
def test_labels_that_do_not_fit(logits, labels):
    with pytest.raises(ln.ShapeError, match="expected"):
        ln.softmax_cross_entropy(logits, labels)


def quadratic(l2, dtype="float32"):
    """A dense layer with gradients set by hand."""
    layer = ln.layers.Dense(2, 2).astype(dtype)
    layer.params["weight"][:], layer.params["bias"][:] = 4, 8
    layer.grads = {"weight": np.ones((2, 2), dtype), "bias": np.ones(2, dtype)}
    return layer, ln.SGD(layer, lr=0.5, momentum=0.5, l2=l2)


def test_a_parameter_may_have_its_own_factor_on_the_rate():
    layer, _ = quadratic(l2=0)
    ln.SGD(layer, lr=0.5, momentum=0, factors={"bias": 10}).step()
    assert (layer.params["weight"] == 4 - 0.5).all() and (layer.params["bias"] == 8 - 5).all()


def test_l2_acts_on_weights_and_not_on_biases():
    layer, opt = quadratic(l2=0.25)
    opt.step()
    assert (layer.params["weight"] == 4 - 0.5 * (1 + 0.25 * 4)).all()
    assert (layer.params["bias"] == 8 - 0.5).all()
    norm = ln.layers.BatchNorm2D(1)
    norm.params["shift"][:] = 1
    norm.grads = {"scale": np.zeros(1, np.float32), "shift": np.zeros(1, np.float32)}
    ln.SGD(norm, lr=1, l2=1).step()
    assert norm.params["scale"] == 1 and norm.params["shift"] == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])      # the fast update, and the one to be read
def test_momentum_carries_on_and_the_rate_is_inside_the_velocity(dtype):
    layer, opt = quadratic(0, dtype)
    opt.step()
    assert (opt.velocity["bias"] == -0.5).all()
    opt.lr = 0.25                                   # the old velocity keeps the rate it was made with
    opt.step()
    assert (opt.velocity["bias"] == 0.5 * -0.5 - 0.25).all()
    assert (layer.params["bias"] == 8 - 0.5 - 0.5).all()


def test_step_needs_backward():
    with pytest.raises(ln.BackwardError, match="weight"):
        ln.SGD(ln.layers.Dense(2, 2), lr=1).step()


@pytest.mark.parametrize("wrong", [{"lr": 0}, {"lr": -1}, {"lr": np.nan}, {"lr": np.inf}, {"momentum": 1}, {"momentum": -0.1},
                                   {"l2": -1}, {"l2": np.nan}, {"factors": {"bias": -1}}, {"factors": {"b": 1}}])
def test_settings_that_cannot_train(wrong):
    with pytest.raises(ln.ArgumentError, match=f"{next(iter(wrong)).rstrip('s')}.*expected"):
        ln.SGD(ln.layers.Dense(2, 2), **{"lr": 1, **wrong})


@pytest.mark.parametrize("wrong", [(0,), (-1,), (np.nan,), (1, 0), (1, 1, -3)])
def test_decays_that_are_none(wrong):
    with pytest.raises(ln.ArgumentError, match="decay.*expected"):
        step_decay(*wrong)


@pytest.mark.parametrize("broken", ["params", "grads"])
def test_a_step_of_shapes_that_do_not_fit_moves_nothing(broken):
    """Fast code would write where nothing is; and half a step is worse than none."""
    layer, opt = quadratic(l2=0)
    layer.params, layer.grads = dict(sorted(layer.params.items())), layer.grads         # bias first
    getattr(layer, broken)["weight"] = np.zeros((2, 9), np.float32)
    with pytest.raises(ln.ShapeError, match="'weight' is of shape.*another optimizer"):
        opt.step()
    assert (layer.params["bias"] == 8).all()


def test_step_keeps_precision_and_gradients():
    layer, opt = quadratic(l2=0.1)
    opt.step()
    assert layer.params["weight"].dtype == np.float32 and (layer.grads["weight"] == 1).all()
