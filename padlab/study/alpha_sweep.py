"""Does mixing in the selection probability bring the ranking nearer to a reference? A sweep over alpha.

No function here calls a model. Everything works on a candidates table with `teacher_reward` and `selection_prob`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from padlab.candidates import check_candidates
from padlab.rankings.calibration import calibrate
from padlab.rankings.metrics import kendall_tau, ndcg, top1
from padlab.rankings.uncertainty import Interval, mean_interval

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
        lines = ["alpha  " + "".join(f"{m:28}" for m in self.per_prompt)]
        columns = [self.intervals(m) for m in self.per_prompt]
        rows = zip(self.alphas, zip(*columns, strict=True), strict=True)
        return "\n".join(
            [*lines, *(f"{a:5.2f}  " + "".join(f"{interval!s:28}" for interval in intervals) for a, intervals in rows)]
        )

    __repr__ = __str__


def alpha_sweep(
    candidates: Dataset,
    reference: str | Sequence[Sequence[float]],
    *,
    alphas: Sequence[float] | None = None,
    match_scale: bool = False,
    debias: bool = True,
) -> AlphaSweep:
    """Agreement of the calibrated reward with a reference ranking, along alpha.

    Args:
        candidates: table with `teacher_reward` and `selection_prob` (and `selection_votes` for debias=False).
        reference: name of a column with n numbers per row, or those numbers; higher is better, ties allowed.
        alphas: values from 0 to 1, rising; default 0, 0.1, ..., 1.
        match_scale: as in `padlab.calibrate`.
        debias: False takes the answers to one order of each pair only (as the released code does), from pairwise
            `selection_votes`, instead of averaging both.

    Returns:
        AlphaSweep with kendall_tau, top1 and ndcg per prompt, see `padlab.rankings.metrics`; NaN where undefined.

    Raises:
        ValueError: missing column, alphas out of range or not rising, a reference of another shape (row named).
    """
    alphas = tuple(float(a) for a in (np.linspace(0, 1, 11) if alphas is None else alphas))
    if not alphas or min(alphas) < 0 or max(alphas) > 1 or (np.diff(alphas) <= 0).any():
        raise ValueError(f"alphas must rise within [0, 1], got {alphas}")
    needs = ["teacher_reward", "selection_prob", *([] if debias else ["selection_votes"])]
    table = check_candidates(candidates, [*needs, *([reference] if isinstance(reference, str) else [])])
    values: dict[str, list[list[float]]] = {metric: [[] for _ in alphas] for metric in METRICS}
    for entry, truth in zip(table, _reference_rows(table, reference), strict=True):
        p_sel = entry["selection_prob"] if debias else one_order(entry["selection_votes"])
        reward = torch.tensor(entry["teacher_reward"]).double()
        for k, alpha in enumerate(alphas):
            scores = calibrate(reward, p_sel, alpha, match_scale=match_scale)
            for metric, value in ranking_metrics(scores.tolist(), truth).items():
                values[metric][k].append(value)
    return AlphaSweep(alphas, {metric: np.array(rows) for metric, rows in values.items()})


def ranking_metrics(scores: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """kendall_tau, top1 and ndcg of n scores against a reference (higher is better in both); NaN where undefined.

    >>> ranking_metrics([3.0, 2.0, 1.0], [5.0, 4.0, 0.0])
    {'kendall_tau': 1.0, 'top1': 1.0, 'ndcg': 1.0}
    """
    return {name: float(metric(scores, reference)) for name, metric in METRICS.items()}


def one_order(votes: Sequence[Sequence[float]]) -> list[float]:
    """Selection probabilities from one order of each pair only, the one in which the table lists them.

    Args:
        votes: pairwise `selection_votes` of one prompt: entry i, j = P(choose i) when i stands first.

    >>> one_order([[0.5, 0.9], [0.9, 0.5]])
    [0.9, 0.1]
    """
    first_wins = np.asarray(votes, float)
    n = len(first_wins)
    if n == 1:
        return [1.0]
    if not np.allclose(np.diag(first_wins), 0.5):
        raise ValueError("selection_votes are not pairwise ones (diagonal 0.5): ask again with method='pairwise'")
    beats = np.triu(first_wins, 1) + np.tril(1 - first_wins.T, -1)
    return [round(float(p), 12) for p in 2 / n * beats.sum(1) / (n - 1)]


def _reference_rows(table: Dataset, reference: str | Sequence[Sequence[float]]) -> list[list[float]]:
    rows: list[Any] = list(table[reference]) if isinstance(reference, str) else [list(r) for r in reference]
    if len(rows) != len(table):
        raise ValueError(f"reference has {len(rows)} rows for {len(table)} prompts")
    for row, (values, responses) in enumerate(zip(rows, table["responses"], strict=True)):
        if len(values) != len(responses) or not np.isfinite(np.asarray(values, float)).all():
            raise ValueError(f"row {row}: reference needs {len(responses)} finite numbers, got {values}; drop that row")
    return rows
