"""What the README shows is what the code says."""

import re
from pathlib import Path

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


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text().replace("\n", " ")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
