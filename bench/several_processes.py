"""Sampling shared by two processes of one thread each, against one process of one thread, in one run.

    python bench/several_processes.py [--prompts 64] [--repeats 3]

The processes work in one run folder and divide its shards by file locks. Loading the models is not counted: each
process loads, samples two prompts to warm up, waits for the others, and then the clock runs until the last one has all
rows. Both must give the same bytes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--preset", default="reading")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)  # folder, number of processes, own number
    options = parser.parse_args()
    if options.worker:
        work(Path(options.worker[0]), int(options.worker[1]), options.worker[2], options.preset, options.prompts)
        return
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.repeats):
        results = set()
        for count in seconds:
            with tempfile.TemporaryDirectory() as folder:
                common = [sys.executable, __file__, "--prompts", str(options.prompts), "--preset", options.preset]
                workers = [[*common, "--worker", folder, str(count), str(k)] for k in range(count)]
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                running = [subprocess.Popen(w, env=environment, stdout=subprocess.PIPE, text=True) for w in workers]
                seconds[count].append(max(float(process.communicate()[0].split()[-1]) for process in running))
                results.add(b"".join(path.read_bytes() for path in sorted(Path(folder, "sample").glob("*.jsonl"))))
        assert len(results) == 1, "two processes gave other responses than one"
    ratios = [one / two for one, two in zip(*seconds.values(), strict=True)]
    for count, measured in seconds.items():
        print(f"{count} process(es): {statistics.median(measured):6.1f} s for {options.prompts} prompts")
    print(f"speed-up {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); at most 2; same bytes")


def work(folder: Path, count: int, own: str, preset: str, prompts: int) -> None:
    import torch

    import padlab

    torch.set_num_threads(1)
    student, chosen = padlab.load_pair(preset).student, padlab.PRESETS[preset]
    texts = chosen.prompts("train", prompts, seed=0) or padlab.load_prompts("train", limit=prompts)
    padlab.sample_responses(student, texts[:2], **chosen.sampling())
    (folder / f"{own}.ready").touch()
    while len(list(folder.glob("*.ready"))) < count:
        time.sleep(0.01)
    began = time.monotonic()
    padlab.sample_responses(student, texts, **chosen.sampling(), folder=folder, shard_size=8)
    print(time.monotonic() - began)


if __name__ == "__main__":
    main()
