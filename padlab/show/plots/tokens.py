"""One response, token by token: the static form of `html.token_heatmap`, for where no HTML can be shown."""

from collections.abc import Sequence
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from padlab.show.html.cards import heat_colours
from padlab.show.plots.arrays import array, same_length
from padlab.show.plots.labels import capitalise, label, num
from padlab.show.plots.style import NEUTRAL, Figure, finish, house_style

_LINE_WIDTH = 80.0  # characters
_LINES = 10


def _cells(texts: list[str]) -> list[tuple[float, int, float]]:
    """Of each token's cell the start (characters), the line and the width (characters); wrapped like text."""
    cells, x, line = [], 0.0, 0
    for text in texts:
        width = max(len(text) + 0.8, 4.6)
        if x + width > _LINE_WIDTH:
            x, line = 0.0, line + 1
        cells.append((x, line, width))
        x += width + 0.25
    return cells


def _draw_cell(axes: Axes, cell: tuple[float, int, float], text: str, logp: float | int, low: float | int) -> None:
    x, line, width = cell
    background, text_colour = heat_colours(logp, low)
    axes.add_patch(Rectangle((x, line), width, 0.56, facecolor=background, edgecolor="#BBBBBB", linewidth=0.6))
    middle, families = x + width / 2, ["DejaVu Sans Mono", *rcParams["font.family"]]
    axes.text(middle, line + 0.29, text, ha="center", va="center", color=text_colour, fontsize="small", family=families)
    axes.text(middle, line + 0.60, num(logp), ha="center", va="top", color=NEUTRAL, fontsize="x-small")


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
    'Log-probabilities of 2 tokens in nats: mean −1.00 nats/token; least probable "you" at −1.50.'
    """
    logps = array(logps, "logps", ndim=1)
    count = same_length(tokens=tokens, logps=logps)
    texts = [label(str(token).replace("\n", "⏎"), 24) or "␣" for token in tokens]
    cells = [cell for cell in _cells(texts) if cell[1] < _LINES]
    lines = cells[-1][1] + 1
    figure = Figure(9.6, 1.5 + 0.52 * lines)
    axes = figure.add_subplot()
    for cell, text, logp in zip(cells, texts, logps, strict=False):
        _draw_cell(axes, cell, text, logp, low)
    axes.set(xlim=(0, _LINE_WIDTH), ylim=(lines, -0.1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    rest = f"; {count - len(cells)} more tokens are not drawn" if count > len(cells) else ""
    axes.set_xlabel(f"log-probability of each token (nats); darkest at {num(low, 0)} and below{rest}")
    lowest, value = texts[logps.argmin()], num(logps.min())
    mean = f"mean {num(logps.mean())} nats/token"
    default = f"{capitalise(mean)} over {count} tokens; least probable: {lowest} ({value})"
    alt = f'Log-probabilities of {count} tokens in nats: {mean}; least probable "{lowest}" at {value}.'
    return finish(figure, title, default, alt)
