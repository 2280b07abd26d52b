"""Runs killed and interrupted at random moments and at chosen system calls: the result is always the unbroken one."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys

import pytest

from tests.faults.campaign import code_of_run, count, leftovers, result_of

pytestmark = pytest.mark.slow
CALLS = ("fsync", "rename", "unlink", "unlinkat", "rmdir", "mkdir", "flock", "write", "openat", "ftruncate")
KILLS_PER_CALL = 8


def finish(forks, folder, expected):
    """Run to the end; what is wrong with the result, or None."""
    if forks.run(code_of_run(folder)):
        return f"{folder.name}: {forks.said[-300:]}"
    if result_of(folder) != expected:
        return f"{folder.name}: another result"
    return f"{folder.name}: {leftovers(folder)}" if leftovers(folder) else None


@pytest.mark.parametrize(
    ("how", "kind", "times"), [("kill", "kills at random moments", 100), ("interrupt", "Ctrl-C", 20)]
)
def test_random_moments(forks, unbroken, tmp_path, how, kind, times):
    _, expected, seconds = unbroken
    draw, lost, hits, folders = random.Random(how), [], 0, 0
    while hits < times:
        folders += 1
        folder = tmp_path / str(folders)
        for _ in range(5):  # the same run, killed again and again
            status = forks.run(code_of_run(folder), draw.uniform(0.02, 1.0) * seconds, how)
            hits += status in (-signal.SIGALRM, 130)
            if status not in (-signal.SIGALRM, 130, 0):
                lost.append(f"{folder.name}: status {status}: {forks.said[-300:]}")
        lost += filter(None, [finish(forks, folder, expected)])
        shutil.rmtree(folder)
    count(kind, hits, lost, f"{folders} runs")


def traced(options, folder, log):
    """A run under strace; its exit status."""
    command = ["strace", "-f", "--seccomp-bpf", "-o", str(log), *options, sys.executable, "-c", code_of_run(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True).returncode


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_chosen_system_calls(forks, unbroken, tmp_path):
    """SIGKILL at the k-th call of a kind, among those that concern the run's folder."""
    _, expected, _ = unbroken
    names, lost, hits = ",".join(CALLS), [], 0
    assert traced(["-e", f"trace={names}"], tmp_path / "counted", tmp_path / "log") == 0
    lines = (tmp_path / "log").read_text().splitlines()
    begin = next(k for k, line in enumerate(lines) if str(tmp_path / "counted") in line)
    draw = random.Random(0)
    for call in CALLS:
        numbers = [k for k, line in enumerate(lines) if re.search(rf"\b{call}\(", line)]
        inside = [1 + place for place, k in enumerate(numbers) if k >= begin]
        folder = tmp_path / call
        for when in sorted(draw.sample(inside, min(KILLS_PER_CALL, len(inside)))):
            kill = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={when}"]
            status = traced(kill, folder, tmp_path / "log of a kill")
            hits += status in (-9, 137)
        lost += filter(None, [finish(forks, folder, expected)])
    count("kills at chosen system calls", hits, lost, ", ".join(CALLS))
