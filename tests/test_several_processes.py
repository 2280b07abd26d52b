"""Whole stages in two processes: the files are those of one process."""

import json
import os
import platform
import shutil
import subprocess
import sys

import pytest
from safetensors.torch import load_file

import padlab

STAGES = (
    ["sample", "--preset", "tiny", "--limit", "40", "--max-new-tokens", "6"],
    ["score", "--selection", "pairwise"],
    ["distill", "--alpha", "0.5", "--epochs", "1"],
    ["evaluate", "--limit", "3"],
)
ALONE = [sys.executable, "-m"]
TOGETHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]


def run(launcher, folder, *stages):
    for stage, *words in stages:
        command = [*launcher, "padlab", stage, str(folder), *words, "--threads", "1"]
        done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-1500:]
    return done


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    run(ALONE, folder, *STAGES)
    return folder


def same(first, second, exactly):
    """The same bytes; if not `exactly`, those of the student and of what is measured of it but for rounding."""
    for name in ("candidates.jsonl", "heldout.jsonl", *(["evaluation.json"] if exactly else [])):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert apart(first, second) < (1e-9 if exactly else 1e-4)  # rounding adds up over ten steps
    found, expected = (json.loads((folder / "evaluation.json").read_text()) for folder in (first, second))
    for measure, numbers in expected.items():
        assert found[measure]["after"] == pytest.approx(numbers["after"], abs=1e-5), measure


def apart(first, second):
    """The largest difference between two students' weights."""
    weights = [load_file(folder / "student" / "adapter_model.safetensors") for folder in (first, second)]
    return max(float((weights[0][k] - weights[1][k]).abs().max()) for k in weights[0])


def test_the_launcher_starts_two():
    """`accelerate launch` does not where there is no GPU."""
    said = subprocess.run([*TOGETHER, "platform"], capture_output=True, text=True, timeout=120).stdout
    assert said.count(platform.platform()) == 2


def test_processes_without_a_folder_are_told_that_each_does_all_the_work(tiny, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.warns(UserWarning, match="folder="):
        padlab.sample_responses(tiny.student, ["Hi"], 2, max_new_tokens=2)


@pytest.mark.slow
def test_every_stage_in_two_processes(alone, tmp_path):
    said = run(TOGETHER, tmp_path / "run", *STAGES).stdout
    assert said.count("evaluation.json") == 1, "one of them prints"
    same(alone, tmp_path / "run", exactly=False)


@pytest.mark.slow
def test_two_commands_that_know_nothing_of_each_other(alone, tmp_path):
    """As on two machines with a common folder: the second command joins the first one's work."""
    (sample, *words), score, *rest = STAGES
    for stage, *more in ((sample, *words), score):
        command = [*ALONE, "padlab", stage, str(tmp_path / "run"), *more, "--threads", "1"]
        both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert [process.wait(timeout=120) for process in both] == [0, 0]
    run(ALONE, tmp_path / "run", *rest)
    same(alone, tmp_path / "run", exactly=True)


@pytest.mark.slow
def test_rounds_in_two_processes(alone, tmp_path):
    """Twenty steps in all, in which rounding adds up; the second round samples from the first one's student."""
    for name, launcher in (("one", ALONE), ("two", TOGETHER)):
        folder = shutil.copytree(alone, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints", "student"))
        run(launcher, folder, ["distill", "--alpha", "0.5", "--epochs", "1", "--rounds", "2"])
    assert apart(tmp_path / "one", tmp_path / "two") < 1e-4
