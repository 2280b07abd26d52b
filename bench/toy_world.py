"""What the toy world's models are like, and how long one whole loop takes.

    python bench/toy_world.py [--folder FOLDER]

Without a folder: the bundled models. With one: those that `python -m padlab.study.world_models FOLDER` made, beside the
bundled ones. Per world, on 128 held-out prompts with 4 samples each at T 1: true quality of what student and teacher
write; Kendall tau of the teacher's likelihood and of its selection probabilities with the truth, on the student's
samples. Then the seconds of a loop on 64 prompts with n = 4, phase by phase, warm.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from _measure import machine
from _toy import SAMPLING, TRAINING, candidates, true_quality

import padlab
from padlab.rankings.intervals import mean_interval
from padlab.rankings.metrics import kendall_tau
from padlab.worlds.toy import WRITERS, prompts, question


def measures(student: padlab.LanguageModel, teacher: padlab.LanguageModel) -> dict[str, np.ndarray]:
    """Name -> one number per prompt."""
    texts = prompts(128, seed=0, heldout=True)
    table = candidates(student, teacher, texts, seed=1)
    truth = true_quality(table)
    by_teacher = padlab.sample_responses(teacher, texts, seed=1, **SAMPLING)
    return {
        "student writes": np.mean(truth, axis=1),
        "teacher writes": np.mean(true_quality(by_teacher), axis=1),
        "likelihood, tau": kendall_tau(list(table["teacher_reward"]), truth).numpy(),
        "selection, tau": kendall_tau(list(table["selection_prob"]), truth).numpy(),
    }


def loop_seconds(student: padlab.LanguageModel, teacher: padlab.LanguageModel) -> dict[str, float]:
    """Seconds of each phase on 64 prompts, n = 4.

    Evaluation is before and after: fresh samples on 64 held-out prompts, agreement on as many prompts.
    """
    seconds, start = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal start
        seconds[name], start = time.perf_counter() - start, time.perf_counter()

    table = padlab.sample_responses(student, prompts(64), **SAMPLING)
    lap("sample")
    table = padlab.add_rewards(table, teacher)
    lap("score")
    table = padlab.add_selection_probs(table, teacher)
    lap("select")
    trained = padlab.distill(student, table, **TRAINING)
    lap("distill")
    for model in (student, trained):
        padlab.evaluate_samples(model, teacher, prompts(64, heldout=True), **SAMPLING)
        padlab.rank_agreement(model, teacher, table)
    lap("evaluate")
    return seconds


def rebuilt_pair(folder: Path, world: str) -> padlab.Pair:
    """Student and teacher of a folder that `padlab.study.world_models` wrote."""
    student, teacher = (padlab.load_model(folder / f"{world}-{role}") for role in ("student", "teacher"))
    return padlab.Pair(student, replace(teacher, question=question))


def main() -> None:
    """A line per world and pair of models; the loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(machine(options.threads))
    for world in WRITERS:
        pairs = {"bundled": padlab.load_pair(world)}
        if options.folder:
            pairs["rebuilt"] = rebuilt_pair(options.folder, world)
        for name, pair in pairs.items():
            texts = [f"{measure} {mean_interval(values)}" for measure, values in measures(*pair).items()]
            print(f"{world}, {name}: {'; '.join(texts)}", flush=True)
    pair = padlab.load_pair("toy")
    loop_seconds(*pair)
    seconds = loop_seconds(*pair)
    print(f"one loop, {sum(seconds.values()):.1f} s: " + ", ".join(f"{k} {v:.1f}" for k, v in seconds.items()))


if __name__ == "__main__":
    main()
