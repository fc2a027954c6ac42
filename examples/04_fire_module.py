"""A fire module: squeeze, then expand two ways; and a value with two readers, whose gradients add up.

                                                    +-> expand 1x1 -> ELU -+
    image -> squeeze 1x1 -> batch norm -> ELU ------+                      +-> concat
                                                    +-> expand 3x3 -> ELU -+

You will see it built node by node, what it saves against one 3x3 convolution, the gradient at the fork, and, in
runs/examples/04_fire_module.png, what its channels look like for a synthetic slice.
"""

import numpy as np

import lightnet as ln
from lightnet.data import default_meta, phantom, prepare
from lightnet.evaluation.plots import FAINT, drawing
from lightnet.layers import ELU, BatchNorm2D, Concat, Conv2D

# A graph is a list of nodes: a name, a layer, the names of what it reads. `add` returns the name, for the next to read.
S, E = 8, 16                                                                    # channels: squeezed to, expanded to
rng = np.random.default_rng(0)                                                  # untrained weights
g = ln.Graph(input_shape=(65, 65, 3))
g.add("conv", Conv2D(3, 64, kernel=3, padding=1, seed=rng), "image")            # 64 channels for it to squeeze
s = g.add("squeeze", Conv2D(64, S, kernel=1, seed=rng), "conv")
s = g.add("squeeze_bn", BatchNorm2D(S), s)
s = g.add("squeeze_elu", ELU(), s)                                              # read twice: the fork
a = g.add("expand1x1", Conv2D(S, E, kernel=1, seed=rng), s)
a = g.add("expand1x1_elu", ELU(), a)
b = g.add("expand3x3", Conv2D(S, E, kernel=3, padding=1, seed=rng), s)          # padding keeps the size, for concat
b = g.add("expand3x3_elu", ELU(), b)
g.add("concat", Concat(), a, b)                                                 # side by side in depth: 2 * E channels
print(g.summary())

# What it saves: the 3x3 kernels, nine times as dear as 1x1, see S channels instead of 64 and make half the outputs.
shapes = g.shapes()
convolutions = [g.nodes[name] for name in ("squeeze", "expand1x1", "expand3x3")]
fire_macs = sum(node.layer.macs(shapes[node.inputs[0]]) for node in convolutions)
plain_macs = Conv2D(64, 2 * E, kernel=3, padding=1).macs(shapes["conv"])
print(f"\nThe fire module needs {fire_macs:,} MACs, one 3x3 convolution from 64 to {2 * E} channels {plain_macs:,}: "
      f"{plain_macs / fire_macs:.1f} times as many.\n")

# One forward and one backward. Observers see every node's arrays as they pass.
maps, dys, dxs = {}, {}, {}
meta = {**default_meta(), "input_size": 65}
x = prepare(phantom.draw(np.random.default_rng(2), label=1), meta)              # (1, 65, 65, 3)
y = g.forward(x, training=True, observe=lambda node, inputs, output: maps.update({node.name: output.copy()}))


def note(node, inputs, output):
    """In backward, the input is the node's dy and the output its dx."""
    dys[node.name], dxs[node.name] = inputs[0].copy(), np.copy(output)


g.backward(rng.standard_normal(y.shape), observe=note)
one, two, both = dxs["expand1x1"], dxs["expand3x3"], dys["squeeze_elu"]
print(f"The fork {both.shape} acts on the loss through both convolutions that read it, so its gradients add up.")
print(f"At [0, 30, 30, 0]: from expand1x1 {one[0, 30, 30, 0]:.4f}, from expand3x3 {two[0, 30, 30, 0]:.4f}, "
      f"squeeze_elu gets {both[0, 30, 30, 0]:.4f}")
assert np.allclose(one + two, both)

with drawing("runs/examples/04_fire_module.png", 13, 4.1) as figure:
    panels = figure.subplots(1, 4, width_ratios=(1, 0.5, 1, 1))
    panels[0].imshow(x[0, :, :, 0], cmap="gray", vmin=0, vmax=1)
    panels[0].set_title("Synthetic slice")
    titles = {"squeeze_elu": f"Squeezed to {S}", "expand1x1_elu": f"Expanded by 1x1 kernels to {E}",
              "expand3x3_elu": f"Expanded by 3x3 kernels to {E}"}
    for axes, (name, title) in zip(panels[1:], titles.items()):
        channels = np.pad(maps[name][0], ((1, 1), (1, 1), (0, 0)), constant_values=np.nan)      # a frame around each
        across = 2 if name == "squeeze_elu" else 4
        tiles = channels.reshape(67, 67, -1, across).transpose(2, 0, 3, 1).reshape(4 * 67, across * 67)
        axes.imshow(tiles, cmap="gray", vmin=-1, vmax=np.nanpercentile(tiles, 99))
        axes.set_title(title)
    for axes in panels:
        axes.set_axis_off()
    figure.supxlabel("a channel in each tile; untrained weights", fontsize=9, color=FAINT)
print("Drawn: runs/examples/04_fire_module.png")
