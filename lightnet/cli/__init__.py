"""The ``lightnet`` command: train, search, evaluate, predict, audit, export, summary, check, warmup.

Its exit statuses are in its help.
"""

import argparse
import os
import sys
import warnings

import lightnet as ln

from .audit import add_audit
from .judge import add_evaluate, add_predict
from .network import add_check, add_export, add_summary, add_warmup
from .train import add_search, add_train

STATUSES = """\
exit status:
  0    done
  1    some inputs failed, each named on stderr; the others are done
  2    wrong usage, or an error that stopped the command
  130  stopped by Ctrl-C"""


def main(arguments=None):
    """Run a command; returns the exit status."""
    warnings.formatwarning = lambda message, *where, **more: f"lightnet: {message}\n"         # without our line of source
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
    parser = argparse.ArgumentParser(prog="lightnet", description="A CNN library to be read. Not for clinical use.",
                                     epilog=STATUSES, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (add_train, add_search, add_evaluate, add_predict, add_audit, add_export, add_summary, add_check,
                add_warmup):
        add(commands)
    return parser
