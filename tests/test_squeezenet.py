"""SqueezeNet v1.1 in its twelve forms, against PyTorch's float64 results (squeezenet_fixture.py), and its ImageNet weights."""

import os
from pathlib import Path

import numpy as np
import pytest
from squeezenet_fixture import CLASSES, FORMS, PATH, SIZE, fill, image, smooth_image, wave

import lightnet as ln

FIXTURE = dict(np.load(PATH))
DATA = os.environ.get("LIGHTNET_DATA")
WEIGHTS = Path(DATA or ".") / "weights" / "squeezenet1_1_imagenet.npz"
needs_weights = pytest.mark.skipif(not DATA, reason="LIGHTNET_DATA does not name a folder with the ImageNet weights")


def size_of(net):
    return sum(array.size for array in net.params.values())


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_against_pytorch(form):
    """Logits and every parameter's gradient, in training mode, to 1e-9."""
    net = ln.models.squeezenet(*form[:2], CLASSES, form[2]).astype("float64")
    fill(net.params)
    net.nodes["dropout"].layer.rate = 0.0                   # the fixture has none: its masks are random
    key = "/".join(map(str, form))
    logits = net.forward(image(), training=True)
    np.testing.assert_allclose(logits, FIXTURE[f"{key}/logits"], rtol=1e-9, atol=1e-12)
    net.backward(wave(logits.shape, 5))
    for name, expected in zip(sorted(net.params), FIXTURE[f"{key}/gradients"]):
        scale = max(abs(expected), np.linalg.norm(net.grads[name]), 1e-3)
        assert abs(np.vdot(net.grads[name], wave(net.grads[name].shape, 3)) - expected) <= 1e-9 * scale, name


def test_the_fixture_is_not_trivial():
    logits = np.stack([FIXTURE["/".join(map(str, form)) + "/logits"] for form in FORMS])
    assert logits.shape == (12, 2, CLASSES) and len(np.unique(logits.round(9), axis=0)) == 12


@pytest.mark.parametrize("bypass, fire, count", [
    ("none", "classic", 1_235_496), ("simple", "classic", 1_235_496), ("complex", "classic", 1_572_648),
    ("none", "custom", 1_235_496 + 640), ("complex", "custom", 1_572_648 + 640),
])
def test_counts(bypass, fire, count):
    assert size_of(ln.models.squeezenet(bypass, fire)) == count


def test_names():
    net = ln.models.squeezenet("complex", "custom", classes=2)
    assert {"conv1", "fire2/bypass", "fire2/add", "fire3/add", "fire4/bypass", "conv10", "conv10_relu"} <= set(net.nodes)
    assert "fire3/bypass" not in net.nodes
    kinds = [type(node.layer).__name__ for node in net.nodes.values()]
    assert kinds.count("ReLU") == 1 and kinds.count("ELU") == 25       # every activation but the last
    adds = [name for name in ln.models.squeezenet("simple").nodes if name.endswith("add")]
    assert adds == ["fire3/add", "fire5/add", "fire7/add", "fire9/add"]
    assert "conv10_relu" not in ln.models.squeezenet(head_relu=False).nodes


def test_gradients_with_dropout():
    report = ln.gradcheck(ln.models.squeezenet("complex", "custom", classes=2, seed=1),
                          np.random.default_rng(0).standard_normal((2, 33, 33, 3)))
    assert report and report.worst <= 1e-6, str(report)


def test_the_last_relu_can_stop_all_learning():
    """Both logits at 0: the loss is ln 2 and no gradient comes back. Without the last ReLU there is one."""
    x = np.random.default_rng(0).standard_normal((2, SIZE, SIZE, 3))
    for head_relu, learns in ((True, False), (False, True)):
        net = ln.models.squeezenet(classes=2, head_relu=head_relu)
        net.params["conv10.bias"][:] = -100
        loss, dlogits = ln.softmax_cross_entropy(net.forward(x, training=True), [0, 1])
        net.backward(dlogits)
        assert (loss == pytest.approx(np.log(2), abs=1e-6)) is not learns
        assert bool(np.any(net.grads["conv10.weight"])) is learns


def test_unknown_forms():
    for wrong in ({"bypass": "double"}, {"fire": "hot"}):
        with pytest.raises(ln.ArgumentError, match="expected one of"):
            ln.models.squeezenet(**wrong)


@needs_weights
def test_imagenet_weights_give_the_right_logits():
    net = ln.models.squeezenet()
    assert len(ln.models.load_imagenet(net, WEIGHTS)) == 52
    x = (smooth_image() - net.meta["mean"]) / net.meta["deviation"]
    np.testing.assert_allclose(net.astype("float64").forward(x), FIXTURE["imagenet/logits"], rtol=1e-6, atol=1e-6)
    assert FIXTURE["imagenet/logits"].std() > 0.5


@needs_weights
def test_imagenet_weights_start_what_fits():
    light = ln.models.light_cnn(seed=0)
    mix = light.params["mix.weight"].copy()
    loaded = ln.models.load_imagenet(light, WEIGHTS)
    assert sum(light.params[name].size for name in loaded) == 722_496
    assert np.array_equal(light.params["mix.weight"], mix)
    assert light.meta["mean"] == [0.485, 0.456, 0.406] and light.meta["deviation"] == [0.229, 0.224, 0.225]
    assert "conv10.weight" not in ln.models.load_imagenet(ln.models.squeezenet(classes=2), WEIGHTS)
    some = ln.models.load_imagenet(ln.models.light_cnn(seed=0), WEIGHTS, layers=["conv1", "fire2/squeeze", "fire3"])
    assert {name.split(".")[0] for name in some} == {"conv1", "fire2/squeeze", "fire3/squeeze", "fire3/expand1x1",
                                                     "fire3/expand3x3"}
    with pytest.raises(ln.CheckpointError, match="fire10"):
        ln.models.load_imagenet(light, WEIGHTS, layers=["conv1", "fire10"])
    other = ln.Graph()
    other.add("conv", ln.layers.Conv2D(3, 2, 3), "image")
    with pytest.raises(ln.CheckpointError, match="none of its arrays"):
        ln.models.load_imagenet(other, WEIGHTS)


def test_files_that_are_no_imagenet_weights(tmp_path):
    net = ln.models.squeezenet()
    np.savez(tmp_path / "other.npz", weight0=np.zeros((64, 3, 5, 5)))
    (tmp_path / "text.npz").write_text("text")
    for name, words in (("other.npz", "weight0 has shape"), ("text.npz", "cannot be read"), ("none.npz", "no such file")):
        with pytest.raises(ln.CheckpointError, match=words) as error:
            ln.models.load_imagenet(net, tmp_path / name)
        assert name in str(error.value)
