"""What a release consists of: a source archive, from it a wheel that works in an empty environment, its metadata."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

import padlab

ROOT = Path(__file__).parent.parent


def run(*command, folder):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The source archive, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, folder=folder)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_source_archive_holds_every_file_of_the_checkout_and_no_scratch_files(archives):
    with tarfile.open(archives[0]) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames()}
    tracked = set(run("git", "ls-files", folder=ROOT).splitlines())
    assert {name for name in tracked - held if not name.startswith(".ci/")} == set()
    assert not [name for name in held if re.match(r"bench-out|demo-out|site|runs|docs/course/", name)]


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(archives, tmp_path):
    wheel = archives[1]
    run(sys.executable, "-m", "venv", tmp_path / "env", folder=tmp_path)
    python, padlab = tmp_path / "env" / "bin" / "python", tmp_path / "env" / "bin" / "padlab"
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{wheel}[lab]", folder=tmp_path)
    code = "import padlab; print(padlab.__file__, len(padlab.load_prompts('train')))"
    where = run(python, "-c", code, folder=tmp_path)
    assert str(tmp_path / "env") in where
    assert "selection questions" in run(padlab, "doctor", "toy", folder=tmp_path)
    printed = run(padlab, "demo", "--preset", "tiny", folder=tmp_path)
    page = Path(printed.strip().splitlines()[-1].removeprefix("HTML page").strip())
    assert page.is_relative_to(tmp_path)
    assert page.read_text(encoding="utf-8").count("data:image/png") >= 3


def test_the_citation_names_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (\S+)$", text, re.M)[1] == padlab.__version__


def test_the_lowest_versions_are_the_ends_of_the_ranges():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8")
    for name, version in (text.split(">=") for text in project["dependencies"] if not text.startswith("torch>")):
        assert re.search(rf"^{name}=={re.escape(version)}(\.0)*$", lowest, re.M), name
