"""What the toy world's models are like, and how long one whole loop takes.

    python bench/toy_world.py [--folder FOLDER]

Without a folder: the bundled models. With one: those that `python -m padlab.study.world_models FOLDER` made, beside the
bundled ones. Per world, on 128 held-out prompts with 4 samples each at T 1: true quality of what teacher and student
write; Kendall tau of the teacher's likelihood and of its selection probabilities with the truth, on the student's
samples. Then the seconds of a loop on 64 prompts with n = 4, phase by phase, warm.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from _measure import machine
from toy_experiments import PRESET, SAMPLING, TRAINING, candidates, truth

import padlab
from padlab.study.agreement import estimate, kendall_tau
from padlab.worlds.toy import WRITERS, prompts, question


def figures(teacher, student) -> dict[str, np.ndarray]:
    """Name -> one number per prompt."""
    asked = prompts(128, seed=0, heldout=True)
    table = candidates(teacher, student, asked, 4, seed=1)
    known = truth(table)
    written = padlab.sample_responses(teacher, asked, 4, seed=1, **SAMPLING)
    found = {"teacher writes": np.mean(truth(written), 1), "student writes": np.mean(known, 1)}
    for name, column in (("likelihood, tau", "teacher_reward"), ("selection, tau", "selection_prob")):
        pairs = zip(table[column], known, strict=True)
        found[name] = np.array([kendall_tau(a, b) for a, b in pairs])
    return found


def loop_seconds(teacher, student) -> dict[str, float]:
    """Seconds of each phase on 64 prompts, n = 4; evaluation is before and after: fresh samples on 64
    held-out prompts, agreement on as many prompts."""
    seconds, start = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal start
        seconds[name], start = time.perf_counter() - start, time.perf_counter()

    table = padlab.sample_responses(student, prompts(64), PRESET.n, **SAMPLING)
    lap("sample")
    table = padlab.add_rewards(table, teacher)
    lap("score")
    table = padlab.add_selection_probs(table, teacher, ask=question)
    lap("ask")
    trained = padlab.distill(student, table, alpha=PRESET.alpha, **TRAINING)
    lap("distil")
    for model in (student, trained):
        padlab.evaluate_samples(model, teacher, prompts(64, heldout=True), PRESET.n, temperature=1.0, **SAMPLING)
        padlab.rank_agreement(model, teacher, table)
    lap("evaluate")
    return seconds


def main() -> None:
    """A line per world and set of models; the loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(machine(options.threads))
    for world in WRITERS:
        pairs = {"bundled": padlab.load_pair(world)}
        if options.folder:
            pairs["rebuilt"] = [padlab.load_model(options.folder / f"{world}-{r}") for r in ("teacher", "student")]
        for name, pair in pairs.items():
            print(f"{world}, {name}: " + "; ".join(f"{k} {estimate(v)}" for k, v in figures(*pair).items()), flush=True)
    pair = padlab.load_pair("toy")
    loop_seconds(*pair)
    seconds = loop_seconds(*pair)
    print(f"one loop, {sum(seconds.values()):.1f} s: " + ", ".join(f"{k} {v:.1f}" for k, v in seconds.items()))


if __name__ == "__main__":
    main()
