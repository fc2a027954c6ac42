"""Write the card of the models that come with lightnet, from the files under results/. ``python docs/make_model_card.py``"""

import make_results as results
from make_results import RATES, shown

from lightnet.files import whole
from lightnet.model_file import TRAINED, load, trained
from lightnet.training.study import FINAL, NETWORKS

CARD = TRAINED / "README.md"
BESIDE = "no pixel", "border", "no lungs' box"          # the controls that stand beside the scores here; all are in results.md

HEAD = """# The models that come with lightnet

**For research and non-commercial use. Not for clinical use.** They tell two sets of slices apart; that this detects a disease was
not shown, and the controls below speak against it. lightnet's code is under the MIT licence. The weights are not: the slices
that made them admit research and non-commercial use only.

```python
net = ln.load("cnn-2")                                  # a Graph, as any other; net.meta says how images are prepared
```
"""

LIMITS = """## What they are, and are not

- **The network** is `light_cnn`, the paper's: a grey slice of 227x227 pixels in three equal channels, logits of non-COVID and
  COVID ([what the paper leaves open](../../../docs/light_cnn.md)).
- **The data** are pictures taken from publications (COVID-CT, 2020) and slices of the Italian society's web page, not scans: of
  any size, cropped, compressed, drawn on, with few patients and one label a slice. Labels are those of the sources; at least one
  pair of equal slices has both ([the audit](../../../docs/results.md#the-audit)).
- **A score is about this set.** What tells its classes apart without lungs stands beside the scores. On slices of another
  scanner, hospital or country nothing is known but Test-2, and there the classes have different sources.
- **p_covid is no probability of a disease**: half of the training slices are COVID, or more, which is true nowhere; most values
  are near 0 or 1, and many of these are wrong (the Brier scores above).
- They see one slice, never a patient; they answer for a photograph of a cat as well.
"""


def page():
    """The whole card."""
    return "\n".join([HEAD, *(line for name in trained() for line in card(name)), LIMITS])


def card(name):
    """One model's part."""
    which, chosen = NETWORKS[name], results.read(name, "chosen.json")
    job = results.read(name, f"seed-{chosen['seed']}", "job.json")
    counts, provenance = results.read("arrangements.json")[which], load(name).meta["provenance"]
    slices = "; ".join(f"{results.NAMES[split]} {count['COVID']} COVID and {count['non-COVID']} non-COVID"
                       for split, count in counts.items())
    validation = ", ".join(f"{seed}: {of['accuracy']:.3f}" for seed, of in chosen["validation"].items())
    lines = [f"## {name}\n",
             f"Trained on arrangement {which} of the paper, split seed {job['split_seed']}. Slices: {slices}. Of training slices "
             "three augmented copies besides.\n",
             f"From scratch, {FINAL['epochs']} epochs of batches of {job['batch']}, SGD with learning rate {job['lr']:.4g}, "
             f"times {FINAL['decay']} every {FINAL['decay_every']} epochs after epoch {FINAL['decay_after']}, momentum "
             f"{job['momentum']:.4g}, L2 {job['l2']:.3g}: the values of a search's best attempt, by validation slices of "
             f"{results.searched(which).job.size} pixels a side. Of {len(chosen['validation'])} seeds the validation slices "
             f"chose seed {chosen['seed']} (the highest accuracy, of equal ones the lower loss; accuracy by "
             f"seed: {validation}). Test slices were looked at once by each training, after its last epoch, and once more "
             f"by the audit. Made with lightnet {provenance['lightnet']}, NumPy {provenance['numpy']}, Python "
             f"{provenance['python']}.\n"]
    measured = results.read(f"audit-{which}", "audit.json")["networks"].get(name)
    if measured:
        scores = " and ".join(f"{of['calibration']['brier']:.3f} on {results.NAMES[split]}"
                              for split, of in measured["splits"].items())
        lines.append(f"p_covid as a probability: its Brier score is {scores}; always to say 0.5 has 0.25, and 0 is perfect.\n")
    for network, title, key in results.TESTS:
        if network == name:
            lines += [f"{title}, with 95 % intervals; below, random forests on the same slices that see something else:\n",
                      results.table(["", *RATES], [*results.ours(name, key), *controls(which, title)])]
    return lines


def controls(which, title):
    """The controls' rows on one test set."""
    return [[f"control: {one['name']} (sees {one['sees']})", *(shown(one["runs"], rate) for rate in RATES)]
            for one in results.read(f"audit-{which}", "audit.json")["controls"]
            if one["name"] in BESIDE and results.NAMES[one["split"]] == title]


if __name__ == "__main__":
    with whole(CARD) as file:
        file.write(page())
    print(f"{CARD} is written")
