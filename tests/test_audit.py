"""What a network's score is made of: probes with planted networks whose answer is known, and calibration against formulas."""


import dataclasses
import json

import numpy as np
import pytest
import test_covid_ct
from sklearn.metrics import brier_score_loss

import lightnet as ln
from lightnet.cli import main
from lightnet.data import covid_ct, phantom
from lightnet.data.arrangements import Arrangement
from lightnet.data.folder import read_folder
from lightnet.data.prepare import default_meta
from lightnet.evaluation.calibration import brier_score, calibration_error, reliability
from lightnet.evaluation.metrics import evaluate
from lightnet.evaluation.probes import PROBES, probe, where_it_looks
from lightnet.layers import Conv2D, GlobalAvgPool


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices")
    phantom.write(folder, 12, seed=0)
    return read_folder(folder)


def looks_at(region, sign=1):
    """A network that calls a slice COVID where the mean grey value of a region (S, S) is above `middle`."""
    S = len(region)
    net = ln.Graph(input_shape=(S, S, 3), meta={**default_meta(), "input_size": S})
    net.add("mean", Conv2D(3, 2, S), "image")
    net.add("gap", GlobalAvgPool(), "mean")
    weight = net.params["mean.weight"]
    weight[:] = 0
    weight[:, :, 0, 1] = sign * 50 * region / region.sum()
    return net


def with_threshold(net, slices):
    """Set the bias so that half of the slices are called COVID."""
    from lightnet.data.slices import load
    greys, _ = load(slices, net.meta["input_size"])
    values = np.einsum("nij,ij->n", greys, net.params["mean.weight"][:, :, 0, 1])
    net.params["mean.bias"][1] = -np.median(values)
    return net


def metrics(scores, slices):
    return {name: evaluate([one.label for one in slices], values, resamples=0) for name, values in scores.items()}


def test_a_network_that_looks_at_the_frame_does_not_need_lungs(slices):
    frame = np.ones((64, 64))
    frame[3:-3, 3:-3] = 0
    net = with_threshold(looks_at(frame), slices)
    found = metrics(probe(net, slices), slices)
    assert (found["only the frame"].confusion == found["as it is"].confusion).all()
    assert (found["lungs' box black"].confusion == found["as it is"].confusion).all()
    assert found["only lungs"].confusion[:, 1].sum() in (0, 12)             # one answer for every slice


def test_a_network_that_looks_at_the_middle_needs_it(slices):
    middle = np.zeros((64, 64))
    middle[20:44, 12:52] = 1
    net = with_threshold(looks_at(middle), slices)
    found = metrics(probe(net, slices), slices)
    assert found["only the frame"].confusion[:, 1].sum() == 0               # black there: never COVID
    assert found["as it is"].confusion[:, 1].sum() == 6
    assert (found["re-encoded"].confusion == found["as it is"].confusion).all()


def test_an_untrained_network_looks_like_itself(slices):
    net = ln.models.light_cnn(seed=3)
    net.meta["input_size"] = 131
    found = where_it_looks(net, slices[:3], untrained=(3, 4))
    assert found["n"] == 3 and found["correlation_untrained"][0] == pytest.approx(1) and found["correlation_untrained"][1] < 0.9
    assert found["outside_lungs"] == pytest.approx(found["outside_lungs_untrained"][0])
    assert 0 < found["border"] < 1 and 0.5 < found["outside_lungs_area"] < 1


def test_a_network_whose_maps_are_the_same_everywhere_looks_nowhere(slices):
    net = ln.models.light_cnn(seed=3)
    net.meta["input_size"] = 131
    net.params["fc.weight"][:] = 0
    assert where_it_looks(net, slices[:2], untrained=(4,)) is None


@pytest.fixture(scope="module")
def arranged(tmp_path_factory):
    """Drawn slices for every split; one test slice stands in training too, and four are a source of their own."""
    parts = {}
    for number, (split, count) in enumerate((("train", 16), ("validation", 4), ("test1", 12))):
        folder = tmp_path_factory.mktemp(split)
        phantom.write(folder, count, seed=number + 1)
        parts[split] = [dataclasses.replace(one, source="COVID-CT") for one in read_folder(folder)]
    twice = parts["test1"][-1]
    parts["train"].append(dataclasses.replace(twice, name="again.png"))
    covid = [n for n, one in enumerate(parts["test1"]) if one.label]
    for n in covid[:4]:
        parts["test1"][n] = dataclasses.replace(parts["test1"][n], source="SIRM")
    return Arrangement(1, 0, parts["train"], parts["validation"], parts["test1"])


@pytest.mark.slow
def test_the_whole_audit(arranged, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(covid_ct, "arrangement", lambda data, which, seed: arranged)
    net = ln.models.light_cnn(seed=0)
    net.meta["input_size"] = 131
    ln.save(net, tmp_path / "cnn" / "model.npz")
    assert main(["audit", "--quick", "--model", str(tmp_path / "cnn" / "model.npz"), "--out", str(tmp_path / "out")]) == 0
    printed, found = capsys.readouterr().out, json.loads((tmp_path / "out" / "audit.json").read_text())
    assert (tmp_path / "out" / "audit.txt").read_text().strip() in printed
    for pairs in (found["near_duplicates"], found["crops"]):
        assert {arranged.test1[-1].name, "again.png"} in [{pair["first"], pair["second"]} for pair in pairs]
    assert [one["name"] for one in found["controls"]][0] == "majority class" and len(found["controls"]) == 11
    assert found["italian_crops"]["searched"] == 4 and found["italian_crops"]["candidates"] == []
    on_test = found["networks"]["cnn"]["splits"]["test1"]
    assert on_test["probes"].keys() == PROBES.keys() and on_test["sources"].keys() == {"SIRM", "COVID-CT"}
    assert on_test["sources"]["SIRM"]["n"] == 4 + 6 and on_test["probes"]["as it is"]["n"] == 12
    assert "lies outside the lungs" in printed and "Not for clinical use" in printed


def test_brier_score_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 50), rng.random(50)
    assert brier_score(labels, scores) == pytest.approx(brier_score_loss(labels, scores))


def test_a_probability_that_means_what_it_says_has_a_small_error():
    rng = np.random.default_rng(0)
    scores = rng.random(20_000)
    labels = (rng.random(20_000) < scores).astype(int)
    assert calibration_error(labels, scores) < 0.01
    assert calibration_error(labels, scores**4) > 0.2
    said, seen, counts = reliability(labels, scores)
    assert len(said) == 10 and counts.sum() == 20_000 and np.abs(said - seen).max() < 0.05


def test_where_every_step_of_p_is_counted_once():
    said, seen, counts = reliability([0, 1, 1, 0], [0.0, 1.0, 0.95, 0.049])
    assert counts.tolist() == [2, 2] and seen.tolist() == [0, 1]


@pytest.mark.parametrize("arguments, refused", [
    (["evaluate", "--arrangement", "1", "--split", "test2"], "80 of the 193 test slices"),
    (["audit", "--arrangement", "1", "--quick"], "80 of the"),
    (["audit", "--arrangement", "2", "--split-seed", "1", "--quick"], "of the 211 test slices"),
])
def test_a_network_is_not_tested_on_what_trained_it(arguments, refused, tmp_path, capsys):
    """Arrangement 2 has 60 + 20 Italian slices in training and validation, all of which arrangement 1 has in Test-2."""
    clone = test_covid_ct.make(tmp_path / "data")
    net = ln.models.light_cnn(seed=0)
    net.meta["provenance"] = {"settings": {"arrangement": "2", "split_seed": 0}}
    ln.save(net, tmp_path / "model.npz")
    assert main([*arguments, "--data", str(clone), "--model", str(tmp_path / "model.npz")]) == 2
    assert refused in capsys.readouterr().err and not (tmp_path / "test_evaluations.csv").exists()
