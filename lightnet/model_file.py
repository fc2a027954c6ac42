"""Save a network to one file, and load it: names, class names, constructor arguments and arrays. Nothing in it runs.

The file is NumPy's ``.npz``: one array for every parameter (``params/conv1.weight``) and every state
(``state/fire2/squeeze_bn.running_mean``), and one text, ``graph``, in JSON: the nodes and the network's meta.
"""

import json
import os
from pathlib import Path

import numpy as np

from . import layers
from .errors import ArgumentError, CheckpointError, LightnetError
from .files import read_arrays, whole
from .graph import Graph
from .sizes import SizeRule

FORMAT = 1
TRAINED = Path(__file__).parent / "models" / "trained"     # the models that come with lightnet; their card is README.md there


def save(net, path):
    """Write a network to ``path`` (``.npz``), whole or not at all.

    Parameters
    ----------
    net : Graph
    path : str or Path

    Raises
    ------
    FileError
        Where the file cannot be written.
    ArgumentError
        Where ``net.meta``, or an argument of a layer, is nothing that JSON has.

    Examples
    --------
    >>> import lightnet as ln, tempfile, os
    >>> net = ln.models.light_cnn(seed=0)
    >>> path = os.path.join(tempfile.mkdtemp(), "net.npz")
    >>> save(net, path)
    >>> bool((load(path).params["fc.weight"] == net.params["fc.weight"]).all())
    True
    """
    text = as_text(describe(net))
    with whole(path, "wb") as file:
        np.savez(file, graph=np.array(text), **named_arrays(net))


def as_text(value):
    """A value as JSON; numbers and arrays of NumPy as Python's."""
    try:
        return json.dumps(value, default=lambda other: other.tolist())
    except (TypeError, ValueError, AttributeError) as error:
        raise ArgumentError(f"net.meta, or an argument of a layer, cannot be kept ({error}); expected numbers, texts, lists and "
                            "dicts") from error


def load(path, layers=()):
    """Read a network that `save` wrote, or one that comes with lightnet.

    Parameters
    ----------
    path : str or Path
        A file; or a name, ``"cnn-1"`` or ``"cnn-2"``: the paper's two networks, trained here, see
        ``lightnet/models/trained/README.md``. (For research and non-commercial use. Not for clinical use.)
    layers : sequence of Layer classes
        Classes of your own that the network is built of, ``ln.load(path, layers=[MyLayer])``; lightnet's are known.

    Returns
    -------
    Graph

    Raises
    ------
    CheckpointError
        Where the file is missing, damaged, or holds what lightnet does not load (such as pickled objects).
    """
    file = file_of(path)
    if os.path.isdir(file):
        raise CheckpointError(f"{path}: a folder; expected a file in it, such as {file / 'model.npz'}")
    if not file.suffix and not os.path.exists(file):            # a name, perhaps
        raise CheckpointError(f"{path}: there is no such file or model; expected a file that lightnet.save wrote, or "
                              f"{', '.join(trained())}")
    arrays = read_arrays(file)
    try:
        net = build(json.loads(str(arrays.pop("graph"))), known_classes(layers))
        fill(named_arrays(net), arrays)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (LightnetError, KeyError, ValueError, TypeError, AttributeError) as error:      # the text is not what save writes
        raise CheckpointError(f"{path}: no model file ({type(error).__name__}: {error}); expected one that lightnet.save "
                              "wrote") from error
    return net


def file_of(model):
    """The file of a model that comes with lightnet, by its name, a str; any other path as it is.

    >>> file_of("runs/synthetic/model.npz").name
    'model.npz'
    """
    return trained().get(model, Path(model))            # a Path is no key of it


def trained():
    """The models that come with lightnet: {name: file}."""
    return {file.stem: file for file in sorted(TRAINED.glob("*.npz"))}


def describe(net):
    """All of a network but its arrays, as JSON takes it."""
    return {"format": FORMAT, "input_shape": net.input_shape, "sizes": net.sizes, "meta": net.meta, "precision": net.dtype.name,
            "nodes": [[node.name, type(node.layer).__name__, node.layer.config, node.inputs] for node in net.nodes.values()]}


def named_arrays(net):
    """Every array of the network by its name in the file."""
    return {f"{kind}/{name}": array for kind in ("params", "state") for name, array in getattr(net, kind).items()}


def known_classes(own):
    """Layer classes by name: lightnet's, and the caller's own."""
    return {**{name: getattr(layers, name) for name in layers.__all__}, **{cls.__name__: cls for cls in own}}


def build(description, classes):
    """The network that the file's JSON describes, with fresh parameters."""
    if description["format"] != FORMAT:
        raise CheckpointError(f"format {description['format']}, expected {FORMAT}: written by another version of lightnet")
    sizes = description["sizes"]
    net = Graph(description["input_shape"], sizes and SizeRule(*sizes), description["meta"])
    for name, kind, config, inputs in description["nodes"]:
        if kind not in classes:
            raise CheckpointError(f"node {name!r} is a {kind}, not a class of lightnet; pass yours: load(path, layers=[{kind}])")
        net.add(name, classes[kind](**config), *inputs)
    return net.astype(description["precision"])


def fill(wanted, found):
    """Copy the file's arrays into the network's, all of them and no others."""
    if wanted.keys() != found.keys():
        raise CheckpointError(f"its arrays are not those of its network: {sorted(wanted.keys() ^ found.keys())[:5]} differ")
    for name, array in wanted.items():
        if found[name].shape != array.shape or found[name].dtype.kind != "f":
            raise CheckpointError(f"array {name!r} is {found[name].dtype} {found[name].shape}, expected float {array.shape}")
        array[...] = found[name]
