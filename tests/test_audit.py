"""What a network's score is made of: probes with planted networks whose answer is known, and calibration against formulas."""


import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

import lightnet as ln
from lightnet.data import phantom
from lightnet.data.folder import read_folder
from lightnet.data.prepare import default_meta
from lightnet.evaluation.calibration import brier_score, calibration_error, reliability
from lightnet.evaluation.metrics import evaluate
from lightnet.evaluation.probes import probe, where_it_looks
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
    same, other = (where_it_looks(net, slices[:3], untrained_seed=seed) for seed in (3, 4))
    assert same["n"] == 3 and same["correlation_untrained"] == pytest.approx(1)
    assert same["outside_lungs"] == pytest.approx(same["outside_lungs_untrained"])
    assert other["correlation_untrained"] < 0.9
    assert 0 < other["border"] < 1 and 0.5 < other["outside_lungs_area"] < 1


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
