"""Disks that are full or read-only: the stage says so, and with room again the run goes on to the unbroken result."""

import os
import subprocess

import pytest

from tests.faults.campaign import code_of_run, count, result_of

pytestmark = pytest.mark.slow
SIZES = (4, 12, 20, 28, 40, 60, 100, 150, 250, 400, 600, 900, 1200, 1600, 2000, 2400)  # kB


def mount(*arguments):
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own on which root can change size and access."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or not mount("-t", "tmpfs", "-o", "size=4k", "tmpfs", str(place)):
        pytest.skip("needs root and the right to mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_becomes_full(forks, unbroken, small_disk):
    _, expected, _ = unbroken
    lost, full = [], 0
    for size in SIZES:
        assert mount("-o", f"remount,size={size}k", str(small_disk))
        status = forks.run(code_of_run(small_disk / "run"))
        full += status == 1
        if status not in (0, 1) or "Traceback" in forks.said or (status and "No space left" not in forks.said):
            lost.append(f"{size} kB: status {status}: {forks.said[-300:]}")
    assert mount("-o", "remount,size=64m", str(small_disk))
    if forks.run(code_of_run(small_disk / "run")) or result_of(small_disk / "run") != expected:
        lost.append("another result")
    count("full disks", full, lost, f"{SIZES[0]} to {SIZES[-1]} kB")


def test_a_disk_that_becomes_read_only(forks, unbroken, small_disk):
    _, expected, seconds = unbroken
    assert mount("-o", "remount,size=64m", str(small_disk))
    lost, refused = [], 0
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 0.95):
        if share:
            forks.run(code_of_run(small_disk / "run"), share * seconds)
        assert mount("-o", "remount,ro", str(small_disk))
        status = forks.run(code_of_run(small_disk / "run"))
        refused += status == 1
        if status != 1 or "Traceback" in forks.said or "Read-only file system" not in forks.said:
            lost.append(f"after {share:.0%}: status {status}: {forks.said[-300:]}")
        assert mount("-o", "remount,rw", str(small_disk))
    if forks.run(code_of_run(small_disk / "run")) or result_of(small_disk / "run") != expected:
        lost.append("another result")
    count("read-only disks", refused, lost)
