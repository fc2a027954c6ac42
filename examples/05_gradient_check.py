"""A gradient check: a layer of your own, a bug planted in its twin, and the report that names the culprit.

You will see the check done by hand; lightnet's report on the right layer, on the broken one, and on a network with the
broken one inside; and, in runs/examples/05_gradient_check.png, why checks are in float64, and with which step h.
"""

import numpy as np

import lightnet as ln
from lightnet.evaluation.plots import DASHED, FAINT, INK, drawing
from lightnet.layers import Conv2D, Layer


class Swish(Layer):
    """``y = x * s``, s = 1 / (1 + exp(-beta * x)), with a trained beta for each channel (Ramachandran et al. 2017).

    With ds/dx = beta * s * (1 - s) and ds/dbeta = x * s * (1 - s), the product rule gives both gradients.
    """

    def __init__(self, channels):
        super().__init__()
        self.channels = channels
        self.params["beta"] = np.ones(channels, np.float32)

    def forward(self, x, training=False):
        s = 1 / (1 + np.exp(-self.params["beta"] * x))
        if training:
            self.cache = (x, s)
        return x * s

    def backward(self, dy):
        x, s = self.recall()
        self.grads["beta"] = (dy * x * x * s * (1 - s)).sum(axis=(0, 1, 2))
        return dy * (s + self.params["beta"] * x * s * (1 - s))


class BrokenSwish(Swish):
    """Its dx is right, so a network trains with it, only worse than it could: nobody notices."""

    def backward(self, dy):
        x, s = self.recall()
        self.grads["beta"] = (dy * x * s * (1 - s)).sum(axis=(0, 1, 2))             # planted: one x is missing
        return dy * (s + self.params["beta"] * x * s * (1 - s))


def slopes(layer, x, h):
    """The derivative of L = <dy, y> along a direction v of beta: what backward says, and what two forwards say."""
    dy, v = np.random.default_rng(1).standard_normal((2, *x.shape)).astype(x.dtype)
    v, beta, start = v[0, 0, 0], layer.params["beta"], layer.params["beta"].copy()
    layer.forward(x, training=True)
    layer.backward(dy)
    losses = []
    for beta[:] in (start + h * v, start - h * v, start):                           # back at the start in the end
        losses.append(np.vdot(dy, layer.forward(x)))
    return np.vdot(layer.grads["beta"], v), (losses[0] - losses[1]) / (2 * h)


x = np.random.default_rng(0).standard_normal((2, 6, 6, 4))
for layer in (Swish(4), BrokenSwish(4)):
    backward, numeric = slopes(layer.astype("float64"), x, h=1e-5)
    print(f"{type(layer).__name__}: <dbeta, v> = {backward:.6f}, (L(beta + hv) - L(beta - hv)) / 2h = {numeric:.6f}")

# lightnet does this for every input and parameter, and checks the rest of what a layer promises: shapes, precision, ...
print(f"\n{ln.check_layer(Swish(4), x.shape)}\n{ln.check_layer(BrokenSwish(4), x.shape)}")

# The same for a network: the report says in which node to look.
g = ln.Graph(input_shape=(6, 6, 4))
g.add("conv", Conv2D(4, 4, kernel=3, seed=0), "image")
g.add("swish", BrokenSwish(4), "conv")
report = ln.gradcheck(g, x)
print(f"\n{report}\nright: {', '.join(name for name, error in report.errors.items() if error < 1e-6)}")
assert [problem.name for problem in report.problems] == ["swish.beta"]

with drawing("runs/examples/05_gradient_check.png", 7.5, 4.4, **{"text.parse_math": True}) as figure:
    axes = figure.subplots()
    steps = np.logspace(-12, 0, 25)
    curves = (BrokenSwish, "float64", "#CC79A7"), (Swish, "float32", "#E69F00"), (Swish, "float64", INK)
    for kind, dtype, colour in curves:
        backward, numeric = np.array([slopes(kind(4).astype(dtype), x.astype(dtype), h) for h in steps]).T
        errors = abs(backward - numeric) / abs(backward)
        axes.loglog(steps, errors, marker="o", markersize=4, color=colour, label=f"{kind.__name__}, {dtype}")
    axes.axhline(1e-6, color=FAINT, **DASHED, label="lightnet's limit")              # steps 1e-5 to 1e-7 stay far below
    axes.set(title="Backward against numerical derivative", xlabel="step h", ylabel="relative error", ylim=(1e-12, 1e4))
    axes.legend(loc="upper right", ncols=2)
print("Drawn: runs/examples/05_gradient_check.png")
