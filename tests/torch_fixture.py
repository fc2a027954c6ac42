"""Writes torch_fixture.npz: what PyTorch computes in float64, for `test_against_pytorch.py`. Run it with PyTorch installed:

    python tests/torch_fixture.py

Arrays are turned to lightnet's order: NHWC, and (KH, KW, C, F) weights.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

PATH = Path(__file__).with_name("torch_fixture.npz")
rng = np.random.default_rng(2020)
arrays = {}


def nchw(x):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).requires_grad_()


def nhwc(t):
    return np.moveaxis(t.detach().numpy(), 1, -1)


def record(case, x, function, **parameters):
    """Forward and backward of ``function(x, **parameters)`` from a random gradient; parameters are (array, axes to PyTorch's)."""
    t = nchw(x)
    tensors = {key: torch.from_numpy(np.ascontiguousarray(a.transpose(axes))).requires_grad_()
               for key, (a, axes) in parameters.items()}
    y = function(t, **tensors)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.from_numpy(dy))
    moved = (lambda a: np.moveaxis(a, 1, -1)) if y.ndim == 4 else (lambda a: a)
    arrays.update({f"{case}/x": x, f"{case}/y": moved(y.detach().numpy()), f"{case}/dy": moved(dy), f"{case}/dx": nhwc(t.grad)})
    for key, (a, axes) in parameters.items():
        arrays[f"{case}/{key}"] = a
        arrays[f"{case}/d{key}"] = tensors[key].grad.numpy().transpose(np.argsort(axes))


def normal(*shape):
    return rng.standard_normal(shape)


record("conv", normal(2, 9, 7, 3), lambda t, weight, bias: F.conv2d(t, weight, bias, stride=(2, 1), padding=(1, 2)),
       weight=(normal(3, 2, 3, 4), (3, 2, 0, 1)), bias=(normal(4), (0,)))
record("conv_transpose", normal(2, 4, 3, 3),
       lambda t, weight, bias: F.conv_transpose2d(t, weight, bias, stride=(3, 2), padding=(1, 0), output_padding=(2, 1)),
       weight=(normal(4, 3, 2, 3), (3, 2, 0, 1)), bias=(normal(2), (0,)))
record("batch_norm", normal(3, 4, 5, 2),
       lambda t, scale, shift: F.batch_norm(t, None, None, scale, shift, training=True, eps=1e-5),
       scale=(normal(2), (0,)), shift=(normal(2), (0,)))
record("elu", 2 * normal(2, 3, 4, 2), lambda t: F.elu(t, alpha=0.7))
record("relu", normal(2, 3, 4, 2), F.relu)
record("max_pool", normal(2, 7, 8, 2), lambda t: F.max_pool2d(t, 3, 2, padding=1))
record("max_pool_ceil", normal(2, 8, 6, 2), lambda t: F.max_pool2d(t, 3, 2, ceil_mode=True))
record("max_pool_ceil_far", normal(1, 5, 7, 1), lambda t: F.max_pool2d(t, (2, 3), (3, 4), padding=(1, 1), ceil_mode=True))
record("avg_pool", normal(2, 7, 8, 2), lambda t: F.avg_pool2d(t, 3, 2, padding=1, count_include_pad=False))
record("avg_pool_ceil", normal(2, 8, 6, 2), lambda t: F.avg_pool2d(t, 3, 2, padding=1, ceil_mode=True, count_include_pad=False))
record("avg_pool_ceil_include", normal(2, 8, 6, 2),
       lambda t: F.avg_pool2d(t, 3, 2, padding=1, ceil_mode=True, count_include_pad=True))
record("global_avg_pool", normal(2, 3, 4, 5), lambda t: t.mean((2, 3)))

logits, labels = normal(5, 3), rng.integers(0, 3, 5)
t = torch.from_numpy(logits).requires_grad_()
loss = F.cross_entropy(t, torch.from_numpy(labels))
loss.backward()
arrays.update({"loss/logits": logits, "loss/labels": labels, "loss/loss": loss.detach().numpy(), "loss/dlogits": t.grad.numpy()})

w, gradients = normal(4), normal(3, 4)
t = torch.from_numpy(w.copy()).requires_grad_()
optimizer = torch.optim.SGD([t], lr=0.1, momentum=0.9, weight_decay=0.01)
for gradient in gradients:
    t.grad = torch.from_numpy(gradient)
    optimizer.step()
arrays.update({"sgd/w": w, "sgd/gradients": gradients, "sgd/after": t.detach().numpy()})

np.savez_compressed(PATH, torch=torch.__version__, **arrays)
print(f"{PATH.name}: {len(arrays)} arrays, {PATH.stat().st_size // 1024} KB, PyTorch {torch.__version__}")
