"""What the widget over stored results shows: a measure at one value of a setting, with intervals on one fixed scale."""

from collections.abc import Mapping, Sequence

import numpy as np

from padlab.rankings.checks import Numbers
from padlab.show import html
from padlab.show.arrays import array, same_length
from padlab.show.explore_model_views import line, page
from padlab.show.html import Html, escape
from padlab.show.html.safe import CELL, num
from padlab.show.plots.intervals import interval_arrays
from padlab.show.plots.style import DATA

NUMBERS = f"{CELL}white-space:nowrap;overflow-wrap:normal;"
Curves = Mapping[str, Sequence[Sequence[float]]]


def grid_view(values: Numbers, curves: Curves, value: float, name: str = "alpha") -> Html:
    """What was measured at this value of a setting, and where is each curve's highest mean?

    All intervals are drawn on one scale that stays the same at every value; a thin line marks 0, a diamond the highest
    mean of the curve.

    Args:
        values: K values of the setting, each once.
        curves: name -> K results (estimate, low, high, ...), e.g. an `Interval` each; higher is better.
        value: one of the values.
        name: the setting's name.

    Raises:
        ValueError: a value that was not measured, no curve, a curve of another length, numbers that are not in order.

    >>> print(grid_view([0, 1], {"toy": [(-0.1, -0.2, 0.1), (0.3, 0.2, 0.4)]}, 1).text)
    At alpha = 1, 1 of 1 intervals excludes 0.
    curve  mean   95 % interval   highest mean
    toy    +0.30  +0.20 to +0.40  +0.30 at 1
    """
    place, grids = _checked(values, curves, value, name)
    ends = [end for _, low, high in grids.values() for end in (low.min(), high.max())]
    scale = min(0.0, *ends), max(0.0, *ends)
    rows, lines, clear = [], [], 0
    for curve, (estimate, low, high) in grids.items():
        now, best = (estimate[place], low[place], high[place]), int(estimate.argmax())
        clear += int(now[1] > 0 or now[2] < 0)
        cells = {"curve": curve, "mean": _signed(now[0]), "95 % interval": f"{_signed(now[1])} to {_signed(now[2])}"}
        rows.append(cells | {"highest mean": f"{_signed(estimate[best])} at {_at(values[best])}"})
        drawn = _strip(*now, estimate[best], scale)
        lines.append(
            f'<td style="{CELL}min-width:7em">{escape(curve)}</td>'
            + "".join(f'<td style="{NUMBERS}">{escape(text)}</td>' for text in list(rows[-1].values())[1:])
            + f'<td style="{CELL}min-width:9em;width:13em">{drawn}</td>'
        )
    head = f"At {name} = {_at(value)}, {clear} of {len(rows)} intervals {'excludes' if clear == 1 else 'exclude'} 0."
    return page(line(head, bold=True), Html(_table([*rows[0], _scale_text(scale)], lines), html.table(rows).text))


def _checked(
    values: Numbers, curves: Curves, value: float, name: str
) -> tuple[int, dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Place of the value, and each curve's estimates and interval ends."""
    if not curves:
        raise ValueError("curves: give at least one, name -> (estimate, low, high) for each value")
    values = array(values, "values", ndim=1)
    if len(set(values.tolist())) < len(values):
        raise ValueError(f"values: each {name} may stand there once only")
    found = np.flatnonzero(np.isclose(values, value))
    if not len(found):
        raise ValueError(f"{name} {value} was not measured; there are {', '.join(map(_at, values))}")
    grids = {}
    for curve, results in curves.items():
        triples = array([list(result)[:3] for result in results], f"curves[{curve!r}]", ndim=2)
        same_length(**{"values": values, f"curves[{curve!r}]": triples})
        grids[curve] = interval_arrays(*triples.T, ndim=1)
    return int(found[0]), grids


def _at(value: float) -> str:
    return f"{float(value):g}"


def _signed(value: float) -> str:
    digits = 4 if 0 < abs(value) < 0.005 else 2  # so that one can see on which side of 0 an end lies
    return ("+" if round(value, digits) > 0 else "") + num(value, digits)


def _scale_text(scale: tuple[float, float]) -> str:
    return f"{_signed(scale[0])} … {_signed(scale[1])}; ◇: highest mean"


def _table(head: Sequence[str], lines: Sequence[str]) -> str:
    cells = "".join(f'<th scope="col" style="{NUMBERS}text-align:left">{escape(text)}</th>' for text in head)
    body = "".join(f"<tr>{cell}</tr>" for cell in lines)
    table = f'<table style="border-collapse:collapse;color:inherit;width:100%"><thead><tr>{cells}</tr></thead>'
    return f"{table}<tbody>{body}</tbody></table>"


def _strip(estimate: float, low: float, high: float, best: float, scale: tuple[float, float]) -> str:
    """An interval as a bar with its mean, a line at 0, and a diamond at the curve's highest mean."""
    width = scale[1] - scale[0] or 1.0
    zero, left, middle, right, top = (100 * (x - scale[0]) / width for x in (0.0, low, estimate, high, best))
    mark = "position:absolute;top:50%;transform:translate(-50%,-50%)"
    return (
        '<div style="position:relative;height:1.3em;background:rgba(128,128,128,0.12)">'
        f'<div style="position:absolute;left:{zero:.2f}%;top:0;bottom:0;border-left:1px solid"></div>'
        f'<div style="position:absolute;left:{left:.2f}%;width:{right - left:.2f}%;top:35%;bottom:35%;'
        f'background:{DATA};opacity:0.45"></div>'
        f'<div style="{mark};left:{middle:.2f}%;width:0.5em;height:0.9em;background:{DATA}"></div>'
        f'<div style="{mark};left:{top:.2f}%">◇</div></div>'
    )
