"""The teacher's answers to the multiple-choice question: position bias and reliability."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from padlab.rankings.reliability import Reliability, reliability
from padlab.show.arrays import probabilities, same_length
from padlab.show.html.safe import num
from padlab.show.plots.comparison import draw_points
from padlab.show.plots.intervals import draw_line
from padlab.show.plots.labels import percent
from padlab.show.plots.style import BETTER, DATA, NEUTRAL, Figure, axes, finish, house_style, legend_above

_QUADRANTS = ((0.25, 0.95, "prefers b"), (0.75, 0.02, "prefers a"), (0.75, 0.95, "always first"),
              (0.25, 0.02, "always second"))  # fmt: skip


@house_style()
def plot_position_bias(prob_first_ab: Any, prob_first_ba: Any, title: str | None = None) -> Figure:
    """P(option listed first) for each pair in both orders: does the choice follow the content or the position?

    A choice that follows the content takes the first option in one order and the second in the other: top left or
    bottom right. One that follows the position takes the same in both orders: top right or bottom left.

    Args:
        prob_first_ab: M probabilities, 0 to 1, of choosing the first option when a is listed first.
        prob_first_ba: the same when b is listed first.
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: different lengths, or a value that is not a probability.

    >>> plot_position_bias([0.9, 0.8], [0.7, 0.8])
    <Figure: 2 pairs asked in both orders. Mean probability of the first option 80 % (unbiased: 50 %); 100 % of the \
pairs give the same position twice.>
    """
    ab, ba = probabilities(prob_first_ab, "prob_first_ab"), probabilities(prob_first_ba, "prob_first_ba")
    count = same_length(prob_first_ab=ab, prob_first_ba=ba)
    figure, ax = axes(7.6, 6.4, grid="both")
    _draw_quadrants(ax)
    ax.plot([0, 1], [1, 0], color=NEUTRAL, linestyle="--", linewidth=1.2, label="no position bias")
    draw_points(ax, ab, ba, (-0.02, 1.02), "pair")
    ax.set_xlabel("P(first option) when a is listed first (0 to 1)")
    ax.set_ylabel("P(first option) when b is listed first (0 to 1)")
    first, same = percent((ab + ba).mean() / 2), percent(((ab > 0.5) == (ba > 0.5)).mean())
    finding = f"mean probability of the first option {first} (unbiased: 50 %); "
    finding += f"{same} of the pairs give the same position twice"
    return finish(figure, title, finding, f"{count} pairs asked in both orders")


def _draw_quadrants(ax: Axes) -> None:
    """Say what each quadrant means; those of consistent choices are shaded."""
    ax.fill_between([0, 0.5], 0.5, 1, color=BETTER, alpha=0.15, linewidth=0)
    ax.fill_between([0.5, 1], 0, 0.5, color=BETTER, alpha=0.15, linewidth=0)
    for x, y, name in _QUADRANTS:
        colour = BETTER if name.startswith("prefers") else NEUTRAL
        halo = [withStroke(linewidth=3, foreground="white")]
        ax.text(x, y, name, ha="center", color=colour, zorder=4, path_effects=halo)


@house_style()
def plot_reliability(confidence: Any, correct: Any, bins: int = 10, title: str | None = None) -> Figure:
    """Reliability diagram: of the choices made with confidence p, how many are correct?

    ECE, the expected calibration error, is the mean over choices of |accuracy - mean confidence| of their bin
    (`padlab.rankings.reliability`).

    Args:
        confidence: M probabilities, 0 to 1, given to the choice made.
        correct: M values, 1 or True where that choice is correct, else 0.
        bins: bins of equal width over 0 to 1, at least 1.
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: different lengths, a confidence that is not a probability, `correct` other than 0 and 1.

    >>> plot_reliability([0.9, 0.9], [1, 0])
    <Figure: Reliability of 2 choices. Agreement within the interval: accuracy 50 % [9 %, 91 %], mean confidence 90 % \
(expected calibration error 0.40).>
    """
    confidence, correct = probabilities(confidence, "confidence"), probabilities(correct, "correct")
    result = reliability(confidence, correct, bins)
    figure = Figure(7.6, 7.0)
    _draw_reliability(*figure.subplots(2, 1, sharex=True, height_ratios=[4, 1]), result)
    share, low, high = (float(value) for value in result.overall[:3])
    mean = confidence.mean()
    verdict = "overconfident" if mean > high else "underconfident" if mean < low else "agreement within the interval"
    finding = f"{verdict}: accuracy {percent(share)} [{percent(low)}, {percent(high)}], mean confidence "
    finding += f"{percent(mean)} (expected calibration error {num(result.calibration_error)})"
    return finish(figure, title, finding, f"Reliability of {len(correct)} choices")


def _draw_reliability(ax: Axes, counts: Axes, result: Reliability) -> None:
    """Accuracy with its interval against confidence above, the number of choices per bin below."""
    used = (result.count > 0).numpy()
    mean, count = result.confidence.numpy()[used], result.count.numpy()
    accuracy = [end.numpy()[used] for end in result.accuracy[:3]]
    ax.plot([0, 1], [0, 1], color=NEUTRAL, linestyle="--", linewidth=1.2, label="accuracy = confidence")
    style = {"color": DATA, "marker": "o", "markersize": 9, "linewidth": 2, "label": "choices (95 % interval)"}
    draw_line(ax, mean, *accuracy, bars=True, **style)
    ax.set(ylim=(-0.02, 1.02), ylabel="accuracy: share correct (0 to 1)")
    legend_above(ax)
    centres = (np.arange(len(count)) + 0.5) / len(count)
    counts.bar(centres, count, 1 / len(count), color=DATA, edgecolor="white")
    counts.set(xlim=(0, 1), ylabel="choices", xlabel="confidence: probability of the choice made (0 to 1)")
    ax.grid(True)
    counts.grid(True, axis="y")
