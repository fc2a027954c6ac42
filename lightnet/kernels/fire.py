"""A fire module's backward and that of the layer behind it, a few images at a time; its forward and a max pool's.

    s -> expand1x1 -> ELU \\
                           Concat -> the next squeeze, or a max pool
    s -> expand3x3 -> ELU /

**Why it is fast.** The gradient of the Concat is the largest array around: for fire2 and fire3 1.6 MB an image, 51 MB a batch.
Layer by layer it is written to memory and read from there twice, of each pixel first one half of the channels and then the
other. Here the layer behind makes it for one image, or for as many as Winograd's method takes together, and both expands read it
before it has left the third-level cache; then the next images take its place. It is one compiled loop, for calls from Python
cost as much as that saves (``threads.py``). A training step takes 0.975 of the time on one thread and 0.956 on two (Zen 4).
Forward the pool reads what both expands have just written: 0.981 on one thread, 0.995 on two.
"""

from . import pointwise, pooling, winograd, winograd_backward
from .borrowing import borrowed
from .compiling import compiled
from .images import some_channels, some_images

NOTHING, SQUEEZE, POOL = range(3)                       # what is behind


@compiled
def forward(one, C, three, pool, whole, y, winner, start, stop, few):
    """Images start to stop of the Concat, ``whole``, and y and ``winner`` of the max pool behind it, ``few`` at a time.

    one and three: what the convolutions take, of which the first makes C channels, the second as many images together; pool:
    `Window`; whole, y and winner (N * OH * OW * channels,): of the whole batch.
    """
    one, three, whole, y, winner = borrowed((one, three, whole, y, winner))
    for n in range(start, stop, few):
        last = min(n + few, stop)
        pointwise.forward(one, whole, n, last)
        winograd.forward_with_edges(three, some_channels(whole, C, whole.C - C), n, last)
        pooling.largest(some_images(whole, n, last), some_images(y, n, last), winner[n * y.H * y.W * y.C:], pool)


@compiled
def backward(behind, pool, squeeze, three, one, dy, passed, dx, start, stop):
    """dx of images start to stop; to the gradients of the convolutions' parameters theirs are added.

    dy: `Images`, the gradient of what the layer behind made; with nothing behind the Concat's own. passed: room for the Concat's
    gradient of a few images; with nothing behind it says only how many. pool, squeeze, three and one: what the layers' backward
    takes; one adds to what three wrote to dx.
    """
    pool, squeeze, three, one, dy, passed, dx = borrowed((pool, squeeze, three, one, dy, passed, dx))
    C = len(one.db)
    for n in range(start, stop, passed.N):
        last = min(n + passed.N, stop)
        some, to_dx = some_images(passed, 0, last - n), some_images(dx, n, last)
        if behind == POOL:
            pooling.to_winners(pool, dy, some, n, last, n)
        elif behind == SQUEEZE:
            pointwise.backward(squeeze, some_images(dy, n, last), some, n, last, n)
        else:
            some = some_images(dy, n, last)
        winograd_backward.backward_with_edges(three, some_channels(some, C, some.C - C), to_dx, n, last, n)
        pointwise.backward(one, some_channels(some, 0, C), to_dx, n, last, n)
