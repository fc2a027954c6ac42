"""Which values may be computed in place of others, or not on their own at all: less memory to go through.

- The inputs of a Concat are computed where they belong in its output, so that nothing is left to copy.
- An activation that alone reads a value writes over it, where nobody else keeps that value: a convolution does not, another
  activation would.
- Where that value comes from a convolution and the activation is an ELU, the convolution computes it with its sums still in
  registers.
- Where a max pool alone reads that ELU, the convolution computes the pool as well, before the ELU (``pooled.py``).
- Where a value's gradient is a sum, a MaxPool or a 1x1 convolution adds its own part to the other one while it computes it.
- A convolution or a MaxPool behind an ELU, or behind a Concat of ELUs, does their backward too: it has their outputs at hand, or
  goes through their gradients anyway.
- In backward an activation writes over the gradient that it is given, where nobody else holds it; an ELU that was fused
  leaves even that to the convolution, which does it image by image, just before it reads the gradient anyway.
- A fire module's two convolutions do their backward together with the layer behind their Concat (``fire.py``), and are
  themselves done by it, if it is a max pool.
- The image's gradient is not computed where nobody wants it.

``forward_schedule.py`` and ``backward_schedule.py`` say where. Nothing in ``layers/`` or in a model knows of it. It goes for
versions from this room only, and not while someone observes: who asked to see each value finds them all.

What a version is told, by keyword:

    forward     out         all but Add     an array of images to compute into
                elu         Conv2D          True: compute the ELU of the output
                pool        Conv2D          the MaxPool2D of that ELU: compute its output
                done        ELU             True: x is the ELU already
                pooled      ELU, MaxPool2D  the convolution that has done all three
                postponed   Conv2D          True: nothing but keep x, a pool will do it
                fire        MaxPool2D       the fire module to do before, see fire.py
    backward    out         activations,    dy: write over it
                            BatchNorm2D
                onto        MaxPool2D, 1x1  what to add to dx
                x_elu       MaxPool2D and   the ELU that x comes from: multiply dx by its slope
                            convolutions
                done        ELU             True: whose dy this is has done that
                even        GlobalAvgPool   True: one pixel of dx will do for all of an image
                postponed   ELU, MaxPool2D  True: hand dy on, a convolution will do it;
                            Concat, Conv2D  likewise
                elu, pool   Conv2D          the layers that have handed it on
                fire        1x1             likewise, see fire.py
                to_image    Conv2D          False: nobody wants dx
"""

from collections import defaultdict

from ..kernels.threads import together
from ..layers import ELU, ReLU

OVER_INPUT = (ELU, ReLU)                                # forward may write over its input


class Together:
    """A block within which what need not be done at once waits: ``with`` a schedule."""

    def __enter__(self):
        self.block = together()
        self.block.__enter__()
        return self

    def __exit__(self, *error):
        return self.block.__exit__(*error)


def readers_of(graph):
    """The nodes that read each value, in order."""
    readers = defaultdict(list)
    for node in graph.nodes.values():
        for name in node.inputs:
            readers[name].append(node)
    return readers
