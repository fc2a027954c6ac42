"""What the commands' parsers share."""

import argparse
from pathlib import Path

import lightnet as ln

from ..data import covid_ct
from ..data.arrangements import ITALIAN
from ..model_file import trained

A_MODEL = f"model.npz of a run, or the name of a model that comes with lightnet: {', '.join(trained())}"


def command(commands, name, run, text, examples):
    """A parser for one command, whose help ends with examples."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog="examples:\n" + examples,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(run=run, parser=parser)
    return parser


def refuse_beside(options, option, *others, given=None):
    """Stop where options were given that would do nothing beside another one: only ``others`` count there."""
    ignored = [name for name, value in vars(options).items()
               if name not in ("run", "parser", option, *others) and value != options.parser.get_default(name)]
    if ignored:
        raise ln.ArgumentError(f"beside {given or f'--{option}, which goes by the settings that are kept,'} given were "
                               f"{', '.join(ignored)}, which would do nothing; expected at most {', '.join(others)}. Leave the "
                               "others out")


def named(paths):
    """What networks are called, by their files: runs/cnn-1/model.npz is cnn-1, others by their own names; all different."""
    names = {}
    for path in paths:
        file = Path(path)
        name = file.parent.name if file.stem == "model" and file.parent.name else file.stem
        names[path] = name if name not in names.values() else path
    return names


def home(model):
    """The folder where a network's evaluations are kept: beside its file; under runs/ where it comes with lightnet."""
    return Path("runs", model) if model in trained() else Path(model).parent


def refuse_slices_seen(net, path, slices, data):
    """Stop where a network that was trained here is to be tested on slices that trained or chose it."""
    settings = net.meta.get("provenance", {}).get("settings", {})
    if not settings.get("arrangement"):
        return                                              # trained on synthetic slices, or not by `lightnet train`
    own = covid_ct.arrangement(data, covid_ct.named(settings["arrangement"]), settings["split_seed"],
                               italian=any(one.source == ITALIAN for one in slices))
    seen = {(one.source, one.name, one.label) for one in (*own.train, *own.validation)}
    count = sum((one.source, one.name, one.label) in seen for one in slices)
    if count:
        raise ln.DatasetError(f"{path}: {count} of the {len(slices)} test slices trained it or chose it: it is of arrangement "
                              f"{own.which}, drawn with split seed {own.seed}; test it on that one's test slices")


def path(text):
    """A command line's path: an empty one is a shell's variable that is not set, and would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("'': expected a path; is a variable of the shell not set?")
    return text


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


def two_classes(net, path):
    """The network, if it answers non-COVID or COVID and says how images are prepared."""
    output = net.shapes()[net.output_name][1:]
    if output != (2,) or "input_size" not in net.meta:
        raise ln.CheckpointError(f"{path}: its output is {output}, its meta has {sorted(net.meta)}; expected a network of two "
                                 "classes that lightnet trained")
    return net
