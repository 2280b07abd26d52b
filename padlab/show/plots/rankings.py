"""Teacher against student, response by response: probabilities of rankings, and rewards."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import kendalltau

from padlab.show.plots.style import (
    FAINT,
    STUDENT,
    TEACHER,
    Figure,
    array,
    finish,
    house_style,
    item_names,
    legend_above,
    light_grid,
    num,
    percent,
    same_length,
)


def enumerate_scores(**scores: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All rankings of n <= 8 items, best first, and their probabilities under each of the named score vectors.

    Args:
        scores: by name, n scores (beta x reward) each; the same n, from 2 to 8.

    Returns:
        rankings (n! x n) and, by name, n! probabilities.

    Raises:
        ValueError: different lengths, or n outside 2 to 8.
    """
    import torch

    from padlab.rankings.plackett_luce import PlackettLuce

    vectors = {name: array(values, name, ndim=1) for name, values in scores.items()}
    n = same_length(**vectors)
    if not 2 <= n <= 8:
        raise ValueError(f"{n} responses: single rankings are drawn for 2 to 8; see plot_rank_marginals for more")
    rankings, log_probs = PlackettLuce(torch.as_tensor(np.stack(list(vectors.values())))).enumerate()
    probabilities = log_probs.exp().numpy()
    return rankings.numpy(), dict(zip(vectors, probabilities, strict=True))


def _shown(probs: dict[str, np.ndarray], top: int | None) -> np.ndarray:
    """Indices of the rankings drawn: the likeliest of the average model, in the teacher's order."""
    order = np.argsort(-np.mean(list(probs.values()), axis=0), kind="stable")[:top]
    return order[np.argsort(-probs["teacher"][order], kind="stable")]


@house_style()
def plot_rankings(
    student: Any,
    teacher: Any,
    labels: Sequence[str] | None = None,
    top: int = 10,
    before: Any = None,
    title: str | None = None,
) -> Figure:
    """Probability of each ranking, teacher against student, in the teacher's order.

    Args:
        student, teacher: n scores each (beta x reward, no unit), finite, n from 2 to 8.
        labels: n texts; None names the responses A, B, ...
        top: above n = 4, the number of rankings drawn, at least 1; the others are one bar. Up to n = 4 all are drawn.
        before: n scores of the student before training, drawn pale; None: not drawn.
        title: replaces the title that says what to see.

    Raises:
        ValueError: different lengths, n outside 2 to 8, a score that is not finite.

    >>> plot_rankings([0.0, 0.0], [2.0, 0.0])
    <Figure: Probability of 2 rankings. Teacher's first: A > B, teacher 88 %, student 50 %.>
    """
    extra = {} if before is None else {"before": before}
    rankings, probs = enumerate_scores(teacher=teacher, **extra, student=student)
    n, count = rankings.shape[1], len(rankings)
    names, key = item_names(labels, n)
    shown = _shown(probs, None if n <= 4 else max(1, top))
    ticks = ["\n".join(names[i] for i in rankings[r]) for r in shown]
    bars = {name: list(p[shown]) for name, p in probs.items()}
    if rest := count - len(shown):
        ticks.append(f"the\nother\n{rest:,}")
        bars = {name: [*p, max(0.0, 1 - sum(p))] for name, p in bars.items()}
    figure = Figure(9.6, 5.2 + 0.16 * max(0, n - 3) + 0.22 * len(key))
    axes = figure.add_subplot()
    _grouped_bars(axes, bars, ticks, gap=bool(rest))
    axes.set_xlabel("\n".join(["ranking (best on top)", *key]), loc="left" if key else "center")
    first = " > ".join(names[i] for i in rankings[shown[0]])
    own = " > ".join(names[i] for i in rankings[probs["student"].argmax()])
    teacher_p, student_p = percent(probs["teacher"][shown[0]]), percent(probs["student"][shown[0]])
    default = f"The teacher's first ranking {first}: {teacher_p} under the teacher, {student_p} under the student"
    if own != first:
        default += f"; the student's own first is {own}"
    at = f"teacher {teacher_p}, student {student_p}"
    past = "" if before is None else f", student before training {percent(probs['before'][shown[0]])}"
    return finish(figure, title, default, f"Probability of {count} rankings. Teacher's first: {first}, {at}{past}.")


def _grouped_bars(axes: Axes, bars: dict[str, list[float]], ticks: list[str], gap: bool) -> None:
    """One group of bars per tick; the last group stands apart when `gap`."""
    places = np.arange(len(ticks)) + np.array([0.6 * (gap and i == len(ticks) - 1) for i in range(len(ticks))])
    width = 0.84 / len(bars)
    looks = {
        "teacher": {"color": TEACHER, "label": "teacher"},
        "before": {"color": STUDENT, "alpha": 0.4, "hatch": "//", "edgecolor": "white", "label": "student before"},
        "student": {"color": STUDENT, "label": "student after" if "before" in bars else "student"},
    }
    for index, (name, heights) in enumerate(bars.items()):
        x = places + (index - (len(bars) - 1) / 2) * width
        drawn = axes.bar(x, heights, width * 0.94, **looks[name])
        if len(ticks) * len(bars) <= 24:
            axes.bar_label(drawn, [percent(h) for h in heights], fontsize=11 if len(ticks) < 9 else 10, padding=2)
    axes.set_xticks(places, ticks, fontsize=11 if len(ticks) > 14 else 12, linespacing=1.0)
    axes.set_ylabel("probability (0 to 1)")
    axes.margins(x=0.02, y=0.1)
    legend_above(axes)
    light_grid(axes)


@house_style()
def plot_rewards(
    teacher_reward: Any, student_reward: Any, labels: Sequence[str] | None = None, title: str | None = None
) -> Figure:
    """Reward of each response under teacher and student, the teacher's best on top.

    Args:
        teacher_reward, student_reward: n mean token log-probabilities each, nats/token.
        labels: n texts; None names the responses A, B, ...
        title: replaces the title that says what to see.

    Raises:
        ValueError: different lengths, or a reward that is not finite.

    >>> plot_rewards([-1.0, -2.0], [-3.0, -2.5]).alt_text
    'Rewards of 2 responses in nats/token. Teacher: best A −1.00. Student: best B −2.50. Kendall tau −1.00.'
    """
    teacher, student = array(teacher_reward, "teacher_reward", 1), array(student_reward, "student_reward", 1)
    n = same_length(teacher_reward=teacher, student_reward=student)
    names, key = item_names(labels, n, limit=34)
    order = np.argsort(-teacher, kind="stable")
    rows = np.arange(n)
    figure = Figure(9.6, 2.6 + 0.45 * n)
    axes = figure.add_subplot()
    axes.hlines(rows, teacher[order], student[order], color=FAINT, linewidth=3, zorder=1)
    axes.scatter(teacher[order], rows, s=130, color=TEACHER, label="teacher", zorder=3)
    axes.scatter(student[order], rows, s=130, color=STUDENT, marker="D", label="student", zorder=2)
    axes.set_yticks(rows, [(key or names)[i] for i in order])
    axes.set_ylim(n - 0.4, -0.6)
    axes.set_xlabel("reward: mean token log-probability (nats/token); right is likelier")
    legend_above(axes)
    light_grid(axes, "x")
    best, own = names[teacher.argmax()], names[student.argmax()]
    tau = kendalltau(teacher, student).statistic if n > 1 else np.nan
    agreement = f"Kendall tau {num(tau)}" if np.isfinite(tau) else "no order to compare"
    verdict = f"Both put {best} first" if best == own else f"The teacher puts {best} first, the student {own}"
    values = f"Teacher: best {best} {num(teacher.max())}. Student: best {own} {num(student.max())}."
    alt = f"Rewards of {n} responses in nats/token. {values} {agreement[0].upper()}{agreement[1:]}."
    return finish(figure, title, f"{verdict} ({agreement})", alt)
