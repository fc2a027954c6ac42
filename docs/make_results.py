"""Write docs/results.md from the files under results/. ``python docs/make_results.py``

The paper's numbers come from the tables of docs/paper.md. What was not run yet is said so on the page. Two texts under results/
were written by hand, and say so: what was seen by eye (audit.md), and the first training, of which only what it printed is left.
"""

import csv
import json
import math
import re
import statistics
from pathlib import Path

from lightnet.evaluation.audit import in_words, shown
from lightnet.evaluation.metrics import evaluate, units
from lightnet.models import light_cnn
from lightnet.training.job import Job
from lightnet.training.search import SPREAD, kept_in
from lightnet.training.study import EXPERIMENTS, FINAL, NETWORKS, PROPOSED, Study

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
RATES = ("accuracy", "sensitivity", "specificity", "precision", "f1", "auc")
TITLES = {1: "SqueezeNet, no bypass", 2: "SqueezeNet, simple bypass", 3: "SqueezeNet, simple bypass, from ImageNet",
          4: "light_cnn"}
NO_RELU = " (ours without the last ReLU)"
SEEDS = Study().seeds
NAMES = {"train": "training", "validation": "validation", "test1": "Test-1", "test2": "Test-2"}
TESTS = ("cnn-1", "Test-1", "test"), ("cnn-2", "Test-1", "test"), ("cnn-1", "Test-2", "test2")        # Table 5's rows
MILLIONS = sum(array.size for array in light_cnn(seed=0).params.values()) / 1e6
LEAKED = {"kjr-21-e24-p5-29.png", *(f"2020.03.22.20040782-p25-{n}.png" for n in range(1542, 1547))}    # test slices: audit.md

HEAD = """# Results on real slices

**Not for clinical use.** What was measured with lightnet on COVID-CT and the Italian slices, beside what [the paper](paper.md)
reports. Our numbers are written by `python docs/make_results.py` from files under `results/`, the paper's are
taken from [docs/paper.md](paper.md). `python examples/reproduce_paper.py --data DIR` makes searches and trainings anew, under
`runs/paper`, with the options that stand beside each table; the other commands stand beside what they made.

How to read it:

- **The paper's test sets are not ours**, and cannot be: its tables fit no set that it describes ([why](paper.md)). Cells stand
  side by side for orientation.
- Everything was chosen on validation slices. CNN-1 and CNN-2 look at a test set once in every training, after the last epoch,
  and once more in the audit: `test_evaluations.csv` beside each has every look. (The first training below was before them; its
  log was not kept.)
- [ , ] are 95 % intervals, bootstrapped over patients where they are known. Of the Italian slices none is, so that each counts as
  a patient by itself, and intervals on Test-2, and on arrangement 2's Test-1, are too narrow.
- To make an attempt of a search again and compare: `lightnet search --resume results/arrangement-1/experiment-4 --again 0`. On
  the same kind of machine the numbers are the same, with the version of lightnet that the row names (0.1.0: commit 4d3d8c9;
  0.2.0: 2154247). Another one may sum in another order, and 20 epochs make much of a last digit.
- Intervals are of one trained network: another seed may move a score by more (the ranges over seeds in Table 5). Comparisons are
  many and not adjusted; one whose interval barely leaves 0 shows little.
- A score says how well a set of slices is told from another one. [What else tells them apart](#the-audit) stands below, and
  belongs to every score above it.
"""


def table(head, rows):
    """A Markdown table."""
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def paper_table(number):
    """A table of docs/paper.md: {first cell: {column: cell}}, cells as printed."""
    page = (ROOT / "docs" / "paper.md").read_text()
    text = re.search(rf"^Table {number}: .*?\n\n((?:\|[^\n]*\n)+)", page, re.M | re.S)[1]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def read(*parts):
    """A JSON file under results/, or None where it is not there yet."""
    file = RESULTS.joinpath(*parts)
    return json.loads(file.read_text()) if file.exists() else None


def journal(*parts):
    """A search's attempts by number."""
    file = RESULTS.joinpath(*parts, "journal.jsonl")
    lines = file.read_text().splitlines() if file.exists() else []          # in the order in which they ended
    return sorted(map(json.loads, lines), key=lambda one: one["number"])


def version(attempt):
    """Which lightnet made it."""
    return f"{attempt['lightnet']} at {attempt['commit']}" if attempt.get("commit") else attempt["lightnet"]


def data():
    """Tables 1 and 2."""
    lines = ["## Tables 1 and 2: the slices\n"]
    for which, counts in read("arrangements.json").items():
        paper = paper_table(which)
        rows = [[NAMES[split], *(f"{count[name]} ({paper[NAMES[split]][name]})" for name in ("COVID", "non-COVID"))]
                for split, count in counts.items()]
        lines += [f"Arrangement {which}, in brackets the paper's Table {which}; training slices are augmented four times.\n",
                  table(["set", "COVID", "non-COVID"], rows)]
    return lines


def searches(which):
    """Table 3 or 4."""
    number = int(which) + 2
    paper, rows, notes, made, gains, highest = paper_table(number), [], [], [], [], {}
    for experiment in EXPERIMENTS:
        folder = f"arrangement-{which}", f"experiment-{experiment}"
        attempts, best = journal(*folder), read(*folder, "best.json")
        title = f"{experiment}: {TITLES[experiment]}{NO_RELU if experiment != PROPOSED else ''}"
        rows.append([title, "the paper", *paper[str(experiment)].values(), "30 x 20 epochs"])
        made.append(len(attempts))
        highest[experiment] = best["accuracy"] if best else 0
        if best is None:
            rows.append(["", "lightnet", f"not finished: {len(attempts)} attempts so far", "", "", "", "", ""])
            continue
        hours = sum(one["seconds"] * one["threads"] for one in attempts) / 3600
        settings = kept_in(RESULTS.joinpath(*folder))
        parts = attempts[:settings.spread], attempts[settings.spread:]
        gains.append([experiment, best["number"], *(mean_and_count(accuracies(part)) for part in parts)])
        if experiment == PROPOSED:
            gain = statistics.mean(accuracies(parts[1])) - statistics.mean(accuracies(parts[0]))
        rows.append(["", "lightnet", f"{100 * best['accuracy']:.2f}", f"{100 * best['estimated']:.2f}", f"{best['lr']:.4g}",
                     f"{best['momentum']:.4f}", f"{best['l2']:.3g}",
                     f"{len(attempts)} x {settings.job.epochs} epochs, {settings.job.size}x{settings.job.size}, "
                     f"{hours:.1f} h of one core ({' and '.join(sorted({one['processor'] for one in attempts}))}), lightnet "
                     f"{', '.join(sorted({version(one) for one in attempts}))}; "
                     f"{sum(one['diverged'] for one in attempts)} diverged"])
        notes.append(f"--only arrangement-{which}/experiment-{experiment} --attempts {len(attempts)} "
                     f"--at-once {settings.at_once} --size {settings.job.size}")
    text = [f"## Table {number}: the search on arrangement {which}\n",
            "Accuracy on the validation slices in %: the best observed, and the surrogate's estimate at the same point.\n",
            table(["experiment", "", *paper["1"], "search"], rows)]
    printed = max(paper, key=lambda experiment: float(paper[experiment]["observed"]))
    care = " The best of more attempts is higher by chance alone: compare experiments with unequal numbers with care."
    text.append(f"The highest is experiment {max(highest, key=highest.get)}'s here, experiment {printed}'s in the paper."
                f"{care if len(set(made)) > 1 else ''}\n")
    if gains:
        n = sum(read("arrangements.json")[which]["validation"].values())
        text += [f"One of the {n} validation slices is {100 / n:.2f} %, and each attempt has a seed of its own: the best of many "
                 "has luck in it. Where \"estimated\" is the same as observed, the surrogate found no noise. Whether the search "
                 f"was of use shows in the attempts that the surrogate proposed, beside the first {SPREAD}, which are spread "
                 "evenly; mean accuracy in % and number of attempts, without diverged ones. The first attempt is number 0.\n",
                 table(["experiment", "best attempt", f"mean of the first {SPREAD}", "mean of those proposed"], gains),
                 f"In experiment {PROPOSED}, the one with enough of them, proposed attempts are ahead by {gain:.2f} points.\n"]
    picture = Path("results", f"arrangement-{which}", f"experiment-{PROPOSED}", "surrogate.png")
    if (ROOT / picture).exists():
        text.append(f"![Accuracy by learning rate, momentum and L2, as the surrogate believes](../{picture.as_posix()})\n\n"
                    f"*Experiment {PROPOSED}: what the surrogate believes after all attempts, on lines through the best one.*\n")
    if notes:
        options = "; ".join(f"`{note}`" for note in notes)
        text.append(f"Commands: `python examples/reproduce_paper.py` with {options}.\n")
    return text


def searched(which):
    """The settings of the search for the proposed network."""
    return kept_in(RESULTS / f"arrangement-{which}" / f"experiment-{PROPOSED}")


def accuracies(attempts):
    """In %, of those that did not diverge."""
    return [100 * one["accuracy"] for one in attempts if not one["diverged"]]


def mean_and_count(values):
    """A mean, and of how many."""
    return f"{statistics.mean(values):.2f} ({len(values)})" if values else "none"


def relu_head():
    """What SqueezeNet's own last ReLU does: the same attempts, seeds and all, with it and without."""
    rows = []
    for experiment in (1, 2, 3):
        with_relu = {one["number"]: one for one in journal("relu-head", "arrangement-1", f"experiment-{experiment}")}
        without = [one for one in journal("arrangement-1", f"experiment-{experiment}") if one["number"] in with_relu]
        for kind, attempts in (("with", [*with_relu.values()]), ("without", without)):
            at_chance = sum(not one["diverged"] and abs(one["loss"] - math.log(2)) < 2e-3 for one in attempts)
            rows.append([f"{experiment}: {TITLES[experiment]}", kind, len(attempts), at_chance,
                         sum(one["diverged"] for one in attempts), f"{max(100 * one['accuracy'] for one in attempts):.2f}",
                         mean_and_count(accuracies(attempts))])
    return ["### SqueezeNet's last ReLU\n",
            "The original SqueezeNet has a ReLU after its last convolution. With two classes it can let nothing through: then "
            "both logits are 0 for every image, and the loss stays at ln 2 for good. The first attempts of arrangement 1 were "
            "made with it (`results/relu-head/`), and the same values and seeds again without it; 20 epochs at 131x131, "
            "validation accuracy in %, the mean without diverged attempts; at ln 2 is a training "
            "loss within 0.002 of it:\n",
            table(["experiment", "last ReLU", "attempts", "at ln 2", "diverged", "best", "mean"], rows),
            "The searches were then made without it (`head_relu=False`), so that an attempt is not lost to it. What decided were "
            "these validation accuracies. Only one network had been tested by then, the light_cnn of the "
            "[first training](#one-training-with-the-papers-own-values).\n"]


def seeds(name):
    """Metrics of each training of a network, by seed."""
    files = sorted((RESULTS / name).glob("seed-*/metrics.json"))
    return {int(file.parent.name.removeprefix("seed-")): json.loads(file.read_text()) for file in files}


def ours(name, key):
    """What a network of ours reached on a test set: the chosen seed's row and all seeds', each with what it is of."""
    found, chosen = seeds(name), read(name, "chosen.json")
    if chosen is None:
        return [[f"lightnet: {len(found)} of {SEEDS} seeds trained so far", *[""] * len(RATES)]]
    one = found[chosen["seed"]][key]
    clean = from_scores(RESULTS / name / f"seed-{chosen['seed']}" / "scores.csv", key, LEAKED)
    rows = [[f"seed {chosen['seed']}, n = {one['n']}, {units(one)}", *(shown([one], rate) for rate in RATES)],
            [f"mean of {len(found)} seeds (lowest to highest)",
             *(shown([metrics[key] for metrics in found.values()], rate) for rate in RATES)]]
    if clean["n"] < one["n"]:
        rows.insert(1, [f"the same without {one['n'] - clean['n']} slices that are known from training or validation",
                        *(shown([clean], rate) for rate in RATES)])
    return rows


def from_scores(file, key, left_out=()):
    """The metrics of a set of slices from their scores, without those of some names."""
    with open(file, newline="") as text:
        rows = [row for row in csv.DictReader(text) if row["set"] == key and row["name"] not in left_out]
    return evaluate([int(row["label"]) for row in rows], [float(row["p_covid"]) for row in rows],
                    [row["patient"] or None for row in rows]).to_dict()


def hours(name):
    """What a network's trainings took, in hours on two cores."""
    seconds = 0
    for file in (RESULTS / name).glob("seed-*/history.csv"):
        with open(file, newline="") as text:
            seconds += sum(float(row["seconds"]) for row in csv.DictReader(text))
    return seconds / 3600


def finals():
    """Table 5."""
    size, found_at = Job().size, searched("1").job.size
    lines = ["## Table 5: CNN-1 and CNN-2\n",
             f"`light_cnn` at {size}x{size}, {FINAL['epochs']} epochs, the rate falling after epoch {FINAL['decay_after']}, "
             f"with the values of experiment {PROPOSED}'s best attempt, which was at {found_at}x{found_at}; several seeds, one "
             "chosen by its validation accuracy (`results/cnn-*/chosen.json`).\n"]
    rows = []
    for name, test, key in TESTS:
        theirs = paper_table(5)[f"{name.upper()}, {test}"]
        rows.append([f"{name.upper()}, {test}", "the paper", *(theirs.get("F1" if rate == "f1" else rate, "") for rate in RATES)])
        rows += [["", *row] for row in ours(name, key)]
    lines.append(table(["network, test set", "", *RATES], rows))
    lines.append("The paper's \"precision\" on Test-2 is by arithmetic a specificity ([3](paper.md#what-does-not-add-up)).\n")
    took = "; ".join(f"{name.upper()} {hours(name):.1f} h" for name in NETWORKS if hours(name))
    lines.append("Commands: `mkdir -p runs/paper && cp -r results/arrangement-* runs/paper/` for the searches above, then "
                 f"`python examples/reproduce_paper.py --data DIR --only {' '.join(NETWORKS)}`. "
                 f"Trainings took, on two cores with other work on them: {took or 'none yet'}.\n")
    return lines


def others():
    """Tables 6 and 7."""
    lines, found, chosen = ["## Tables 6 and 7: against other work\n"], seeds("cnn-2"), read("cnn-2", "chosen.json")
    ours = found[chosen["seed"]]["test"] if chosen else None
    paper6, paper7 = paper_table(6), paper_table(7)
    rows = [[work, *cells.values()] for work, cells in paper6.items()]
    rows.append(["CNN-2 by lightnet", *(in_percent(ours[rate], rate) if ours else "not run yet" for rate in RATES[:5])])
    lines += ["Other work's numbers are as the paper reports them, each on a test set of its own; in %, but for F1, of which the "
              "paper has fractions and one number in %. Ours with 95 % intervals.\n",
              table(["work", *next(iter(paper6.values()))], rows)]
    rows = [[work, *cells.values()] for work, cells in paper7.items()]
    sensitivity = 100 * ours["sensitivity"]["value"] if ours else None
    rows.append(["CNN-2 by lightnet", *((f"{sensitivity:.1f}", f"{MILLIONS:.2f}", f"{sensitivity / MILLIONS:.2f}") if ours
                                        else ("not run yet", f"{MILLIONS:.2f}", ""))])
    lines += [table(["work", *next(iter(paper7.values()))], rows)]
    return lines


def in_percent(found, rate):
    """A rate with its interval as Table 6 has it: in %, F1 as a fraction."""
    factor, digits = (1, 2) if rate == "f1" else (100, 1)
    return "{:.{digits}f} [{:.{digits}f}, {:.{digits}f}]".format(*(factor * found[end] for end in ("value", "low", "high")),
                                                                digits=digits)


def time_row():
    """The time for an image."""
    report = read("inference.json")
    if report is None:
        return ["## The time for an image\n", "Not measured for this page yet; see [benchmarks.md](benchmarks.md#an-image).\n"]
    paper = re.search(r"([\d.]+) s for an image on a workstation with a GPU and ([\d.]+) s on a laptop's CPU",
                      " ".join((ROOT / "docs" / "paper.md").read_text().split()))
    rows = [["the paper, workstation with a GPU", f"{1000 * float(paper[1]):.0f}"],
            ["the paper, laptop's CPU", f"{1000 * float(paper[2]):.0f}"]]
    for threads, run in report["runs"].items():
        rows += [[f"{name}, {threads} thread{'s' * (threads != '1')}", f"{row['ms_per_image']:.1f}"]
                 for name, row in run["1"]["engines"].items()]
    return ["## The time for an image\n", table(["", "ms"], rows),
            f"`python benchmarks/inference.py --rounds {report['settings']['rounds']} --json results/inference.json`, "
            f"{report['machine']['cpu']}, "
            f"{report['date'][:10]}; more in [benchmarks.md](benchmarks.md).\n"]


def audits():
    """The controls, the leaks, and what the networks' scores are made of."""
    found = {which: read(f"audit-{which}", "audit.json") for which in NETWORKS.values()}
    found = {which: audit for which, audit in found.items() if audit}
    if not found:
        return ["## The audit\n", "Not run yet.\n"]
    lines = ["## The audit\n",
             "Classifiers to compare with, trained and tested on the same slices as the networks: random forests, not tuned, "
             "that see what stands beside them. The box around the lungs takes along what lies at their edges; an Italian "
             "slice is cropped to the lungs, so that its border is lung more often than another's. Shuffled labels say how far "
             "from one half a score may be by chance: a control whose AUC lies in their range shows nothing. Accuracy, then "
             "AUC.\n"]
    for which, audit in found.items():
        rows, tests = {}, list(dict.fromkeys(one["split"] for one in audit["controls"]))
        for one in audit["controls"]:
            rows.setdefault((one["name"], one["sees"]), []).extend(shown(one["runs"], metric) for metric in ("accuracy", "auc"))
        head = [f"{NAMES[test]}, {metric}" for test in tests for metric in ("accuracy", "AUC")]
        rows = [[*what, *cells] for what, cells in rows.items()]
        lines += [f"Arrangement {which}:\n", table(["control", "sees", *head], rows)]
        notes = dict.fromkeys(f"{NAMES[one['split']]}: {one['note']}" for one in audit["controls"] if "lungs" in one["note"])
        lines += [f"{'; '.join(notes)}.\n"] if notes else []
    lines += [leaks(which, audit) for which, audit in found.items()]
    lines += [line for audit in found.values() for name, one in audit["networks"].items()
              for line in network(name, one, audit["controls"])]
    lines.append((RESULTS / "audit.md").read_text())
    commands = "; ".join(f"`lightnet audit --arrangement {which} --out results/audit-{which}`" for which in found)
    return [*lines, f"Commands: {commands}; with `--model cnn-1` (arrangement 2: `cnn-2`) for the networks.\n"]


def leaks(which, audit):
    """A paragraph on what is in two splits."""
    italian, kinds = audit["italian_crops"], [one["kind"] for one in audit["shared"]]
    # the same pair may be found as wholes and as crops, in another order
    pairs = {frozenset((pair["first"], pair["second"])): pair for pair in [*audit["crops"], *audit["near_duplicates"]]}
    pairs = "; ".join("{first} ({splits[0]}) and {second} ({splits[1]}), {correlation:.2f}".format(**pair)
                      for pair in sorted(pairs.values(), key=lambda pair: -pair["correlation"]))
    text = (f"In arrangement {which}, {kinds.count('patient')} patients and {kinds.count('paper')} source papers are in more "
            f"than one split, by the metadata. Pairs of slices across splits that look the same: {pairs or 'none'}. ")
    if italian:
        text += (f"Of the {italian['searched']} Italian slices {len(italian['candidates'])} match one of the {italian['in']} "
                 f"COVID slices of COVID-CT in any crop better than {italian['threshold']:.2f} ({italian['planted_found']} of "
                 f"{italian['planted']} planted crops were found).")
    return text + "\n"


def network(name, audit, controls):
    """What is left of a network's score, and where its maps lie."""
    rows = [[NAMES[split], f"COVID from {what} alone" if kind == "sources" else what, one["n"], shown([one], "accuracy"),
             shown([one], "sensitivity"), shown([one], "specificity"), shown([one], "auc")]
            for split, of in audit["splits"].items() for kind in ("probes", "sources") for what, one in of[kind].items()]
    lead = [[NAMES[split], control, shown([one], "accuracy"), shown([one], "auc")]
            for split, of in audit["splits"].items() for control, one in of["ahead_of"].items()]
    text = "{} Brier score {brier:.3f} (always 0.5: 0.25), expected calibration error {expected_error:.3f}"
    calibration = "; ".join(text.format(NAMES[split], **of["calibration"]) for split, of in audit["splits"].items())
    chance = [NAMES[split] for split, of in audit["splits"].items() if is_by_chance(of["probes"]["as it is"], controls, split)]
    return [f"### What is left of {name.upper()}'s score\n",
            table(["test set", "slices", "n", "accuracy", "sensitivity", "specificity", "AUC"], rows),
            "How far it is ahead of the controls, both scored on the same resamples of patients:\n",
            table(["test set", "control", "accuracy ahead by", "AUC ahead by"], lead),
            *(f"On {NAMES[split]} its AUC is not shown to be above that of: {'; '.join(not_behind(of)) or 'none of them'}.\n"
              for split, of in audit["splits"].items()),
            *([f"On {' and '.join(chance)} its AUC lies in the range of the shuffled labels'.\n"] if chance else []),
            f"{in_words(audit['maps'])} Calibration: {calibration}.\n"]


def is_by_chance(found, controls, split):
    """Whether shuffled labels reach the AUC as well."""
    (runs,) = (one["runs"] for one in controls if one["name"] == "shuffled labels" and one["split"] == split)
    return found["auc"]["value"] <= max(run["auc"]["value"] for run in runs)


def not_behind(found):
    """The controls of which the network is not ahead for sure: the interval of the difference goes down to 0 or below."""
    return [control for control, one in found["ahead_of"].items() if one["auc"]["low"] <= 0]


def one_training():
    """The training with the paper's own values, before the searches."""
    kept = read("paper-values", "metrics.json")
    if kept is None:
        return []
    rows = [[rate, *(shown([one], rate) for one in kept.values())] for rate in RATES]
    return ["## One training with the paper's own values\n", (RESULTS / "paper-values" / "README.md").read_text(),
            table(["", *kept], rows)]


def page():
    """The whole page."""
    parts = [[HEAD], data(), searches("1"), relu_head(), searches("2"), finals(), others(), time_row(), one_training(), audits()]
    return "\n".join(text for part in parts for text in part)


if __name__ == "__main__":
    (ROOT / "docs" / "results.md").write_text(page())
    print("docs/results.md is written")
