"""What the fault tests share: a run on the tiny pair, processes that fork and can be killed, counts for a table."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file

COUNTS = "PADLAB_FAULT_COUNTS"  # the environment variable that names the file of the counts
STAGES = {
    "sample": ["--preset", "tiny", "--limit", "8", "--max-new-tokens", "5"],
    "score": ["--selection", "pairwise"],
    "distill": ["--alpha", "0.5", "--epochs", "1"],
    "evaluate": ["--limit", "3"],
}
RUN_ALL = """
from padlab.cli import main
for stage, words in STAGES.items():
    status = main([stage, FOLDER, *words])
    if status:
        sys.exit(status)
"""
SERVER = """
import contextlib, json, os, signal, sys, traceback
import torch
torch.set_num_threads(1)
import padlab, padlab.cli, padlab.study.agreement, padlab.phases.distillation, datasets, peft, scipy.stats

for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        action = {"kill": signal.SIG_DFL, "interrupt": signal.default_int_handler}[job["how"]]
        signal.signal(signal.SIGALRM, action)
        status = 1
        with contextlib.redirect_stdout(sys.stderr):
            try:
                if job["seconds"]:
                    signal.setitimer(signal.ITIMER_REAL, job["seconds"])
                exec(job["code"], {})
                status = 0
            except SystemExit as end:
                status = end.code
            except BaseException:
                traceback.print_exc()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def count(kind, tried, lost, remark=""):
    """Add a line to the counts, if anybody collects them; fails if something was lost."""
    if os.environ.get(COUNTS):
        with open(os.environ[COUNTS], "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "tried": tried, "lost": len(lost), "remark": remark}) + "\n")
    assert tried, f"{kind}: nothing was tried"
    assert not lost, f"{len(lost)} of {tried} lost: {lost[:5]}"


def code_of_run(folder):
    """Python source of all four stages in a folder."""
    return f"import sys\nSTAGES, FOLDER = {STAGES!r}, {str(folder)!r}\n{RUN_ALL}"


def result_of(folder):
    """What a run is for: the table, the student, the evaluation."""
    student = load_file(folder / "student" / "adapter_model.safetensors")
    evaluation = json.loads((folder / "evaluation.json").read_text())
    return (folder / "candidates.jsonl").read_text(), {name: v.tolist() for name, v in student.items()}, evaluation


def leftovers(folder):
    """Scratch files that a finished run should not hold any more."""
    return [path.name for path in Path(folder).rglob(".*") if path.suffix == ".tmp" or path.name == ".student"]


class Forks:
    """A process that has imported everything, and forks itself for every job."""

    def __init__(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.errors = tempfile.TemporaryFile("w+b")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            text=True, env=environment,
        )  # fmt: skip

    def run(self, code, seconds=0.0, how="kill"):
        """Exit status; with seconds > 0 the fork is killed, or interrupted, after so long."""
        self.errors.seek(0)
        self.errors.truncate()
        print(json.dumps({"code": code, "seconds": seconds, "how": how}), file=self.process.stdin, flush=True)
        status = int(self.process.stdout.readline())
        self.errors.seek(0)
        self.said = self.errors.read().decode(errors="replace")
        return status

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.errors.close()
