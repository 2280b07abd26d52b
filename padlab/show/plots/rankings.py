"""Student against teacher, response by response: probabilities of rankings, and rewards."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from padlab.rankings.metrics import kendall_tau
from padlab.rankings.plackett_luce import PlackettLuce
from padlab.show.plots.arrays import array, same_length
from padlab.show.plots.labels import capitalise, item_names, num, percent
from padlab.show.plots.style import FAINT, STUDENT, TEACHER, Figure, finish, house_style, legend_above, light_grid


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
        drawn = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"
        others = "plot_simplex draws 3, plot_permutohedron 4, plot_rankings 2 to 8, plot_rank_marginals any number"
        raise ValueError(f"this figure draws the rankings of {drawn} responses, but there are {n}; {others}")
    return {name: PlackettLuce(torch.as_tensor(values)) for name, values in vectors.items()}


def enumerate_all(distributions: Mapping[str, PlackettLuce]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All n! rankings (n! x n, best first), and their probabilities under each distribution (n! each)."""
    rankings = next(iter(distributions.values())).enumerate()[0].numpy()
    return rankings, {name: p.enumerate()[1].exp().numpy() for name, p in distributions.items()}


def most_probable(rankings: np.ndarray, probs: np.ndarray, names: Sequence[str]) -> str:
    """The ranking of the highest probability, as text: A > B > C."""
    return " > ".join(names[i] for i in rankings[probs.argmax()])


def _rankings_to_draw(probs: dict[str, np.ndarray], top: int | None) -> np.ndarray:
    """Indices of the rankings with the highest mean probability, in the teacher's order."""
    chosen = np.argsort(-np.mean(list(probs.values()), axis=0), kind="stable")[:top]
    return chosen[np.argsort(-probs["teacher"][chosen], kind="stable")]


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
        title: replaces the title that says what to see.

    Raises:
        ValueError: different lengths, n outside 2 to 8, a score that is not finite.

    >>> plot_rankings([0.0, 0.0], [2.0, 0.0])
    <Figure: Probability of 2 rankings. The teacher's most probable: A > B, student 50 %, teacher 88 %.>
    """
    scores = {} if before is None else {"student before": before}
    scores |= {"student": student_scores, "teacher": teacher_scores}
    rankings, probs = enumerate_all(distributions(scores))
    n, count = rankings.shape[1], len(rankings)
    names, key = item_names(labels, n)
    drawn = _rankings_to_draw(probs, None if n <= 4 else max(1, top))
    ticks = ["\n".join(names[i] for i in rankings[r]) for r in drawn]
    bars = {model: list(p[drawn]) for model, p in probs.items()}
    if rest := count - len(drawn):
        ticks.append(f"the\nother\n{rest:,}")
        bars = {model: [*p, max(0.0, 1 - sum(p))] for model, p in bars.items()}
    figure = Figure(9.6, 5.2 + 0.16 * max(0, n - 3) + 0.22 * len(key))
    axes = figure.add_subplot()
    _grouped_bars(axes, bars, ticks, gap=bool(rest))
    axes.set_xlabel("\n".join(["ranking (best on top)", *key]), loc="left" if key else "center")
    return finish(figure, title, *_ranking_sentences(rankings, probs, names))


def _ranking_sentences(rankings: np.ndarray, probs: dict[str, np.ndarray], names: list[str]) -> tuple[str, str]:
    """The default title and the alt text: the teacher's most probable ranking, and how probable each model finds it."""
    first, own = (most_probable(rankings, probs[model], names) for model in ("teacher", "student"))
    share = {model: percent(p[probs["teacher"].argmax()]) for model, p in probs.items()}
    default = f"The teacher's most probable ranking {first}: "
    default += f"{share['student']} under the student, {share['teacher']} under the teacher"
    if own != first:
        default += f"; the student's most probable: {own}"
    values = ", ".join(f"{model} {value}" for model, value in share.items())
    return default, f"Probability of {len(rankings)} rankings. The teacher's most probable: {first}, {values}."


def _grouped_bars(axes: Axes, bars: dict[str, list[float]], ticks: list[str], gap: bool) -> None:
    """One group of bars per tick; the last group stands apart when `gap`."""
    positions = np.arange(len(ticks)) + np.array([0.6 * (gap and i == len(ticks) - 1) for i in range(len(ticks))])
    width = 0.84 / len(bars)
    looks = {
        "student before": {"color": STUDENT, "alpha": 0.4, "hatch": "//", "edgecolor": "white"},
        "student": {"color": STUDENT, "label": "student after" if "student before" in bars else "student"},
        "teacher": {"color": TEACHER},
    }
    for index, (model, heights) in enumerate(bars.items()):
        x = positions + (index - (len(bars) - 1) / 2) * width
        drawn = axes.bar(x, heights, width * 0.94, **{"label": model} | looks[model])
        if len(ticks) * len(bars) <= 24:
            shares = [percent(h) if h >= 0.005 or len(ticks) < 9 else "" for h in heights]
            axes.bar_label(drawn, shares, fontsize="small" if len(ticks) < 9 else "x-small", padding=2)
    axes.set_xticks(positions, ticks, fontsize="small", linespacing=1.0)
    axes.set_ylabel("probability (0 to 1)")
    axes.margins(x=0.02, y=0.1)
    legend_above(axes)
    light_grid(axes)


@house_style()
def plot_rewards(
    student_reward: Any, teacher_reward: Any, labels: Sequence[str] | None = None, title: str | None = None
) -> Figure:
    """Reward of each response under student and teacher, the teacher's best on top.

    Args:
        student_reward, teacher_reward: n mean token log-probabilities each, nats/token.
        labels: n texts; None names the responses A, B, ...
        title: replaces the title that says what to see.

    Raises:
        ValueError: different lengths, or a reward that is not finite.

    >>> plot_rewards([-3.0, -2.5], [-1.0, -2.0]).alt_text
    'Rewards of 2 responses in nats/token. Student: best B −2.50. Teacher: best A −1.00. Kendall tau −1.00.'
    """
    student, teacher = array(student_reward, "student_reward", 1), array(teacher_reward, "teacher_reward", 1)
    n = same_length(student_reward=student, teacher_reward=teacher)
    names, key = item_names(labels, n, limit=34)
    order = np.argsort(-teacher, kind="stable")
    rows = np.arange(n)
    figure = Figure(9.6, 2.6 + 0.45 * n)
    axes = figure.add_subplot()
    axes.hlines(rows, student[order], teacher[order], color=FAINT, linewidth=3, zorder=1)
    axes.scatter(student[order], rows, s=130, color=STUDENT, marker="D", label="student", zorder=2)
    axes.scatter(teacher[order], rows, s=130, color=TEACHER, label="teacher", zorder=3)
    axes.set_yticks(rows, [(key or names)[i] for i in order])
    axes.set_ylim(n - 0.4, -0.6)
    axes.set_xlabel("reward: mean token log-probability (nats/token)")
    legend_above(axes)
    light_grid(axes, "x")
    own, best = names[student.argmax()], names[teacher.argmax()]
    tau = float(kendall_tau(student, teacher))
    agreement = "Kendall tau not defined" if np.isnan(tau) else f"Kendall tau {num(tau)}"
    verdict = f"Both put {best} first" if best == own else f"The student puts {own} first, the teacher {best}"
    values = f"Student: best {own} {num(student.max())}. Teacher: best {best} {num(teacher.max())}."
    alt = f"Rewards of {n} responses in nats/token. {values} {capitalise(agreement)}."
    return finish(figure, title, f"{verdict} ({agreement})", alt)
