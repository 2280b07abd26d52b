"""What the toy experiments print and draw: means, paired changes, paired differences between settings."""

from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import t as student_t

MEASURES = ("quality", "tau with truth")
REFERENCES = {  # experiment -> the settings that every other one is compared with; those missing: the one before it
    "alpha": ("0", "1"),
    "decompose": ("1 x 8",),
    "steps": ("2 x 4",),
    "baselines": ("ppd",),
    "n": ("4",),
    "temperature": ("1",),
    "beta": ("10",),
    "divergence": ("js",),
    "reduction": ("mean, alpha 0.5", "mean, alpha 0.5, standardised"),
    "rate": ("0.0003",),
    "scale": ("likelihood", "selection"),
}


def interval(values) -> tuple[float, float]:
    """Mean and half-width of the 95 % t interval over seeds."""
    values = np.asarray(values)
    if len(values) < 2:
        return float(values.mean()), float("nan")
    return float(values.mean()), float(student_t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


def print_table(experiment: str, world: str, results: list[dict]) -> None:
    """Means over seeds, and changes since before; "tau with teacher" is of means of token log-probabilities always."""
    print(f"\n{world}, {experiment}: mean over {len(results)} seeds (paired change, 95 % interval)")
    for name in results[0]:
        line = f"  {name:16}"
        for measure in results[0][name]:
            values = np.array([r[name][measure] for r in results])
            line += f"  {measure} {values.mean():.3f}"
            if name != "before" and measure in MEASURES:
                mean, half = interval(values - [r["before"][measure] for r in results])
                line += f" ({mean:+.3f} +- {half:.3f})"
        print(line, flush=True)


def print_paired(experiment: str, results: list[dict]) -> None:
    """Differences between settings, paired by seed; the intervals are not corrected for their number."""
    names = [name for name in results[0] if name != "before"]
    for reference in REFERENCES.get(experiment, (None,)):
        pairs = [(reference, name) for name in names if name != reference] if reference else pairwise(names)
        for other, name in pairs:
            line = f"  {name} minus {other}:"
            for measure in MEASURES:
                change = [r[name][measure] - r[other][measure] for r in results]
                line += "  {} {:+.3f} +- {:.3f}".format(measure, *interval(change))
            print(line, flush=True)


def draw_figure(experiment: str, results: dict[str, list[dict]], path: Path) -> None:
    """Change of the true quality of fresh samples per setting, one line per world."""
    figure, axes = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
    for world, seeds in results.items():
        names = [name for name in seeds[0] if name != "before"]
        changes = [interval([r[n]["quality"] - r["before"]["quality"] for r in seeds]) for n in names]
        start = np.mean([r["before"]["quality"] for r in seeds])
        axes.errorbar(names, *zip(*changes, strict=True), marker="o", capsize=3, label=f"{world} (before: {start:.2f})")
    axes.axhline(0, lw=0.8, color="0.5")
    axes.set(xlabel=experiment, ylabel="change of true quality (0 to 1)")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
