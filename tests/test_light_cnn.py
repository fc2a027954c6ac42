"""The paper's network: its shapes, its names, its counts, its gradients."""

import numpy as np
import pytest

import lightnet as ln

# "name: output side, channels, parameters, millions of MACs" of PAPER.md's table, from the paper's figure and text
TABLE = {
    "conv1": (113, 64, 1792, 22.1), "pool1": (56, 64, 0, 0), "fire2": (56, 128, 11440, 35.3), "fire3": (56, 128, 12464, 38.5),
    "pool3": (28, 128, 0, 0), "fire4": (28, 256, 45408, 35.3), "fire5": (28, 256, 49504, 38.5), "pool5": (14, 256, 0, 0),
    "fire6": (14, 384, 104976, 20.5), "fire7": (14, 384, 111120, 21.7), "fire8": (14, 512, 189120, 36.9),
    "fire9": (14, 512, 197312, 38.5), "upsample": (56, 64, 524352, 102.8), "concat": (56, 192, 0, 0),
    "mix": (56, 128, 24704, 77.1),
}
FIRE = ["squeeze", "squeeze_bn", "squeeze_elu", "expand1x1", "expand1x1_elu", "expand3x3", "expand3x3_elu", "concat"]


@pytest.fixture(scope="module")
def net():
    return ln.models.light_cnn(seed=0)


@pytest.mark.parametrize("name", TABLE)
def test_table(net, name):
    side, channels, parameters, macs = TABLE[name]
    shapes = net.shapes()
    nodes = [node for node in net.nodes.values() if node.name == name or node.name.startswith(f"{name}/")]
    assert shapes[nodes[-1].name] == (1, side, side, channels)
    assert sum(array.size for node in nodes for array in node.layer.params.values()) == parameters
    assert sum(node.layer.macs(*(shapes[i] for i in node.inputs)) for node in nodes) / 1e6 == pytest.approx(macs, abs=0.06)


def test_totals_and_names(net):
    assert sum(array.size for array in net.params.values()) == 1_272_450
    assert sum(a.size for a in ln.models.light_cnn(upsample_kernel=8, upsample_channels=16).params.values()) == 1_266_258
    fires = [f"fire{i}/{part}" for i in range(2, 10) for part in FIRE]
    assert set(net.nodes) == {*fires, "conv1", "conv1_elu", "pool1", "pool3", "pool5", "upsample", "concat", "mix", "mix_elu",
                              "gap", "fc"}
    assert net.nodes["concat"].inputs == ("upsample", "fire3/concat")
    assert net.nodes["pool3"].inputs == ("fire3/concat",)
    assert net.output_name == "fc"


def test_batch_norm_stands_only_in_the_squeezes(net):
    kinds = {node.name: type(node.layer).__name__ for node in net.nodes.values()}
    assert [name for name, kind in kinds.items() if kind == "BatchNorm2D"] == [f"fire{i}/squeeze_bn" for i in range(2, 10)]
    assert "ReLU" not in kinds.values()


@pytest.mark.parametrize("size", [17, 113, 116, 131, 225, 228])
def test_admitted_sizes(net, size):
    shapes = net.shapes((1, size, size, 3))
    assert shapes["concat"][1] == shapes["fire3/concat"][1] == 4 * shapes["fire9/concat"][1]
    net.sizes.check(size, size)


def test_every_side_that_fits_is_admitted_and_no_other():
    net = ln.models.light_cnn(seed=0)
    for size in range(12, 260):
        try:
            net.shapes((1, size, size, 3))
            fits = True
        except ln.ShapeError:
            fits = False
        try:
            net.sizes.check(size, size)
            admitted = True
        except ln.ShapeError:
            admitted = False
        assert fits == admitted, size


@pytest.mark.parametrize("size, nearest", [(128, "129"), (224, "225"), (224, "212")])
def test_other_sizes_are_refused_with_the_nearest(net, size, nearest):
    with pytest.raises(ln.ShapeError, match=nearest):
        net.forward(np.zeros((1, size, size, 3), np.float32))


def test_forward_is_finite_and_not_constant(net):
    x = np.random.default_rng(0).standard_normal((2, 227, 227, 3)).astype(np.float32)
    y = net.forward(x)
    assert y.shape == (2, 2) and y.dtype == np.float32 and np.isfinite(y).all() and len(np.unique(y)) == 4


def test_seeds():
    a, b, c = (ln.models.light_cnn(seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.params[name], b.params[name]) for name in a.params)
    assert not np.array_equal(a.params["conv1.weight"], c.params["conv1.weight"])


@pytest.mark.parametrize("options", [{}, {"upsample_kernel": 8, "upsample_channels": 16}])
def test_every_gradient(options):
    """All parameters and the input, each along random directions, in float64: relative error at most 1e-6."""
    report = ln.gradcheck(ln.models.light_cnn(seed=3, **options), np.random.default_rng(0).standard_normal((2, 33, 33, 3)))
    assert report and report.worst <= 1e-6, str(report)
    assert len(report.errors) == 73


@pytest.mark.slow
def test_gradient_at_full_size():
    """At 227 x 227: the derivative along one random direction through all parameters and the image at once."""
    rng = np.random.default_rng(1)
    net, x = ln.models.light_cnn(seed=1).astype("float64"), rng.standard_normal((1, 227, 227, 3))
    dy = rng.standard_normal((1, 2))
    net.forward(x, training=True)
    dx = net.backward(dy)
    direction = {name: rng.standard_normal(w.shape) * np.abs(w).mean() for name, w in net.params.items()}
    along_x = rng.standard_normal(x.shape)
    ours = np.vdot(dx, along_x) + sum(np.vdot(net.grads[name], v) for name, v in direction.items())

    def loss(h):
        twin = net.astype("float64")
        for name, v in direction.items():
            twin.params[name][...] += h * v
        return np.vdot(twin.forward(x + h * along_x, training=True), dy)
    # some of 400,000 maxima always lie so near a tie that they change hands; the smaller the step, the fewer
    errors = [abs((loss(h) - loss(-h)) / (2 * h) - ours) / abs(ours) for h in (1e-6, 1e-7, 1e-8)]
    assert min(errors) < 1e-6, errors


@pytest.mark.parametrize("kernel", [2, 3, 5, 0])
def test_kernels_that_do_not_enlarge_exactly_four_times(kernel):
    with pytest.raises(ln.ArgumentError, match="even"):
        ln.models.light_cnn(upsample_kernel=kernel)


def test_meta_of_a_fresh_network(net):
    assert net.meta["input_size"] == 227 and net.meta["classes"] == ["non-COVID", "COVID"]
    assert (net.meta["mean"], net.meta["deviation"], net.meta["resize"]) == (0, 1, "bilinear")
