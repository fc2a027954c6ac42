"""What stands beside every score: controls, leaks, and what a network's score is made of. ``lightnet audit`` runs it.

Each part is a file of its own: `controls` (what tells the classes apart without lungs), `leaks` (what is in two splits),
`probes` (what is left of a network's score when lungs, or all but lungs, are taken away), `calibration`.
"""

import time

import numpy as np

from ..data.arrangements import ITALIAN
from . import controls, crops, leaks
from .calibration import brier_score, calibration_error
from .metrics import difference, evaluate
from .probes import probe, where_it_looks

FULL = {"trees": 500, "shuffles": 20, "planted": 60}
QUICK = {"trees": 20, "shuffles": 2, "planted": 5}              # a smoke run: that every part runs


def audit(arranged, networks, progress=None, quick=False):
    """Audit an arrangement of slices, and networks on it.

    Parameters
    ----------
    arranged : lightnet.data.arrangements.Arrangement
    networks : dict of str to Graph
        By name; may be empty.
    progress : callable, optional
        ``progress(iterable, total=N, desc=text)``, as tqdm.
    quick : bool
        Small forests, and few planted crops: numbers that mean little, soon.

    Returns
    -------
    dict
        Plain numbers, strings, lists and dicts, as JSON takes them: ``controls``, ``near_duplicates``, ``crops``,
        ``shared``, ``italian_crops`` (None without Italian slices), ``networks``.
    """
    def telling(text):
        return progress and (lambda iterable, total: progress(iterable, total=total, desc=text))

    splits, effort, began = arranged.splits, QUICK if quick else FULL, time.perf_counter()
    compared = controls.run(splits, shuffles=effort["shuffles"], trees=effort["trees"], progress=telling("controls"))
    pairs = [pair for pair in leaks.near_duplicates(splits) if pair.across_splits or pair.across_classes]
    found = {
        "arrangement": arranged.which,
        "split_seed": arranged.seed,
        "controls": [one.to_dict() for one in compared],
        "near_duplicates": [pair_as_dict(pair) for pair in pairs],
        "crops": [pair_as_dict(pair) for pair in leaks.crops_across(splits, progress=telling("crops across splits"))],
        "shared": [one._asdict() for one in leaks.shared(splits)],
        "italian_crops": italian_crops(splits, effort["planted"], telling("Italian slices in COVID-CT")),
        "networks": {name: of_network(net, splits, compared, telling(name)) for name, net in networks.items()},
    }
    return {**found, "seconds": round(time.perf_counter() - began)}


def italian_crops(splits, planted, progress=None):
    """Search the Italian slices, which are cropped to the lungs, in the COVID slices of COVID-CT.

    So many planted crops say first what the search finds, and from which score on a match is worth a look.
    """
    slices = dict.fromkeys(one for of in splits.values() for one in of)
    italian = [one for one in slices if one.source == ITALIAN]
    others = [one for one in slices if one.source != ITALIAN and one.label]
    if not italian or len(others) < 2:
        return None
    validation = crops.validate_crops([one.read() for one in others], planted)
    pairs = leaks.crops_across({"test": italian, "COVID-CT": others}, validation.threshold, progress)
    return {"searched": len(italian), "in": len(others), "planted": validation.count, "planted_found": validation.found,
            "lowest_planted": float(validation.matches[0]) if validation.found else None,
            "highest_other": float(validation.others[-1]), "threshold": validation.threshold,
            "candidates": [pair_as_dict(pair) for pair in pairs]}


def pair_as_dict(pair):
    """A pair of slices by their names."""
    return {"first": pair.first.name, "second": pair.second.name, "splits": list(pair.splits),
            "labels": [pair.first.label, pair.second.label], "correlation": pair.correlation}


def of_network(net, splits, compared, progress=None):
    """A network on each test split: probes, how far it is ahead of the controls, calibration, sources; and where its maps lie on
    the first one."""
    found = {}
    for split, slices in splits.items():
        if split.startswith("test"):
            scores = probe(net, slices, progress)
            found[split] = {
                "probes": {name: metrics(slices, of).to_dict() for name, of in scores.items()},
                "ahead_of": {one.name: ahead(slices, scores["as it is"], one) for one in compared
                             if one.split == split and len(one.runs) == 1},
                "calibration": {"brier": brier_score(labels(slices), scores["as it is"]),
                                "expected_error": calibration_error(labels(slices), scores["as it is"])},
                "sources": by_source(slices, scores["as it is"]),
            }
    return {"splits": found, "maps": where_it_looks(net, splits["test1"], progress=progress)}


def ahead(slices, scores, control):
    """Accuracy and AUC of a network minus a control's, of the same resamples."""
    found = difference(labels(slices), scores, control.scores[0], [one.patient for one in slices])
    return {metric: found[metric].to_dict() for metric in ("accuracy", "auc")}


def by_source(slices, scores):
    """Metrics of each source's COVID slices against all others."""
    sources = dict.fromkeys(one.source for one in slices if one.label)
    chosen = {source: [n for n, one in enumerate(slices) if not one.label or one.source == source] for source in sources}
    return {source: metrics([slices[n] for n in which], scores[which]).to_dict() for source, which in chosen.items()}


def labels(slices):
    """The slices' labels."""
    return np.array([one.label for one in slices])


def metrics(slices, scores):
    """Metrics with intervals over patients."""
    return evaluate(labels(slices), scores, [one.patient for one in slices])


def report(found):
    """An audit as a page of text.

    >>> print(report({"arrangement": 1, "split_seed": 0, "controls": [], "near_duplicates": [], "crops": [],
    ...               "shared": [], "italian_crops": None, "networks": {}}).splitlines()[0])
    Audit of arrangement 1, drawn with seed 0
    """
    lines = [f"Audit of arrangement {found['arrangement']}, drawn with seed {found['split_seed']}", "",
             "Controls: what a classifier reaches that sees ...", row("", "test set", "accuracy", "AUC")]
    for control in found["controls"]:
        what, runs = f"{control['name']}: {control['sees']}", control["runs"]
        lines.append(row(what, control["split"], *(shown(runs, metric) for metric in ("accuracy", "auc"))))
        lines += [f"      {control['note']}"] if control["note"] else []
    for title, kind in (("Whole slices that look the same, across splits or classes", "near_duplicates"),
                        ("Test slices that are crops of others, or others of them", "crops")):
        lines += ["", f"{title}: {len(found[kind])} candidates",
                  *(f"  {pair['correlation']:.3f}  {pair['first']} ({pair['splits'][0]}), {pair['second']} ({pair['splits'][1]})"
                    for pair in found[kind])]
    lines += ["",
              f"Patients and papers in several splits: {len(found['shared'])}",
              *(f"  {one['kind']} {one['id']}: {one['counts']}" for one in found["shared"])]
    if italian := found["italian_crops"]:
        lines += ["", "{searched} Italian slices searched in {in} COVID slices of COVID-CT, at any scale and place: {count} "
                  "candidates above {threshold:.2f}\n  (of {planted} planted crops {planted_found} were found)".format(
                      **italian, count=len(italian["candidates"])),
                  *(f"  {pair['correlation']:.2f}  {pair['first']} in {pair['second']}" for pair in italian["candidates"])]
    for name, network in found["networks"].items():
        lines += ["", f"{name}: what is left of its score when slices are changed", row("", "test set", "accuracy", "AUC")]
        lines += [line for split, of in network["splits"].items() for line in of_split(split, of)]
        if network["maps"]:
            lines.append("  " + in_words(network["maps"]))
    return "\n".join(lines)


def in_words(maps):
    """Where a network's maps lie, as `probes.where_it_looks` found."""
    def of(name, form="{:.0%}"):
        return " to ".join(form.format(end(maps[f"{name}_untrained"])) for end in (min, max))
    return ("A map's weight at a place is its distance from the map's median. Over {n} slices of Test-1 {outside_lungs:.0%} of "
            "it lies outside the lungs, and {border:.0%} in the border; spread evenly it would be {outside_lungs_area:.0%} and "
            "{border_area:.0%}, and of {count} untrained networks' maps it is {lungs} and {around}. The correlation with these "
            "is {alike}.").format(
                **maps, count=len(maps["border_untrained"]), lungs=of("outside_lungs"), around=of("border"),
                alike=of("correlation", "{:.2f}"))


def of_split(split, found):
    """The lines of a network on one test split."""
    named = {**found["probes"], **{f"COVID from {source} alone": value for source, value in found["sources"].items()},
             **{f"ahead of the control {control}": value for control, value in found["ahead_of"].items()}}
    return [*(row(name, split, shown([value], "accuracy"), shown([value], "auc")) for name, value in named.items()),
            "  calibration on {}: Brier score {brier:.3f} (always 0.5: 0.25), expected error {expected_error:.3f}".format(
                split, **found["calibration"])]


def row(what, split, accuracy, auc):
    """A line of a table."""
    return f"  {what:<78}{split:<10}{accuracy:<24}{auc}"


def shown(runs, metric):
    """A metric with its interval; of several runs the mean, the lowest and the highest."""
    values = [run[metric]["value"] for run in runs]
    if None in values:
        return "undefined"
    if len(values) > 1:
        return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**runs[0][metric])
