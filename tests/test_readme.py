"""What the README shows is what the code says."""

import json
import re
import shlex
from pathlib import Path

import pytest

from lightnet.cli import build_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_first_block_holds_exactly_two_commands():
    first = re.search(r"^```(\w*)\n(.*?)^```", README, flags=re.M | re.S)
    assert first[1] == "sh"
    install, test = first[2].strip().splitlines()
    assert install.endswith("examples/train_covid.py") and test.endswith("-m pytest")


def test_the_convolution_stands_in_the_code_as_the_readme_shows_it():
    conv = (ROOT / "lightnet" / "layers" / "conv.py").read_text()
    shown = [line for block in re.findall(r"<pre>(.*?)</pre>", README) for line in block.split("<br>")]
    assert len(shown) == 7
    for line in shown:
        assert line in conv, line


@pytest.mark.parametrize("line", re.findall(r"^    lightnet (.*)$", README, flags=re.M))
def test_commands_are_commands(line, capsys):
    words = shlex.split(line, comments=True)
    if "--help" in words:
        with pytest.raises(SystemExit, match="0"):
            build_parser().parse_args(words)
    else:
        build_parser().parse_args(words)


def test_scores_are_those_of_the_results():
    """Each network's and a control's accuracy on Test-1."""
    networks, headers = [], []
    for name, audit in ("cnn-1", "audit-1"), ("cnn-2", "audit-2"):
        folder = ROOT / "results" / name
        chosen = json.loads((folder / "chosen.json").read_text())["seed"]
        networks.append(json.loads((folder / f"seed-{chosen}" / "metrics.json").read_text())["test"]["accuracy"])
        controls = json.loads((ROOT / "results" / audit / "audit.json").read_text())["controls"]
        headers += [one["runs"][0]["accuracy"] for one in controls if (one["name"], one["split"]) == ("no pixel", "test1")]
    found = re.findall(r"\d\.\d\d \[\d\.\d\d, \d\.\d\d\]", README)
    assert found == ["{value:.2f} [{low:.2f}, {high:.2f}]".format(**one) for one in networks + headers]


def test_times_are_those_of_the_benchmark():
    runs = json.loads((ROOT / "results" / "inference.json").read_text())["runs"]
    one, two = ({name: row["ms_per_image"] for name, row in runs[threads]["1"]["engines"].items()} for threads in "12")
    mine, other = "lightnet compiled", "OpenVINO"
    text = " ".join(README.split())
    assert f"takes {one[mine]:.1f} ms on one core and {two[mine]:.1f} ms on two of a server, " in text
    assert f"{one[mine] / one[other]:.2f} and {two[mine] / two[other]:.2f} of OpenVINO's time on the same cores" in text
    table = (ROOT / "docs" / "benchmarks.md").read_text()
    for name in one:
        cells = [runs[threads][batch]["engines"][name]["ms_per_image"] for batch in ("1", "16") for threads in "12"]
        assert re.search(rf"^\| \**{name}.*" + ".*".join(rf"\| \**{cell:.1f}\** " for cell in cells), table, re.M), name


def test_training_times_are_those_of_the_benchmark():
    runs = json.loads((ROOT / "results" / "training.json").read_text())["runs"]
    table = (ROOT / "docs" / "benchmarks.md").read_text()
    for name in runs["1"]["contenders"]:
        one, two = (runs[threads]["contenders"][name]["ms_per_image"] for threads in "12")
        memory = runs["1"]["memory_mb"][name] / 1000
        assert re.search(rf"^\| \**{name}\** \| {one:.1f} \| {two:.1f} \| {memory:.2f} \|$", table, re.M), name


def test_links_lead_somewhere():
    rooms = [page for room in ("lightnet", "examples", "benchmarks", "results") for page in (ROOT / room).rglob("*.md")]
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *rooms]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text().replace("\n", " ")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
