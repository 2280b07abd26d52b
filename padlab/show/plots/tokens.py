"""One response, token by token, for where no HTML can be shown."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from padlab.show.html.cards import heat_colours
from padlab.show.plots.style import NEUTRAL, Figure, array, finish, house_style, label, num, same_length

_WIDTH = 80.0  # characters in a line
_LINES = 10


def _places(texts: list[str]) -> list[tuple[float, int, float]]:
    """Where each token's cell starts (characters), its line, and its width; wrapped like text."""
    places, x, line = [], 0.0, 0
    for text in texts:
        width = max(len(text) + 0.8, 4.6)
        if x + width > _WIDTH:
            x, line = 0.0, line + 1
        places.append((x, line, width))
        x += width + 0.25
    return places


def _draw_cell(axes: Axes, place: tuple[float, int, float], text: str, logp: Any, low: float | int) -> None:
    x, line, width = place
    back, ink = heat_colours(logp, low)
    axes.add_patch(Rectangle((x, line), width, 0.56, facecolor=back, edgecolor="#BBBBBB", linewidth=0.6))
    middle = x + width / 2
    axes.text(middle, line + 0.29, text, ha="center", va="center", color=ink, fontsize=12, family=_mono())
    axes.text(middle, line + 0.60, num(logp), ha="center", va="top", color=NEUTRAL, fontsize=9)


def _mono() -> list[str]:
    from matplotlib import rcParams

    return ["DejaVu Sans Mono", *rcParams["font.family"]]


@house_style()
def plot_token_rewards(tokens: Sequence[str], logps: Any, low: float | int = -8.0, title: str | None = None) -> Figure:
    """A response with each token's log-probability below it and as its colour; their mean is the reward.

    Args:
        tokens: T token texts, in order; at most 10 lines of them are drawn, the rest is counted.
        logps: T log-probabilities in nats, each at most 0.
        low: the log-probability in nats, below 0, drawn darkest.
        title: replaces the title that says what to see.

    Raises:
        ValueError: no tokens, different lengths, or a value that is not finite.

    >>> plot_token_rewards(["Hi", " you"], [-0.5, -1.5]).alt_text
    'Log-probabilities of 2 tokens in nats: mean −1.00 nats/token; least likely "you" at −1.50.'
    """
    logps = array(logps, "logps", ndim=1)
    count = same_length(tokens=tokens, logps=logps)
    texts = [label(str(token).replace("\n", "⏎"), 24) or "␣" for token in tokens]
    places = _places(texts)
    shown = sum(line < _LINES for _, line, _ in places)
    lines = places[shown - 1][1] + 1
    figure = Figure(9.6, 1.5 + 0.52 * lines)
    axes = figure.add_subplot()
    for place, text, logp in zip(places[:shown], texts, logps, strict=False):
        _draw_cell(axes, place, text, logp, low)
    axes.set(xlim=(0, _WIDTH), ylim=(lines, -0.1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    rest = f"; {count - shown} more tokens are not drawn" if count > shown else ""
    axes.set_xlabel(f"log-probability of each token (nats); darkest at {num(low, 0)} and below{rest}")
    worst = texts[logps.argmin()]
    mean = f"mean {num(logps.mean())} nats/token"
    default = f"{mean} over {count} tokens; least likely: {worst} ({num(logps.min())})"
    alt = f'Log-probabilities of {count} tokens in nats: {mean}; least likely "{worst}" at {num(logps.min())}.'
    return finish(figure, title, default[0].upper() + default[1:], alt)
