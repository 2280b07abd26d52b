"""The teacher's answers to the multiple-choice question: position bias, mass on the option letters, reliability."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from padlab.rankings.reliability import Reliability, reliability
from padlab.show.plots.arrays import probabilities, same_length
from padlab.show.plots.intervals import draw_line
from padlab.show.plots.labels import num, percent
from padlab.show.plots.style import BETTER, DATA, FAINT, NEUTRAL, Figure, finish, house_style, legend_above, light_grid


@house_style()
def plot_position_bias(prob_first_ab: Any, prob_first_ba: Any, title: str | None = None) -> Figure:
    """P(option listed first) for each pair in both orders: does the choice follow the content or the position?

    A choice that follows the content takes the first option in one order and the second in the other: top left or
    bottom right. One that follows the position takes the same in both orders: top right or bottom left.

    Args:
        prob_first_ab: M probabilities, 0 to 1, of choosing the first option when a is listed first.
        prob_first_ba: the same when b is listed first.
        title: replaces the title that says what to see.

    Raises:
        ValueError: different lengths, or a value that is not a probability.

    >>> plot_position_bias([0.9, 0.8], [0.7, 0.8]).alt_text
    'Mean probability of the first option 80 % over 2 pairs in both orders (50 % is unbiased); same position on 100 %.'
    """
    ab, ba = probabilities(prob_first_ab, "prob_first_ab"), probabilities(prob_first_ba, "prob_first_ba")
    count = same_length(prob_first_ab=ab, prob_first_ba=ba)
    figure = Figure(7.6, 6.4)
    axes = figure.add_subplot()
    _draw_quadrants(axes)
    axes.plot([0, 1], [1, 0], color=NEUTRAL, linestyle="--", linewidth=1.2, label="no position bias")
    axes.scatter(ab, ba, s=55, color=DATA, alpha=0.7, edgecolor="white", linewidth=0.6, label="pair")
    axes.plot(ab.mean(), ba.mean(), "P", color="black", markersize=14, markeredgecolor="white", label="mean")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_xlabel("P(first option) when a is listed first (0 to 1)")
    axes.set_ylabel("P(first option) when b is listed first (0 to 1)")
    legend_above(axes)
    light_grid(axes, "both")
    first, same = percent((ab + ba).mean() / 2), percent(((ab > 0.5) == (ba > 0.5)).mean())
    default = f"Mean probability of the first option over both orders: {first} (unbiased: 50 %)"
    alt = f"Mean probability of the first option {first} over {count} pairs in both orders (50 % is unbiased); "
    return finish(figure, title, default, alt + f"same position on {same}.")


def _draw_quadrants(axes: Axes) -> None:
    """Say what each quadrant means; those of consistent choices are shaded."""
    for x, y in ((0.25, 0.75), (0.75, 0.25)):
        axes.fill_between([x - 0.25, x + 0.25], y - 0.25, y + 0.25, color=BETTER, alpha=0.15, linewidth=0)
    names = ((0.25, 0.95, "prefers b"), (0.75, 0.02, "prefers a"), (0.75, 0.95, "always first"))
    for x, y, name in (*names, (0.25, 0.02, "always second")):
        colour = BETTER if name.startswith("prefers") else NEUTRAL
        halo = [withStroke(linewidth=3, foreground="white")]
        axes.text(x, y, name, ha="center", color=colour, zorder=4, path_effects=halo)


@house_style()
def plot_option_mass(option_mass: Any, threshold: float | int = 0.5, title: str | None = None) -> Figure:
    """How much of the next-token probability falls on the option letters, prompt by prompt, least first.

    Args:
        option_mass: M probabilities, 0 to 1, one per prompt: the sum over the option letters.
        threshold: the mass, 0 to 1, below which an answer counts as doubtful.
        title: replaces the title that says what to see.

    Raises:
        ValueError: a value that is not a probability.

    >>> plot_option_mass([0.99, 0.2]).alt_text
    'Probability of the option letters on 2 prompts: mean 0.59, least 0.20; 1 below 0.50.'
    """
    mass = np.sort(probabilities(option_mass, "option_mass"))
    figure = Figure(9.0, 4.8)
    axes = figure.add_subplot()
    positions = np.arange(1, len(mass) + 1)
    width = 0.8 if len(mass) <= 60 else 1.0
    axes.bar(positions, mass, width, color=DATA, label="option letters")
    axes.bar(positions, 1 - mass, width, bottom=mass, color=FAINT, label="other tokens")
    axes.axhline(threshold, color="black", linestyle="--", linewidth=1.5, label=f"threshold {threshold:g}")
    axes.set(ylim=(0, 1), xlim=(0.4, len(mass) + 0.6))
    axes.set(xlabel="prompts, least mass first (number)", ylabel="probability (0 to 1)")
    legend_above(axes)
    axes.tick_params(length=0)
    below = int((mass < threshold).sum())
    default = f"The option letters have {percent(mass.mean())} of the probability on average; "
    default += f"{below} of {len(mass)} prompts below {threshold:g}"
    values = f"mean {num(mass.mean())}, least {num(mass[0])}; {below} below {num(threshold)}"
    return finish(figure, title, default, f"Probability of the option letters on {len(mass)} prompts: {values}.")


@house_style()
def plot_reliability(confidence: Any, correct: Any, bins: int = 10, title: str | None = None) -> Figure:
    """Reliability diagram: of the choices made with confidence p, how many are correct?

    ECE, the expected calibration error, is the mean over choices of |accuracy - mean confidence| of their bin
    (`padlab.rankings.reliability`).

    Args:
        confidence: M probabilities, 0 to 1, given to the choice made.
        correct: M values, 1 or True where that choice is correct, else 0.
        bins: bins of equal width over 0 to 1, at least 1.
        title: replaces the title that says what to see.

    Raises:
        ValueError: different lengths, a confidence that is not a probability, `correct` other than 0 and 1.

    >>> plot_reliability([0.9, 0.9], [1, 0]).alt_text
    'Reliability of 2 choices: accuracy 50 % [9 %, 91 %], mean confidence 90 %, expected calibration error 0.40.'
    """
    confidence, correct = probabilities(confidence, "confidence"), probabilities(correct, "correct")
    same_length(confidence=confidence, correct=correct)
    result = reliability(confidence, correct, bins)
    figure = Figure(7.6, 7.0)
    _draw_reliability(*figure.subplots(2, 1, sharex=True, height_ratios=[4, 1]), result)
    share, low, high = (float(value) for value in result.overall[:3])
    mean = confidence.mean()
    verdict = "Overconfident" if mean > high else "Underconfident" if mean < low else "Agreement within the interval"
    values = f"accuracy {percent(share)} [{percent(low)}, {percent(high)}], mean confidence {percent(mean)}"
    error = num(result.calibration_error)
    alt = f"Reliability of {len(correct)} choices: {values}, expected calibration error {error}."
    return finish(figure, title, f"{verdict}: {values} (expected calibration error {error})", alt)


def _draw_reliability(axes: Axes, counts: Axes, result: Reliability) -> None:
    """Accuracy with its interval against confidence above, the number of choices per bin below."""
    used = (result.count > 0).numpy()
    mean, count = result.confidence.numpy()[used], result.count.numpy()
    accuracy = [end.numpy()[used] for end in result.accuracy[:3]]
    axes.plot([0, 1], [0, 1], color=NEUTRAL, linestyle="--", linewidth=1.2, label="accuracy = confidence")
    style = {"color": DATA, "marker": "o", "markersize": 9, "linewidth": 2, "label": "choices (95 % interval)"}
    draw_line(axes, mean, *accuracy, bars=True, **style)
    axes.set(ylim=(-0.02, 1.02), ylabel="accuracy: share correct (0 to 1)")
    legend_above(axes)
    light_grid(axes, "both")
    centres = (np.arange(len(count)) + 0.5) / len(count)
    counts.bar(centres, count, 1 / len(count), color=DATA, edgecolor="white")
    counts.set(xlim=(0, 1), ylabel="choices", xlabel="confidence: probability of the choice made (0 to 1)")
    light_grid(counts)
