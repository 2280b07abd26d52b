"""The lecturer's page names cells, exercises and functions that are there."""

import itertools
import pkgutil
import re
from pathlib import Path

import nbformat

from padlab import checks
from padlab.demo import notebook_folder

PAGE = (Path(__file__).parent.parent / "docs" / "teaching.md").read_text(encoding="utf-8")


def section(title):
    return PAGE.split(f"\n## {title}")[1].split("\n## ")[0]


def cells_named():
    """(notebook, cell number) of every `NN [k]`, also of the further ones in `NN [1], [2] to [5]`."""
    for number, cells in re.findall(r"\b(0\d) ((?:\[\d+\][^\[|;.\d]{0,24})+)", PAGE):
        for cell in re.findall(r"\[(\d+)\]", cells):
            yield number, int(cell)


def test_every_cell_that_is_named_exists():
    counts = {}
    for path in notebook_folder().glob("0*.ipynb"):
        counts[path.name[:2]] = sum(c.cell_type == "code" for c in nbformat.read(path, as_version=4).cells)
    named = list(cells_named())
    assert len(named) > 60
    assert not [(number, cell) for number, cell in named if not 1 <= cell <= counts[number]]


def test_the_lecture_takes_90_minutes_without_a_gap():
    spans = re.findall(r"^\| (\d+) to (\d+) \|", section("90 minutes"), re.M)
    assert spans[0][0] == "0"
    assert spans[-1][1] == "90"
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))


def test_names_in_the_notation_resolve():
    names = re.findall(r"`(padlab(?:\.\w+)+)", section("Notation"))
    assert len(names) >= 10
    for name in names:
        pkgutil.resolve_name(name)


def test_every_exercise_of_the_sessions_is_checked():
    named = set(re.findall(r"(\w+) \(\d+", section("Four sessions")))
    assert len(named) >= 12
    assert named <= set(checks.__all__)


def test_every_symbol_of_the_ten_terms_is_in_the_notation():
    for word in ("alpha", "beta", "selection_prob", "tau", "PlackettLuce", "vpd_loss", "ppd_loss"):
        assert word in section("Notation")
