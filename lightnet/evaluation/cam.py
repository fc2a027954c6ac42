"""Class activation maps: where in a slice a network finds what speaks for a class.

A network that ends in a global average and a dense layer computes the logit of class c from the features A (h, w, K) as

    logit_c = sum_k W_kc (1/(h w) sum_ij A_ijk) + b_c = 1/(h w) sum_ij M_ijc + b_c,    M_ijc = sum_k A_ijk W_kc

so that the logit is the mean of a map M, plus a bias: M_ijc is what place (i, j) adds to it, positive where it speaks for the
class and negative where against. Nothing is approximated, and nothing is cut off or rescaled here: the sign is half of the
message.

What a map does not say is *why*: what stands at a place of light_cnn's map depends on a wide region around it. And its 4x4 blocks
come from the network, not from the lung: the transposed convolution makes each 4x4 block of its output from one cell.

References
----------
.. [1] Zhou, Khosla, Lapedriza, Oliva & Torralba 2016, "Learning deep features for discriminative localization",
   arXiv:1512.04150, equations 1 and 2
.. [2] Adebayo et al. 2018, "Sanity checks for saliency maps", arXiv:1810.03292: a map that an untrained network gives as well
   says nothing about what was learnt
"""

import numpy as np

from ..errors import GraphError, ShapeError
from ..layers import Dense, GlobalAvgPool

MAP_BORDER = 0.05                               # of the side: what counts as a map's border


def class_activation_maps(net, x):
    """Return what every place adds to each logit.

    Parameters
    ----------
    net : Graph
        Ends in GlobalAvgPool and Dense, as light_cnn, or in GlobalAvgPool, as SqueezeNet, whose last maps are its classes'
        already.
    x : ndarray (N, H, W, C)
        Prepared slices.

    Returns
    -------
    maps : ndarray (N, h, w, classes)
        ``maps.mean(axis=(1, 2))`` plus the dense layer's bias, where there is one, are the logits.

    Raises
    ------
    GraphError
        The network ends otherwise.

    Examples
    --------
    >>> import lightnet as ln
    >>> net = ln.models.light_cnn(seed=0)
    >>> x = np.random.default_rng(0).random((1, 131, 131, 3), np.float32)
    >>> maps = class_activation_maps(net, x)
    >>> maps.shape
    (1, 32, 32, 2)
    >>> np.allclose(maps.mean(axis=(1, 2)) + net.params["fc.bias"], net.forward(x), atol=1e-5)
    True
    """
    pool, weight = head(net)
    features = {}

    def keep(node, inputs, output):
        if node.name == pool:
            features["A"] = inputs[0].copy()

    net.forward(x, observe=keep)
    return features["A"] if weight is None else features["A"] @ weight             # (N, h, w, K) @ (K, classes)


def head(net):
    """The name of the global average that ends a network, and the weight of the dense layer after it, None without one."""
    before, last = list(net.nodes.values())[-2:] if len(net.nodes) > 1 else 2 * list(net.nodes.values())
    if isinstance(last.layer, GlobalAvgPool):
        return last.name, None
    if isinstance(last.layer, Dense) and isinstance(before.layer, GlobalAvgPool) and last.inputs == (before.name,):
        return before.name, last.layer.params["weight"]
    raise GraphError(f"the network ends in {type(before.layer).__name__} {before.name!r} and {type(last.layer).__name__} "
                     f"{last.name!r}; a class activation map needs a GlobalAvgPool, and at most a Dense after it")


def enlarged(maps, size):
    """Maps (..., h, w) at (..., size, size) by repeating the nearest value: blocks stay blocks.

    >>> enlarged(np.array([[1, 2], [3, 4]]), 4)
    array([[1, 1, 2, 2],
           [1, 1, 2, 2],
           [3, 3, 4, 4],
           [3, 3, 4, 4]])
    """
    h, w = maps.shape[-2:]
    rows, columns = (np.arange(size) * side // size for side in (h, w))
    return maps[..., rows[:, None], columns]


def share_inside(maps, masks):
    """Return the share of each map's absolute value that lies inside a mask.

    Parameters
    ----------
    maps : ndarray (N, h, w)
    masks : ndarray (N, S, S) of bool
        At the slices' size.

    Returns
    -------
    shares : ndarray (N,)
        ``nan`` where a map is 0. To be read beside the share of the *area*, ``masks.mean(axis=(1, 2))``: a map that looks
        nowhere in particular has that share inside.

    Examples
    --------
    >>> maps = np.array([[[3.0, 0.0], [-1.0, 0.0]]])
    >>> share_inside(maps, np.array([[[True, False], [False, False]]])).tolist()
    [0.75]
    """
    maps, masks = np.asarray(maps), np.asarray(masks)
    if maps.ndim != 3 or masks.ndim != 3 or len(maps) != len(masks):
        raise ShapeError(f"maps {maps.shape} and masks {masks.shape}; expected (N, h, w) and (N, S, S)")
    amount = np.abs(enlarged(maps, masks.shape[-1]))
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan on purpose
        return (amount * masks).sum(axis=(1, 2)) / amount.sum(axis=(1, 2))


def border(size, share=MAP_BORDER):
    """A mask (size, size) of the outermost pixels on every side.

    >>> border(4, 0.25).astype(int)
    array([[1, 1, 1, 1],
           [1, 0, 0, 1],
           [1, 0, 0, 1],
           [1, 1, 1, 1]])
    """
    mask, width = np.ones((size, size), bool), max(1, round(share * size))
    mask[width:-width, width:-width] = False
    return mask
