"""docs/results.md holds what the files under results/ say, and typed texts only where it says so."""

import importlib.util
import json
from pathlib import Path

import pytest

from lightnet.training.search import RANGES
from lightnet.training.study import EXPERIMENTS

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("make_results", ROOT / "docs" / "make_results.py")
make_results = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_results)
SEARCHES = sorted((ROOT / "results").glob("arrangement-*/experiment-*/best.json"))
TRAININGS = sorted((ROOT / "results").glob("cnn-*/seed-*/metrics.json"))


def test_the_page_is_what_the_script_writes():
    # compared line by line, so that a difference is shown and not the two pages
    assert (ROOT / "docs" / "results.md").read_text().splitlines() == make_results.page().splitlines(), \
        "run python docs/make_results.py"


@pytest.mark.parametrize("file", SEARCHES, ids=lambda file: f"{file.parts[-3]}/{file.parts[-2]}")
def test_a_searchs_best_follows_from_its_journal(file):
    kept, settings = json.loads(file.read_text()), json.loads((file.parent / "search.json").read_text())
    attempts = make_results.journal(*file.parts[-3:-1])
    assert [one["number"] for one in attempts] == list(range(settings["attempts"]))
    assert all(one["seed"] == settings["job"]["seed"] + one["number"] for one in attempts)
    assert all(one["size"] == settings["job"]["size"] for one in attempts)
    assert kept["accuracy"] == max(one["accuracy"] for one in attempts)
    assert all(kept[name] == attempts[kept["number"]][name] for name in (*RANGES, "accuracy", "seed"))
    experiment = int(file.parts[-2].removeprefix("experiment-"))
    assert all(settings["job"][name] == value for name, value in EXPERIMENTS[experiment].items())


def test_attempts_count_by_their_numbers_not_by_when_they_ended(tmp_path, monkeypatch):
    (tmp_path / "journal.jsonl").write_text("".join(f'{{"number": {number}}}\n' for number in (2, 0, 1)))
    monkeypatch.setattr(make_results, "RESULTS", tmp_path)
    assert [one["number"] for one in make_results.journal()] == [0, 1, 2]


@pytest.mark.parametrize("file", TRAININGS, ids=lambda file: f"{file.parts[-3]}/{file.parts[-2]}")
def test_metrics_follow_from_the_scores_of_the_slices(file):
    for name, kept in json.loads(file.read_text()).items():
        assert make_results.from_scores(file.with_name("scores.csv"), name) == kept
