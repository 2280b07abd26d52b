"""Student against teacher, response by response: probabilities of rankings, and rewards."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from padlab.rankings.metrics import kendall_tau
from padlab.rankings.plackett_luce import PlackettLuce
from padlab.show.arrays import array, same_length
from padlab.show.html.safe import num
from padlab.show.plots.labels import item_names, percent
from padlab.show.plots.style import FAINT, STUDENT, TEACHER, Figure, axes, finish, house_style, legend_above


def distributions(scores: Mapping[str, Any], sizes: Sequence[int] = range(2, 9)) -> dict[str, PlackettLuce]:
    """The Plackett-Luce distributions of the named score vectors.

    Args:
        scores: by name ("student scores", ...), n scores (beta * reward) each; the same n.
        sizes: the values of n that the figure can draw.

    Raises:
        ValueError: different lengths, a score that is not finite, or another n.
    """
    vectors = {name: array(values, name, ndim=1) for name, values in scores.items()}
    n = same_length(**vectors)
    if n not in sizes:
        others = "plot_simplex draws 3, plot_permutohedron 4, plot_rankings 2 to 8, plot_rank_marginals any number"
        raise ValueError(f"this figure cannot draw the rankings of {n} responses: {others}")
    return {name: PlackettLuce(torch.as_tensor(values)) for name, values in vectors.items()}


def enumerate_all(models: Mapping[str, PlackettLuce]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All n! rankings (n! x n, best first), and their probabilities under each distribution (n! each)."""
    rankings = next(iter(models.values())).enumerate()[0].numpy()
    return rankings, {model: distribution.enumerate()[1].exp().numpy() for model, distribution in models.items()}


@house_style()
def plot_rankings(
    student_scores: Any,
    teacher_scores: Any,
    labels: Sequence[str] | None = None,
    top: int = 10,
    before: Any = None,
    title: str | None = None,
) -> Figure:
    """Probability of each ranking under the student and under the teacher, in the teacher's order.

    Args:
        student_scores, teacher_scores: n scores each (beta * reward, no unit), finite, n from 2 to 8.
        labels: n texts; None names the responses A, B, ...
        top: above n = 4, the number of rankings drawn, at least 1; the others are one bar. Up to n = 4 all are drawn.
        before: n scores of the student before training, drawn pale; None: not drawn.
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: different lengths, n outside 2 to 8, a score that is not finite.

    >>> plot_rankings([0.0, 0.0], [2.0, 0.0]).alt_text
    "Probability of 2 rankings. The teacher's most probable ranking A > B: student 50 %, teacher 88 %."
    """
    scores = {} if before is None else {"student before": before}
    scores |= {"student": student_scores, "teacher": teacher_scores}
    rankings, probs = enumerate_all(distributions(scores))
    count, n = rankings.shape
    names, key = item_names(labels, n)
    likeliest = np.argsort(-np.mean(list(probs.values()), axis=0), kind="stable")[: None if n <= 4 else max(1, top)]
    drawn = likeliest[np.argsort(-probs["teacher"][likeliest], kind="stable")]
    ticks = ["\n".join(names[i] for i in rankings[r]) for r in drawn]
    bars = {model: list(p[drawn]) for model, p in probs.items()}
    if rest := count - len(drawn):
        ticks.append(f"the\nother\n{rest:,}")
        bars = {model: [*p, max(0.0, 1 - sum(p))] for model, p in bars.items()}
    figure, ax = axes(9.6, 5.2 + 0.16 * max(0, n - 3))
    _draw_bars(ax, bars, ticks)
    first, own = (" > ".join(names[i] for i in rankings[probs[m].argmax()]) for m in ("teacher", "student"))
    shares = ", ".join(f"{model} {percent(p[probs['teacher'].argmax()])}" for model, p in probs.items())
    finding = f"the teacher's most probable ranking {first}: {shares}"
    finding += f"; the student's: {own}" if own != first else ""
    return finish(figure, title, finding, f"Probability of {count} rankings", key)


def _draw_bars(ax: Axes, bars: dict[str, list[float]], ticks: list[str]) -> None:
    """One group of bars per tick, one bar per model, with their shares where there is room."""
    positions, width = np.arange(len(ticks)), 0.84 / len(bars)
    looks = {
        "student before": {"color": STUDENT, "alpha": 0.4, "hatch": "//", "edgecolor": "white"},
        "student": {"color": STUDENT, "label": "student after" if "student before" in bars else "student"},
        "teacher": {"color": TEACHER},
    }
    for index, (model, heights) in enumerate(bars.items()):
        x = positions + (index - (len(bars) - 1) / 2) * width
        drawn = ax.bar(x, heights, width * 0.94, **{"label": model} | looks[model])
        if len(ticks) * len(bars) <= 24:
            shares = [percent(h) if h >= 0.005 or len(ticks) < 9 else "" for h in heights]
            ax.bar_label(drawn, shares, fontsize="small" if len(ticks) < 9 else "x-small", padding=2)
    ax.set_xticks(positions, ticks, fontsize="small", linespacing=1.0)
    ax.set(xlabel="ranking (best on top)", ylabel="probability (0 to 1)")
    ax.margins(x=0.02, y=0.1)
    legend_above(ax)


@house_style()
def plot_rewards(
    student_reward: Any, teacher_reward: Any, labels: Sequence[str] | None = None, title: str | None = None
) -> Figure:
    """Reward of each response under student and teacher, the teacher's best on top.

    Args:
        student_reward, teacher_reward: n mean token log-probabilities each, nats/token.
        labels: n texts; None names the responses A, B, ...
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: different lengths, or a reward that is not finite.

    >>> plot_rewards([-3.0, -2.5], [-1.0, -2.0])
    <Figure: Rewards of 2 responses in nats/token. Best for the student: B (−2.50), for the teacher: A (−1.00); \
Kendall tau −1.00.>
    """
    student, teacher = array(student_reward, "student_reward", 1), array(teacher_reward, "teacher_reward", 1)
    n = same_length(student_reward=student, teacher_reward=teacher)
    names, key = item_names(labels, n, limit=34)
    order, rows = np.argsort(-teacher, kind="stable"), np.arange(n)
    figure, ax = axes(9.6, 2.6 + 0.45 * n, grid="x")
    ax.hlines(rows, student[order], teacher[order], color=FAINT, linewidth=3, zorder=1)
    ax.scatter(student[order], rows, s=130, color=STUDENT, marker="D", label="student", zorder=2)
    ax.scatter(teacher[order], rows, s=130, color=TEACHER, label="teacher", zorder=3)
    ax.set_yticks(rows, [(key or names)[i] for i in order])
    ax.set(ylim=(n - 0.4, -0.6), xlabel="reward: mean token log-probability (nats/token)")
    legend_above(ax)
    tau = float(kendall_tau(student, teacher))
    finding = f"best for the student: {names[student.argmax()]} ({num(student.max())}), "
    finding += f"for the teacher: {names[teacher.argmax()]} ({num(teacher.max())}); "
    finding += "Kendall tau not defined" if np.isnan(tau) else f"Kendall tau {num(tau)}"
    return finish(figure, title, finding, f"Rewards of {n} responses in nats/token")
