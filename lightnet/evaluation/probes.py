"""What a trained network's score is made of: the same test slices, with what should matter, or what should not, taken away.

A network that looks at the lungs falls to chance when they are black, and stands when only they are left. One that scores
as well without lungs uses something else (Maguolo & Nanni 2021). A changed slice is unlike any that the network was trained on,
so a *fall* may have either cause; a score that does not fall says that what was taken away was not needed. The masks are
rough (`lungs`): a lesion at the pleura may stay outside, while the box around them takes that in as well.

References
----------
.. [1] Maguolo & Nanni 2021, "A critic evaluation of methods for COVID-19 automatic detection from X-ray images", Information
   Fusion 76:1
.. [2] DeGrave, Janizek & Lee 2021, "AI for radiographic COVID-19 detection selects shortcuts over signal", Nature Machine
   Intelligence 3:610
"""

import inspect
import io
from collections import defaultdict

import numpy as np

from ..data.images import read_image
from ..data.prepare import normalize, resize
from ..errors import GraphError
from ..graph import Graph
from .cam import border, class_activation_maps, head, share_inside
from .controls import box, reencoded
from .lungs import lungs
from .scores import p_covid, predict_logits

AROUND = 0.1                                    # of the side: a frame that is left when all else is black
UNTRAINED = tuple(range(1000, 1005))            # seeds of untrained networks: no training here began with these weights

# Each probe's name, and what is left of a square slice, given the mask of its lungs.
PROBES = {
    "as it is": lambda grey, mask: grey,
    "lungs black": lambda grey, mask: np.where(mask, 0, grey),
    "lungs' box black": lambda grey, mask: np.where(box(mask), 0, grey),
    "only lungs": lambda grey, mask: np.where(mask, grey, 0),
    "only the frame": lambda grey, mask: np.where(border(len(grey), AROUND), grey, 0),
    "re-encoded": lambda grey, mask: resize(read_image(io.BytesIO(reencoded(grey))), len(grey)),
}


def probe(net, slices, progress=None):
    """Score slices as they are and changed in each way of `PROBES`.

    Parameters
    ----------
    net : Graph
    slices : sequence of Slice
    progress : callable, optional
        Wraps the loop over the slices as ``progress(iterable, total=N)``: tqdm, for one.

    Returns
    -------
    dict of str to ndarray (N,)
        p_covid, by probe.
    """
    size, seen = net.meta["input_size"], defaultdict(list)
    for one in progress(slices, total=len(slices)) if progress else slices:
        grey = resize(one.read(), size, net.meta["resize"])
        mask = lungs(grey)
        for name, change in PROBES.items():
            seen[name].append(change(grey, mask).astype(np.float32))
    return {name: p_covid(predict_logits(net, np.stack(greys))) for name, greys in seen.items()}


def as_untrained(net, seed):
    """The same network with fresh weights: the same nodes, layers made anew."""
    fresh, rng = Graph(net.input_shape, net.sizes, net.meta), np.random.default_rng(seed)
    for node in net.nodes.values():
        kind = type(node.layer)
        seeded = {"seed": rng} if "seed" in inspect.signature(kind).parameters else {}
        fresh.add(node.name, kind(**node.layer.config, **seeded), *node.inputs)
    return fresh


def where_it_looks(net, slices, untrained=UNTRAINED, progress=None):
    """Measure where a network's maps for and against COVID lie, beside those of untrained networks.

    Parameters
    ----------
    net : Graph
        One that has `class_activation_maps`.
    slices : sequence of Slice
        Those where no lungs are found, or where a map is the same everywhere, are left out.
    untrained : sequence of int
        Seeds of the weights of the same network, untrained, that stands beside it; none of them its own.
    progress : callable, optional
        As in `probe`.

    Returns
    -------
    dict or None
        None where there are no maps, or all slices are left out. Else ``n`` slices, and means over them: ``outside_lungs`` and
        ``border``, the share of the map there, each with ``..._area``, the share of the slice, and ``..._untrained``, a list, a
        seed each; ``correlation_untrained``, likewise, of the two networks' maps.

    Notes
    -----
    The map is that for COVID minus that for non-COVID, whose mean decides; its share somewhere is of the absolute difference
    from its own median, since what all places have alike says nothing about where. What a place takes in from around counts
    as that place's, so a network that uses the lungs alone has some share outside.
    """
    try:
        head(net)
    except GraphError:
        return None
    networks, size, found = [net, *(as_untrained(net, seed) for seed in untrained)], net.meta["input_size"], defaultdict(list)
    for one in progress(slices, total=len(slices)) if progress else slices:
        grey = resize(one.read(), size, net.meta["resize"])
        mask = lungs(grey)
        if not mask.any():
            continue
        x = normalize(grey[None], net.meta)
        maps = [departures(class_activation_maps(which, x)) for which in networks]
        if not all(of.any() for of in maps):                # the same everywhere: it has no place to look at
            continue
        for place, region in (("outside_lungs", ~mask), ("border", border(size))):
            shares = [share_inside(of, region[None])[0] for of in maps]
            found[f"{place}_area"].append(region.mean())
            found[place].append(shares[0])
            found[f"{place}_untrained"].append(shares[1:])
        found["correlation_untrained"].append([np.corrcoef(maps[0].ravel(), of.ravel())[0, 1] for of in maps[1:]])
    means = {name: np.mean(values, axis=0).tolist() for name, values in found.items()}
    return {"n": len(found["border"]), **means} if means else None


def departures(maps):
    """Of maps (N, h, w, 2) what speaks for COVID more, or less, than the map's median place: (N, h, w).

    >>> departures(np.array([[[[0.0, 5.0], [1.0, 5.0], [0.0, 7.0]]]])).tolist()
    [[[0.0, -1.0, 2.0]]]
    """
    difference = maps[..., 1] - maps[..., 0]
    return difference - np.median(difference, axis=(1, 2), keepdims=True)
