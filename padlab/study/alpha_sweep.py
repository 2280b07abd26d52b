"""Does mixing in the selection probability bring the ranking nearer to a reference? A sweep over alpha.

No function here calls a model. Everything works on a candidates table with `teacher_reward` and `selection_prob`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from padlab import calibrate, check_candidates
from padlab.rankings.intervals import Interval, mean_interval
from padlab.rankings.metrics import kendall_tau, ndcg, top1

if TYPE_CHECKING:
    from datasets import Dataset

METRICS = {"kendall_tau": kendall_tau, "top1": top1, "ndcg": ndcg}
FOLDS = 5


@dataclass(frozen=True)
class AlphaSweep:
    """Agreement with a reference at each alpha, prompt by prompt.

    Args:
        alphas: K values, rising.
        per_prompt: metric -> K x prompts (NaN where undefined).
    """

    alphas: tuple[float, ...]
    per_prompt: dict[str, Float[np.ndarray, "alphas prompts"]]

    def intervals(self, metric: str = "kendall_tau") -> list[Interval]:
        """Mean and 95 % interval over prompts at each alpha."""
        return [mean_interval(values) for values in self.per_prompt[metric]]

    def best(self, metric: str = "kendall_tau") -> float:
        """The alpha with the highest mean; the lowest such alpha where several tie."""
        return self.alphas[int(np.nanmean(self.per_prompt[metric], axis=1).argmax())]

    def gain(self, metric: str = "kendall_tau", over: float = 0.0, seed: int = 0) -> Interval:
        """What a chosen alpha gains over a fixed one, paired by prompt, without the luck of having chosen.

        The prompts are dealt into 5 folds; on each fold the alpha is the best of the other four.

        Args:
            metric: one of `METRICS`.
            over: the alpha to compare with, e.g. 0 (reward alone) or 1 (selection alone); must be in the sweep.
            seed: deals the prompts.

        Raises:
            ValueError: `over` is not one of the sweep's alphas.
        """
        if over not in self.alphas:
            raise ValueError(f"alpha {over} is not in the sweep; there are {', '.join(f'{a:g}' for a in self.alphas)}")
        values, gains = self.per_prompt[metric], np.full(self.per_prompt[metric].shape[1], np.nan)
        fold = np.random.default_rng(seed).permutation(values.shape[1]) % FOLDS
        for part in range(min(FOLDS, values.shape[1])):
            chosen = np.nanmean(values[:, fold != part], axis=1).argmax()
            gains[fold == part] = (values[chosen] - values[self.alphas.index(over)])[fold == part]
        return mean_interval(gains)

    def __str__(self) -> str:
        lines = ["alpha  " + "".join(f"{metric:28}" for metric in self.per_prompt)]
        columns = [self.intervals(metric) for metric in self.per_prompt]
        for alpha, *intervals in zip(self.alphas, *columns, strict=True):
            lines.append(f"{alpha:5.2f}  " + "".join(f"{interval!s:28}" for interval in intervals))
        return "\n".join(lines)

    __repr__ = __str__


def alpha_sweep(
    candidates: Dataset, reference: str, *, alphas: Sequence[float] | None = None, match_scale: bool = False
) -> AlphaSweep:
    """Agreement of the calibrated reward with a reference ranking, along alpha.

    Args:
        candidates: table with `teacher_reward`, `selection_prob` and the reference.
        reference: name of a column with n numbers per row; higher is better, ties allowed.
        alphas: values from 0 to 1, rising; default 0, 0.1, ..., 1.
        match_scale: as in `padlab.calibrate`.

    Returns:
        AlphaSweep with kendall_tau, top1 and ndcg per prompt, see `padlab.rankings.metrics`; NaN where undefined.

    Raises:
        ValueError: missing column, alphas out of range or not rising, a reference of another shape (row named).
    """
    alphas = tuple(float(a) for a in (np.linspace(0, 1, 11) if alphas is None else alphas))
    if not alphas or min(alphas) < 0 or max(alphas) > 1 or (np.diff(alphas) <= 0).any():
        raise ValueError(f"alphas must rise within [0, 1], got {alphas}")
    table = check_candidates(candidates, ("teacher_reward", "selection_prob", reference))
    values = {metric: np.empty((len(alphas), len(table))) for metric in METRICS}
    for row, entry in enumerate(table):
        reward, truth = torch.tensor(entry["teacher_reward"]).double(), np.asarray(entry[reference], float)
        if truth.shape != reward.shape or not np.isfinite(truth).all():
            raise ValueError(f"row {row}: {reference} needs {len(reward)} finite numbers, got {truth}; drop that row")
        scores = torch.stack(
            [calibrate(reward, entry["selection_prob"], alpha, match_scale=match_scale) for alpha in alphas]
        )
        for name, metric in METRICS.items():
            values[name][:, row] = metric(scores, torch.tensor(truth).expand_as(scores))
    return AlphaSweep(alphas, values)


def ranking_metrics(scores: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """kendall_tau, top1 and ndcg of n scores against a reference (higher is better in both); NaN where undefined.

    Args:
        scores: one number per response, any scale.
        reference: the truth or another model's scores, in the same order.

    >>> ranking_metrics([3.0, 2.0, 1.0], [5.0, 4.0, 0.0])
    {'kendall_tau': 1.0, 'top1': 1.0, 'ndcg': 1.0}
    """
    return {name: float(metric(scores, reference)) for name, metric in METRICS.items()}
