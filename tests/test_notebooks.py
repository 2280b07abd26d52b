"""Every notebook runs, on the tiny pair where it has a preset.

Committed outputs are whole, small and free of this machine's paths.
"""

import re
from pathlib import Path

import nbformat
import pytest

from padlab.demo import notebook_folder, run_demo

NOTEBOOKS = sorted(notebook_folder().glob("*.ipynb"))
COURSE = [path for path in NOTEBOOKS if path.name[:2] > "00"]
INSPECTOR = "08"  # the notebook without exercises
SLIDE_TYPES = {"slide", "subslide", "fragment", "notes", "skip", "-"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_runs(path, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    text = path.read_text(encoding="utf-8").replace("SEEDS = 4 ", "SEEDS = 2 ").replace("= 128, 64", "= 8, 6")
    (folder / path.name).write_text(re.sub(r"\bPROMPTS = \d+", "PROMPTS = 4", text), encoding="utf-8")
    monkeypatch.setattr("padlab.demo.notebook_folder", lambda: folder)
    page = run_demo(tmp_path / "out with space", preset="tiny" if "PRESET = " in text else None, name=path.name)
    said = capsys.readouterr()
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/png") >= 1
    assert not re.search(r"<(script|link)[^>]+(src|href)=.http", html), "the page must need nothing else"
    alts = re.findall(r"<img[^>]*>", html)
    assert all(re.search(r'alt="[^"]{15,}"', tag) for tag in alts), "every figure needs its alt text"
    dollars = markdown(path)
    assert html.count("<math") == dollars.count("$$") / 2 + dollars.replace("$$", "").count("$") / 2
    assert not re.search(r"\\(frac|sum|log)\b", html), "formulas are drawn, not shown as they are written"
    assert "it/s]" not in html, "bars that stand still"
    assert str(page) in said.out
    executed = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
    assert "widgets" not in executed.metadata
    assert not [p for p in page.parent.iterdir() if p.suffix not in (".ipynb", ".html")], "nothing else is left behind"


def markdown(path):
    return "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_committed_outputs(path):
    assert path.stat().st_size < 300_000
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert not [o for o in outputs if o.output_type == "stream" and o.name == "stderr"], "warnings in a lesson distract"
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(work|tmp|root|home)/", text)


def test_the_quickstart_stays_short():
    notebook = nbformat.read(notebook_folder() / "00_quickstart.ipynb", as_version=4)
    code = [cell.source.count("\n") + 1 for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) <= 16
    assert max(code) <= 16


@pytest.mark.parametrize("path", COURSE, ids=lambda p: p.name)
def test_the_course_keeps_its_form(path):
    """Short cells, text and code in turn, three exercises with stubs, folded solutions and answers."""
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    text = [cell.source for cell in cells if cell.cell_type == "markdown"]
    assert max(cell.source.count("\n") + 1 for cell in code) <= 15
    assert 0.6 <= len(text) / len(code) <= 1.7
    assert not [cell.source for cell in code if re.search(r"^ *def _", cell.source, re.M)], "helpers belong in padlab"
    checked = [cell for cell in code if "padlab.checks." in cell.source or "checks." in cell.source]
    exercises = 0 if path.name.startswith(INSPECTOR) else 3
    assert len(checked) == exercises
    for cell in checked:
        shown = "".join(str(o.get("text", "")) + str(o.get("data", {}).get("text/plain", "")) for o in cell.outputs)
        assert "not attempted" in shown
    assert sum(t.count("<details") for t in text) >= exercises + 3, "a solution each, three answers"
    pictures = [o for cell in code for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 2


def test_the_course_is_whole():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{k:02}" for k in range(9)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_the_slides_hold_the_pictures_and_not_the_solutions(path):
    """Every cell says where it stands in the slides; what makes a deck is shown, what gives answers away is not."""
    cells = nbformat.read(path, as_version=4).cells
    kinds = [cell.metadata.get("slideshow", {}).get("slide_type") for cell in cells]
    assert set(kinds) <= SLIDE_TYPES, "a cell without its slide type"
    assert kinds[0] == "slide"
    assert kinds.count("slide") >= 5
    for cell, kind in zip(cells, kinds, strict=True):
        if "<summary>Solution" in cell.source or "padlab.checks." in cell.source:
            assert kind == "skip"
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            assert kind in ("slide", "subslide", "fragment", "-")


def test_a_failing_cell_leaves_what_was_done(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    cells = [nbformat.v4.new_code_cell("print('first')"), nbformat.v4.new_code_cell("raise ValueError('second')")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "bad.ipynb")
    monkeypatch.setattr("padlab.demo.notebook_folder", lambda: folder)
    with pytest.raises(RuntimeError, match="second"):
        run_demo(tmp_path / "out", name="bad.ipynb")
    left = nbformat.read(tmp_path / "out" / "bad.ipynb", as_version=4)
    assert left.cells[0].outputs[0].text == "first\n"
    assert Path(tmp_path / "out" / "bad.html").exists() is False


def test_an_unknown_notebook_is_named_beside_those_that_are_there(tmp_path):
    with pytest.raises(ValueError, match=r"no notebook 'x\.ipynb'; there are: 00_quickstart\.ipynb"):
        run_demo(tmp_path / "out", name="x.ipynb")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../secret.ipynb", "inside/../../secret.ipynb", "PATH", "..", ""])
def test_a_path_is_no_notebook_and_nothing_is_written(tmp_path, monkeypatch, name):
    """The file is there, so a notebook given as a path would be executed and written beside it."""
    (tmp_path / "shipped" / "inside").mkdir(parents=True)
    cells = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    nbformat.write(cells, tmp_path / "secret.ipynb")
    monkeypatch.setattr("padlab.demo.notebook_folder", lambda: tmp_path / "shipped")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="no notebook"):
        run_demo(tmp_path / "out" / "deeper", name=str(tmp_path / "secret.ipynb") if name == "PATH" else name)
    assert sorted(tmp_path.rglob("*")) == before


def test_any_preset_reaches_the_notebook_as_it_was_written(tmp_path, monkeypatch):
    preset = 'a\\q"; print("injected") # \\1'
    cells = [nbformat.v4.new_code_cell('PRESET = "reading"\nprint(PRESET)')]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "x.ipynb")
    monkeypatch.setattr("padlab.demo.notebook_folder", lambda: tmp_path)
    page = run_demo(tmp_path / "out", preset=preset, name="x.ipynb")
    executed = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
    assert executed.cells[0].outputs[0].text == f"{preset}\n"


def test_an_unknown_preset_needs_a_preset_line(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), folder / "x.ipynb")
    monkeypatch.setattr("padlab.demo.notebook_folder", lambda: folder)
    with pytest.raises(RuntimeError, match="no PRESET"):
        run_demo(tmp_path / "out", preset="tiny", name="x.ipynb")
