"""Baselines in the toy world with a learning rate of their own each: is PPD better, or was only its rate better?

    python bench/toy_methods.py [--seeds 10] [--worlds toy toy-aligned] [--rates 3e-5 1e-4 3e-4 1e-3]

Every method at every rate, at equal budget (`padlab.study.methods`). Each method's rate is the one with the best
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
from _measure import machine
from _toy import MEASURES, read_or_run
from _toy_report import t_interval
from toy_experiments import Results, Setup, run_baselines


class ResultsByRate:
    """Measures of every method at every rate, seed by seed.

    Args:
        results: learning rate -> one `Results` per seed. The second half of the seeds chooses each method's rate.
    """

    def __init__(self, results: dict[float, list[Results]]):
        self.results, self.rates = results, list(results)
        first = results[self.rates[0]]
        self.half = len(first) // 2
        self.methods = [method for method in first[0] if method != "before"]
        second = slice(self.half, None)
        self.best_rate = {
            method: max(results, key=lambda rate, m=method: self.values(m, rate, "quality", second).mean())
            for method in self.methods
        }

    def values(self, method: str, rate: float, measure: str, seeds: slice | None = None) -> np.ndarray:
        """One number per seed; None: the first half."""
        seeds = slice(0, self.half) if seeds is None else seeds
        return np.array([result[method][measure] for result in self.results[rate][seeds]])

    def change(self, method: str, rate: float, measure: str, seeds: slice | None = None) -> np.ndarray:
        """Since before training, one number per seed."""
        return self.values(method, rate, measure, seeds) - self.values("before", rate, measure, seeds)


def report(title: str, results: ResultsByRate) -> None:
    """Every method at its rate, on the seeds that did not choose it, and PPD against each, paired by seed."""
    print(f"\n{title}: {results.half} seeds, rates chosen on other seeds")
    before = [f"{m} {results.values('before', results.rates[0], m).mean():.3f}" for m in MEASURES]
    print("  before: " + ", ".join(before))
    for method, rate in results.best_rate.items():
        line = f"  {method:19} rate {rate:g}{' (end of the grid)' * (rate in (min(results.rates), max(results.rates)))}"
        for measure in MEASURES:
            after, change = results.values(method, rate, measure), results.change(method, rate, measure)
            line += "  {} {:.3f} ({:+.3f} +- {:.3f})".format(measure, after.mean(), *t_interval(change))
        print(line)
    print("  every rate, all seeds: change of quality, of tau with the truth")
    for method in results.methods:
        line = f"  {method:19}"
        for rate, measure in product(results.rates, MEASURES[:2]):
            change = t_interval(results.change(method, rate, measure, slice(None)))
            line += f"  {rate:g} " * (measure == "quality") + " {:+.3f} +- {:.3f}".format(*change)
        print(line)
    print("  PPD minus the other, each at its rate:")
    for method in results.methods:
        if method != "ppd":
            print(f"  {method:19} {ppd_minus(method, results)}", flush=True)


def ppd_minus(method: str, results: ResultsByRate) -> str:
    """Paired differences on the seeds that did not choose the rates."""
    texts = []
    for measure in MEASURES:
        ppd, other = (results.values(name, results.best_rate[name], measure) for name in ("ppd", method))
        texts.append("{} {:+.3f} +- {:.3f}".format(measure, *t_interval(ppd - other)))
    return "  ".join(texts)


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
    return options


def compare_rates(
    options: argparse.Namespace, world: str, name: str, title: str, run: Callable[[str, int, float], Results]
) -> None:
    """Run all rates and seeds in one world, or read their results; print the report.

    Args:
        options: see `arguments`.
        world: "toy" or "toy-aligned".
        name: what the files of the results begin with.
        title: printed above the report.
        run: (world, seed, rate) -> results.
    """
    results: dict[float, list[Results]] = {rate: [] for rate in options.rates}
    for rate, seed in product(options.rates, range(options.seeds)):
        path = options.folder / f"{name}-{rate:g}-{seed}.json"
        results[rate].append(read_or_run(path, world, partial(run, world, seed, rate)))
    report(title, ResultsByRate(results))


def one_seed(world: str, seed: int, rate: float) -> Results:
    """Measures of every method at this rate; "before" is the untrained student."""
    setup = Setup(world, seed, learning_rate=rate)
    return {"before": setup.evaluate(setup.student), **run_baselines(setup)}


def main() -> None:
    """All worlds, seeds and rates."""
    options, start = arguments(__doc__, [3e-5, 1e-4, 3e-4, 1e-3]), time.monotonic()
    for world in options.worlds:
        compare_rates(options, world, f"methods-{world}", world, one_seed)
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
