"""Whole stages in two processes: the files are those of one process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

STAGES = (
    ["sample", "--preset", "tiny", "--limit", "40", "--max-new-tokens", "6"],
    ["score", "--selection", "pairwise"],
    ["distill", "--alpha", "0.5", "--epochs", "1"],
    ["evaluate", "--limit", "3"],
)
ALONE = [sys.executable, "-m"]
TOGETHER = [
    str(Path(sys.executable).with_name("accelerate")), "launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "-m",
]  # fmt: skip


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


def same(first, second):
    for name in ("candidates.jsonl", "heldout.jsonl", "evaluation.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    weights = [load_file(folder / "student" / "adapter_model.safetensors") for folder in (first, second)]
    assert max(float((weights[0][k] - weights[1][k]).abs().max()) for k in weights[0]) < 1e-5


@pytest.mark.slow
def test_every_stage_in_two_processes(alone, tmp_path):
    said = run(TOGETHER, tmp_path / "run", *STAGES).stdout
    assert said.count("evaluation.json") == 1, "one of them prints"
    same(alone, tmp_path / "run")


@pytest.mark.slow
def test_two_commands_that_know_nothing_of_each_other(alone, tmp_path):
    """As on two machines with a common folder: the second command joins the first one's work."""
    (sample, *words), score, *rest = STAGES
    for stage, *more in ((sample, *words), score):
        command = [*ALONE, "padlab", stage, str(tmp_path / "run"), *more, "--threads", "1"]
        both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert [process.wait(timeout=120) for process in both] == [0, 0]
    run(ALONE, tmp_path / "run", *rest)
    same(alone, tmp_path / "run")


@pytest.mark.slow
def test_rounds_in_two_processes(alone, tmp_path):
    students = []
    for name, launcher in (("one", ALONE), ("two", TOGETHER)):
        folder = shutil.copytree(alone, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints", "student"))
        run(launcher, folder, ["distill", "--alpha", "0.5", "--epochs", "1", "--rounds", "2"])
        students.append(load_file(folder / "student" / "adapter_model.safetensors"))
    assert max(float((students[0][k] - students[1][k]).abs().max()) for k in students[0]) < 1e-5
