"""``lightnet export``, ``summary``, ``check`` and ``warmup``: a network or a layer by itself, no slices."""

import importlib.util
import sys
import time
from pathlib import Path

import numpy as np

import lightnet as ln

from ..backend import fast_versions
from .parsing import A_MODEL, command


def add_export(commands):
    """``lightnet export``."""
    parser = command(commands, "export", export, "write a model file as an ONNX model, which other engines run", """\
  lightnet export runs/synthetic/model.npz covid.onnx
  lightnet export runs/synthetic/model.npz covid.onnx --fold --softmax""")
    parser.add_argument("model", help=A_MODEL)
    parser.add_argument("out", help="the .onnx file to write")
    parser.add_argument("--fold", action="store_true", help="put batch norm into the convolutions")
    parser.add_argument("--softmax", action="store_true", help='end in a softmax: output "probabilities" instead of "logits"')


def export(options):
    """Write an ONNX model, and say what goes in and what comes out."""
    net = ln.load(options.model)
    ln.export_onnx(net, options.out, options.fold, options.softmax)
    H, W, C = net.input_shape
    print(f"""{options.out}: input "image" (N, {C}, {H}, {W}), output "{'probabilities' if options.softmax else 'logits'}".
How images must be scaled stands in its metadata. Not for clinical use.""")
    return 0


def add_summary(commands):
    """``lightnet summary``."""
    parser = command(commands, "summary", summary, "list a network's nodes, shapes, parameters and MACs", """\
  lightnet summary light_cnn
  lightnet summary squeezenet
  lightnet summary runs/synthetic/model.npz""")
    parser.add_argument("model", help="light_cnn, squeezenet, or " + A_MODEL)


def summary(options):
    """Print a network's table."""
    made = {"light_cnn": ln.models.light_cnn, "squeezenet": ln.models.squeezenet}.get(options.model)
    print((made() if made else ln.load(options.model)).summary())
    return 0


def add_check(commands):
    """``lightnet check``."""
    parser = command(commands, "check", check, "check a layer of your own: its gradients, and all that a Graph relies on", """\
  lightnet check my_layer.py:make""")
    parser.add_argument("target", metavar="FILE.py:FUNCTION", help="the function takes nothing and returns (layer, input shape), "
                        "N included: (2, 8, 8, 3); or (layer, [shape, shape, ...]) for a layer of several inputs")


def check(options):
    """Run `lightnet.check_layer` on what a function in a file returns."""
    file, _, function = options.target.rpartition(":")
    try:
        layer, shapes = function_in(file, function)()
        shapes = [shapes] if isinstance(shapes[0], int) else shapes
        if not isinstance(layer, ln.layers.Layer) or not all(isinstance(n, int) and n > 0 for shape in shapes for n in shape):
            raise TypeError(f"it returns {layer!r} and {shapes!r}")
    except ln.LightnetError:
        raise
    except (Exception, SystemExit) as error:    # the user's own code: any error is one line, not a traceback, and never "right"
        raise ln.ArgumentError(f"{options.target}: {type(error).__name__}: {error}; expected a function that returns "
                               "(layer, input shape) or (layer, [shape, shape, ...])") from error
    try:
        report = ln.check_layer(layer, *shapes)
    except SystemExit as error:
        raise ln.ArgumentError(f"{options.target}: the layer ends the process; expected one that computes") from error
    print(report)
    return 0 if report else 1


def function_in(file, name):
    """The function of that name in a Python file, which is run to get it."""
    if not file.endswith(".py") or not Path(file).is_file():
        found = "no such Python file" if file or not Path(name).is_file() else "a file without a function"
        raise ln.FileError(f"{file or name!r}: {found}; expected FILE.py:FUNCTION, such as my_layer.py:make")
    sys.path.insert(0, str(Path(file).resolve().parent))        # for what the file imports from beside it
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        functions = [found for found, value in vars(module).items() if callable(value) and not found.startswith("_")]
        raise ln.ArgumentError(f"{file} has no function {name!r}; it has: {', '.join(functions) or 'none'}")
    return getattr(module, name)


def add_warmup(commands):
    """``lightnet warmup``."""
    command(commands, "warmup", warmup, "compile the kernels ahead, so that the first step or prediction need not wait", """\
  lightnet warmup""")


def warmup(options):
    """Run a small training step and a prediction of each network of the library: whatever they need is compiled and kept."""
    if not fast_versions():
        print("Numba cannot be imported: the layers' own code runs, and there is nothing to compile.")
        return 0
    from ..kernels.compiling import cache_folder
    x, begin = np.zeros((2, 49, 49, 3), np.float32), time.perf_counter()
    for net in (ln.models.light_cnn(seed=0), ln.models.squeezenet("complex", classes=2, seed=0)):
        _, dlogits = ln.softmax_cross_entropy(net.forward(x, training=True), [0, 1])
        net.backward(dlogits)
        net.forward(x)
        predict = ln.compile(net)
        for some in (x, x[:1], x[:1]):                  # a batch; an image that all threads do together, woken and called
            predict(some)
    folder = cache_folder()
    print(f"ready after {time.perf_counter() - begin:.1f} s; " + (f"kept in {folder}" if folder else
          "no folder could be written, so every process compiles anew: set LIGHTNET_CACHE to one that can"))
    return 0
