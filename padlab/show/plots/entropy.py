"""Entropy of the distribution over rankings along beta."""

from math import lgamma
from typing import Any

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes

from padlab.rankings.plackett_luce import PlackettLuce
from padlab.show.plots.arrays import array, rising
from padlab.show.plots.labels import num
from padlab.show.plots.style import NEUTRAL, STUDENT, TEACHER, Figure, finish, house_style, legend_above, light_grid


def _entropies(reward: Any, name: str, betas: np.ndarray) -> tuple[np.ndarray, int]:
    """Entropy in nats, prompts x betas, and the number n of responses."""
    rewards = np.atleast_2d(array(reward, name))
    scores = torch.as_tensor(rewards[:, None, :] * betas[None, :, None])
    return PlackettLuce(scores).entropy().numpy(), rewards.shape[-1]


def _draw_curve(axes: Axes, betas: np.ndarray, entropies: np.ndarray, model: str) -> None:
    """The mean over prompts, with a band from the 10th to the 90th percentile of them."""
    colour = STUDENT if model == "student" else TEACHER
    several = len(entropies) > 1
    name = f"{model} (mean of {len(entropies)} prompts; band: the middle 80 %)" if several else model
    sns.lineplot(
        x=np.tile(betas, len(entropies)), y=entropies.ravel(), errorbar=("pi", 80) if several else None, color=colour,
        linewidth=3, label=name, err_kws={"alpha": 0.18, "linewidth": 0} if several else None, ax=axes,
    )  # fmt: skip


@house_style()
def plot_entropy_beta(
    betas: Any,
    student_reward: Any = None,
    teacher_reward: Any = None,
    mark: float | int | None = 10.0,
    title: str | None = None,
) -> Figure:
    """Entropy of the distribution over rankings as beta grows: from uniform to one certain ranking.

    Args:
        betas: K factors from rewards to scores, each at least 0, rising.
        student_reward, teacher_reward: n rewards in nats/token, or prompts x n of them, n up to 20; at least one of
            the two is given. Several prompts are drawn as their mean with a band.
        mark: a beta to mark, by default the paper's 10; None: no mark.
        title: replaces the title that says what to see.

    Raises:
        ValueError: no rewards, numbers of responses that differ, a value that is not finite, beta below 0 or not
            rising.

    >>> plot_entropy_beta([0.0, 10.0], teacher_reward=[-1.0, -2.0]).alt_text
    'Entropy over 2 rankings of 2 responses: teacher 0.69 nats at beta 0 and 0.00 at beta 10. Uniform: 0.69 nats.'
    """
    betas = rising(betas, "betas")
    rewards = {"student": student_reward, "teacher": teacher_reward}
    curves = {m: _entropies(reward, f"{m}_reward", betas) for m, reward in rewards.items() if reward is not None}
    sizes = {n for _, n in curves.values()}
    if len(sizes) != 1:
        raise ValueError(f"plot_entropy_beta: needs rewards of one number of responses, got {sorted(sizes) or 'none'}")
    n = sizes.pop()
    figure = Figure()
    axes = figure.add_subplot()
    for model, (entropies, _) in curves.items():
        _draw_curve(axes, betas, entropies, model)
    _draw_scale(axes, betas, n, mark)
    means = {model: entropies.mean(0) for model, (entropies, _) in curves.items()}
    return finish(figure, title, *_sentences(means, betas, n, mark))


def _draw_scale(axes: Axes, betas: np.ndarray, n: int, mark: float | int | None) -> None:
    """The largest possible entropy, the marked beta, labels and legend."""
    highest = lgamma(n + 1)
    axes.axhline(highest, color=NEUTRAL, linestyle="--", linewidth=1.2)
    axes.text(betas[-1], highest, f"uniform: ln {n}! = {highest:.2f}", ha="right", va="bottom", color=NEUTRAL)
    if mark is not None and betas[0] <= mark <= betas[-1]:
        axes.axvline(mark, color=NEUTRAL, linestyle=":", linewidth=1.5)
        axes.text(mark, highest * 0.02, f" beta = {mark:g}", color=NEUTRAL)
    axes.set(xlabel="beta (factor from rewards to scores; no unit)", ylabel="entropy (nats)", ylim=(0, highest * 1.12))
    legend_above(axes, columns=1)
    light_grid(axes)


def _sentences(means: dict[str, np.ndarray], betas: np.ndarray, n: int, mark: float | int | None) -> tuple[str, str]:
    """The default title and the alt text."""
    highest = num(lgamma(n + 1))
    nearest = len(betas) - 1 if mark is None else int(np.abs(betas - mark).argmin())
    values = ", ".join(f"{model} {num(curve[nearest])}" for model, curve in means.items())
    default = f"A larger beta makes preferences sharper: entropy at beta {betas[nearest]:g} "
    default += f"{values} nats (uniform: {highest})"
    ends = "; ".join(
        f"{model} {num(curve[0])} nats at beta {betas[0]:g} and {num(curve[-1])} at beta {betas[-1]:g}"
        for model, curve in means.items()
    )
    rankings = f"{round(np.exp(lgamma(n + 1))):,} rankings of " if n <= 10 else "the rankings of "
    return default, f"Entropy over {rankings}{n} responses: {ends}. Uniform: {highest} nats."
