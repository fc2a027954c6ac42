"""The ``lightnet`` command: train, search, evaluate, predict, export, summary, check, warmup.

Exit status: 0 done; 1 some inputs failed, the others were done, each failure is named on stderr; 2 wrong usage, or an error that
stopped the command; 130 stopped by Ctrl-C.
"""

import argparse
import csv
import dataclasses
import importlib.util
import itertools
import os
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import lightnet as ln

from .backend import fast_versions
from .data.images import list_images
from .files import whole


def main(arguments=None):
    """Run a command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except ln.LightnetError as error:
        print(f"lightnet: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:                     # whoever read our output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser():
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="lightnet", description="A CNN library to be read. Not for clinical use.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (add_train, add_search, add_evaluate, add_predict, add_export, add_summary, add_check, add_warmup):
        add(commands)
    return parser


def command(commands, name, run, text, examples):
    """A parser for one command, whose help ends with examples."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog="examples:\n" + examples,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(run=run)
    return parser


def add_train(commands):
    """``lightnet train``."""
    parser = command(commands, "train", train, "train a network, test it, and leave a folder of results under runs/", """\
  lightnet train                                    synthetic slices, light_cnn, a few minutes
  lightnet train --quick                            a smoke run, in seconds
  lightnet train --data DIR --arrangement 1         real slices; DIR holds COVID-CT as its repository does
  lightnet train --arrangement 2 --model squeezenet --bypass simple --imagenet squeezenet1_1_imagenet.npz
  lightnet train --resume runs/synthetic            go on after Ctrl-C, or a crash, from the last whole epoch""")
    add = parser.add_argument
    add("--resume", metavar="FOLDER", help="go on with this run; of the other options only --epochs counts")
    add_job_options(parser)
    add("--lr", type=float, help="learning rate (default: 0.005; on real slices the paper's 0.007132)")
    add("--momentum", type=float, help="default: 0.9; on real slices the paper's 0.87589")
    add("--l2", type=float, help="default: 1e-6; on real slices the paper's 0.9532e-6")
    add("--name", help="of the folder under runs/")


def add_job_options(parser):
    """What a training and a search have in common: the fields of a `training.job.Job`."""
    add = parser.add_argument
    add("--data", metavar="DIR", help="folder of the real slices (default: the environment's LIGHTNET_DATA)")
    add("--arrangement", choices=["1", "2", "official"], help="real slices, split like the paper's Table 1 or 2, or as published")
    add("--model", choices=["light_cnn", "squeezenet"], default="light_cnn", help="default: %(default)s")
    add("--bypass", choices=["none", "simple", "complex"], default="none", help="of a SqueezeNet")
    add("--fire", choices=["classic", "custom"], default="classic", help="of a SqueezeNet")
    add("--no-head-relu", dest="head_relu", action="store_false", help="leave out a SqueezeNet's last ReLU")
    add("--imagenet", metavar="FILE", help="start from SqueezeNet's ImageNet weights, wherever they fit")
    add("--imagenet-layers", nargs="+", metavar="LAYER", help="take only these layers from it: conv1 fire2 fire3")
    add("--new-lr-factor", type=float, default=1.0, help="on the learning rate of the layers that do not start from ImageNet")
    add("--epochs", type=positive, help="default: 10; on real slices 20, as in the paper")
    add("--batch", type=positive, help="images in a batch (default: 8; on real slices 32)")
    add("--decay", type=float, help="factor on the learning rate (default: 0.7; on real slices 1)")
    add("--decay-every", type=positive, help="after so many epochs (default: 1)")
    add("--decay-after", type=int, default=0, help="epochs at the full rate first, uncounted (default: 0)")
    add("--augment", action=argparse.BooleanOptionalAction, help="four times the training slices (default: on real slices)")
    add("--size", type=positive, default=227, help="pixels a side (default: %(default)s; 131 is three times as fast)")
    add("--seed", type=natural, default=0, help="of the weights, the order of the slices, the augmentation")
    add("--split-seed", type=natural, default=0, help="of the synthetic slices, or of the arrangement")
    add("--quick", action="store_true", help="few synthetic slices, few pixels, one epoch")


def train(options):
    """Run a training job, or go on with one."""
    from .training import job
    if options.resume:
        folder = job.go_on(options.resume, options.epochs)
    else:
        folder = job.start(job_of(options), options.name)
    print(f"""
Everything is in {folder}/: model.npz, history.csv, metrics.json, and to look at: training_curves.png, confusion_matrix.png,
roc.png, calibration.png, slices.png (what it got right and wrong).
Next: lightnet predict YOUR_IMAGES --model {folder}/model.npz; README.md says in which order to read the code.
Not for clinical use.""")
    return 0


def job_of(options):
    """The job that the command line describes."""
    from .training.job import Job
    if options.data and not options.arrangement:
        raise ln.ArgumentError("--data needs --arrangement 1, 2 or official; without them synthetic slices are drawn")
    fields = {field.name for field in dataclasses.fields(Job)}
    return Job(**{name: value for name, value in vars(options).items() if name in fields})


def add_search(commands):
    """``lightnet search``."""
    parser = command(commands, "search", search, "look for the best learning rate, momentum and L2, by Bayesian optimization", """\
  lightnet search --data DIR --arrangement 1                the paper's: 30 attempts of 20 epochs; hours
  lightnet search --data DIR --arrangement 1 --size 131     a third of the time
  lightnet search --quick --attempts 10                     to see how it goes, in a minute
  lightnet search --resume runs/search-arrangement-1        go on; at most the attempt that was under way is lost""")
    add = parser.add_argument
    add("--resume", metavar="FOLDER", help="go on with this search; of the other options only --attempts counts")
    add("--attempts", type=positive, help="trainings in all (default: 30)")
    add("--at-once", type=positive, default=1, help="attempts side by side, on an equal share of the cores each (default: 1)")
    add_job_options(parser)
    add("--name", help="of the folder under runs/")


def search(options):
    """Run a search, or go on with one."""
    from .training import search
    if options.resume:
        folder, best = search.go_on(options.resume, options.attempts)
    else:
        folder, best = search.start(search.Search(job_of(options), options.attempts or 30, options.at_once), options.name)
    print(f"""
Best on the validation set: attempt {best['number']}, accuracy {best['accuracy']:.3f} observed, {best['estimated']:.3f} estimated.
Every attempt is in {folder}/journal.jsonl; to look at: convergence.png, surrogate.png. To train with these values:
lightnet train --lr {best['lr']:.6g} --momentum {best['momentum']:.6g} --l2 {best['l2']:.6g} (and the options of this search)""")
    return 0


def add_evaluate(commands):
    """``lightnet evaluate``."""
    parser = command(commands, "evaluate", evaluate, "test a saved network: metrics with intervals, and pictures", """\
  lightnet evaluate FOLDER --model runs/synthetic/model.npz          FOLDER has subfolders COVID and non-COVID
  lightnet evaluate --data DIR --arrangement 1 --split test1 --model runs/arrangement-1/model.npz""")
    parser.add_argument("folder", nargs="?", help="a folder with the subfolders COVID and non-COVID")
    parser.add_argument("--data", metavar="DIR", help="folder of the real slices (default: the environment's LIGHTNET_DATA)")
    parser.add_argument("--arrangement", choices=["1", "2", "official"], help="take the slices from this arrangement")
    parser.add_argument("--split", choices=["train", "validation", "test1", "test2"], default="test1",
                        help="default: %(default)s")
    parser.add_argument("--split-seed", type=int, default=0, help="of the arrangement (default: %(default)s)")
    parser.add_argument("--model", required=True, help="model.npz of a run")
    parser.add_argument("--out", metavar="DIR", help="folder of the results (default: evaluation/ beside the model)")


def evaluate(options):
    """Score a set of slices; the results and a line in the log of test evaluations go to a folder."""
    from .data import covid_ct
    from .data.folder import read_folder
    from .data.slices import load
    from .training.run import Scored, write_scores
    from .training.trainer import p_covid, predict_logits
    if bool(options.folder) == bool(options.arrangement):
        raise ln.ArgumentError("evaluate needs either a FOLDER or --arrangement")
    net = two_classes(ln.load(options.model), options.model)
    if options.folder:
        name, slices = "test", read_folder(options.folder)
    else:
        which = options.arrangement if options.arrangement == "official" else int(options.arrangement)
        splits = covid_ct.arrangement(options.data, which, options.split_seed).splits
        if options.split not in splits:
            raise ln.DatasetError(f"arrangement {which} has no split {options.split!r}; it has {', '.join(splits)}")
        name, slices = options.split.replace("test1", "test"), splits[options.split]
    greys, labels = load(slices, net.meta["input_size"], net.meta["resize"], partial(tqdm, desc="reading", leave=False))
    scored = Scored(name, slices, greys, labels, p_covid(predict_logits(net, greys, progress=True)))
    out = Path(options.out) if options.out else Path(options.model).parent / "evaluation"
    print(write_scores(out, Path(options.model), [scored])[name])
    print(f"\nEverything is in {out}. Not for clinical use.")
    return 0


def add_predict(commands):
    """``lightnet predict``."""
    parser = command(commands, "predict", predict, "classify image files, as CSV: file, label, p_covid", """\
  lightnet predict slice.png --model runs/synthetic/model.npz
  lightnet predict FOLDER --model runs/synthetic/model.npz --csv predictions.csv
  lightnet predict FOLDER --model runs/synthetic/model.npz --cam maps        where in each slice the network finds what""")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, and folders, which are searched for image suffixes")
    parser.add_argument("--model", required=True, help="model.npz of a run")
    parser.add_argument("--csv", metavar="FILE", help="write there (default: standard output)")
    parser.add_argument("--cam", metavar="DIR", help="write a picture of each slice's class activation maps there")


def predict(options):
    """Classify files; a file that cannot be read is named on stderr, and the others are done."""
    from .evaluation.predict import predict_files
    net, files = two_classes(ln.load(options.model), options.model), list(dict.fromkeys(list_images(options.paths)))
    if not files:
        raise ln.DatasetError(f"{', '.join(options.paths)}: no image file; expected files with an image's suffix")
    failed, drawn, text = 0, set(), {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    with whole(options.csv, **text) if options.csv else nullcontext(sys.stdout) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["file", "label", "p_covid"])
        for found in tqdm(predict_files(net, files, maps=bool(options.cam)), total=len(files), unit=" images", disable=None):
            if found.error:
                failed += 1
                tqdm.write(f"lightnet: {found.error}", file=sys.stderr)
            else:
                writer.writerow([found.file, found.label, f"{found.p_covid:.9g}"])
                if options.cam:
                    draw_maps(found, net.meta, options.cam, drawn)
    if failed:
        print(f"lightnet: {failed} of {len(files)} files could not be read; the others are done", file=sys.stderr)
    return 1 if failed else 0


def draw_maps(found, meta, folder, drawn):
    """Draw the maps of one prediction; two slices of the same name get different pictures."""
    from .evaluation.heat_maps import heat_maps
    stem = Path(found.file).stem
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    name = next(name for name in names if name not in drawn)
    drawn.add(name)
    grey = (found.x * np.float32(meta["deviation"]) + np.float32(meta["mean"]))[..., 0]
    heat_maps(grey[None], [Path(found.file).name], {"": (found.maps[None], [found.p_covid])}, Path(folder, f"{name}.png"),
              f"Called {found.label}", "Not for clinical use")


def add_export(commands):
    """``lightnet export``."""
    parser = command(commands, "export", export, "write a model file as an ONNX model, which other engines run", """\
  lightnet export runs/synthetic/model.npz covid.onnx
  lightnet export runs/synthetic/model.npz covid.onnx --fold --softmax""")
    parser.add_argument("model", help="model.npz of a run")
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
    parser.add_argument("model", help="light_cnn, squeezenet, or a model file")


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
    except Exception as error:                  # the user's own code: any error is one line, not a traceback
        raise ln.ArgumentError(f"{options.target}: {type(error).__name__}: {error}; expected a function that returns "
                               "(layer, input shape) or (layer, [shape, shape, ...])") from error
    report = ln.check_layer(layer, *shapes)
    print(report)
    return 0 if report else 1


def add_warmup(commands):
    """``lightnet warmup``."""
    command(commands, "warmup", warmup, "compile the kernels ahead, so that the first step or prediction need not wait", """\
  lightnet warmup""")


def warmup(options):
    """Run a small training step and a prediction of each network of the library: whatever they need is compiled and kept."""
    if not fast_versions():
        print("Numba cannot be imported: the layers' own code runs, and there is nothing to compile.")
        return 0
    from .kernels.compiling import cache_folder
    x, begin = np.zeros((2, 49, 49, 3), np.float32), time.perf_counter()
    for net in (ln.models.light_cnn(seed=0), ln.models.squeezenet("complex", classes=2, seed=0)):
        _, dlogits = ln.softmax_cross_entropy(net.forward(x, training=True), [0, 1])
        net.backward(dlogits)
        net.forward(x)
        ln.compile(net)(x)
    folder = cache_folder()
    print(f"ready after {time.perf_counter() - begin:.1f} s; " + (f"kept in {folder}" if folder else
          "no folder could be written, so every process compiles anew: set LIGHTNET_CACHE to one that can"))
    return 0


def function_in(file, name):
    """The function of that name in a Python file, which is run to get it."""
    if not file.endswith(".py") or not Path(file).is_file():
        raise ln.FileError(f"{file or name!r}: no such Python file; expected FILE.py:FUNCTION, such as my_layer.py:make")
    sys.path.insert(0, str(Path(file).resolve().parent))        # for what the file imports from beside it
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        functions = [found for found, value in vars(module).items() if callable(value) and not found.startswith("_")]
        raise ln.ArgumentError(f"{file} has no function {name!r}; it has: {', '.join(functions) or 'none'}")
    return getattr(module, name)


def two_classes(net, path):
    """The network, if it answers non-COVID or COVID and says how images are prepared."""
    output = net.shapes()[net.output_name][1:]
    if output != (2,) or "input_size" not in net.meta:
        raise ln.CheckpointError(f"{path}: its output is {output}, its meta has {sorted(net.meta)}; expected a network of two "
                                 "classes that lightnet trained")
    return net


def natural(text):
    """A command line's integer of at least 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: expected an integer of at least 0")
    return int(text)


def positive(text):
    """A command line's integer of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected an integer of at least 1")
    return int(text)
