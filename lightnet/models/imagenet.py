"""ImageNet weights of SqueezeNet v1.1 for whatever layers have their names and shapes: where transfer learning starts."""

import numpy as np

from ..errors import CheckpointError
from ..interop.weights import read_weights
from .squeezenet import squeezenet

# torchvision numbers the layers of its squeezenet1_1, pools and activations among them.
TORCHVISION = {"features.0": "conv1", "classifier.1": "conv10",
               **{f"features.{k}": f"fire{fire}" for fire, k in enumerate((3, 4, 6, 7, 9, 10, 11, 12), start=2)}}

# How the network that the weights are from was fed: RGB in 0..1, minus the mean, over the deviation, channel by channel.
SCALING = {"mean": [0.485, 0.456, 0.406], "deviation": [0.229, 0.224, 0.225]}


def load_imagenet(net, path, layers=None):
    """Copy ImageNet weights into a network's layers of the same name and shape, and its input scaling into ``net.meta``.

    Parameters
    ----------
    net : Graph
        A SqueezeNet of any form, or light_cnn, whose trunk has the same shapes; changed in place.
    path : str or Path
        SqueezeNet v1.1 in any format of `lightnet.interop.read_weights`, weights OIHW. Either PyTorch's state_dict, by
        torchvision's names (``features.3.squeeze.weight``); or the ONNX model zoo's, arrays weight0..25 and bias0..25, in the
        order conv1, then squeeze, expand1x1, expand3x3 of fire2 to fire9, then conv10.
    layers : sequence of str, optional
        Take only these, and what is inside them: ``["conv1", "fire2"]``. By default all that fit.

    Returns
    -------
    list of str
        The parameters that were loaded; all others are as they were.

    Raises
    ------
    CheckpointError
        Where the file is missing, damaged, or not that network's, or where no layer of ``net`` has its names and shapes.

    Notes
    -----
    light_cnn and custom fires put batch norm and ELU where these weights expect neither: there they are a start, not a
    trained trunk. conv10 fits only with 1000 classes.
    """
    params, loaded = net.params, []
    for layer in layers or ():
        if not any(name.startswith((f"{layer}.", f"{layer}/")) for name in params):
            raise CheckpointError(f"the network has no layer {layer!r} to start from {path}; it has "
                                  f"{', '.join(dict.fromkeys(name.split('.')[0].split('/')[0] for name in params))}")
    inside = tuple(f"{layer}{end}" for layer in layers or () for end in "./")
    for name, array in renamed(read_weights(path), path).items():
        wanted = layers is None or name.startswith(inside)
        if wanted and name in params and params[name].shape == array.shape:
            params[name][...] = array
            loaded.append(name)
    if not loaded:
        raise CheckpointError(f"{path}: none of its arrays has the name and shape of one of the network's parameters; "
                              "expected light_cnn or a SqueezeNet")
    net.meta.update(SCALING)
    return loaded


def renamed(arrays, path):
    """The file's arrays by lightnet's names, in lightnet's layout."""
    reference = squeezenet(seed=0)
    convolutions = [name.removesuffix(".weight") for name in reference.params if name.endswith(".weight")]
    arrays, found = numbered(arrays, convolutions), {}
    for i, name in enumerate(convolutions):
        for kind, axes in (("weight", (2, 3, 1, 0)), ("bias", (0,))):           # OIHW to (KH, KW, C, F)
            wanted = reference.params[f"{name}.{kind}"].shape
            array = arrays.get(f"{kind}{i}", np.empty(0))
            if array.ndim != len(axes) or array.transpose(axes).shape != wanted:
                raise CheckpointError(f"{path}: array {kind}{i} has shape {array.shape}, expected that of SqueezeNet v1.1's "
                                      f"{name}, {wanted} in lightnet's order")
            found[f"{name}.{kind}"] = array.transpose(axes)
    return found


def numbered(arrays, convolutions):
    """Arrays with torchvision's names, ``features.0.weight`` or ``features.3.squeeze.weight``, under the zoo's; others stay."""
    found = {}
    for name, array in arrays.items():
        module, _, kind = name.rpartition(".")
        top = ".".join(module.split(".")[:2])
        ours = (TORCHVISION.get(top, top) + module[len(top):]).replace(".", "/")
        found[f"{kind}{convolutions.index(ours)}" if ours in convolutions else name] = array
    return found
