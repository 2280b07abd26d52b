"""Baselines in the toy world with a learning rate of their own each: is PPD better, or was only its rate better?

    python bench/toy_methods.py [--seeds 10] [--worlds toy toy-aligned] [--rates 3e-5 1e-4 3e-4 1e-3]

Every method at every rate, at equal budget (`padlab.compare_baselines`). Each method's rate is the one with the best
true quality of fresh samples on the second half of the seeds; what is printed is measured on the first half. Seeds
differ in prompts (training and held-out), samples and training. Results are kept; the same command goes on.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from _measure import machine
from _toy_report import interval
from toy_experiments import TRAINING, Judge, baselines, read_or_run

import padlab
from padlab.worlds.toy import prompts

MEASURES = ("quality", "tau with truth", "tau with teacher")


def one_seed(world: str, seed: int, rate: float) -> dict[str, dict[str, float]]:
    """Method -> measures at this rate; "before" is the untrained student."""
    student, teacher = padlab.load_pair(world)
    judge, asked = Judge(teacher, student, seed), prompts(64, seed=seed)
    settings = {**TRAINING, "seed": seed, "learning_rate": rate}
    return {"before": judge(student), **baselines(teacher, student, asked, judge, settings)}


def report(world: str, found: dict[float, list[dict]]) -> None:
    """Every method at its rate, on the seeds that did not choose it, and PPD against each, paired by seed."""
    half = len(next(iter(found.values()))) // 2
    methods = [m for m in next(iter(found.values()))[0] if m != "before"]

    def values(method: str, rate: float, measure: str, seeds: slice) -> np.ndarray:
        return np.array([r[method][measure] for r in found[rate][seeds]])

    first, second = slice(0, half), slice(half, None)
    rates = {m: max(found, key=lambda rate, m=m: values(m, rate, "quality", second).mean()) for m in methods}
    some = next(iter(found))
    print(f"\n{world}: {half} seeds, rates chosen on other seeds")
    print("  before: " + ", ".join(f"{k} {values('before', some, k, first).mean():.3f}" for k in MEASURES))
    for m in methods:
        line = f"  {m:19} rate {rates[m]:g}{' (end of the grid)' * (rates[m] in (min(found), max(found)))}"
        for measure in MEASURES:
            after, start = (values(who, rates[m], measure, first) for who in (m, "before"))
            mean, width = interval(after - start)
            line += f"  {measure} {after.mean():.3f} ({mean:+.3f} +- {width:.3f})"
        print(line)
    print("  every rate, all seeds: change of quality, of tau with the truth")
    for m in methods:
        line = f"  {m:19}"
        for rate, measure in product(found, MEASURES[:2]):
            after, start = (values(who, rate, measure, slice(None)) for who in (m, "before"))
            line += f"  {rate:g} " * (measure == "quality") + " {:+.3f} +- {:.3f}".format(*interval(after - start))
        print(line)
    print("  PPD minus the other, each at its rate:")
    for m in methods:
        if m != "ppd":
            pairs = {k: [values(who, rates[who], k, first) for who in ("ppd", m)] for k in MEASURES}
            gains = "  ".join("{} {:+.3f} +- {:.3f}".format(k, *interval(a - b)) for k, (a, b) in pairs.items())
            print(f"  {m:19} {gains}", flush=True)


def arguments(description: str, rates: list[float]) -> argparse.Namespace:
    """Options of a comparison over rates."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--worlds", nargs="+", default=["toy", "toy-aligned"])
    parser.add_argument("--rates", type=float, nargs="+", default=rates)
    parser.add_argument("--folder", type=Path, default=Path("bench-out/toy"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.seeds < 4:
        parser.error("at least 4 seeds: half of them choose the rates, the other half give the intervals")
    print(machine(options.threads))
    torch.set_num_threads(options.threads)
    return options


def over_rates(options: argparse.Namespace, world: str, kept: str, title: str, run: Callable[[str, int, float], dict]):
    """Run all rates and seeds in one world, or read them; print the report."""
    found: dict[float, list[dict]] = {rate: [] for rate in options.rates}
    for rate, seed in product(options.rates, range(options.seeds)):
        place = options.folder / f"{kept}-{rate:g}-{seed}.json"
        found[rate].append(read_or_run(place, world, partial(run, world, seed, rate)))
    report(title, found)


def main() -> None:
    """All worlds, seeds and rates."""
    options, start = arguments(__doc__, [3e-5, 1e-4, 3e-4, 1e-3]), time.monotonic()
    for world in options.worlds:
        over_rates(options, world, f"methods-{world}", world, one_seed)
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
