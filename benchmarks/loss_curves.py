"""Does lightnet train like PyTorch? Identical weights, identical batches, one epoch: two loss curves on each other.

    python benchmarks/loss_curves.py [--json FILE] [--figure FILE]

Needs PyTorch. Draws 240 synthetic slices, as the main job does, and takes its settings: light_cnn, 227x227, batches of 8.
Float32 sums in another order differ in the last places, and training amplifies that from step to step.
"""

import argparse
import json
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch_twin import Twin

import lightnet as ln
from lightnet.data import phantom
from lightnet.data.batches import batches
from lightnet.data.folder import read_folder
from lightnet.data.slices import load
from lightnet.training.job import SYNTHETIC


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the losses there")
    parser.add_argument("--figure", default="runs/loss_curves.png", help="default: %(default)s")
    parser.add_argument("--slices", type=int, default=240)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        phantom.write(folder, options.slices, seed=0)
        greys, labels = load(read_folder(folder), 227)
    settings = {key: SYNTHETIC[key] for key in ("lr", "momentum", "l2")}
    net = ln.models.light_cnn(seed=0)
    net.meta.update(mean=float(greys.mean()), deviation=float(greys.std()))
    twin, optimizer = Twin(net).train(), ln.SGD(net, **settings)
    torch_optimizer = twin.sgd(**settings)

    losses = {"lightnet": [], "PyTorch": []}
    for x, y in batches(greys, labels, SYNTHETIC["batch"], net.meta, np.random.default_rng(0)):
        loss, dlogits = ln.softmax_cross_entropy(net.forward(x, training=True), y)
        net.backward(dlogits)
        optimizer.step()
        losses["lightnet"].append(loss)

        torch_loss = F.cross_entropy(twin(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())), torch.from_numpy(y))
        torch_optimizer.zero_grad()
        torch_loss.backward()
        torch_optimizer.step()
        losses["PyTorch"].append(float(torch_loss.detach()))
    apart = np.abs(np.subtract(*losses.values())) / losses["PyTorch"]
    print(f"{len(apart)} steps; relative difference of the losses: first {apart[0]:.0e}, median {np.median(apart):.0e}, "
          f"largest {apart.max():.0e}")
    print(f"lightnet {ln.__version__}, PyTorch {torch.__version__}, NumPy {np.__version__}, Python {platform.python_version()}")
    draw(losses, options.figure)
    if options.json:
        Path(options.json).write_text(json.dumps(losses))


def draw(losses, path):
    """The two curves; PyTorch's wide and pale, lightnet's thin upon it."""
    figure = Figure((7, 3.6), layout="constrained")
    axes = figure.subplots()
    steps = np.arange(1, len(losses["PyTorch"]) + 1)
    axes.plot(steps, losses["PyTorch"], color="#E69F00", linewidth=6, alpha=0.5, label="PyTorch")
    axes.plot(steps, losses["lightnet"], color="#0072B2", linewidth=1.5, label="lightnet")
    axes.set(xlabel="step", ylabel="loss of the batch", title="One epoch from identical weights on identical batches")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    print(f"figure: {path}")


if __name__ == "__main__":
    main()
