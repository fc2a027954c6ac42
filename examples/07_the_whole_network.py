"""The whole network: light_cnn's nodes, one image through it and back, and where the time goes.

You will see every node with its shape, parameters and multiply-accumulates (MACs); the sizes on the way of a synthetic
slice of 227x227 pixels; what backward leaves, and what a gradient foretells; and, in
runs/examples/07_the_whole_network.png, the time that each part takes.
"""

import numpy as np

import lightnet as ln
from lightnet.data import phantom, prepare
from lightnet.evaluation.plots import FAINT, drawing

net = ln.models.light_cnn(seed=0)                                           # untrained
print(net.summary())

x = prepare(phantom.draw(np.random.default_rng(2), label=1), net.meta)      # (1, 227, 227, 3)
on_the_way = ["conv1", "pool1", "fire3/concat", "pool3", "fire5/concat", "pool5", "fire9/concat", "upsample", "concat",
              "mix", "gap", "fc"]
print(f"\nOne slice {x.shape} on its way: the image shrinks, the channels grow; fire9, enlarged, is put beside fire3.")


def look(node, inputs, output):
    """Called after every node. Of all arrays, note the size, and how the numbers spread: signals keep theirs."""
    if node.name in on_the_way:
        print(f"  {node.name:<13} {'x'.join(map(str, output.shape[1:])):>11}   deviation {output.std():.2f}")


logits = net.forward(x, training=True, observe=look)
loss, dlogits = ln.softmax_cross_entropy(logits, [1])                       # the slice was drawn as COVID
p = ln.softmax(logits)[0, 1]
print(f"logits {logits.round(3)}, p_covid {p:.3f}: a guess, the network is untrained. Loss -log(p_covid) = {loss:.3f}")
assert np.isclose(loss, -np.log(p), atol=1e-5)

dx = net.backward(dlogits)
print(f"\ndL/dlogits = p - t = {dlogits.round(3)}")
print(f"backward leaves {len(net.grads)} gradients, each of its parameter's shape, and dx {dx.shape}.")
assert all(net.grads[name].shape == w.shape for name, w in net.params.items()) and dx.shape == x.shape

# A small step against the gradient lowers the loss by lr * |gradient|**2, to first order: that is what a gradient says.
lr, square = 1e-4, sum(np.square(grad).sum(dtype="float64") for grad in net.grads.values())
ln.SGD(net, lr=lr, momentum=0).step()
after, _ = ln.softmax_cross_entropy(net.forward(x, training=True), [1])
print(f"One step of lr {lr:g}: the loss falls by {loss - after:.6f}, foretold {lr * square:.6f} = lr * |gradient|**2.")

ln.set_num_threads(1)                                                       # so that other work disturbs the times less
profile = net.profile(x, repeats=5)                                         # medians of 5 steps, after one not counted
total, macs = sum(node.forward_ms + node.backward_ms for node in profile), sum(node.macs for node in profile)
print(f"\nForward and backward {total:.0f} ms on one thread. The five slowest of {len(profile)} nodes:")
for node in sorted(profile, key=lambda node: -node.forward_ms - node.backward_ms)[:5]:
    share = (node.forward_ms + node.backward_ms) / total
    print(f"  {node.name:<16} forward {node.forward_ms:5.1f} ms   backward {node.backward_ms:5.1f} ms   "
          f"{share:4.0%} of the time   {node.macs / macs:4.0%} of the MACs")
print("print(net.profile(x)) shows them all.")

# In the picture a fire module is one row, and an ELU belongs to the convolution before it.
rows, labels = {}, {}
for node in profile:
    name = node.name.split("/")[0].removesuffix("_elu")
    rows.setdefault(name, np.zeros(3))[:] += node.forward_ms, node.backward_ms, node.macs / 1e6
    labels[name] = f"{name}  {'x'.join(map(str, net.shapes()[node.name][1:]))}"
with drawing("runs/examples/07_the_whole_network.png", 10, 5.6) as figure:
    times, products = figure.subplots(1, 2, sharey=True)
    at, (forward, backward, multiplied) = np.arange(len(rows)), np.array(list(rows.values())).T
    times.barh(at, forward, color="#56B4E9", label="forward")
    times.barh(at, backward, left=forward, color="#E69F00", label="backward")
    times.set(title="Time for one image", xlabel="ms, on one thread")
    times.set_yticks(at, list(labels.values()))
    times.invert_yaxis()                                                     # top to bottom, as the network is built
    times.legend(loc="center right")
    products.barh(at, multiplied, color=FAINT)
    products.set(title="Multiply-accumulates, forward", xlabel="million")
print("Drawn: runs/examples/07_the_whole_network.png")
