"""What the selection question says, whether to believe it, and what mixing it in does."""

from typing import Any

import numpy as np

from padlab.show.plots.style import (
    BETTER,
    FAINT,
    NEUTRAL,
    TEACHER,
    Figure,
    array,
    finish,
    house_style,
    legend_above,
    light_grid,
    num,
    percent,
    same_length,
)


def _probabilities(values: Any, name: str, ndim: int | None = 1) -> np.ndarray:
    result = array(values, name, ndim)
    if result.min() < -1e-6 or result.max() > 1 + 1e-6:
        raise ValueError(f"{name}: needs probabilities from 0 to 1, got {result.min():g} to {result.max():g}")
    return result.clip(0, 1)


@house_style()
def plot_position_bias(prob_first_ab: Any, prob_first_ba: Any, title: str | None = None) -> Figure:
    """P(the option named first) for each pair in both orders: does the judge follow the content or the place?

    A judge that follows the content picks the first option in one order and not in the other: top left or bottom
    right. One that follows the place does the same in both orders: top right or bottom left.

    Args:
        prob_first_ab: M probabilities, 0 to 1, of choosing the first option when a is named first.
        prob_first_ba: the same when b is named first.
        title: replaces the title that says what to see.

    Raises:
        ValueError: different lengths, or a value that is no probability.

    >>> plot_position_bias([0.9, 0.8], [0.7, 0.8]).alt_text
    'First option chosen with 80 % on average over 2 pairs in both orders (50 % is unbiased); same place on 100 %.'
    """
    ab, ba = _probabilities(prob_first_ab, "prob_first_ab"), _probabilities(prob_first_ba, "prob_first_ba")
    count = same_length(prob_first_ab=ab, prob_first_ba=ba)
    figure = Figure(7.6, 6.4)
    axes = figure.add_subplot()
    for x, y, place, text in ((0.25, 0.75, 0.95, "prefers b"), (0.75, 0.25, 0.02, "prefers a")):
        axes.fill_between([x - 0.25, x + 0.25], y - 0.25, y + 0.25, color=BETTER, alpha=0.1, linewidth=0)
        axes.text(x, place, text, ha="center", color="#00664B")
    axes.text(0.75, 0.95, "always the first", ha="center", color=NEUTRAL)
    axes.text(0.25, 0.02, "always the second", ha="center", color=NEUTRAL)
    axes.plot([0, 1], [1, 0], color=NEUTRAL, linestyle="--", linewidth=1.2, label="no bias by place")
    axes.scatter(ab, ba, s=55, color=TEACHER, alpha=0.7, edgecolor="white", linewidth=0.6, label="pair")
    axes.plot(ab.mean(), ba.mean(), "P", color="black", markersize=14, markeredgecolor="white", label="mean")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("P(first option) when a is named first (0 to 1)")
    axes.set_ylabel("P(first option) when b is named first (0 to 1)")
    legend_above(axes)
    axes.grid(True)
    first, same = percent((ab + ba).mean() / 2), percent(((ab > 0.5) == (ba > 0.5)).mean())
    default = f"The first option is chosen with {first}, whatever it is (unbiased: 50 %)"
    alt = f"First option chosen with {first} on average over {count} pairs in both orders (50 % is unbiased); "
    return finish(figure, title, default, alt + f"same place on {same}.")


@house_style()
def plot_option_mass(option_mass: Any, threshold: float | int = 0.5, title: str | None = None) -> Figure:
    """How much of the next-token probability falls on the option letters, prompt by prompt, least first.

    Args:
        option_mass: M probabilities, 0 to 1, one per prompt: the sum over the option letters.
        threshold: the mass, 0 to 1, below which an answer counts as doubtful.
        title: replaces the title that says what to see.

    Raises:
        ValueError: a value that is no probability.

    >>> plot_option_mass([0.99, 0.2]).alt_text
    'Probability on the option letters for 2 prompts: mean 0.59, least 0.20; 1 below 0.50.'
    """
    mass = np.sort(_probabilities(option_mass, "option_mass"))
    figure = Figure(9.0, 4.8)
    axes = figure.add_subplot()
    places = np.arange(1, len(mass) + 1)
    look = {"width": 0.8 if len(mass) <= 60 else 1.0}
    axes.bar(places, mass, color=TEACHER, label="option letters", **look)
    axes.bar(places, 1 - mass, bottom=mass, color=FAINT, label="anything else", **look)
    axes.axhline(threshold, color="black", linestyle="--", linewidth=1.5, label=f"doubtful below {threshold:g}")
    axes.set(ylim=(0, 1), xlim=(0.4, len(mass) + 0.6))
    axes.set_xlabel("prompt, least mass first (number)")
    axes.set_ylabel("probability (0 to 1)")
    legend_above(axes)
    axes.tick_params(length=0)
    below = int((mass < threshold).sum())
    default = f"The option letters hold {percent(mass.mean())} of the probability; "
    default += f"{below} of {len(mass)} prompts doubtful"
    values = f"mean {num(mass.mean())}, least {num(mass[0])}; {below} below {num(threshold)}"
    return finish(figure, title, default, f"Probability on the option letters for {len(mass)} prompts: {values}.")


def _reliability(confidence: np.ndarray, correct: np.ndarray, bins: int) -> tuple[np.ndarray, ...]:
    """Per occupied bin: count, mean confidence, share correct, Wilson 95 % interval (low, high)."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    used = count > 0
    count, z = count[used], 1.959964
    mean, share = (np.bincount(place, weights=w, minlength=bins)[used] / count for w in (confidence, correct))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return count, mean, share, centre - half, centre + half


@house_style()
def plot_reliability(confidence: Any, correct: Any, bins: int = 10, title: str | None = None) -> Figure:
    """Reliability diagram: of the choices made with confidence p, how many were right?

    ECE, the expected calibration error, is the mean over choices of |share right - mean confidence| of their bin.

    Args:
        confidence: M probabilities, 0 to 1, given to the choice made.
        correct: M values, 1 or True where that choice was right, else 0.
        bins: bins of equal width over 0 to 1, at least 1.
        title: replaces the title that says what to see.

    Raises:
        ValueError: different lengths, a confidence that is no probability, correct other than 0 and 1.

    >>> plot_reliability([0.9, 0.9], [1, 0]).alt_text
    'Reliability of 2 choices: right 50 %, mean confidence 90 %, expected calibration error 0.40.'
    """
    confidence, correct = _probabilities(confidence, "confidence"), _probabilities(correct, "correct")
    total = same_length(confidence=confidence, correct=correct)
    if not np.isin(correct, (0, 1)).all():
        raise ValueError("correct: needs 0 or 1 (False or True) for each choice")
    count, mean, share, low, high = _reliability(confidence, correct, bins)
    error = float((count * np.abs(share - mean)).sum() / total)
    figure = Figure(7.6, 7.0)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    axes.plot([0, 1], [0, 1], color=NEUTRAL, linestyle="--", linewidth=1.2, label="as sure as right")
    bars = np.abs(np.stack([share - low, high - share]))
    look = {"color": TEACHER, "marker": "o", "markersize": 9, "linewidth": 2, "capsize": 4, "elinewidth": 1.5}
    axes.errorbar(mean, share, yerr=bars, label="choices (95 % interval)", **look)
    axes.set(ylim=(-0.02, 1.02), ylabel="share right (0 to 1)")
    legend_above(axes)
    light_grid(axes, "both")
    below.hist(confidence, bins=np.linspace(0, 1, bins + 1), color=TEACHER, edgecolor="white")
    below.set(xlim=(0, 1), ylabel="choices", xlabel="confidence: probability of the choice made (0 to 1)")
    light_grid(below)
    right, sure = percent(correct.mean()), percent(confidence.mean())
    gap = confidence.mean() - correct.mean()
    verdict = "Too sure" if gap > 0.05 else "Not sure enough" if gap < -0.05 else "About as sure as right"
    default = f"{verdict}: right {right}, confidence {sure} (calibration error {num(error)})"
    alt = f"right {right}, mean confidence {sure}, expected calibration error {num(error)}"
    return finish(figure, title, default, f"Reliability of {total} choices: {alt}.")
