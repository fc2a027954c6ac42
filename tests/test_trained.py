"""The models that come with lightnet: they are the ones that were measured, they load, and they give the recorded numbers.

``python tests/test_trained.py`` records what they give now: after another model is shipped, and for no other reason.
"""

import configparser
import csv
import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import lightnet as ln
from lightnet.cli import main
from lightnet.data import phantom
from lightnet.data.images import list_images
from lightnet.evaluation.predict import predict_files
from lightnet.model_file import trained
from lightnet.training.study import NETWORKS

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).with_name("trained.json")


def scores(name, folder):
    """p_covid of twelve synthetic slices, by file."""
    phantom.write(folder, 12, seed=2020)
    files = list_images([folder])
    return {str(Path(one.file).relative_to(folder)): one.p_covid for one in predict_files(ln.load(name), files)}


@pytest.mark.parametrize("name", trained())
def test_it_gives_the_recorded_numbers(name, tmp_path):
    found, recorded = scores(name, tmp_path), json.loads(RECORDED.read_text())[name]
    assert found.keys() == recorded.keys()
    np.testing.assert_allclose(list(found.values()), list(recorded.values()), atol=1e-4)


@pytest.mark.parametrize("name", trained())
def test_it_is_the_one_that_was_measured(name):
    """The seed that the validation slices chose, and the very file whose test evaluation is in the log."""
    seed = json.loads((ROOT / "results" / name / "chosen.json").read_text())["seed"]
    with open(ROOT / "results" / name / f"seed-{seed}" / "test_evaluations.csv", newline="") as file:
        measured = {row["model_sha256"] for row in csv.DictReader(file)}
    assert measured == {hashlib.sha256(trained()[name].read_bytes()).hexdigest()}
    assert ln.load(name).meta["provenance"]["settings"]["seed"] == seed


@pytest.mark.parametrize("name", trained())
def test_it_is_small_and_says_what_it_needs(name):
    net = ln.load(name)
    assert trained()[name].stat().st_size < 6e6
    assert all(array.dtype == np.float32 for array in [*net.params.values(), *net.state.values()])
    assert net.shapes()[net.output_name] == (1, 2) and net.meta["input_size"] == 227
    assert net.meta["provenance"]["settings"]["arrangement"] == name.removeprefix("cnn-")


def test_commands_know_them_by_name(tmp_path, monkeypatch, capsys):
    """Their evaluations are kept under runs/, not in the package; a second one beside the first."""
    monkeypatch.chdir(tmp_path)
    phantom.write("slices", 4, seed=0)
    assert main(["evaluate", "slices", "--model", "cnn-1"]) == 0
    assert (tmp_path / "runs/cnn-1/evaluation/metrics.json").exists() and (tmp_path / "runs/cnn-1/test_evaluations.csv").exists()
    assert main(["evaluate", "slices", "--model", "cnn-1"]) == 0 and (tmp_path / "runs/cnn-1/evaluation-2/metrics.json").exists()
    capsys.readouterr()
    assert main(["predict", "slices", "--model", "cnn-2"]) == 0
    named = capsys.readouterr()
    assert main(["predict", "slices"]) == 0 and capsys.readouterr().out == named.out and len(named.out.splitlines()) == 1 + 4
    assert "by cnn-2; not for clinical use" in named.err


def test_a_file_of_that_name_is_reached_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ln.save(ln.models.squeezenet(seed=0), "cnn-1")
    for path in ("./cnn-1", Path("cnn-1")):
        assert ln.load("cnn-1").meta != ln.load(path).meta


def test_they_are_part_of_the_package():
    """What setup.cfg puts into an installation."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    pattern = settings["options.package_data"]["lightnet.models"].strip()
    assert set(trained().values()) < set((ROOT / "lightnet" / "models").glob(pattern))
    assert set(trained()) <= set(NETWORKS) and trained()


def test_the_card_is_what_its_script_writes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    spec = importlib.util.spec_from_file_location("make_model_card", ROOT / "docs" / "make_model_card.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.CARD.read_text().splitlines() == script.page().splitlines(), "run python docs/make_model_card.py"


if __name__ == "__main__":
    import tempfile
    RECORDED.write_text(json.dumps({name: scores(name, tempfile.mkdtemp()) for name in trained()}, indent=1) + "\n")
    print(f"{RECORDED} is written")
