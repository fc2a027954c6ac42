"""The search: what it proposes follows from its journal alone, so that it survives being killed; what it finds is good."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from skopt.space import Space
from test_resume import MAIN

from lightnet.cli import main
from lightnet.errors import ArgumentError, CheckpointError
from lightnet.training import search, study
from lightnet.training.job import Job, read_sets
from lightnet.training.search import RANGES, Search, attempt, journal_of

TELLS_TIME = ("seconds", "ended", "threads")


def hill(point):
    """An accuracy with its top, 0.9, at a rate of 0.01 and a momentum of 0.9."""
    return 0.9 - 0.1 * abs(np.log10(point["lr"]) + 2) - 0.3 * abs(point["momentum"] - 0.9)


def attempts_on(objective, settings):
    """Every attempt of a search whose trainings are replaced by a formula."""
    done = []
    while len(done) < settings.attempts:
        done += [{"number": number, **point, "accuracy": objective(point)}
                 for number, point in enumerate(settings.propose(done), start=len(done))]
    return done


def lines(file, without=TELLS_TIME):
    """A journal's attempts, in order, but for what depends on the clock."""
    found = sorted(map(json.loads, file.read_text().splitlines()), key=lambda one: one["number"])
    return [{key: value for key, value in one.items() if key not in without} for one in found]


def test_a_search_finds_the_top_better_than_chance_does():
    rng, space = np.random.default_rng(0), Space(search.SPACE.dimensions)
    found = [max(one["accuracy"] for one in attempts_on(hill, Search(Job(seed=seed), 24))) for seed in range(3)]
    by_chance = [max(hill(dict(zip(RANGES, point))) for point in space.rvs(24, random_state=int(rng.integers(2**31))))
                 for _ in range(200)]
    assert np.median(found) > np.quantile(by_chance, 0.75)


def test_an_attempt_is_proposed_where_the_expected_improvement_is_largest():
    """Against the formula: (m - best) Phi(z) + s phi(z), z = (m - best) / s, at many points."""
    from scipy.stats import norm
    settings = Search(Job(), 13)
    done = attempts_on(hill, settings)
    model = search.fitted(done[:12], settings.job.seed + 12).models[-1]

    def improvement(points):
        mean, deviation = model.predict(search.SPACE.transform(points), return_std=True)
        gain = min(-one["accuracy"] for one in done[:12]) - mean           # it minimizes
        with np.errstate(divide="ignore"):
            return gain * norm.cdf(gain / deviation) + deviation * norm.pdf(gain / deviation)

    anywhere = improvement(search.SPACE.rvs(5000, random_state=1)).max()
    assert improvement([search.point_of(done[12])])[0] >= 0.97 * anywhere > 0


def test_proposals_follow_from_the_attempts_before():
    settings = Search(Job(seed=3), 14)
    done = attempts_on(hill, settings)
    assert attempts_on(hill, settings) == done
    for first in (0, 5, 8, 12):
        assert settings.propose(done[:first]) == [{name: done[first][name] for name in RANGES}]
    together = Search(Job(seed=3), 14, at_once=4).propose(done[:8])
    assert len(together) == 4 and together[0] == {name: done[8][name] for name in RANGES} and together[0] != together[1]
    for point in together:
        for name, (low, high, _) in RANGES.items():
            assert low <= point[name] <= high


def test_the_best_is_the_highest_and_its_estimate_is_the_surrogates_mean():
    rng = np.random.default_rng(0)
    settings = Search(Job(), 24)
    done = attempts_on(lambda point: hill(point) + 0.05 * rng.standard_normal(), settings)
    best = settings.best(done)
    assert best["accuracy"] == max(one["accuracy"] for one in done)
    assert best["estimated"] < best["accuracy"]                 # the best of noisy values was lucky
    lines, (rates, momenta, mean) = settings.surrogate(done, best, steps=7)
    assert mean.shape == (7, 7) and mean.max() < best["accuracy"] + 0.02
    values, means, deviations = lines["lr"]
    np.testing.assert_allclose(values[[0, -1]], RANGES["lr"][:2])
    assert (deviations > 0).all() and abs(means.max() - best["estimated"]) < 0.05


def test_a_first_round_of_any_size_is_spread_evenly():
    points = [Search(Job(), 40, at_once).propose([]) for at_once in (8, 20)]
    assert [len(round) for round in points] == [8, 20]
    rates = np.sort([np.log10(point["lr"]) for point in points[1]])         # a Latin hypercube: one in each twentieth
    np.testing.assert_array_equal(np.floor((rates + 4) / 3 * 20), np.arange(20))
    assert points[0] == Search(Job(), 40, 1).propose([]) + [
        Search(Job(), 40, 1).propose([{}] * number)[0] for number in range(1, 8)]


def test_a_round_that_was_half_done_goes_on_as_it_began(tmp_path, monkeypatch):
    """At several attempts at once: what is proposed again must not depend on those of the round that are done."""
    def formula(job, sets, number, threads):
        values = {name: getattr(job, name) for name in RANGES}
        return {"number": number, "seed": job.seed, **values, "accuracy": hill(values), "diverged": False}

    monkeypatch.setattr(search, "attempt", formula)
    settings, journal = Search(Job(quick=True), 14, at_once=4), tmp_path / "journal.jsonl"
    search.run(settings, tmp_path)
    whole = lines(journal)
    kept = [one for one in whole if one["number"] not in (8, 11, 12, 13)]
    journal.write_text("".join(json.dumps(one) + "\n" for one in kept))
    search.run(settings, tmp_path)
    assert lines(journal) == whole and len(whole) == 14


@pytest.fixture
def formula(monkeypatch):
    """Attempts whose accuracy is a formula's, so that a study's searches take no time."""
    monkeypatch.setattr(search, "attempt", lambda job, sets, number, threads: {
        "number": number, "seed": job.seed, **{name: getattr(job, name) for name in RANGES}, "size": job.size, "loss": 0.5,
        "accuracy": hill({name: getattr(job, name) for name in RANGES}), "diverged": False})


def test_a_search_does_not_go_on_with_other_slices(tmp_path, formula):
    """Nothing of the journal is lost; lines of before 0.2.0 do not say which slices they are of."""
    journal = tmp_path / "journal.jsonl"
    search.run(Search(Job(quick=True), 2), tmp_path)
    kept, old = lines(journal), lines(journal, without="slices")
    with pytest.raises(CheckpointError, match="attempt 0 was made with the slices"):
        search.run(Search(Job(quick=True, split_seed=1), 3), tmp_path)
    assert lines(journal) == kept
    journal.write_text("".join(json.dumps(one) + "\n" for one in old))
    search.run(Search(Job(quick=True), 3), tmp_path)
    assert [one.get("slices") for one in lines(journal)] == [None, None, kept[0]["slices"]]


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_and_refuses_what_was_begun_otherwise(tmp_path, formula, capsys):
    settings = {"out": tmp_path, "attempts": 2, "seeds": 1, "quick": True}
    assert study.Study(**settings).run() == ["data", *(f"arrangement-{a}/experiment-{e}" for a in "12" for e in range(1, 5)),
                                              "cnn-1", "cnn-2"]
    models = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("model.npz")}
    assert len(models) == 4                                             # a seed's and the chosen one's, of both networks
    study.Study(**{**settings, "seeds": 2, "only": ["cnn-1"]}).run()
    assert json.loads((tmp_path / "cnn-1" / "chosen.json").read_text())["validation"].keys() == {"0", "1"}
    first = tmp_path / "cnn-1" / "seed-0" / "model.npz"
    assert first.stat().st_mtime_ns == models[first], "a finished training was made again"
    with pytest.raises(CheckpointError, match="arrangement None, expected '1'"):
        study.Study(**{**settings, "quick": False, "only": ["arrangement-1/experiment-4"]}).run()
    best = tmp_path / "arrangement-1" / "experiment-4" / "best.json"
    best.write_text(json.dumps({**json.loads(best.read_text()), "lr": 0.5}))
    with pytest.raises(CheckpointError, match="seed-0: was begun with lr"):
        study.Study(**{**settings, "only": ["cnn-1"]}).run()
    with pytest.raises(ArgumentError, match="no step begins with cnn-9"):
        study.Study(**{**settings, "only": ["cnn-1", "cnn-9"]}).run()


def test_transfer_gives_new_layers_their_own_rate(tmp_path, monkeypatch):
    monkeypatch.setattr("lightnet.models.load_imagenet", lambda *arguments: ["conv1.weight", "conv1.bias"])
    job = Job(quick=True, imagenet=str(tmp_path), new_lr_factor=10)
    trainer = job.trainer(read_sets(job, search.training_slices(job, tmp_path)))
    factors = trainer.optimizer.factors
    assert factors["fc.weight"] == 10 and "conv1.weight" not in factors
    assert trainer.net.meta["provenance"]["from_imagenet"] == ["conv1.weight", "conv1.bias"]
    assert job.settings()["from_imagenet"] and not Job(quick=True).settings()["from_imagenet"]
    with pytest.raises(ArgumentError, match="without imagenet"):
        Job(quick=True, new_lr_factor=10)
    with pytest.raises(ArgumentError, match="leave arrangement out"):
        Job("1", quick=True)


def test_a_line_that_was_cut_off_is_dropped_and_a_damaged_one_is_named(tmp_path):
    file = tmp_path / "journal.jsonl"
    whole = json.dumps({"number": 0, "lr": 0.1, "momentum": 0.9, "l2": 0.0, "accuracy": 0.5}) + "\n"
    file.write_text(whole + whole[:20])
    assert list(journal_of(tmp_path).attempts) == [0] and file.read_text() == whole
    file.write_text(whole + '{"number": 1}\n')
    with pytest.raises(CheckpointError, match="line 2"):
        journal_of(tmp_path)


def test_an_attempt_that_diverges_counts_for_a_coin(tmp_path):
    job = Job(quick=True, lr=1e9)
    found = attempt(job, read_sets(job, search.training_slices(job, tmp_path)), 0, 1)
    assert found["diverged"] and found["accuracy"] == 0.5 and found["loss"] is None


@pytest.mark.slow
def test_a_journal_does_not_depend_on_what_ran_side_by_side(tmp_path, capsys, monkeypatch):
    """Up to the first surrogate; and a row's settings, trained again, give its numbers."""
    monkeypatch.chdir(tmp_path)
    for name, at_once in (("one", "1"), ("two", "2")):
        assert main(["search", "--quick", "--attempts", "4", "--at-once", at_once, "--name", name]) == 0
    rows = lines(tmp_path / "runs" / "one" / "journal.jsonl")
    assert rows == lines(tmp_path / "runs" / "two" / "journal.jsonl") and len(rows) == 4
    assert "lightnet train --lr" in capsys.readouterr().out
    assert {"convergence.png", "surrogate.png", "best.json"} <= {file.name for file in (tmp_path / "runs" / "one").iterdir()}
    assert main(["search", "--resume", "runs/one", "--again", "2"]) == 0 and "\nthe same" in capsys.readouterr().out
    journal = tmp_path / "runs" / "one" / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"seed": 2', '"seed": 3'))
    assert main(["search", "--resume", "runs/one", "--again", "2"]) == 1 and "not the same" in capsys.readouterr().out
    assert main(["search", "--resume", "runs/one", "--again", "7"]) == 2 and main(["search", "--again", "7"]) == 2
    assert main(["search", "--resume", "runs/one", "--again", "2", "--attempts", "5"]) == 2


@pytest.mark.slow
def test_a_search_on_a_dask_cluster_gives_the_same_journal(tmp_path, monkeypatch, capsys):
    distributed = pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        assert main(["search", "--quick", "--attempts", "4", "--at-once", "2", "--name", "far", "--cluster", address]) == 0
    assert main(["search", "--quick", "--attempts", "4", "--name", "near"]) == 0
    assert lines(tmp_path / "runs" / "far" / "journal.jsonl") == lines(tmp_path / "runs" / "near" / "journal.jsonl")
    monkeypatch.setattr(distributed.Client, "__init__", lambda *_, **__: (_ for _ in ()).throw(OSError("timed out")))
    assert main(["search", "--quick", "--at-once", "2", "--cluster", "tcp://nowhere:1"]) == 2
    assert "tcp://nowhere:1: no Dask scheduler" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_search_goes_on_to_the_same_journal(tmp_path):
    arguments = ["search", "--quick", "--attempts", "12"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", MAIN, *arguments, "--name", "through"], cwd=tmp_path, check=True, env=environment,
                   capture_output=True)
    stopped, journal = tmp_path / "runs" / "stopped", tmp_path / "runs" / "stopped" / "journal.jsonl"
    running = subprocess.Popen([sys.executable, "-c", MAIN, *arguments, "--name", "stopped"], cwd=tmp_path, env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (journal.exists() and journal.read_text().count("\n") >= 9) and running.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert not (stopped / "best.json").exists(), "it ended before it was killed: the test shows nothing"
    assert main(["search", "--resume", str(stopped)]) == 0
    assert lines(journal) == lines(tmp_path / "runs" / "through" / "journal.jsonl")
    assert main(["search", "--resume", str(stopped), "--attempts", "13"]) == 0
    assert len(lines(journal)) == 13


def test_a_search_reads_no_test_slice(tmp_path, monkeypatch):
    read, real = [], search.read_sets
    monkeypatch.setattr(search, "read_sets", lambda job, slices: read.append(set(slices)) or real(job, slices))
    search.run(Search(Job(quick=True), 1), tmp_path)
    assert read == [{"train", "validation"}]


def test_resuming_what_is_no_search(tmp_path, capsys):
    assert main(["search", "--resume", str(tmp_path)]) == 2
    assert "search.json" in capsys.readouterr().err


def test_the_training_with_the_best_validation_is_chosen(tmp_path):
    for seed, (accuracy, loss) in enumerate([(0.8, 0.5), (0.9, 0.4), (0.9, 0.3), (0.7, 0.1)]):
        folder = tmp_path / f"seed-{seed}"
        folder.mkdir()
        (folder / "history.csv").write_text(f"epoch,validation_accuracy,validation_loss\n1,0.99,0.01\n2,{accuracy},{loss}\n")
        (folder / "model.npz").write_text(str(seed))
    assert study.choose(tmp_path)["seed"] == 2
    assert (tmp_path / "model.npz").read_text() == "2"
    assert json.loads((tmp_path / "chosen.json").read_text())["validation"]["1"] == {"accuracy": 0.9, "loss": 0.4}
    (tmp_path / "seed-2" / "model.npz").unlink()                            # as in a clone of the repository
    with pytest.raises(CheckpointError, match="seed-2/model.npz: there is no such file"):
        study.choose(tmp_path)
