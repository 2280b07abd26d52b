"""Every plot function with small data, and texts that must do nothing in a figure."""

import numpy as np
import pytest

from padlab.show import plots

HOSTILE = [
    "$x^2$",
    "\\frac{1}{2} $",
    "$$ \\begin{x}",
    "a\x00b\x1b[31m",
    "Z" + "\u0351\u0321\u0338\u0353" * 30 + " 卵 🥚 \ud800 \u202e",
    "W" * 5000,
    "",
    "a\nb\t c",
]


def plot_calls(labels=None, title=None):
    """Name of each plot function -> a call of it, with the labels where it takes texts."""
    four = labels[:4] if labels else None
    text = labels[0] if labels else "jsd"
    names = labels[:2] if labels else ["jsd", "kendall_tau"]
    probs = np.random.default_rng(7).uniform(size=30)
    panels = {text: np.full((4, 4), 0.5)} if labels else {m: np.full((4, 4), 0.25) for m in ("teacher", "student")}
    rewards = [-1, -2, -3, -4], [-2, -1, -3, -4]
    interval = [-0.1, 0.1], [-0.2, -0.1], [-0.05, 0.3]
    curves = [[0, 1, 2], [2, 1, 0]], [[0, 0, 0]] * 2, [[3, 3, 3]] * 2
    history = [{"step": 1, text: 2.0}, {"step": 2, text: 1}]
    return {
        "plot_rankings": lambda: plots.plot_rankings([1, 2, 3, 0], [2, 1, 0, 3], four, title=title),
        "plot_rewards": lambda: plots.plot_rewards(*rewards, four, title=title),
        "plot_pairwise": lambda: plots.plot_pairwise(panels, four, title=title),
        "plot_rank_marginals": lambda: plots.plot_rank_marginals(panels, four, title=title),
        "plot_entropy_beta": lambda: plots.plot_entropy_beta([0, 5, 10], [-1, -1, -3], [-1, -2, -3], title=title),
        "plot_simplex": lambda: plots.plot_simplex([0, 1, 2], [2, 1, 0], four and four[:3], title=title),
        "plot_permutohedron": lambda: plots.plot_permutohedron([0, 1, 2, 3], [3, 1, 2, 0], four, title=title),
        "plot_training": lambda: plots.plot_training(history, [text], title=title),
        "plot_before_after": lambda: plots.plot_before_after([0.2, 0.5], [0.1, 0.6], names, *interval, title=title),
        "plot_levels": lambda: plots.plot_levels(
            [text, "after"],
            {text: [(0.3, 0.2, 0.4), (0.6, 0.5, 0.7)], "greedy": [(0.4, 0.2, 0.5), (0.9, 0.8, 1.0)]},
            title=title,
            **({"what": text, "of": names[1]} if labels else {}),
        ),
        "plot_students": lambda: plots.plot_students(
            {"length": 7.0, text: 0.4},
            {text: {"length": (1, 0, 2), text: (-0.1, -0.2, 0.1)}, "teacher": {"length": (2, 1, 3)}},
            title=title,
            **({"bars": text} if labels else {}),
        ),
        "plot_rounds": lambda: plots.plot_rounds(
            {text: [(0.5, 0.5, 0.5), (0.7, 0.6, 0.8), (0.7, 0.65, 0.8)], "reading": [(0.3, 0.3, 0.3), (0.6, 0.5, 0.7)]},
            {text: 0.54, "reading": 0.9},
            title=title,
        ),
        "plot_paired": lambda: plots.plot_paired(probs, probs**2, text, title=title),
        "plot_scatter": lambda: plots.plot_scatter(
            probs,
            {"student": probs, "teacher": 1 - probs},
            labels[0] if labels else "length, tokens",
            labels[1] if labels else "reward, nats",
            title,
        ),
        "plot_position_bias": lambda: plots.plot_position_bias(probs, probs, title=title),
        "plot_reliability": lambda: plots.plot_reliability(probs, probs > 0.4, title=title),
        "plot_alpha_curve": lambda: plots.plot_alpha_curve([0, 0.5, 1], *curves, metric=text, names=names, title=title),
        "plot_calibration_step": lambda: plots.plot_calibration_step(
            rewards[0], [0.1, 0.2, 0.3, 0.4], labels=four, title=title
        ),
    }


@pytest.fixture
def calls():
    """The function `plot_calls`."""
    return plot_calls


@pytest.fixture
def hostile():
    """Texts with formulas, control characters, emoji, too many characters, none at all, and line breaks."""
    return list(HOSTILE)


@pytest.fixture(autouse=True)
def _no_projector():
    yield
    plots.projector(False)
