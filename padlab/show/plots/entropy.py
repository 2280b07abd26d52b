"""Entropy of the distribution over rankings along beta."""

from math import lgamma
from typing import Any

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes

from padlab.rankings.plackett_luce import PlackettLuce
from padlab.show.arrays import array, rising
from padlab.show.html.safe import num
from padlab.show.plots.style import NEUTRAL, STUDENT, TEACHER, Figure, axes, finish, house_style, legend_above


@house_style()
def plot_entropy_beta(
    betas: Any,
    student_reward: Any = None,
    teacher_reward: Any = None,
    mark: float | int = 10.0,
    title: str | None = None,
) -> Figure:
    """Entropy of the distribution over rankings as beta grows: from uniform to one certain ranking.

    Args:
        betas: K factors from rewards to scores, each at least 0, rising.
        student_reward, teacher_reward: n rewards in nats/token, or prompts x n of them, n up to 20; at least one of
            the two is given. Several prompts are drawn as their mean with a band.
        mark: a beta to mark, by default the paper's 10; outside of `betas` it is not drawn.
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: no rewards, numbers of responses that differ, a value that is not finite, beta below 0 or not
            rising.

    >>> plot_entropy_beta([0.0, 10.0], teacher_reward=[-1.0, -2.0])
    <Figure: Entropy over the rankings of 2 responses (uniform: 0.69 nats). From beta 0 to 10 preferences become \
sharper: teacher 0.69 to 0.00 nats.>
    """
    betas = rising(betas, "betas")
    rewards = {"student": student_reward, "teacher": teacher_reward}
    rewards = {m: np.atleast_2d(array(r, f"{m}_reward")) for m, r in rewards.items() if r is not None}
    sizes = {values.shape[-1] for values in rewards.values()}
    if len(sizes) != 1:
        raise ValueError(f"plot_entropy_beta: needs rewards of one number of responses, got {sorted(sizes) or 'none'}")
    n = sizes.pop()
    uniform, facts = lgamma(n + 1), []
    figure, ax = axes()
    for model, values in rewards.items():
        scores = torch.as_tensor(values[:, None, :] * betas[:, None])
        entropies = PlackettLuce(scores).entropy().numpy()  # prompts x betas
        _draw_entropies(ax, betas, entropies, model)
        mean = entropies.mean(0)
        facts.append(f"{model} {num(mean[0])} to {num(mean[-1])} nats")
    ax.axhline(uniform, color=NEUTRAL, linestyle="--", linewidth=1.2)
    ax.text(betas[-1], uniform, f"uniform: ln {n}! = {uniform:.2f}", ha="right", va="bottom", color=NEUTRAL)
    if betas[0] <= mark <= betas[-1]:
        ax.axvline(mark, color=NEUTRAL, linestyle=":", linewidth=1.5)
        ax.text(mark, uniform * 0.02, f" beta = {mark:g}", color=NEUTRAL)
    ax.set(xlabel="beta (factor from rewards to scores; no unit)", ylabel="entropy (nats)", ylim=(0, uniform * 1.12))
    legend_above(ax, columns=1)
    finding = f"from beta {betas[0]:g} to {betas[-1]:g} preferences become sharper: {', '.join(facts)}"
    return finish(figure, title, finding, f"Entropy over the rankings of {n} responses (uniform: {num(uniform)} nats)")


def _draw_entropies(ax: Axes, betas: np.ndarray, entropies: np.ndarray, model: str) -> None:
    """The mean over prompts, with a band from the 10th to the 90th percentile of them."""
    several = len(entropies) > 1
    look = {"color": STUDENT if model == "student" else TEACHER, "linewidth": 3}
    look["label"] = f"{model} (mean of {len(entropies)} prompts; band: the middle 80 %)" if several else model
    band = {"errorbar": ("pi", 80), "err_kws": {"alpha": 0.18, "linewidth": 0}} if several else {}
    sns.lineplot(x=np.tile(betas, len(entropies)), y=entropies.ravel(), ax=ax, **look, **band)
