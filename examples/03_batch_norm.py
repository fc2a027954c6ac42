"""Batch norm: what it does to a channel, and why a gradient test with dy = 1 proves nothing about it.

You will see the channels' mean and deviation before and after, in training and at inference; that dx is 0 where dy = 1;
and a broken backward that dy = 1 lets pass and a random dy finds. runs/examples/03_batch_norm.png draws both.
"""

import numpy as np

from lightnet.data import default_meta, phantom, prepare
from lightnet.evaluation.plots import DASHED, FAINT, INK, drawing
from lightnet.layers import BatchNorm2D, Conv2D

# Eight synthetic slices through four untrained kernels: four channels, each with a mean and a spread of its own.
rng = np.random.default_rng(0)
meta = {**default_meta(), "input_size": 65}
slices = np.concatenate([prepare(phantom.draw(rng, label=n % 2), meta) for n in range(8)])    # (8, 65, 65, 3)
x = Conv2D(3, 4, kernel=3, seed=rng).forward(slices).astype("float64")                        # (8, 63, 63, 4)
norm = BatchNorm2D(4, eps=0).astype("float64")                          # both so that what must be 0 shows as 0
y = norm.forward(x, training=True)
PIXELS = (0, 1, 2)                                                      # all of a channel: images, rows, columns
np.set_printoptions(precision=3, suppress=True)
print(f"x {x.shape}: 4 channels of M = {x[..., 0].size} pixels")
print(f"before: mean {x.mean(PIXELS)}, deviation {x.std(PIXELS)}")
print(f"after:  mean {y.mean(PIXELS).round(9) + 0}, deviation {y.std(PIXELS)}")

# At inference an image's answer must not depend on its batch: running averages stand in. They start at mean 0 and
# variance 1 and move a tenth of the way with each batch, so they need some batches before they are of use.
print(f"running mean after 1 batch {norm.state['running_mean']}, a tenth of the batch's mean")
for _ in range(199):
    norm.forward(x, training=True)
print(f"         after 200 batches {norm.state['running_mean']}")
assert np.allclose(norm.forward(x), y, atol=1e-6)
print("By then inference gives what training gives.\n")

# Backward. With dy = 1 the loss <dy, y> is sum(y) = M * shift, whatever x is. A constant has gradient 0.
noise = rng.standard_normal(x.shape)
ones, dy = np.ones_like(x), y + noise                                   # dy: random, and in favour of a larger spread
print(f"dy = 1:     largest |dx| = {abs(norm.backward(ones)).max():.1e}")
dx = norm.backward(dy)
print(f"random dy:  largest |dx| = {abs(dx).max():.1e}; sum(dx) = {abs(dx.sum(PIXELS)).max():.0e} and sum(dx * xhat) = "
      f"{abs((dx * y).sum(PIXELS)).max():.0e}: shifting and stretching x are undone\n")


def broken_backward(dy):
    """As a tired programmer writes it: it forgets that the deviation, too, depends on x."""
    return (dy - dy.mean(PIXELS)) / x.std(PIXELS)


def loss(dy, t):
    """The loss <dy, y> when x has moved by t along the direction v."""
    return np.vdot(dy, norm.forward(x + t * v, training=True))


v = x + noise * x.std(PIXELS)                                           # a direction that also stretches x
for name, upstream in (("dy = 1", ones), ("random dy", dy)):
    numeric = (loss(upstream, 1e-6) - loss(upstream, -1e-6)) / 2e-6     # the derivative along v, backward unasked
    norm.forward(x, training=True)
    right, wrong = np.vdot(norm.backward(upstream), v), np.vdot(broken_backward(upstream), v)
    numeric, right, wrong = np.round([numeric, right, wrong], 1) + 0    # + 0: no minus before a zero
    print(f"{name + ':':<10} numerically {numeric:9.1f}   backward {right:9.1f}   broken backward {wrong:9.1f}")
print("With dy = 1 the broken one looks right. So gradients are checked with a random dy.")

with drawing("runs/examples/03_batch_norm.png", 12, 4) as figure:
    before, after, move = figure.subplots(1, 3)
    for axes, values, title in ((before, x, "Before batch norm"), (after, y, "After")):
        for c, colour in ((1, "#56B4E9"), (2, "#E69F00")):
            pixels = values[..., c].ravel()
            label = f"channel {c}: {pixels.mean().round(9) + 0:.2f} ± {pixels.std():.2f}"
            axes.hist(pixels, np.linspace(-3, 3, 61), histtype="step", linewidth=2, color=colour, label=label)
        axes.set(title=title, xlabel="value", ylabel="pixels", ylim=(0, 1.35 * axes.get_ylim()[1]))
        axes.legend(loc="upper left", title="mean ± deviation")
    t = np.linspace(-0.3, 0.3, 13)
    for upstream, colour, label in ((ones, FAINT, "dy = 1: flat, so dx = 0"), (dy, "#56B4E9", "random dy")):
        move.plot(t, [loss(upstream, at) / x.size for at in t], color=colour, marker="o", markersize=4, label=label)
    move.plot(t, (loss(dy, 0) + t * np.vdot(dx, v)) / x.size, color=INK, **DASHED, label="backward's slope, <dx, v>")
    slope = np.vdot(broken_backward(dy), v) / x.size
    move.plot(t, loss(dy, 0) / x.size + t * slope, color="#CC79A7", **DASHED, label="the broken one's")
    move.set(title="The loss <dy, y>, per value", ylim=(-0.1, 2.2), xlabel="t: x moved along v, to x + t v")
    move.legend(loc="upper left")
print("Drawn: runs/examples/03_batch_norm.png")
