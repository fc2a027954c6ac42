"""Overfit eight images: the first thing to try with a network and a training loop that you do not trust yet.

A network that cannot learn eight images by heart has a bug, or a learning rate that does not suit it. You will see
light_cnn's loss on eight synthetic slices go from ln 2, a guess between two classes, to 0, and the slices with it in
runs/examples/06_overfit_eight_images.png. That says that the code learns, and nothing about new slices: for those see
train_covid.py.
"""

import math
import time

import numpy as np

import lightnet as ln
from lightnet.data import phantom, prepare
from lightnet.evaluation.plots import CLASS_COLOURS, DASHED, INK, TRAINING, drawing

labels = np.array([0, 1, 0, 1, 0, 1, 0, 1])                                # 0 = non-COVID, 1 = COVID
net = ln.models.light_cnn(seed=0)
net.meta.update(input_size=113, mean=0.47, deviation=0.32)                  # half the paper's side, a quarter the work
rng = np.random.default_rng(0)
x = np.concatenate([prepare(phantom.draw(rng, label), net.meta) for label in labels])         # (8, 113, 113, 3)
print(f"{len(x)} synthetic slices {x.shape}, mean {x.mean():.2f}, deviation {x.std():.2f}")

# The whole of training. No shuffling, no augmentation, no L2: nothing that stands in the way of learning by heart.
optimizer = ln.SGD(net, lr=0.01, momentum=0.9)
losses, start = [], time.perf_counter()
for step in range(30):
    logits = net.forward(x, training=True)                                  # (8, 2)
    loss, dlogits = ln.softmax_cross_entropy(logits, labels)
    net.backward(dlogits)                                                   # fills net.grads
    optimizer.step()                                                        # reads them, moves net.params
    losses.append(loss)
    if step % 5 == 0 or step == 29:
        right = (logits.argmax(axis=1) == labels).sum()
        print(f"step {step:2}   loss {loss:.4f}   {right} of 8 right   {time.perf_counter() - start:5.1f} s")
print(f"From {losses[0]:.3f} (ln 2 = {math.log(2):.3f}) to {losses[-1]:.4f}.")
assert losses[-1] < 0.02

# At inference batch norm's running statistics stand in for the batch's; after 30 steps they have nearly arrived.
p = ln.softmax(net.forward(x))[:, 1]                                        # (8,), the probability of COVID
print(f"At inference p_covid = {p.round(3)} for the labels {labels}.")

with drawing("runs/examples/06_overfit_eight_images.png", 12, 4) as figure:
    curve, sheet = figure.subfigures(1, 2, width_ratios=(1, 1.3))
    axes = curve.subplots()
    axes.plot(losses, color=TRAINING, marker="o", markersize=4)
    axes.axhline(math.log(2), color=INK, **DASHED)
    axes.text(29, math.log(2), "ln 2: a guess", ha="right", va="bottom")
    axes.set(title="Training loss on the eight", xlabel="step", ylabel="cross-entropy", ylim=(0, 0.8))
    order = np.argsort(labels, kind="stable")                               # non-COVID above, COVID below
    for axes, n in zip(sheet.subplots(2, 4).flat, order):
        axes.imshow(x[n, :, :, 0], cmap="gray")
        name, colour = net.meta["classes"][labels[n]], CLASS_COLOURS[labels[n]]
        axes.set_title(f"{name}\np = {p[n]:.3f}", loc="center", fontsize=10, color=colour)
        axes.set_axis_off()
    sheet.suptitle("Synthetic slices, with p(COVID) after training", fontweight="bold")
print("Drawn: runs/examples/06_overfit_eight_images.png")
