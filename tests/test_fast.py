"""Fast versions of layers: equal to the layers, chosen when they should be, the same on any number of threads."""

import numpy as np
import pytest
from test_layers import RANDOM

import lightnet as ln
from lightnet import backend as backend_class
from lightnet.backend import run_backward, run_forward, version_for, version_that_ran
from lightnet.fast import VERSIONS
from lightnet.layers import ELU, Conv2D, ConvTranspose2D, Dense, MaxPool2D


@pytest.fixture(autouse=True)
def threads_as_before():
    yield
    ln.set_num_threads(1)


def both(layer, *xs, seed=0):
    """(y, dx, gradients) of the layer's own code and of its fast version, for float32 inputs."""
    results = []
    for name in ("numpy", "numba"):
        with ln.backend(name):
            y = run_forward(layer, *xs, training=True)
            dy = np.random.default_rng(seed).standard_normal(y.shape, dtype=np.float32)
            dx = run_backward(layer, dy)
            assert (version_that_ran(layer) is type(layer)) == (name == "numpy")
            results.append((y, dx, dict(layer.grads)))
    return results


def agree(layer, *xs, seed=0):
    (y, dx, grads), (fast_y, fast_dx, fast_grads) = both(layer, *xs, seed=seed)
    inputs = zip(*(d if isinstance(d, tuple) else (d,) for d in (dx, fast_dx)))
    for name, a, b in [("y", y, fast_y), *(("dx", *pair) for pair in inputs), *((key, grads[key], fast_grads[key]) for key in grads)]:
        assert b.dtype == np.float32
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * max(np.abs(a).max(), 1), err_msg=f"{name} of {layer}, {[x.shape for x in xs]}")


@pytest.mark.parametrize("kind", sorted(cls.__name__ for cls in VERSIONS))
def test_equal_over_random_shapes(kind):
    for seed in range(25):
        rng = np.random.default_rng(seed)
        layer, shapes = RANDOM[kind](rng)
        agree(layer, *(rng.standard_normal(shape, dtype=np.float32) for shape in shapes), seed=seed)


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
            net.backward(dlogits)
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
