"""Two processes begin at the same moment in one folder: no stage, shard or column is lost, conflicts are refused."""

import json
import subprocess
import sys

import pytest

from tests.faults.campaign import count

pytestmark = pytest.mark.slow
TRIALS = 100  # of each kind
AT_A_BARRIER = """
import json, os, sys, pathlib
from datasets import Dataset
from padlab.runs import load_candidates, read_manifest, record_stage, save_candidates
from padlab.shards import in_shards

ROWS = [{"prompt": str(k), "responses": ["a", "b"]} for k in range(5)]

def two_stages(folder, me):
    record_stage(folder, f"stage-{me}", {"of": me})

def both_stages(folder):
    return sorted(read_manifest(folder)["stages"]) == ["stage-0", "stage-1"]

def one_stage(folder, me):
    work = lambda piece: [{"k": k} for k in piece]
    rows = in_shards(range(9), work, stage="s", settings={}, folder=folder, shard_size=2)
    assert rows == [{"k": k} for k in range(9)]

def all_shards(folder):
    return len(list((folder / "s").glob("*.jsonl"))) == 5 and not list((folder / "s").glob(".*"))

def two_columns(folder, me):
    save_candidates(folder, Dataset.from_list([{**row, f"column{me}": me} for row in ROWS]))

def both_columns(folder):
    return {"column0", "column1"} <= set(load_candidates(folder).column_names)

def a_conflict(folder, me):
    try:
        record_stage(folder, "models", {"of": me})
    except ValueError:
        (folder / f"refused-{me}").touch()

def one_refused(folder):
    winner = read_manifest(folder)["stages"]["models"]["of"]
    return [path.name for path in folder.glob("refused-*")] == [f"refused-{1 - winner}"]

KINDS = [(two_stages, both_stages), (one_stage, all_shards), (two_columns, both_columns), (a_conflict, one_refused)]
lost = []
for work, is_whole in KINDS:
    for trial in range(int(sys.argv[2])):
        folder = pathlib.Path(sys.argv[1]) / f"{work.__name__}-{trial}"
        inside, outside = os.pipe()
        children = []
        for me in (0, 1):
            if not (child := os.fork()):
                os.close(outside)
                status = 1
                try:
                    os.read(inside, 1)  # ends when the parent closes the pipe, for both at once
                    work(folder, me)
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        os.close(inside), os.close(outside)
        ended = [os.waitpid(child, 0)[1] for child in children]
        if any(ended) or not is_whole(folder):
            lost.append([folder.name, ended])
print(json.dumps(lost))
"""


def test_at_a_barrier(tmp_path):
    done = subprocess.run([sys.executable, "-c", AT_A_BARRIER, tmp_path, str(TRIALS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    count("two processes at a barrier", 4 * TRIALS, json.loads(done.stdout), "stages, shards, columns, conflicts")
