"""Several models side by side: one share per model and way of sampling, with its interval."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from padlab.show.arrays import probabilities, same_length
from padlab.show.html.safe import num
from padlab.show.plots.intervals import draw_point, interval_arrays
from padlab.show.plots.labels import label, legend_label
from padlab.show.plots.style import FAINT, NEUTRAL, STUDENT, TEACHER, Figure, axes, finish, house_style

_LOOKS = ({"marker": "o", "markersize": 11}, {"marker": "D", "markersize": 9, "markerfacecolor": "white"})
_COLOURS = {"student": STUDENT, "teacher": TEACHER}


@house_style()
def plot_levels(
    names: Sequence[str],
    shares: Mapping[str, Any],
    colours: Sequence[str] | None = None,
    what: str = "right answers",
    title: str | None = None,
    of: str = "answers",
    guessing: Sequence[float] | None = None,
) -> Figure:
    """Shares of several models with 95 % intervals, a row per model, a marker per way of sampling.

    Args:
        names: M models, from the top.
        shares: one or two conditions, e.g. "T = 1" and "greedy", to M triples (estimate, low, high), from 0 to 1.
        colours: per model "student", "teacher", or anything else for grey; None: all grey.
        what: what the shares are of, on the axis.
        title: replaces the title that says what to see; "": none.
        of: what is counted, on the axis: "answers", "prompts".
        guessing: M shares that guessing would give, a dotted line in each row; None: not drawn.

    Raises:
        ValueError: more than two conditions, different lengths, or a value outside 0 to 1.

    >>> plot_levels(["before", "after"], {"T = 1": [(0.3, 0.2, 0.4), (0.6, 0.5, 0.7)]}, ["student", "student"])
    <Figure: Right answers, T = 1: before 0.30 [0.20, 0.40], after 0.60 [0.50, 0.70]. Right answers, T = 1: 0.30 \
(before), at most 0.60 (after).>
    """
    if not 1 <= len(shares) <= len(_LOOKS):
        raise ValueError(f"plot_levels: {len(shares)} conditions; give one or two")
    values = {name: probabilities(triples, f"shares[{name!r}]", ndim=2) for name, triples in shares.items()}
    optional = {"colours": colours or names, "guessing": guessing or names}
    count = same_length(names=names, **optional, **{f"shares of {k}": v for k, v in values.items()})
    figure, ax = axes(9.6, 1.3 + 0.75 * count, grid="x")
    facts = []
    for look, (condition, triples), shift in zip(_LOOKS, values.items(), (-0.13, 0.13), strict=False):
        estimate, low, high = interval_arrays(*triples.T, ndim=1)
        for row in range(count):
            colour = _COLOURS.get((colours or [""] * count)[row], NEUTRAL)
            edge = {"color": colour, "markeredgecolor": colour, "markeredgewidth": 2}
            draw_point(ax, estimate[row], low[row], high[row], at=row + shift, **edge, **look)
        ax.plot([], [], linestyle="", color=NEUTRAL, label=legend_label(condition), **look)
        told = [f"{n} {num(e)} [{num(a)}, {num(b)}]" for n, e, a, b in zip(names, estimate, low, high, strict=True)]
        facts.append(f"{condition}: {', '.join(told)}")
    for row, share in enumerate(guessing or ()):
        ax.plot([share] * 2, [row - 0.4, row + 0.4], ":", color=NEUTRAL, linewidth=2, gid="guessing", zorder=1)
    if guessing:
        ax.plot([], [], ":", color=NEUTRAL, linewidth=2, label="guessing")
        facts.append(f"guessing: {', '.join(map(num, guessing))}")
    for row in range(count - 1):
        ax.axhline(row + 0.5, color=FAINT, linewidth=0.6)
    ax.set(xlim=(-0.02, 1.02), ylim=(count - 0.5, -0.5), ylabel="")
    ax.set_xlabel(f"{label(what, 22)}, share of {label(of, 12)}, 95 % interval")
    ax.set_yticks(np.arange(count), [label(name, 40) for name in names])
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.1)
    first = next(iter(values))
    best = names[int(values[first][:, 0].argmax())]
    ends = num(values[first][0, 0]), num(values[first][:, 0].max())
    finding = f"{what}, {first}: {ends[0]} ({names[0]}), at most {ends[1]} ({best})"
    return finish(figure, title, finding, f"{what[:1].upper()}{what[1:]}, {'; '.join(facts)}")
