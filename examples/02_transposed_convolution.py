"""Transposed convolution: the convolution's adjoint, which makes an image larger.

You will see a convolution written out as a matrix, and that the transposed convolution with the same weights is that
matrix's transpose; the same as an equation for whole images; that either is the other's backward; and, in
runs/examples/02_transposed_convolution.png, how every pixel stamps the kernel onto a larger image.
"""

import numpy as np

from lightnet.evaluation.plots import drawing
from lightnet.layers import Conv2D, ConvTranspose2D

# Five pixels in a row, kernel [1, 2, 3], stride 2: a convolution to two pixels, and the way back to five.
conv = Conv2D(1, 1, kernel=(1, 3), stride=(1, 2))
up = ConvTranspose2D(1, 1, kernel=(1, 3), stride=(1, 2))
conv.params["weight"][:] = up.params["weight"][:] = np.reshape([1, 2, 3], (1, 3, 1, 1))

# A linear function's matrix: its answers to the images that are 1 in one pixel; as a batch, to an identity matrix.
A = conv.forward(np.eye(5, dtype=np.float32).reshape(5, 1, 5, 1)).reshape(5, 2).T
B = up.forward(np.eye(2, dtype=np.float32).reshape(2, 1, 2, 1)).reshape(2, 5).T
print(f"convolution, 5 pixels to 2, as a matrix {A.shape}\n{A}\ntransposed convolution, 2 pixels to 5 {B.shape}\n{B}")
print(f"The one is the other's transpose: {np.array_equal(A.T, B)}\n")
assert np.array_equal(A.T, B)

# The same without matrices, for images of several channels: <conv(u), x> = <u, up(x)>, whatever u and x are.
conv = Conv2D(8, 3, kernel=4, stride=2, padding=1, seed=0).astype("float64")            # (N, 12, 12, 8) to (N, 6, 6, 3)
up = ConvTranspose2D(3, 8, kernel=4, stride=2, padding=1).astype("float64")             # (N, 6, 6, 3) to (N, 12, 12, 8)
up.params["weight"][:] = conv.params["weight"]                                          # (4, 4, 8, 3) in both
rng = np.random.default_rng(0)
u, x = rng.standard_normal((2, 12, 12, 8)), rng.standard_normal((2, 6, 6, 3))
left, right = np.vdot(conv.forward(u, training=True), x), np.vdot(u, up.forward(x, training=True))
print(f"u {u.shape}, x {x.shape}\n<conv(u), x> = {left:.4f}, <u, conv_transpose(x)> = {right:.4f}")
assert abs(left - right) < 1e-9 * abs(left)

# So there is nothing new to derive: the forward of the one is the backward of the other.
assert np.allclose(up.forward(x), conv.backward(x)) and np.allclose(up.backward(u), conv.forward(u))
print("conv_transpose.forward(x) is conv.backward(x), and conv_transpose.backward(u) is conv.forward(u).\n")

# Seen from the output: each pixel of x stamps the kernel, times its value; the stride is how far apart the stamps are.
bump = np.outer([1, 2, 2, 1], [1, 2, 2, 1])                                             # (4, 4), easy to recognize
image = np.zeros((3, 3))
image[0, 0], image[0, 1], image[2, 2] = 1, 2, 3
stamped = {}
for stride in (4, 2):
    layer = ConvTranspose2D(1, 1, kernel=4, stride=stride)
    layer.params["weight"][:] = bump[:, :, None, None]
    stamped[stride] = layer.forward(np.float32(image[None, :, :, None]))[0, :, :, 0]
    side = (3 - 1) * stride + 4
    print(f"3x3 pixels, kernel 4, stride {stride}: {side}x{side} pixels, since (3 - 1) * {stride} + 4 = {side}")
    assert stamped[stride].shape == (side, side)
print(f"Stride 2, row 1, where two stamps meet in the middle: {stamped[2][1]}")
print("light_cnn enlarges fire9 with kernel 4 and stride 4: the stamps lie side by side.")

with drawing("runs/examples/02_transposed_convolution.png", 12, 3.25) as figure:
    panels = {"x: 3x3 pixels": image, "Kernel: 4x4": bump, "Stride 4: side by side": stamped[4],
              "Stride 2: overlaps add up": stamped[2]}
    for axes, (title, values) in zip(figure.subplots(1, 4), panels.items()):
        axes.imshow(values, cmap="Blues", vmin=0, vmax=16)
        axes.set_title(title)
        for (i, j), value in np.ndenumerate(values):
            if value:
                axes.text(j, i, f"{value:g}", ha="center", va="center", fontsize=13 if len(values) < 6 else 9,
                          color="white" if value > 9 else "black")
        axes.set_xticks(np.arange(len(values) + 1) - 0.5, labels=[])                    # a grid between the pixels
        axes.set_yticks(np.arange(len(values) + 1) - 0.5, labels=[])
        axes.tick_params(length=0)
        axes.grid(color="#BBBBBB", linewidth=0.8)
        axes.set_axisbelow(False)
        axes.spines[:].set(visible=True, color="#BBBBBB")
print("Drawn: runs/examples/02_transposed_convolution.png")
