"""The metrics against hand-worked numbers, scikit-learn, and properties that hold for any labels and scores."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from lightnet.errors import DatasetError, LightnetError, ShapeError
from lightnet.evaluation.metrics import difference, evaluate, roc_curve

NAMES = ("accuracy", "sensitivity", "specificity", "precision", "f1", "auc")


def values(metrics):
    return np.array([getattr(metrics, name).value for name in NAMES])


def bounds(metrics):
    return np.array([(getattr(metrics, name).low, getattr(metrics, name).high) for name in NAMES])


def sensible(n=200, seed=0):
    """Labels of both classes and scores that follow them, with ties (two decimals) and errors."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return labels, np.round(np.clip(0.5 + 0.25 * (labels - 0.5) + rng.normal(0, 0.2, n), 0, 1), 2)


# Few distinct scores, so that ties within and across the classes are the rule.
samples = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8).map(lambda k: k / 8)), min_size=1, max_size=40)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_hand_worked_numbers():
    # COVID: .9 .8 .5 (hits; .5 counts as COVID) .3 (miss); non-COVID: .7 (false alarm) .5 (false alarm) .2 .1 .0
    metrics = evaluate([1, 1, 1, 1, 0, 0, 0, 0, 0], [0.9, 0.8, 0.5, 0.3, 0.7, 0.5, 0.2, 0.1, 0.0])
    assert metrics.confusion.tolist() == [[3, 2], [1, 3]]
    # AUC: .9 and .8 beat 5 each, .5 beats 3 and ties with one, .3 beats 3: 16.5 of 20 pairs
    np.testing.assert_allclose(values(metrics), [6 / 9, 3 / 4, 3 / 5, 3 / 5, 6 / 9, 16.5 / 20])


def test_table_5_of_the_paper_needs_100_images_of_each_class():
    labels = np.repeat([1, 0], 100)
    metrics = evaluate(labels, np.repeat([1.0, 0.0, 1.0, 0.0], [85, 15, 19, 81]), resamples=0)
    np.testing.assert_allclose(np.round(values(metrics)[:5], 4), [0.83, 0.85, 0.81, 0.8173, 0.8333])


@pytest.mark.parametrize(("scores", "auc"), [([0.1, 0.9], 1.0), ([0.9, 0.1], 0.0), ([0.4, 0.4], 0.5)])
def test_auc_of_one_pair(scores, auc):
    assert evaluate([0, 1], scores).auc.value == auc


def test_roc_curve_by_hand():
    false_positive_rate, true_positive_rate = roc_curve([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])
    assert false_positive_rate.tolist() == [0, 0, 0.5, 1]
    assert true_positive_rate.tolist() == [0, 0.5, 1, 1]


# --- against scikit-learn ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_scikit_learn_agrees(seed):
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, scores = sensible(seed=seed)
    predicted = scores >= 0.5
    metrics = evaluate(labels, scores, resamples=0)
    np.testing.assert_array_equal(metrics.confusion, sklearn.confusion_matrix(labels, predicted))
    expected = [
        sklearn.accuracy_score(labels, predicted),
        sklearn.recall_score(labels, predicted),
        sklearn.recall_score(labels, predicted, pos_label=0),
        sklearn.precision_score(labels, predicted),
        sklearn.f1_score(labels, predicted),
        sklearn.roc_auc_score(labels, scores),
    ]
    np.testing.assert_allclose(values(metrics), expected, rtol=1e-12)
    theirs = sklearn.roc_curve(labels, scores, drop_intermediate=False)[:2]
    np.testing.assert_allclose(roc_curve(labels, scores), theirs, rtol=1e-12)


def test_bootstrap_agrees_with_resampling_sample_by_sample():
    """A resample's weights stand for repeated samples: the plain loop over scikit-learn gives the same interval."""
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, scores = sensible(80)
    groups = np.arange(80) // 3
    members = [np.flatnonzero(groups == group) for group in range(27)]
    rng = np.random.default_rng(1)
    aucs = []
    for _ in range(300):
        drawn = np.concatenate([members[group] for group in rng.integers(0, 27, 27)])
        aucs.append(sklearn.roc_auc_score(labels[drawn], scores[drawn]))
    auc = evaluate(labels, scores, groups).auc
    np.testing.assert_allclose((auc.low, auc.high), np.quantile(aucs, (0.025, 0.975)), atol=0.02)


# --- properties -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(samples)
def test_auc_is_the_mean_over_all_pairs_and_the_area_under_the_curve(samples):
    labels, scores = np.array(samples).T
    auc = evaluate(labels, scores, resamples=0).auc.value
    if len(set(labels)) == 1:
        assert math.isnan(auc)
        return
    difference = scores[labels == 1][:, None] - scores[labels == 0]
    assert auc == pytest.approx(np.mean((np.sign(difference) + 1) / 2))
    false_positive_rate, true_positive_rate = roc_curve(labels, scores)
    assert auc == pytest.approx(trapezoid(true_positive_rate, false_positive_rate))


@settings(deadline=None, max_examples=50)
@given(samples, st.floats(0.2, 5))
def test_auc_and_its_interval_ignore_monotone_maps(samples, power):
    labels, scores = np.array(samples).T
    assert str(evaluate(labels, scores**power, resamples=20).auc) == str(evaluate(labels, scores, resamples=20).auc)


@settings(deadline=None, max_examples=50)
@given(samples)
def test_swapping_the_classes_swaps_sensitivity_and_specificity(samples):
    labels, scores = np.array(samples).T
    scores = np.where(scores == 0.5, 0.625, scores)  # at 0.5 itself the rule p >= 0.5 is not symmetric
    metrics, swapped = (evaluate(*pair, resamples=20) for pair in ((labels, scores), (1 - labels, 1 - scores)))
    np.testing.assert_array_equal(swapped.confusion, metrics.confusion[::-1, ::-1])
    assert str(swapped.sensitivity) == str(metrics.specificity)
    assert str(swapped.specificity) == str(metrics.sensitivity)
    assert str(swapped.auc) == str(metrics.auc)


@settings(deadline=None, max_examples=50)
@given(samples, st.randoms(use_true_random=False))
def test_values_ignore_the_order_of_the_samples(samples, random):
    labels, scores = np.array(samples).T
    shuffled = list(samples)
    random.shuffle(shuffled)
    np.testing.assert_array_equal(
        values(evaluate(*np.array(shuffled).T, resamples=0)), values(evaluate(labels, scores, resamples=0))
    )


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_intervals_contain_the_value_of_sensible_data(seed):
    metrics = evaluate(*sensible(100, seed), resamples=500, seed=seed)
    low, high = bounds(metrics).T
    assert np.all((low < values(metrics)) & (values(metrics) < high))
    assert np.all((low >= 0) & (high <= 1) & (high - low < 0.5))


def test_interval_of_accuracy_is_near_the_binomial_one():
    labels = np.tile([0, 1], 200)
    scores = np.where(np.arange(400) < 80, 1 - labels, labels).astype(float)  # 80 of 400 wrong
    accuracy = evaluate(labels, scores).accuracy
    half_width = 1.96 * math.sqrt(0.8 * 0.2 / 400)
    np.testing.assert_allclose((accuracy.low, accuracy.high), (0.8 - half_width, 0.8 + half_width), atol=0.006)


# --- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copies, seed", [(2, 0), (3, 1), (4, 2), (6, 3)])
def test_copies_within_a_group_add_no_knowledge(copies, seed):
    labels, scores = sensible(60, seed)
    once = evaluate(labels, scores, resamples=300)
    groups = np.repeat([f"patient {i}" for i in range(60)], copies)
    labels, scores = labels.repeat(copies), scores.repeat(copies)
    grouped = evaluate(labels, scores, groups, resamples=300)
    assert (once.over, grouped.over, grouped.n, grouped.units) == ("images", "patients", 60 * copies, 60)
    np.testing.assert_allclose(bounds(grouped), bounds(once), rtol=1e-12)
    # Believing that the copies are independent makes every interval too narrow.
    assert np.all(np.ptp(bounds(evaluate(labels, scores, resamples=300)), axis=1) < np.ptp(bounds(grouped), axis=1))


def test_unknown_patients_are_groups_of_their_own():
    labels, scores = sensible(6)
    assert evaluate(labels, scores, ["a", "a", None, None, math.nan, math.nan]).units == 5
    nobody_known = evaluate(labels, scores, [None] * 6)
    assert (nobody_known.over, nobody_known.units) == ("images", 6)
    np.testing.assert_array_equal(bounds(nobody_known), bounds(evaluate(labels, scores)))


def test_one_patient_gives_values_but_no_intervals():
    metrics = evaluate([0, 1], [0.2, 0.8], ["a", "a"])
    assert metrics.accuracy.value == 1
    assert np.isnan(bounds(metrics)).all()


# --- undefined values, output, cost -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_undefined_values_are_nan_null_and_said():
    metrics = evaluate([0, 0, 0], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(values(metrics), [1, math.nan, 1, math.nan, math.nan, math.nan])
    as_json = json.loads(json.dumps(metrics.to_dict(), allow_nan=False))
    assert as_json["auc"] == {"value": None, "low": None, "high": None}
    assert as_json["specificity"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert "precision       undefined: no slice predicted COVID" in str(metrics)
    assert "nan" not in str(metrics)
    false_positive_rate, true_positive_rate = roc_curve([0, 0, 0], [0.1, 0.2, 0.3])
    assert np.isnan(true_positive_rate).all()
    assert false_positive_rate[-1] == 1


@pytest.mark.filterwarnings("error")
def test_resamples_without_a_class_are_left_out():
    metrics = evaluate([0, 0, 0, 1], [0.1, 0.2, 0.6, 0.9])  # about a third of the resamples have no COVID slice
    assert (metrics.sensitivity.low, metrics.sensitivity.high) == (1, 1)
    assert not np.isnan(bounds(metrics)).any()


def test_to_dict_is_plain_and_in_the_form_of_metrics_json():
    result = evaluate(*sensible(), resamples=100).to_dict()
    assert result == json.loads(json.dumps(result))
    assert result["n"] == 200
    assert result["over"] == "images"
    assert all(set(result[name]) == {"value", "low", "high"} for name in NAMES)


def test_table_is_aligned():
    lines = str(evaluate(*sensible(), groups=np.arange(200) // 2, resamples=100)).splitlines()
    table = [line for line in lines if line.startswith(NAMES)]
    assert len(table) == len(NAMES)
    assert {line.index("[") for line in table} == {22}
    assert lines[-1].endswith("100 resamples over 100 patients")


def test_a_seed_gives_the_same_intervals_and_another_seed_others():
    labels, scores = sensible()
    first, again, other = (evaluate(labels, scores, seed=seed) for seed in (3, np.random.default_rng(3), 4))
    np.testing.assert_array_equal(bounds(first), bounds(again))
    assert np.any(bounds(first) != bounds(other))


def test_blocks_of_resamples_do_not_change_the_result(monkeypatch):
    labels, scores = sensible()
    whole = bounds(evaluate(labels, scores, resamples=300))
    monkeypatch.setattr("lightnet.evaluation.metrics._BLOCK", 200 * 7)
    np.testing.assert_array_equal(bounds(evaluate(labels, scores, resamples=300)), whole)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([], []), ShapeError, "N > 0"),
        (([0, 1], [0.5]), ShapeError, r"\(2,\), scores \(1,\)"),
        (([0, 1], [[0.5, 0.5], [0.1, 0.9]]), ShapeError, "column 1"),
        (([0, 2], [0.5, 0.5]), DatasetError, "label 2 of sample 1"),
        ((["COVID", "non-COVID"], [0.5, 0.5]), DatasetError, "label COVID of sample 0"),
        (([0, 1], [0.5, math.nan]), DatasetError, "score nan of sample 1"),
        (([0, 1], [0.5, 3.2]), DatasetError, "softmax"),
        (([0, 1], [0.5, 0.5], ["a"]), ShapeError, "groups has 1 ids"),
        (([0, 1], [0.5, 0.5], None, -1), DatasetError, "resamples is -1"),
    ],
)
def test_bad_input_is_named(arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        evaluate(*arguments)
    assert isinstance(caught.value, LightnetError)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float32, list])
def test_labels_of_any_number_type_are_admitted(kind):
    labels, scores = sensible()
    given_labels = labels.tolist() if kind is list else labels.astype(kind)
    metrics = evaluate(given_labels, scores.astype(np.float32), resamples=0)
    np.testing.assert_array_equal(metrics.confusion, evaluate(labels, scores, resamples=0).confusion)


def test_a_difference_is_paired():
    """Of two classifiers that differ in one slice of forty the difference is known better than either; against itself it is 0."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    scores = np.clip(labels * 0.3 + rng.random(40) * 0.7, 0, 1)
    others = scores.copy()
    others[0] = 1 - scores[0]
    found = difference(labels, scores, others, groups=np.arange(40) // 2)
    alone = evaluate(labels, scores, groups=np.arange(40) // 2)
    assert abs(found["accuracy"].value) == pytest.approx(1 / 40)
    same = difference(labels, scores, scores, seed=np.random.default_rng(0))
    assert all(one.value == one.low == one.high == 0 for one in same.values())
    assert found["accuracy"].high - found["accuracy"].low < (alone.accuracy.high - alone.accuracy.low) / 2
    assert vars(difference(labels, scores, scores)["auc"]) == {"value": 0, "low": 0, "high": 0}
    assert difference(labels, scores, others)["auc"].value == pytest.approx(
        evaluate(labels, scores).auc.value - evaluate(labels, others).auc.value)


def test_unknown_patients_are_counted_apart():
    found = evaluate([0, 1, 0, 1], [0.1, 0.9, 0.2, 0.8], groups=["a", "a", None, float("nan")])
    assert (found.units, found.unknown) == (3, 2) and "1 patients and 2 images of unknown patients" in str(found)
