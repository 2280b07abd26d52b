"""The fault campaign: kills, full disks, two processes at once, bit flips, hostile texts; one table of what was lost.

python bench/faults.py        about half an hour on two cores; strace, and root for the disks, else those are skipped
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests" / "faults"


def main() -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts.jsonl"
        environment = {**os.environ, "PADLAB_FAULT_COUNTS": str(counts), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", str(TESTS), "-m", "slow or not slow", "--timeout", "3600"]
        status = subprocess.run(command, env=environment, cwd=TESTS.parent.parent).returncode
        rows = [json.loads(line) for line in counts.read_text(encoding="utf-8").splitlines()] if counts.exists() else []
    kinds: dict[str, list[dict]] = {}
    for row in rows:
        kinds.setdefault(row["kind"], []).append(row)
    print("\n| kind | tried | survived | lost | |\n|---|---|---|---|---|")
    for kind, parts in kinds.items():
        tried, lost = (sum(row[name] for row in parts) for name in ("tried", "lost"))
        remarks = {row["remark"] for row in parts}
        remark = remarks.pop() if len(remarks) == 1 else f"in {len(remarks)} tests"
        print(f"| {kind} | {tried} | {tried - lost} | {lost} | {remark} |")
    tried, lost = (sum(row[name] for row in rows) for name in ("tried", "lost"))
    print(f"| **all** | {tried} | {tried - lost} | {lost} | {(time.monotonic() - began) / 60:.0f} min |")
    return status


if __name__ == "__main__":
    sys.exit(main())
