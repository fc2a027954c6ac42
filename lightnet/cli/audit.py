"""``lightnet audit``."""

import json
from functools import partial
from pathlib import Path

from tqdm import tqdm

import lightnet as ln

from ..files import whole
from .parsing import command, natural, two_classes


def add_audit(commands):
    """``lightnet audit``."""
    parser = command(commands, "audit", audit, "what a score on the real slices may come from: controls, leaks, probes", """\
  lightnet audit --data DIR --arrangement 1                                the slices alone
  lightnet audit --data DIR --arrangement 1 --model runs/arrangement-1/model.npz        and a network on them""")
    parser.add_argument("--data", metavar="DIR", help="folder of the real slices (default: the environment's LIGHTNET_DATA)")
    parser.add_argument("--arrangement", choices=["1", "2", "official"], default="1", help="default: %(default)s")
    parser.add_argument("--split-seed", type=natural, default=0, help="of the arrangement (default: %(default)s)")
    parser.add_argument("--model", action="append", default=[], help="a network to audit; may be given several times")
    parser.add_argument("--quick", action="store_true", help="small forests, few planted crops: a smoke run")
    parser.add_argument("--out", metavar="DIR", default="runs/audit", help="of audit.json and audit.txt (default: %(default)s)")


def audit(options):
    """Print an audit; it is kept as numbers and as text."""
    from ..data import covid_ct
    from ..evaluation.audit import audit, report
    networks = {named(path): two_classes(ln.load(path), path) for path in options.model}
    which = options.arrangement if options.arrangement == "official" else int(options.arrangement)
    arranged = covid_ct.arrangement(options.data, which, options.split_seed)
    found = audit(arranged, networks, partial(tqdm, leave=False), options.quick)
    text, out = report(found), Path(options.out)
    for name, content in (("audit.json", json.dumps(found, indent=1)), ("audit.txt", text + "\n")):
        with whole(out / name) as file:
            file.write(content)
    print(f"{text}\n\nEverything is in {out}. A score that a control reaches as well says nothing about a disease. "
          "Not for clinical use.")
    return 0


def named(path):
    """What a model file is called in the audit: runs/cnn-1/model.npz is cnn-1."""
    path = Path(path)
    return path.parent.name if path.stem == "model" and path.parent.name else path.stem
