"""Layers, loss and optimizer against PyTorch's float64 results, kept in torch_fixture.npz by torch_fixture.py."""

from pathlib import Path

import numpy as np
import pytest

import lightnet as ln
from lightnet.layers import ELU, AvgPool2D, BatchNorm2D, Conv2D, ConvTranspose2D, GlobalAvgPool, MaxPool2D, ReLU

FIXTURE = dict(np.load(Path(__file__).with_name("torch_fixture.npz")))

CASES = {
    "conv": Conv2D(3, 4, (3, 2), stride=(2, 1), padding=(1, 2)),
    "conv_transpose": ConvTranspose2D(3, 2, (4, 3), stride=(3, 2), padding=(1, 0), output_padding=(2, 1)),
    "batch_norm": BatchNorm2D(2),
    "elu": ELU(0.7),
    "relu": ReLU(),
    "max_pool": MaxPool2D(3, 2, padding=1),
    "max_pool_ceil": MaxPool2D(3, 2, ceil_mode=True),
    "max_pool_ceil_far": MaxPool2D((2, 3), (3, 4), padding=(1, 1), ceil_mode=True),
    "avg_pool": AvgPool2D(3, 2, padding=1),
    "avg_pool_ceil": AvgPool2D(3, 2, padding=1, ceil_mode=True),
    "avg_pool_ceil_include": AvgPool2D(3, 2, padding=1, ceil_mode=True, count_include_pad=True),
    "global_avg_pool": GlobalAvgPool(),
}


@pytest.mark.parametrize("case", CASES)
def test_layer(case):
    layer = CASES[case].astype("float64")
    known = {key.removeprefix(f"{case}/"): value for key, value in FIXTURE.items() if key.startswith(f"{case}/")}
    for name, parameter in layer.params.items():
        parameter[...] = known[name]
    np.testing.assert_allclose(layer.forward(known["x"], training=True), known["y"], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(layer.backward(known["dy"]), known["dx"], rtol=1e-11, atol=1e-12)
    for name in layer.params:
        np.testing.assert_allclose(layer.grads[name], known[f"d{name}"], rtol=1e-11, atol=1e-12)


def test_loss():
    loss, dlogits = ln.softmax_cross_entropy(FIXTURE["loss/logits"], FIXTURE["loss/labels"])
    assert loss == pytest.approx(float(FIXTURE["loss/loss"]), rel=1e-13)
    np.testing.assert_allclose(dlogits, FIXTURE["loss/dlogits"], rtol=1e-12)


def test_sgd():
    layer = ln.layers.Dense(4, 1).astype("float64")
    layer.params["weight"][:, 0] = FIXTURE["sgd/w"]
    opt = ln.SGD(layer, lr=0.1, momentum=0.9, l2=0.01)
    for gradient in FIXTURE["sgd/gradients"]:
        layer.grads = {"weight": gradient[:, None], "bias": np.zeros(1)}
        opt.step()
    np.testing.assert_allclose(layer.params["weight"][:, 0], FIXTURE["sgd/after"], rtol=1e-12)
