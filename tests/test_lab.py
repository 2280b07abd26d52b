"""`padlab lab`: notebooks are copied, and what somebody changed is never written over."""

from types import SimpleNamespace

import pytest

from padlab import lab
from padlab.cli import main
from padlab.demo import notebook_folder


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A folder of two notebooks in the place of padlab's."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    for name in ("00_a.ipynb", "01_b.ipynb"):
        (folder / name).write_text(f"{name}, first version")
    monkeypatch.setattr(lab, "notebook_folder", lambda: folder)
    return folder


def test_notebooks_are_copied_once(shipped, tmp_path):
    mine = tmp_path / "my notebooks"
    assert lab.copy_notebooks(mine) == {"00_a.ipynb": "copied", "01_b.ipynb": "copied"}
    assert (mine / "01_b.ipynb").read_text() == "01_b.ipynb, first version"
    assert set(lab.copy_notebooks(mine).values()) == {"there"}


def test_a_changed_notebook_is_kept_and_an_unchanged_one_brought_up_to_date(shipped, tmp_path):
    mine = tmp_path / "mine"
    lab.copy_notebooks(mine)
    (mine / "00_a.ipynb").write_text("my work")
    for name in ("00_a.ipynb", "01_b.ipynb"):
        (shipped / name).write_text("second version")
    for _ in range(2):
        done = lab.copy_notebooks(mine)
        assert (mine / "00_a.ipynb").read_text() == "my work"
        assert (mine / "01_b.ipynb").read_text() == "second version"
        assert done["00_a.ipynb"] == "kept"


def test_files_that_were_there_before_are_kept(shipped, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "00_a.ipynb").write_text("somebody else's")
    assert lab.copy_notebooks(tmp_path / "mine") == {"00_a.ipynb": "kept", "01_b.ipynb": "copied"}


@pytest.mark.parametrize("damage", ["", "not json", "[1]"])
def test_without_the_record_nothing_is_written_over(shipped, tmp_path, damage):
    lab.copy_notebooks(tmp_path / "mine")
    (tmp_path / "mine" / lab.RECORD).write_text(damage)
    (shipped / "00_a.ipynb").write_text("second version")
    assert lab.copy_notebooks(tmp_path / "mine")["00_a.ipynb"] == "kept"


def test_padlabs_own_folder_is_left_alone():
    before = sorted(notebook_folder().iterdir())
    assert set(lab.copy_notebooks(notebook_folder()).values()) == {"there"}
    assert sorted(notebook_folder().iterdir()) == before


def test_the_command_copies_and_opens(shipped, tmp_path, monkeypatch, capsys):
    started = []
    ended = SimpleNamespace(returncode=0)
    monkeypatch.setattr(lab.subprocess, "run", lambda command, **_: started.append(command) or ended)
    monkeypatch.chdir(tmp_path)
    assert main(["lab"]) == 0
    assert (tmp_path / "padlab-notebooks" / "00_a.ipynb").exists()
    (tmp_path / "padlab-notebooks" / "00_a.ipynb").write_text("my work")
    assert main(["lab"]) == 0
    assert "kept 00_a.ipynb" in capsys.readouterr().out
    assert started[0][-1] == f"--notebook-dir={tmp_path / 'padlab-notebooks'}"
