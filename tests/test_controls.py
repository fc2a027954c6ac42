"""Control classifiers and leaks, on slices where the answer is known because it was planted."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from lightnet.data import phantom
from lightnet.data.anatomy import Body
from lightnet.data.slices import Slice
from lightnet.errors import ArgumentError, DatasetError
from lightnet.evaluation import controls, crops, leaks
from lightnet.evaluation.lungs import lungs

DATA = os.environ.get("LIGHTNET_DATA")
COUNT = {"train": 60, "test1": 60}


def save(folder, name, grey, label, kind="PNG", **known):
    path = Path(folder) / name
    Image.fromarray(np.rint(255 * grey).astype(np.uint8)).save(path, format=kind)
    return Slice(name, label, path, **known)


def splits(folder, draw, kinds=("PNG", "PNG")):
    """Write slices of `draw(rng, label)` in alternate classes, each class as a kind of file."""
    rng = np.random.default_rng(0)
    return {split: [save(folder, f"{split}-{i}", draw(rng, i % 2), i % 2, kinds[i % 2], patient=f"{split}-{i // 4}")
                    for i in range(count)] for split, count in COUNT.items()}


def noise(rng, label):
    return rng.random((60, 70))


def framed(rng, label):
    grey = rng.uniform(0.2, 0.4, (96, 96))
    grey[:3] += 0.5 * label
    return grey


def chest(rng, label):
    grey = np.full((96, 96), 0.9)
    grey[30:70, 15:40] = grey[30:70, 55:80] = 0.2 + 0.1 * label
    return grey + rng.uniform(-0.05, 0.05, grey.shape)


def auc(folder, draw, names, kinds=("PNG", "PNG"), **settings):
    """Run some controls; return each one's AUC."""
    found = controls.run(splits(folder, draw, kinds), names=names, trees=60, **{"shuffles": 0, **settings})
    return {one.name: one.metrics.auc.value for one in found}


def test_a_planted_file_format_is_caught_without_a_pixel(tmp_path):
    names = ("no pixel", "no pixel, no format", "whole", "no pixel, re-encoded")
    found = auc(tmp_path, noise, names, kinds=("PNG", "JPEG"))
    assert found["no pixel"] == found["no pixel, no format"] == 1       # the byte count tells as well
    assert found["majority class"] == 0.5
    assert 0.2 < found["whole"] < 0.8
    assert 0.2 < found["no pixel, re-encoded"] < 0.8                     # written alike, files tell nothing


def test_a_planted_border_marker_is_caught(tmp_path):
    found = auc(tmp_path, framed, ("no pixel, no format", "border", "whole", "border, re-encoded"))
    assert found["border"] == found["whole"] == 1
    assert found["border, re-encoded"] == 1                              # re-encoding leaves it there


def test_what_is_in_the_lungs_is_in_the_lungs_only(tmp_path):
    found = auc(tmp_path, chest, ("border", "no lungs", "no lungs' box", "only lungs"))
    assert found["only lungs"] == 1
    assert all(0.2 < found[name] < 0.8 for name in ("border", "no lungs", "no lungs' box"))


def test_labels_without_signal_give_chance(tmp_path):
    found = controls.run(splits(tmp_path, noise), trees=40, shuffles=4)
    assert [one.name for one in found] == ["majority class", *controls.SEES, "shuffled labels"]
    assert all(0.2 < one.metrics.auc.value < 0.8 for one in found)
    assert len({run.auc.value for run in found[-1].runs}) == 4
    assert found[0].metrics.over == "patients" and found[0].metrics.units == 15 and found[0].n == 60
    assert "no lungs found in" in found[5].note
    assert found[-1].to_dict()["runs"][3]["n"] == 60


def test_a_control_learns_from_the_training_split_alone(tmp_path):
    """Were it trained on test slices too, it would know them by heart: labels here are random, and never to be learnt."""
    found = auc(tmp_path, noise, ("whole",))
    assert found["whole"] < 0.8
    rng = np.random.default_rng(3)
    same = [save(tmp_path, f"same-{i}", noise(rng, i % 2), i % 2) for i in range(40)]
    known = controls.run({"train": same, "test1": same}, names=("whole",), trees=60, shuffles=0)
    assert known[1].metrics.auc.value == 1


def test_every_test_split_is_evaluated_and_no_other(tmp_path):
    made = splits(tmp_path, noise)
    missing = Slice("missing", 0, tmp_path / "missing")
    found = controls.run({**made, "validation": [missing], "test2": made["test1"][:20]}, names=("border",), trees=10, shuffles=1)
    assert [(one.split, one.name) for one in found] == [
        (split, name) for split in ("test1", "test2") for name in ("majority class", "border", "shuffled labels")]
    assert [one.n for one in found] == [60] * 3 + [20] * 3


def test_splits_that_cannot_be_used_are_named(tmp_path):
    made = splits(tmp_path, noise)
    with pytest.raises(DatasetError, match="names start with 'test'"):
        controls.run({"train": made["train"]})
    with pytest.raises(DatasetError, match="one class only"):
        controls.run({**made, "train": made["train"][::2]})
    with pytest.raises(DatasetError, match="'borders'; expected some of"):
        controls.run(made, names=["borders"])


@pytest.mark.parametrize("label", (0, 1))
def test_the_lung_mask_overlaps_the_lungs_that_were_drawn(label):
    overlap = []
    for seed in range(12):
        drawn = Body(np.random.default_rng(seed)).lungs < 0              # the same chest that `draw` begins with
        found = lungs(phantom.draw(np.random.default_rng(seed), label))
        assert found.shape == drawn.shape and found.dtype == bool
        overlap.append(2 * np.count_nonzero(found & drawn) / (np.count_nonzero(found) + np.count_nonzero(drawn)))
    assert np.median(overlap) > 0.8 and min(overlap) > 0.5               # Dice; dense disease is left out, as documented


def test_lungs_that_touch_the_frame_stay_and_air_around_the_body_does_not():
    drawn = Body(np.random.default_rng(1)).lungs < 0
    box = ndimage.find_objects(drawn.astype(int))[0]
    cropped = lungs(phantom.draw(np.random.default_rng(1), 0)[box])     # as the Italian slices are
    assert np.count_nonzero(cropped & drawn[box]) > 0.7 * np.count_nonzero(drawn)
    assert not lungs(np.full((50, 40), 0.5)).any()
    body = np.zeros((100, 100))
    body[20:80, 20:80] = 1                                               # a body without lungs, air around it
    assert not lungs(body).any()


def test_planted_duplicates_are_found(tmp_path):
    greys = [phantom.draw(np.random.default_rng(seed), 1) for seed in range(8)]
    slices = [save(tmp_path, f"{k}.png", grey, 1) for k, grey in enumerate(greys)]
    small = np.array(Image.fromarray(greys[2]).resize((200, 180)))
    copy = save(tmp_path, "copy", small, 0, "JPEG")
    found = leaks.near_duplicates({"train": slices, "test1": [copy], "test2": [copy]})
    assert [(one.first.name, one.second.name, one.splits) for one in found] == [("2.png", "copy", ("train", "test1"))]
    assert found[0].across_splits and found[0].across_classes and 0.95 <= found[0].correlation <= 1


def test_shared_patients_and_papers_are_found():
    def one(name, patient=None, paper=None):
        return Slice(name, 1, Path(name), patient=patient, paper=paper)

    train = [one("a", "1", "x"), one("b", "2", "x"), one("c")]
    test = [one("d", "1", "y"), one("e", "3", "x"), one("f")]
    assert leaks.shared({"train": train, "validation": [one("g", "4")], "test1": test, "test2": test[:2]}) == [
        ("patient", "1", {"train": 1, "test": 1}), ("paper", "x", {"train": 2, "test": 1})]
    assert leaks.shared({"train": train, "test1": [one("h"), one("i", "9")]}) == []


def test_planted_crops_are_found_and_score_higher_than_what_is_not_there():
    images = [phantom.draw(np.random.default_rng(seed), seed % 2) for seed in range(14)]
    found = crops.validate_crops(images, count=10, seed=0)
    assert found.found == found.count == 10
    assert found.others[-1] < found.matches[0] and np.median(found.others) < found.threshold < found.matches[0]
    absent = [phantom.draw(np.random.default_rng(seed), 1) for seed in (100, 101)]
    assert all(match.score < found.threshold for match in crops.find_crops(absent, images))


def test_a_crop_is_found_at_its_scale_through_a_jpeg():
    rng = np.random.default_rng(0)
    images = [ndimage.gaussian_filter(rng.random(shape), 2) for shape in ((200, 260), (300, 240), (220, 220))]
    images = [(one - one.min()) / np.ptp(one) for one in images]
    file = io.BytesIO()
    Image.fromarray(np.uint8(255 * images[1][30:210, 20:200])).save(file, format="JPEG", quality=60)
    match, = crops.find_crops([np.asarray(Image.open(file)) / 255], images)
    assert match.image == 1 and match.score > 0.9 > match.runner_up
    assert match.scale == pytest.approx(180 / 300, rel=0.02)
    with pytest.raises(ArgumentError, match="1 images to search"):
        crops.find_crops(images, images[:1])


def test_a_cropped_copy_in_another_split_is_found(tmp_path):
    greys = [phantom.draw(np.random.default_rng(seed), 1) for seed in range(6)]
    train = [save(tmp_path, f"{k}.png", grey, 1) for k, grey in enumerate(greys[:4])]
    copy = save(tmp_path, "copy", greys[1][30:-40, 20:-50], 0, "JPEG")
    other = save(tmp_path, "other", greys[5], 1)
    made = {"train": train[:2], "validation": train[2:], "test1": [other, copy], "test2": [copy]}
    assert leaks.near_duplicates(made) == []                             # the whole images do not look the same
    pair, = leaks.crops_across(made, threshold=0.9)
    assert (pair.first.name, pair.second.name, pair.across_classes) == ("copy", "1.png", True)
    assert pair.splits[1] == "train"


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="LIGHTNET_DATA is not set: it names the folder that holds COVID-CT and COVID-SemiSeg")
def test_the_real_slices_tell_their_class_without_lungs():
    from lightnet.data.covid_ct import arrangement
    official = arrangement(DATA, "official")
    names = ("no pixel", "no pixel, no format", "border")
    found = {one.name: one.metrics for one in controls.run(official.splits, names=names, shuffles=0, trees=200)}
    measured = {"majority class": (0.517, 0.5), "no pixel": (0.88, 0.95), "no pixel, no format": (0.72, 0.78)}
    for name, (accuracy, area) in measured.items():
        assert found[name].accuracy.value == pytest.approx(accuracy, abs=0.04)
        assert found[name].auc.value == pytest.approx(area, abs=0.03)
    assert found["border"].accuracy.value == pytest.approx(0.695, abs=0.04)
    doubled = [one for one in leaks.near_duplicates(official.splits) if one.across_splits and one.across_classes]
    assert {"kjr-21-e24-p5-29.png", "kjr-21-e24-p5-31.png"} <= {one.second.name for one in doubled} | {
        one.first.name for one in doubled}
    assert [one.kind for one in leaks.shared(official.splits)] == ["paper"] * 3


def test_shuffled_labels_stay_together_within_a_patient():
    """Else slices of one patient, which look alike, would teach the forest that labels mean nothing."""
    slices = [Slice(f"{n}", n // 6 % 2, Path(f"{n}"), patient=f"patient {n // 3}" if n < 30 else None) for n in range(40)]
    made = [controls.shuffled(slices, np.random.default_rng(seed)) for seed in range(5)]
    for labels in made:
        assert all(len(set(labels[n:n + 3])) == 1 for n in range(0, 30, 3)) and set(labels) == {0, 1}
    assert len({tuple(labels) for labels in made}) == 5
