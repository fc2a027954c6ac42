"""One convolution: by hand on 4x5 pixels, its gradients, and on a slice.

You will see a 3x3 kernel that finds edges go over a small image; the same as one matrix product; what backward says
about a single output; and, in runs/examples/01_one_convolution.png, two such kernels on a synthetic slice.
"""

import numpy as np

from lightnet.data import default_meta, phantom, prepare
from lightnet.evaluation.plots import drawing
from lightnet.layers import Conv2D

# Right column minus left column: 0 where the window is flat from left to right, large where it rises.
KERNEL = np.float32([[-1, 0, 1],
                     [-1, 0, 1],
                     [-1, 0, 1]])
conv = Conv2D(in_channels=1, out_channels=1, kernel=3)
conv.params["weight"][:] = KERNEL[:, :, None, None]                     # (KH, KW, C, F) = (3, 3, 1, 1)
image = np.float32([[0, 0, 5, 5, 5],
                    [0, 0, 5, 6, 5],
                    [0, 0, 5, 5, 5],
                    [0, 1, 5, 5, 5]])
x = image[None, :, :, None]                                             # (N, H, W, C) = (1, 4, 5, 1)
y = conv.forward(x, training=True)                                      # (1, 2, 3, 1): the window fits in 2 x 3 places
print(f"image {x.shape}\n{image}\nkernel {conv.params['weight'].shape}\n{KERNEL}")
print(f"feature map {y.shape}\n{y[0, :, :, 0]}")
print("Top left by hand: (5 + 5 + 5) - (0 + 0 + 0) = 15, an edge. Top right: (5 + 5 + 5) - (5 + 5 + 5) = 0, none.\n")

# Every window as one row of a matrix: then all six answers are one product. The whole of conv.py rests on this.
rows = conv.columns(x)
print(f"im2col(x) {rows.shape}: a row for each of the 6 windows\n{rows}")
print(f"im2col(x) @ W = {rows @ KERNEL.ravel()}, the feature map again\n")
assert np.array_equal(rows @ KERNEL.ravel(), y.ravel())

# Backward, for a loss that is one output by itself: dy is 1 there, and 0 elsewhere.
dy = np.zeros_like(y)
dy[0, 1, 1, 0] = 1
dx = conv.backward(dy)
dW = conv.grads["weight"]
print(f"Let the loss be y[1, 1]. Then dW is the window that it looked at:\n{dW[:, :, 0, 0]}")
print(f"and dx is the kernel, laid where that window is:\n{dx[0, :, :, 0]}")
assert np.array_equal(dW[:, :, 0, 0], image[1:4, 1:4]) and np.array_equal(dx[0, 1:4, 1:4, 0], KERNEL)
print("y[1, 1] = <W, window>: moved by W it follows the window, moved by the window it follows W.\n")

# A real layer has many kernels; each gives one channel of its output. Two here: rising to the right, rising downwards.
twice = Conv2D(in_channels=1, out_channels=2, kernel=3)
twice.params["weight"][:] = np.stack([KERNEL, KERNEL.T], axis=-1)[:, :, None]                       # (3, 3, 1, 2)
grey = phantom.draw(np.random.default_rng(2), label=1)                                              # (H, W), 0 to 1
x = prepare(grey, {**default_meta(), "input_size": 113})[..., :1]    # (1, 113, 113, 1)
y = twice.forward(x)                                                                                # (1, 111, 111, 2)
print(f"A slice {x.shape} through two kernels {twice.params['weight'].shape} gives {y.shape}.")

with drawing("runs/examples/01_one_convolution.png", 10, 6.4) as figure:
    layout = [["slice", "kernel 0", "map 0"], ["slice", "kernel 1", "map 1"]]
    axes = figure.subplot_mosaic(layout, width_ratios=(1.5, 0.6, 1))
    axes["slice"].imshow(x[0, :, :, 0], cmap="gray", vmin=0, vmax=1)
    axes["slice"].set_title("Synthetic slice, 113x113")
    for f, rises in enumerate(("to the right", "downwards")):
        kernel, weight = axes[f"kernel {f}"], twice.params["weight"][:, :, 0, f]
        kernel.imshow(weight, cmap="RdBu_r", vmin=-3, vmax=3)
        kernel.set_title(f"Kernel {f}")
        for (p, q), value in np.ndenumerate(weight):
            kernel.text(q, p, {-1: "−1", 0: "0", 1: "+1"}[value], ha="center", va="center", fontsize=13)
        colours = axes[f"map {f}"].imshow(y[0, :, :, f], cmap="RdBu_r", vmin=-2, vmax=2)
        axes[f"map {f}"].set_title(f"Feature map, channel {f}")
        figure.colorbar(colours, ax=axes[f"map {f}"], shrink=0.8, ticks=(-2, 0, 2), label=f"brighter {rises}")
    for one in axes.values():
        one.set_axis_off()
print("Drawn: runs/examples/01_one_convolution.png")
