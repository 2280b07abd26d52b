"""Measurements per prompt, their means with intervals, and paired differences between two students.

The measures themselves are in `padlab.rankings.metrics`, with their units; the interval is that of
`padlab.rankings.intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from padlab.conversations import conversation
from padlab.rankings.intervals import Interval, mean_interval
from padlab.rankings.large_n import js_divergence
from padlab.rankings.metrics import METRICS, kendall_tau, pairwise_accuracy, top1


@dataclass(frozen=True)
class Report:
    """Measurements per prompt; printing it shows means with 95 % intervals.

    Args:
        per_prompt: name -> one number per prompt (NaN where undefined, e.g. tau of identical responses).
        table: the candidates that were measured.
    """

    per_prompt: dict[str, np.ndarray]
    table: Any = None

    def intervals(self) -> dict[str, Interval]:
        """Mean and 95 % interval of every measure."""
        return {name: mean_interval(values) for name, values in self.per_prompt.items()}

    def __str__(self) -> str:
        return "\n".join(f"{name:18} {interval}   {METRICS[name].unit}" for name, interval in self.intervals().items())

    __repr__ = __str__


def prompt_agreement(
    student_reward: Sequence[float], teacher_reward: Sequence[float], beta: float = 10.0
) -> dict[str, float]:
    """Agreement of two models on one prompt's n responses.

    Args:
        student_reward, teacher_reward: n numbers each, nats/token.
        beta: nats/token to scores, > 0; only the divergence depends on it.

    Returns:
        jsd (nats, 0 to ln 2), kendall_tau (-1 to 1), top1 and pairwise_accuracy (0 to 1); NaN where undefined.

    >>> prompt_agreement([-1.0, -2.0], [-3.0, -4.0])["kendall_tau"]
    1.0
    """
    student, teacher = (torch.tensor([*values], dtype=torch.float64) for values in (student_reward, teacher_reward))
    return {
        "jsd": float(js_divergence(beta * student, beta * teacher).value),
        "kendall_tau": float(kendall_tau(student, teacher)),
        "top1": float(top1(student, teacher)),
        "pairwise_accuracy": float(pairwise_accuracy(student, teacher)),
    }


def paired_differences(before: Report, after: Report) -> dict[str, Interval]:
    """Differences after - before, prompt by prompt: means with 95 % intervals.

    Both reports must measure the same prompts in the same order; responses may differ (fresh samples).

    Args:
        before, after: reports of the two students.

    Returns:
        measure -> Interval, for the measures that both reports have.

    Raises:
        ValueError: the reports do not measure the same prompts.
    """
    prompts = [None if report.table is None else [conversation(e) for e in report.table] for report in (before, after)]
    sizes = {len(values) for report in (before, after) for values in report.per_prompt.values()}
    if prompts[0] != prompts[1] or len(sizes) > 1:
        raise ValueError("paired differences need the same prompts in the same order in both reports")
    shared = [name for name in before.per_prompt if name in after.per_prompt]
    return {name: mean_interval(after.per_prompt[name] - before.per_prompt[name]) for name in shared}


def repetition(ids: Sequence[int]) -> float:
    """Share of 3-token sequences that occurred before in the same response, 0 to 1.

    Args:
        ids: token ids; fewer than three give 0.

    >>> repetition([1, 2, 3, 1, 2, 3])
    0.25
    """
    grams = [tuple(ids[k : k + 3]) for k in range(len(ids) - 2)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
