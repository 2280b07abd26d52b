"""What the toy experiments print and draw: means, paired changes, paired differences between settings."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from padlab.rankings.intervals import seed_interval
from padlab.show import plots

MEASURES = ("quality", "tau with truth")
REFERENCES = {  # experiment -> the settings that all others are compared with; those missing: the one before each
    "alpha": ("0", "1"),
    "decompose": ("1 x 8",),
    "steps": ("2 x 4",),
    "baselines": ("ppd",),
    "n": ("4",),
    "temperature": ("1",),
    "beta": ("10",),
    "divergence": ("js",),
    "length_normalize": ("mean, alpha 0.5", "mean, alpha 0.5, match_scale"),
    "rate": ("0.0003",),
    "scale": ("likelihood", "selection"),
}


def t_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean and half-width of the 95 % t interval over seeds; the half-width is NaN for a single seed."""
    if len(values) < 2:
        return float(np.mean(values)), float("nan")
    interval = seed_interval(values)
    return interval.estimate, interval.high - interval.estimate


def print_table(experiment: str, world: str, results: list[dict]) -> None:
    """Means over seeds, and paired changes since before training.

    "tau with teacher" is always that of the student's mean token log-probabilities.
    """
    print(f"\n{world}, {experiment}: mean over {len(results)} seeds (paired change, 95 % interval)")
    for name in results[0]:
        line = f"  {name:16}"
        for measure in results[0][name]:
            values = np.array([result[name][measure] for result in results])
            line += f"  {measure} {values.mean():.3f}"
            if name != "before" and measure in MEASURES:
                change = values - [result["before"][measure] for result in results]
                line += " ({:+.3f} +- {:.3f})".format(*t_interval(change))
        print(line, flush=True)


def print_paired(experiment: str, results: list[dict]) -> None:
    """Differences between settings, paired by seed; the intervals are not corrected for their number."""
    names = [name for name in results[0] if name != "before"]
    for reference in REFERENCES.get(experiment, (None,)):
        pairs = [(reference, name) for name in names if name != reference] if reference else pairwise(names)
        for other, name in pairs:
            line = f"  {name} minus {other}:"
            for measure in MEASURES:
                change = [result[name][measure] - result[other][measure] for result in results]
                line += "  {} {:+.3f} +- {:.3f}".format(measure, *t_interval(change))
            print(line, flush=True)


def draw_figure(experiment: str, results: dict[str, list[dict]], path: Path) -> None:
    """Change of the true quality of fresh samples per setting, one line per world."""
    figure, axes = plots.axes(9, 5)
    for world, seeds in results.items():
        names = [name for name in seeds[0] if name != "before"]
        changes = [t_interval([seed[n]["quality"] - seed["before"]["quality"] for seed in seeds]) for n in names]
        start = np.mean([seed["before"]["quality"] for seed in seeds])
        axes.errorbar(names, *zip(*changes, strict=True), marker="o", capsize=3, label=f"{world} (before: {start:.2f})")
    axes.axhline(0, linewidth=0.8, color="0.5")
    axes.set(xlabel=experiment, ylabel="change of true quality (0 to 1)")
    axes.legend()
    figure.savefig(path, dpi=130)
