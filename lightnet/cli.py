"""The ``lightnet`` command."""

import argparse
import importlib.util
import sys
from pathlib import Path

import lightnet as ln


def main(arguments=None):
    """Run a command; returns the exit status: 0 done, 1 some inputs failed, 2 wrong usage or an error."""
    parser = argparse.ArgumentParser(prog="lightnet", description="A CNN library to be read. Not for clinical use.")
    commands = parser.add_subparsers(title="commands", required=True)
    check = commands.add_parser("check", help="check a layer of your own: gradients and the whole contract",
                                description="Runs lightnet.check_layer on what a function in your file returns.")
    check.add_argument("target", metavar="FILE.py:FUNCTION", help="the function takes nothing and returns (layer, input shape), "
                       "N included: (2, 8, 8, 3); or (layer, [shape, shape, ...]) for a layer of several inputs")
    check.set_defaults(run=lambda options: check_file(options.target))
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except ln.LightnetError as error:
        print(f"lightnet: {error}", file=sys.stderr)
        return 2


def check_file(target):
    """``lightnet check my_layer.py:make``."""
    file, _, function = target.rpartition(":")
    make = function_in(file, function)
    layer, *shapes = make()
    if len(shapes) == 1 and shapes[0] and not isinstance(shapes[0][0], int):
        shapes = shapes[0]                      # (layer, [shape, shape]) rather than (layer, shape)
    report = ln.check_layer(layer, *shapes)
    print(report)
    return 0 if report else 1


def function_in(file, name):
    """The function of that name in a Python file, which is run to get it."""
    if not file.endswith(".py") or not Path(file).is_file():
        raise ln.FileError(f"{file or name!r}: no such Python file; expected FILE.py:FUNCTION, such as my_layer.py:make")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        functions = [found for found, value in vars(module).items() if callable(value) and not found.startswith("_")]
        raise ln.ArgumentError(f"{file} has no function {name!r}; it has: {', '.join(functions) or 'none'}")
    return getattr(module, name)
