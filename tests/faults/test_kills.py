"""Runs killed and interrupted at random moments and at chosen system calls: the result is always the unbroken one."""

import random
import re
import shutil
import signal

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


ATTACH = """
import os, pathlib, subprocess, time
subprocess.Popen(["strace", "-f", "-o", {log!r}, *{options!r}, "-p", str(os.getpid())], stderr=subprocess.DEVNULL)
while "TracerPid:\\t0\\n" in pathlib.Path("/proc/self/status").read_text():
    time.sleep(0.01)
"""


def traced(forks, options, folder, log):
    """A run with strace attached to it; its exit status. (With --seccomp-bpf strace 6.1 injects nothing.)"""
    return forks.run(ATTACH.format(log=str(log), options=options) + code_of_run(folder))


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_chosen_system_calls(forks, unbroken, tmp_path):
    """SIGKILL at the k-th call of a kind, among those that concern the run's folder."""
    _, expected, _ = unbroken
    names, lost, hits = ",".join(CALLS), [], 0
    assert traced(forks, ["-e", f"trace={names}"], tmp_path / "counted", tmp_path / "log") == 0
    lines = (tmp_path / "log").read_text().splitlines()
    lines = [line for line in lines if line.split()[0] == lines[0].split()[0]]  # strace counts in each thread apart
    begin = next(k for k, line in enumerate(lines) if str(tmp_path / "counted") in line)
    draw = random.Random(0)
    for call in CALLS:
        numbers = [k for k, line in enumerate(lines) if re.search(rf"\b{call}\(", line)]
        inside = [1 + place for place, k in enumerate(numbers) if k >= begin]
        folder = tmp_path / call
        for when in sorted(draw.sample(inside, min(KILLS_PER_CALL, len(inside)))):
            kill = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={when}"]
            status = traced(forks, kill, folder, tmp_path / "log of a kill")
            hits += status == -signal.SIGKILL
        lost += filter(None, [finish(forks, folder, expected)])
    count("kills at chosen system calls", hits, lost, ", ".join(CALLS))
