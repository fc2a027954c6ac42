"""Writes squeezenet_fixture.npz: what PyTorch computes in float64 for all forms of SqueezeNet v1.1. Run with PyTorch installed:

    LIGHTNET_DATA=... python tests/squeezenet_fixture.py

The parameters are no random numbers but a formula (`fill`), so that the fixture need not hold them. For each form it holds the
logits, and one number for each gradient (its product with a formula). With LIGHTNET_DATA set, which has the ImageNet weights,
also the 1000 logits that they give a drawn image.
"""

import os
from itertools import product
from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("squeezenet_fixture.npz")
FORMS = list(product(("none", "simple", "complex"), ("classic", "custom"), (True, False)))
SIZE, CLASSES = 49, 3


def wave(shape, seed):
    """Numbers between -1 and 1 that look random and are the same everywhere: a sine, sampled at irrational steps."""
    return np.sin(1 + seed + np.arange(np.prod(shape)) * (2.0 + seed / 7 + 2 ** 0.5)).reshape(shape)


def fill(params):
    """Set every parameter by formula, weights on He's scale; in the order of their names."""
    for seed, name in enumerate(sorted(params)):
        array = params[name]
        scale = (4 / np.prod(array.shape[:-1])) ** 0.5 if name.endswith("weight") else 0.1
        array[...] = scale * wave(array.shape, seed) + name.endswith("scale")


def image(size=SIZE, count=2):
    return wave((count, size, size, 3), 0)


def smooth_image():
    """A synthetic picture for the ImageNet weights: coloured discs, 227x227, in 0..1."""
    v, u = np.mgrid[-1:1:227j, -1:1:227j]
    return np.stack([np.exp(-((u - a) ** 2 + (v - b) ** 2) * 4) for a, b in ((-0.3, 0), (0.3, 0.2), (0, -0.4))], axis=-1)[None]


def main():
    import torch
    import torch.nn.functional as F

    import lightnet as ln

    def forward(p, x, bypass, fire, head_relu):
        """SqueezeNet v1.1 written once more, on PyTorch's functions. p: parameters by lightnet's names, in PyTorch's layout."""
        def act(t):
            return F.relu(t) if fire == "classic" else F.elu(t)

        def conv(name, t, **options):
            return F.conv2d(t, p[f"{name}.weight"], p[f"{name}.bias"], **options)

        def pool(t):
            return F.max_pool2d(t, 3, 2, ceil_mode=True)
        t = pool(act(conv("conv1", x, stride=2)))
        for i in range(2, 10):
            s = conv(f"fire{i}/squeeze", t)
            if fire == "custom":
                s = F.batch_norm(s, None, None, p[f"fire{i}/squeeze_bn.scale"], p[f"fire{i}/squeeze_bn.shift"], True, eps=1e-5)
            s = act(s)
            y = torch.cat([act(conv(f"fire{i}/expand1x1", s)), act(conv(f"fire{i}/expand3x3", s, padding=1))], 1)
            if bypass != "none" and i % 2:
                y = y + t
            elif bypass == "complex":
                y = y + conv(f"fire{i}/bypass", t)
            t = pool(y) if i in (3, 5) else y
        t = conv("conv10", t)
        return (F.relu(t) if head_relu else t).mean((2, 3))

    def to_torch(name, array):
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        return torch.from_numpy(np.ascontiguousarray(array)).requires_grad_()

    arrays = {"torch": np.array(torch.__version__)}
    for form in FORMS:
        net = ln.models.squeezenet(*form[:2], CLASSES, form[2]).astype("float64")
        fill(net.params)
        p = {name: to_torch(name, array) for name, array in net.params.items()}
        logits = forward(p, torch.from_numpy(image().transpose(0, 3, 1, 2).copy()), *form)
        (logits * torch.from_numpy(wave(logits.shape, 5))).sum().backward()
        key = "/".join(map(str, form))
        arrays[f"{key}/logits"] = logits.detach().numpy()
        arrays[f"{key}/gradients"] = np.array([projected(p[name].grad.numpy(), net.params[name].ndim) for name in sorted(p)])
    if os.environ.get("LIGHTNET_DATA"):
        net = ln.models.squeezenet()
        ln.models.load_imagenet(net, Path(os.environ["LIGHTNET_DATA"]) / "weights" / "squeezenet1_1_imagenet.npz")
        with np.load(Path(os.environ["LIGHTNET_DATA"]) / "weights" / "squeezenet1_1_imagenet.npz") as file:
            names = [name.removesuffix(".weight") for name in net.params if name.endswith(".weight")]
            p = {f"{name}.{kind}": torch.from_numpy(file[f"{kind}{i}"].astype("f8"))
                 for i, name in enumerate(names) for kind in ("weight", "bias")}
        x = (smooth_image() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        logits = forward(p, torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), "none", "classic", True)
        arrays["imagenet/logits"] = logits.numpy()
    np.savez_compressed(PATH, **arrays)
    print(f"{PATH.name}: {len(arrays)} arrays, {PATH.stat().st_size // 1024} KB, PyTorch {torch.__version__}")


def projected(gradient, ndim):
    """One number for a gradient in PyTorch's layout: its product with a formula in lightnet's."""
    gradient = gradient.transpose(2, 3, 1, 0) if ndim == 4 else gradient
    return np.vdot(gradient, wave(gradient.shape, 3))


if __name__ == "__main__":
    main()
