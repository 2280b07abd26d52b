"""A bit that flips in a file of a run is noticed when the file is read, or changes nothing."""

import json
import random
import shutil

import pytest

from padlab.run_models import load_models, model_choice, trained_student
from padlab.runs import load_candidates, read_manifest
from padlab.safe_files import SEAL
from padlab.shards import cached_rows, read_shard
from padlab.training.checkpoints import newest_whole
from tests.faults.campaign import count

FLIPS = 60
SHARDS = ("sample/00000.jsonl", "score-teacher_reward/00000.jsonl", "select/00000.jsonl")


def flip(path, draw):
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


@pytest.fixture
def run(unbroken, tmp_path):
    """A copy of the unbroken run's folder."""
    return shutil.copytree(unbroken[0], tmp_path / "run")


def unnoticed(files, read, draw):
    """Flips that `read` did not refuse with a ValueError; every file is as before afterwards."""
    passed = []
    for k in range(FLIPS):
        path = files[k % len(files)]
        before = path.read_bytes()
        flip(path, draw)
        try:
            read(path)
        except ValueError:
            pass
        else:
            passed.append(str(path))
        path.write_bytes(before)
    return passed


def test_shards(run):
    settings = {name: json.loads((run / name).read_text().splitlines()[-1])["settings"] for name in SHARDS}
    read = lambda path: read_shard(path, 8, settings[path.relative_to(run).as_posix()])  # noqa: E731
    for name in SHARDS:
        read(run / name)
    count("bit flips: shard", FLIPS, unnoticed([run / name for name in SHARDS], read, random.Random(1)))


def test_table_and_manifest(run):
    load_candidates(run)
    table = unnoticed([run / "candidates.jsonl"], lambda path: load_candidates(run), random.Random(2))
    count("bit flips: table", FLIPS, table)
    count(
        "bit flips: manifest", FLIPS, unnoticed([run / "manifest.json"], lambda p: read_manifest(run), random.Random(3))
    )


def test_student(run):
    student = load_models(model_choice(run)).student
    trained_student(run, student)
    files = sorted(path for path in (run / "student").rglob("*") if path.is_file())
    count("bit flips: student", FLIPS, unnoticed(files, lambda path: trained_student(run, student), random.Random(4)))


def test_checkpoint(run, capsys):
    newest = max((run / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    settings = json.loads((newest / SEAL).read_text())["settings"]
    assert newest_whole(run / "checkpoints", settings) == str(newest)
    files, draw, passed = sorted(path for path in newest.rglob("*") if path.is_file()), random.Random(5), []
    for k in range(FLIPS):
        before = files[k % len(files)].read_bytes()
        flip(files[k % len(files)], draw)
        if newest_whole(run / "checkpoints", settings) == str(newest):
            passed.append(files[k % len(files)].name)
        files[k % len(files)].write_bytes(before)
    assert capsys.readouterr().out.count("passed over") == FLIPS
    count("bit flips: checkpoint", FLIPS, passed)


def test_cache(tmp_path):
    work = lambda piece: [{"row": k, "values": [k / 7] * 9} for k in piece]  # noqa: E731
    expected, draw, changed = work(range(5)), random.Random(6), []
    for k in range(FLIPS):
        cached_rows(work, lambda k: ["key", k], tmp_path)(range(5))
        flip(sorted(tmp_path.rglob("*.jsonl"))[k % 5], draw)
        if cached_rows(work, lambda k: ["key", k], tmp_path)(range(5)) != expected:
            changed.append(k)
    count("bit flips: row cache", FLIPS, changed)
