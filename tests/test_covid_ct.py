"""The data set from its clone: a made-up clone in every layout, each kind of damage, and the real slices."""

import csv
import hashlib
import io
import os
import re
import zipfile
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from lightnet.data.covid_ct import arrangement
from lightnet.data.covid_ct_files import paper_of
from lightnet.data.folder import read_folder
from lightnet.data.manifest import COLUMNS
from lightnet.data.slices import Slice, load
from lightnet.errors import DatasetError, ImageError

SIZES = {"COVID": {"train": 191, "val": 60, "test": 98}, "NonCOVID": {"train": 234, "val": 58, "test": 105}}
CAPTION = 'says "here",\r\nthen \xe9'
INFO = {"COVID": ("File name", "Patient ID", "Captions"), "NonCOVID": ("", "image name", "patient id")}


def picture(seed, format="PNG"):
    file = io.BytesIO()
    Image.fromarray(np.full((2, 3), seed % 256, np.uint8)).save(file, format)
    return file.getvalue()


def names(spelling, part):
    """About as odd as the real ones: spaces, '%', and JPEGs called .png."""
    return [f"{spelling} 2020.{part}-p{i % 9}-{i}%0.png" for i in range(SIZES[spelling][part])]


def make(root, italian=98, unpacked=False):
    """Write a clone with the public repository's layout and counts, and the Italian set beside it."""
    clone = root / "COVID-CT"
    for spelling, parts in SIZES.items():
        (clone / "Data-split" / spelling).mkdir(parents=True)
        images, rows = {}, []
        for part in parts:
            listed = names(spelling, part)
            file = clone / "Data-split" / spelling / f"{part}CT_{spelling}.txt"
            file.write_bytes("\r\n".join([*listed, ""]).encode())
            for i, name in enumerate(listed):
                images[f"CT_{spelling}/{name}"] = picture(i, "JPEG" if i % 7 == 0 else "PNG")
                patient = f"{spelling} {part} {i // 3} "  # three slices a patient; a real id ends in a space too
                rows.append((name, patient, CAPTION) if spelling == "COVID" else (len(rows), name, patient))
        (clone / "Images-processed").mkdir(exist_ok=True)
        if unpacked:
            for name, data in images.items():
                (clone / "Images-processed" / name).parent.mkdir(exist_ok=True)
                (clone / "Images-processed" / name).write_bytes(data)
        else:
            with zipfile.ZipFile(clone / "Images-processed" / f"CT_{spelling}.zip", "w") as archive:
                for name, data in {**images, f"__MACOSX/CT_{spelling}/._x.png": b""}.items():
                    archive.writestr(name, data)
        (clone / "Info").mkdir(exist_ok=True)
        encoding = "latin-1" if spelling == "COVID" else "utf-8-sig"
        with open(clone / "Info" / f"{spelling}-CT-MetaInfo.csv", "w", encoding=encoding, newline="") as file:
            csv.writer(file).writerows([INFO[spelling], *rows])
    for i in range(italian):
        below = "TrainingSet/LungInfection-Train/Doctor-label" if i % 2 else "TestingSet/LungInfection-Test"
        for kind in ("Imgs", "GT"):  # the masks are no slices
            folder = root / "COVID-SemiSeg" / below / kind
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.jpg").write_bytes(picture(i))
    return root


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    return make(tmp_path_factory.mktemp("zipped"))


@pytest.fixture(scope="module")
def real():
    if not os.environ.get("LIGHTNET_DATA"):
        pytest.skip("LIGHTNET_DATA is not set: it names the folder that holds COVID-CT and COVID-SemiSeg")
    return os.environ["LIGHTNET_DATA"]


@pytest.fixture(scope="module", params=["made-up", "real"])
def data(request):
    return request.getfixturevalue({"made-up": "zipped", "real": "real"}[request.param])


def keys(slices):
    return [(one.source, one.name) for one in slices]


# Arrangements, of the made-up clone and of the real one

@pytest.mark.parametrize("which, counts", [
    (1, {"train": (191, 191), "validation": (60, 58), "test1": (98, 95), "test2": (98, 95)}),
    (2, {"train": (251, 191), "validation": (80, 58), "test1": (116, 95)}),
    ("official", {"train": (191, 234), "validation": (60, 58), "test1": (98, 105)})])
def test_counts(data, which, counts):
    result = arrangement(data, which)
    assert result.counts() == {split: {"COVID": covid, "non-COVID": non} for split, (covid, non) in counts.items()}
    for split, (covid, non) in counts.items():
        assert Counter(one.label for one in getattr(result, split)) == {1: covid, 0: non}
    assert which == 1 or result.test2 == []


@pytest.mark.parametrize("which", [1, 2, "official"])
@pytest.mark.parametrize("seed", [0, 7])
def test_no_slice_and_no_patient_in_two_splits(data, which, seed):
    result = arrangement(data, which, seed)
    splits = [result.train, result.validation, result.test1]
    if which == 1:  # Test-2 has Test-1's non-COVID slices again, and the Italian ones, which are in no other split
        assert keys(result.test2)[98:] == [(one.source, one.name) for one in result.test1 if one.label == 0]
        splits.append(result.test2[:98])
    everything = [key for split in splits for key in keys(split)]
    assert len(everything) == len(set(everything))
    where = defaultdict(set)
    for i, split in enumerate(splits):
        for one in split:
            assert (one.patient is None) == (one.source == "SIRM")
            where[one.patient or one.name].add(i)
    assert all(len(parts) == 1 for patient, parts in where.items() if not patient.endswith(".jpg"))


@pytest.mark.parametrize("which", [1, 2])
def test_the_seed_draws(data, which):
    first, again, other = (arrangement(data, which, seed) for seed in (0, 0, 1))
    assert first == again
    assert set(keys(first.train)) != set(keys(other.train)) and set(keys(first.test1)) != set(keys(other.test1))
    assert keys(first.train) == keys(arrangement(data, which, np.random.default_rng(0)).train)


def test_both_arrangements_draw_the_same_non_covid_slices_from_the_official_part(data):
    one, two, whole = (arrangement(data, which, 3) for which in (1, 2, "official"))
    for split in ("train", "validation", "test1"):
        a, b, c = ([key for key in getattr(x, split) if key.label == 0] for x in (one, two, whole))
        assert a == b and set(a) <= set(c)
        assert [key for key in c if key in set(a)] == a  # in the official order


def test_the_table_says_what_is_short(data):
    one, two, whole = (str(arrangement(data, which)) for which in (1, 2, "official"))
    assert re.search(r"test2 +98 \(100\) +95 \(95\)", one) and "98 Italian slices instead of 100." in one
    assert re.search(r"test1 +116 \(108\) +95 \(95\)", two)
    assert "98 Italian slices instead of 100: 18 instead of 20 for Test-1" in two
    assert "98 + 18 = 116 COVID slices; Table 2 prints 108" in two
    assert re.search(r"train +251 \(251\) +191 \(191\) .*60 slices without a patient", two)
    assert re.search(r"train +191 +234 ", whole) and "Short" not in whole


# Layouts and reading

def test_every_layout_gives_the_same_slices(zipped, tmp_path, monkeypatch):
    unpacked = make(tmp_path, unpacked=True)
    expected = arrangement(zipped, 2)
    monkeypatch.setenv("LIGHTNET_DATA", str(zipped))
    monkeypatch.chdir(zipped / "COVID-CT")
    for folder in (unpacked, str(unpacked / "COVID-CT"), ".", None):
        result = arrangement(folder, 2)
        assert keys(result.train) == keys(expected.train) and keys(result.test1) == keys(expected.test1)
        assert [one.patient for one in result.train] == [one.patient for one in expected.train]
        for one, other in list(zip(result.train, expected.train))[::50]:
            assert one.bytes() == other.bytes() and np.array_equal(one.read(), other.read())


def test_patients_and_papers(zipped):
    official = arrangement(zipped, "official")
    one, other = official.train[4], official.train[-1]
    assert (one.name, one.patient, one.paper) == ("COVID 2020.train-p4-4%0.png", "COVID train 1", "COVID 2020.train")
    assert (other.patient, other.paper) == ("NonCOVID train 77", None)


@pytest.mark.parametrize("name, paper", [
    ("2020.02.10.20021584-p6-52%11.png", "2020.02.10.20021584"), ("kjr-21-e24-p5-29.png", "kjr-21-e24"),
    ("2020.02.26.20026989-p34-114_1%0.png", "2020.02.26.20026989"), ("ehaa254-p1-2.png", "ehaa254"),
    ("2020.03.22.20040782-p24-1533-8.png", "2020.03.22.20040782"), ("bmj.m606.full-p2-22%3.png", "bmj.m606.full"),
    ("PIIS0140673620302117_1.png", "PIIS0140673620302117"), ("PIIS0140673620303603%8.png", "PIIS0140673620303603")])
def test_paper_of(name, paper):
    assert paper_of(name) == paper


def test_without_metadata_no_patient_is_known(tmp_path):
    make(tmp_path)
    for file in (tmp_path / "COVID-CT" / "Info").iterdir():
        file.unlink()
    official = arrangement(tmp_path, "official")
    assert {one.patient for one in official.train} == {None} and "425 slices without a patient" in str(official)


def test_italian_slices_are_transposed(zipped):
    italian = arrangement(zipped, 1).test2[:98]
    assert [one.name for one in italian] == [f"{i}.jpg" for i in range(98)]
    assert italian[0].read().shape == (3, 2) and italian[0].source == "SIRM"


def test_load(zipped):
    slices = arrangement(zipped, 1).test2
    seen = []

    def progress(items, total):
        for item in items:
            seen.append(total)
            yield item

    greys, labels = load(slices, 5, "box", progress)
    assert greys.shape == (193, 5, 5) and greys.dtype == np.float32 and labels.dtype == np.int64 and seen == [193] * 193
    np.testing.assert_allclose(greys[:98, 0, 0], np.arange(98) / 255, atol=1e-6)
    assert labels.tolist() == [1] * 98 + [0] * 95
    empty, none = load([], 5)
    assert empty.shape == (0, 5, 5) and none.shape == (0,)


def test_manifest(zipped, tmp_path):
    result = arrangement(zipped, 2)
    rows = result.manifest()
    assert len(rows) == 442 + 138 + 211 and set(rows[0]) == set(COLUMNS)
    first = result.train[0]
    assert rows[0] == dict(split="train", label="COVID", name=first.name, source="COVID-CT", patient=first.patient,
                           sha256=hashlib.sha256(first.bytes()).hexdigest())
    assert {row["patient"] for row in rows if row["source"] == "SIRM"} == {""}
    result.write_manifest(tmp_path / "manifest.csv")
    with open(tmp_path / "manifest.csv", newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == rows
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.csv"]


def test_a_manifest_that_cannot_be_made_leaves_the_old_one(zipped, tmp_path):
    result = arrangement(zipped, 1)
    (tmp_path / "manifest.csv").write_text("old")
    result.train.insert(0, Slice("gone.png", 0, tmp_path / "gone.png"))
    with pytest.raises(DatasetError, match=r"gone\.png"):
        result.write_manifest(tmp_path / "manifest.csv")
    assert (tmp_path / "manifest.csv").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


# Damage: the file, what was found, what was expected, the repair

SPLIT, ARCHIVE = "Data-split/COVID/valCT_COVID.txt", "Images-processed/CT_COVID.zip"


def truncate(path):
    path.write_bytes(path.read_bytes()[:-400])


@pytest.mark.parametrize("file, damage, message", [
    (SPLIT, lambda p: p.unlink(), "No such file.*expected a list of file names.*Clone COVID-CT again"),
    (SPLIT, lambda p: p.write_text(" \n"), "empty; expected a list of file names"),
    (SPLIT, lambda p: p.write_text("no.png\n"), "names 'no.png', which is not among the 349 images"),
    (SPLIT, lambda p: p.write_text(names("COVID", "train")[3]), "train-p3-3%0.png', which the split has"),
    (SPLIT, lambda p: p.write_bytes(b"\xff\xfe\0"), "which is not among"),
    (ARCHIVE, lambda p: p.unlink(), "missing, and so is .*CT_COVID; expected one of them"),
    (ARCHIVE, lambda p: p.write_bytes(b"text"), "damaged .*expected a zip archive. Clone COVID-CT again"),
    (ARCHIVE, truncate, "damaged"),
])
def test_damage(tmp_path, file, damage, message):
    damage(make(tmp_path) / "COVID-CT" / file)
    with pytest.raises(DatasetError, match=message) as error:
        arrangement(tmp_path, "official")
    assert os.path.basename(file) in str(error.value)


def test_damage_inside_an_archive_is_named_when_read(tmp_path):
    path = make(tmp_path) / "COVID-CT" / "Images-processed" / "CT_COVID.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 5] ^= 255
    path.write_bytes(data)
    slices = arrangement(tmp_path, "official").train
    with pytest.raises(DatasetError, match=r"CT_COVID\.zip.CT_COVID.*train-p1-1%0\.png: cannot be read \(BadZipFile"):
        load(slices, 5)


def test_a_file_that_is_no_image_is_named_when_read(tmp_path):
    make(tmp_path, unpacked=True)
    path = tmp_path / "COVID-CT" / "Images-processed" / "CT_COVID" / names("COVID", "train")[0]
    path.write_text("<html>")
    with pytest.raises(ImageError, match=r"train-p0-0%0\.png: a text file that starts with '<html>'"):
        load(arrangement(tmp_path, "official").train, 5)


def test_no_clone(tmp_path, monkeypatch):
    monkeypatch.delenv("LIGHTNET_DATA", raising=False)
    for folder, found in ((tmp_path, "no COVID-CT in it"), (tmp_path / "absent", "no such folder"),
                          (None, "LIGHTNET_DATA is not set")):
        with pytest.raises(DatasetError, match=f"{found}.*Clone https://github.com/UCSD-AI4H/COVID-CT"):
            arrangement(folder, 1)


@pytest.mark.parametrize("which", [0, 3, "1", "Official", None])
def test_unknown_arrangement(zipped, which):
    with pytest.raises(DatasetError, match="expected 1, 2 or 'official'"):
        arrangement(zipped, which)


def test_the_italian_set_is_only_needed_by_the_arrangements_that_use_it(tmp_path):
    make(tmp_path, italian=0)
    assert len(arrangement(tmp_path, "official").train) == 425
    for which in (1, 2):
        with pytest.raises(DatasetError, match=r"COVID-SemiSeg: no Italian slices; looked in .*Doctor-label/Imgs and "):
            arrangement(tmp_path, which)


@pytest.mark.parametrize("which", [1, 2, "official"])
def test_without_the_italian_slices_all_others_are_the_same(zipped, which):
    whole, without = arrangement(zipped, which, seed=3), arrangement(zipped, which, seed=3, italian=False)
    for split, slices in whole.splits.items():
        assert keys(without.splits[split]) == [key for key in keys(slices) if key[0] == "COVID-CT"]


def test_too_few_slices(tmp_path):
    make(tmp_path, italian=80)
    assert len(arrangement(tmp_path, 1).test2) == 175
    with pytest.raises(DatasetError, match="Italian slices beside it: found 80; expected more than 80"):
        arrangement(tmp_path, 2)
    file = tmp_path / "COVID-CT" / "Data-split" / "NonCOVID" / "testCT_NonCOVID.txt"
    file.write_text("\n".join(names("NonCOVID", "test")[:94]))
    with pytest.raises(DatasetError, match="non-COVID test slices: found 94; expected 95 or more"):
        arrangement(tmp_path, 1)


# A folder of one's own

def test_read_folder(tmp_path):
    root = tmp_path / "mine"
    for name in ("COVID/b.png", "COVID/a/c.png", "non-COVID/1.jpg", "non-COVID/notes.txt", "other/x.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(51))
    slices = read_folder(root)
    assert [(one.name, one.label) for one in slices] == [("1.jpg", 0), ("a/c.png", 1), ("b.png", 1)]
    assert {one.source for one in slices} == {"mine"}
    greys, labels = load(slices, 4)
    assert labels.tolist() == [0, 1, 1] and np.allclose(greys, 0.2)


def test_read_folder_refuses(tmp_path):
    with pytest.raises(DatasetError, match="absent: there is no such folder; expected image files in .*COVID and "):
        read_folder(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="file: Not a directory; expected"):
        read_folder(tmp_path / "file")
    (tmp_path / "non-COVID").mkdir()
    with pytest.raises(DatasetError, match="non-COVID: no image file"):
        read_folder(tmp_path)
    (tmp_path / "non-COVID" / "x.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="its subfolders are non-COVID; expected"):
        read_folder(tmp_path)


# The real slices

def test_real_files_are_read_by_content(real):
    official = arrangement(real, "official")
    slices = official.train + official.validation + official.test1
    liars = [one for one in slices if one.name.endswith(".png") and one.bytes()[:2] == b"\xff\xd8"]
    assert len(liars) == 34 and {one.label for one in liars} == {1}
    greys, _ = load(liars, 32)
    assert greys.min() >= 0 and greys.max() <= 1 and (np.ptp(greys, axis=(1, 2)) > 0.3).all()


def test_real_patients_and_papers(real):
    official = arrangement(real, "official")
    patients = {split: [len({one.patient for one in slices if one.label == label}) for label in (0, 1)]
                for split, slices in official.splits.items()}
    assert patients == {"train": [105, 128], "validation": [24, 32], "test1": [42, 53]}
    papers = defaultdict(set)
    for split, slices in official.splits.items():
        for one in slices:
            if one.label:
                papers[one.paper].add(split)
    # 70 by the stem before the page alone, and 32 in the test set: three papers of The Lancet name no page
    assert len(papers) == 58 and sum(len(splits) == 2 for splits in papers.values()) == 3
    assert sum("test1" in splits for splits in papers.values()) == 20


def test_real_italian_slices_are_upright(real):
    italian = arrangement(real, 1).test2[:98]
    shapes = [one.read().shape for one in italian]
    assert sum(height < width for height, width in shapes) > 75  # two lungs side by side; as stored, 17 would be
