"""Class activation maps: their mean is the logit, they are what the gradient says, and they show where a thing is."""

import numpy as np
import pytest

import lightnet as ln
from lightnet.cli import main
from lightnet.data import phantom
from lightnet.evaluation.cam import border, class_activation_maps, enlarged, share_inside
from lightnet.evaluation.heat_maps import heat_maps
from lightnet.evaluation.probes import departures
from lightnet.layers import ELU, Conv2D, Dense, Flatten, GlobalAvgPool


def small(seed=0):
    """A convolution, an average, a dense layer."""
    g = ln.Graph(input_shape=(16, 16, 3))
    x = g.add("conv", Conv2D(3, 6, 3, padding=1, seed=seed), "image")
    x = g.add("elu", ELU(), x)
    x = g.add("gap", GlobalAvgPool(), x)
    g.add("fc", Dense(6, 2, seed=seed + 1), x)
    return g


@pytest.mark.parametrize("net", [ln.models.light_cnn(seed=1), ln.models.squeezenet(classes=2, head_relu=False, seed=1),
                                 ln.models.squeezenet("simple", classes=2, seed=2)])
def test_a_maps_mean_is_the_logit(net):
    x = np.random.default_rng(0).normal(size=(2, 131, 131, 3)).astype(np.float32)
    bias = net.params.get("fc.bias", 0)
    if "fc.bias" in net.params:
        bias[:] = 0.3, -0.7
    maps = class_activation_maps(net, x)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)) + bias, net.forward(x), rtol=1e-4, atol=1e-5)


def test_maps_are_features_times_the_logits_gradient():
    """The other way to them: M_ijc = h w sum_k A_ijk dlogit_c / dA_ijk, with the gradient from backward."""
    net, features, gradient = small().astype("float64"), {}, {}
    x = np.random.default_rng(0).normal(size=(3, 16, 16, 3))
    maps = class_activation_maps(net, x)
    for c in range(2):
        net.forward(x, training=True, observe=lambda node, inputs, output: features.update({node.name: output}))
        A = features["elu"].copy()
        net.backward(np.tile(np.eye(2)[c], (3, 1)), observe=lambda node, inputs, output: gradient.update({node.name: output}))
        np.testing.assert_allclose(maps[..., c], 16 * 16 * (A * gradient["gap"]).sum(axis=-1), rtol=1e-10)


def test_a_map_by_hand():
    g = ln.Graph(input_shape=(1, 2, 2))
    g.add("gap", GlobalAvgPool(), "image")
    g.add("fc", Dense(2, 2), "gap")
    g.params["fc.weight"][:] = [[1, -1], [10, 0]]
    maps = class_activation_maps(g, np.float32([[[[1, 2], [3, 0]]]]))
    assert maps.tolist() == [[[[21, -1], [3, -3]]]]


def test_a_map_finds_the_square_that_makes_the_class():
    rng, net = np.random.default_rng(0), small()

    def draw(count):
        x, labels = rng.normal(0, 0.1, (count, 16, 16, 3)).astype(np.float32), np.arange(count) % 2
        places = rng.integers(0, 12, (count, 2))
        for n, (i, j) in enumerate(places):
            if labels[n]:
                x[n, i : i + 4, j : j + 4] += 1
        return x, labels, places

    optimizer = ln.SGD(net, lr=0.1)
    for _ in range(150):
        x, labels, _ = draw(32)
        _, dlogits = ln.softmax_cross_entropy(net.forward(x, training=True), labels)
        net.backward(dlogits)
        optimizer.step()
    x, labels, places = draw(100)
    maps = class_activation_maps(net, x)
    peaks = maps[..., 1].reshape(100, -1).argmax(axis=1)
    inside = [i <= peak // 16 < i + 4 and j <= peak % 16 < j + 4 for peak, (i, j) in zip(peaks, places)]
    assert np.mean(np.array(inside)[labels == 1]) > 0.9
    masks = np.zeros((100, 16, 16), bool)
    for mask, (i, j) in zip(masks, places):
        mask[i : i + 4, j : j + 4] = True
    assert share_inside(departures(maps), masks)[labels == 1].mean() > 3 * masks.mean()


def test_networks_without_such_an_end_are_refused():
    g = ln.Graph(input_shape=(4, 4, 3))
    g.add("flat", Flatten(), "image")
    g.add("fc", Dense(48, 2), "flat")
    with pytest.raises(ln.GraphError, match="Flatten 'flat'"):
        class_activation_maps(g, np.zeros((1, 4, 4, 3), np.float32))


def test_what_is_inside_and_what_is_border():
    assert share_inside(np.ones((1, 4, 4)), np.stack([border(16, 0.25)])) == pytest.approx([0.75])
    left = np.array([[[True, False], [True, False]]])
    assert share_inside(np.array([[[3.0, 1.0], [-3.0, 1.0]]]), left).tolist() == [0.75]
    assert np.isnan(share_inside(np.zeros((1, 2, 2)), np.ones((1, 2, 2), bool)))
    assert enlarged(np.arange(3)[None], 6)[0].tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ln.ShapeError):
        share_inside(np.zeros((2, 2, 2)), np.zeros((1, 2, 2), bool))


def test_a_picture_of_several_networks(tmp_path):
    greys, rng = np.random.default_rng(0).random((3, 32, 32)), np.random.default_rng(1)
    networks = {name: (rng.normal(size=(3, 8, 8, 2)), rng.random(3)) for name in ("cnn-1", "untrained")}
    heat_maps(greys, ["a", "b", "c"], networks, tmp_path / "maps.png", "Maps")
    assert (tmp_path / "maps.png").stat().st_size > 10_000


def test_predict_draws_a_map_for_each_slice(tmp_path, capsys):
    net = ln.models.light_cnn(seed=0)
    net.meta["input_size"] = 131
    ln.save(net, tmp_path / "m.npz")
    for folder in ("a", "b"):
        phantom.write(tmp_path / folder, 2, seed=0)
    (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    assert main(["predict", str(tmp_path / "a"), str(tmp_path / "b"), "--model", str(tmp_path / "m.npz"),
                 "--cam", str(tmp_path / "maps")]) == 1
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len(rows) == 4 == len(list((tmp_path / "maps").glob("*.png"))), sorted(tmp_path.rglob("*"))
