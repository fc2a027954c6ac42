"""What the commands' parsers share."""

import argparse

import lightnet as ln


def command(commands, name, run, text, examples):
    """A parser for one command, whose help ends with examples."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog="examples:\n" + examples,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(run=run)
    return parser


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
