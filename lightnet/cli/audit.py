"""``lightnet audit``."""

from functools import partial
from pathlib import Path

from tqdm import tqdm

import lightnet as ln

from ..files import make_folder, whole, write_json
from ..model_file import file_of
from .parsing import A_MODEL, command, home, named, natural, path, refuse_slices_seen, two_classes


def add_audit(commands):
    """``lightnet audit``."""
    parser = command(commands, "audit", audit, "what a score on the real slices may come from: controls, leaks, probes", """\
  lightnet audit --data DIR --arrangement 1
      the slices alone
  lightnet audit --data DIR --arrangement 1 \\
      --model runs/arrangement-1/model.npz
      and a network on them""")
    parser.add_argument("--data", metavar="DIR", help="folder of the real slices (default: the environment's LIGHTNET_DATA)")
    parser.add_argument("--arrangement", choices=["1", "2", "official"], default="1", help="default: %(default)s")
    parser.add_argument("--split-seed", type=natural, default=0, help="of the arrangement (default: %(default)s)")
    parser.add_argument("--model", action="append", default=[], help=A_MODEL + "; may be given several times")
    parser.add_argument("--quick", action="store_true", help="small forests, few planted crops: a smoke run")
    parser.add_argument("--out", metavar="DIR", type=path, help="of audit.json and audit.txt (default: runs/audit-1, ...)")


def audit(options):
    """Print an audit; it is kept as numbers and as text."""
    from ..data import covid_ct
    from ..evaluation.audit import audit, report
    from ..training.checkpoint import versions
    from ..training.run import log_test
    arranged = covid_ct.arrangement(options.data, covid_ct.named(options.arrangement), options.split_seed)
    names, tests = named(options.model), [one for split, of in arranged.splits.items() if split.startswith("test") for one in of]
    networks = {name: two_classes(ln.load(file), file) for file, name in names.items()}
    for file, name in names.items():
        refuse_slices_seen(networks[name], file, tests, options.data)
    out = Path(options.out or f"runs/audit-{options.arrangement}")
    make_folder(out)                                        # sooner known than after all of it
    found = audit(arranged, networks, partial(tqdm, leave=False), options.quick) | versions()
    for file, name in names.items():
        for split, of in found["networks"][name]["splits"].items():
            score = of["probes"]["as it is"]
            log_test(home(file), f"{split.replace('test1', 'test')}, audit", score["n"], score["accuracy"]["value"],
                     score["auc"]["value"], file_of(file))
    text = report(found)
    print(text)
    write_json(out / "audit.json", found)
    with whole(out / "audit.txt") as file:
        file.write(text + "\n")
    print(f"\nEverything is in {out}. A score that a control without lungs reaches as well is no evidence of a disease. Not for "
          "clinical use.")
    return 0
