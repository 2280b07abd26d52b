"""Bars of HTML: drawn in a few milliseconds, also by a slider, and shown in a saved page without a script."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from padlab.show.arrays import array, same_length
from padlab.show.html.safe import Html, escape, num, visible

LABEL_WIDTH = "minmax(3.5em,max-content)"


def bars(
    values: Mapping[str, Any],
    labels: Sequence[str],
    colours: Mapping[str, str],
    *,
    ghost: Mapping[str, Any] | None = None,
    longest: float | None = None,
    digits: int = 2,
    title: str = "",
) -> Html:
    """Horizontal bars, one row per label and one bar per series in it, with the numbers beside them.

    Args:
        values: series name -> n numbers, each 0 or more.
        labels: n texts, one per row.
        colours: series name -> colour as "#rrggbb"; the names are the legend.
        ghost: earlier values of some series, drawn as an outline behind them (before an edit, say).
        longest: the value drawn over the whole width; None: the largest one.
        digits: decimals of the numbers.
        title: a line above.

    Raises:
        ValueError: series of different lengths, or a negative value or one that is not finite.

    >>> bars({"student": [0.75, 0.25]}, ["A first", "B first"], {"student": "#E69F00"})
             student
    A first  0.75
    B first  0.25
    """
    series = {name: array(v, name, ndim=1) for name, v in values.items()}
    before = {name: array(v, f"{name} before", ndim=1) for name, v in (ghost or {}).items()}
    same_length(labels=labels, **series, **{f"{name} before": v for name, v in before.items()})
    if min(v.min() for v in (*series.values(), *before.values())) < -1e-9:
        raise ValueError("bars: values must be 0 or more")
    top = longest or max(float(v.max()) for v in (*series.values(), *before.values())) or 1.0
    rows = []
    for index, text in enumerate(labels):
        drawn = "".join(
            _bar(v[index], before[name][index] if name in before else None, top, colours[name], digits, name)
            for name, v in series.items()
        )
        rows.append(f'<div style="text-align:right;overflow-wrap:anywhere">{escape(text)}</div><div>{drawn}</div>')
    grid = f"display:grid;grid-template-columns:{LABEL_WIDTH} 1fr;gap:3px 8px;align-items:center;max-width:46em"
    head = f'<div style="font-weight:bold">{escape(title)}</div>' if title else ""
    html = f'{head}<div>{legend(colours, series)}</div><div style="{grid}">{"".join(rows)}</div>'
    return Html(html, _plain(title, series, labels, digits))


def legend(colours: Mapping[str, str], names: Sequence[str] | Mapping[str, Any]) -> str:
    """HTML of one line that says which colour is which series.

    Args:
        colours: series -> CSS colour.
        names: the series shown, in this order; texts are escaped.
    """
    square = "display:inline-block;width:0.8em;height:0.8em;margin:0 4px 0 10px;background:"
    return "".join(
        f'<span style="white-space:nowrap"><span style="{square}{colours[name]}"></span>{escape(name)}</span> '
        for name in names
    )


def _bar(value: float, before: float | None, top: float, colour: str, digits: int, name: str) -> str:
    """One bar over its outline, with the number behind it."""
    width, outline = (100 * min(max(v, 0.0) / top, 1.0) for v in (value, 0.0 if before is None else before))
    was = "" if before is None else f", before {num(before, digits)}"
    ghost = "" if before is None else (
        f'<div style="position:absolute;left:0;top:0;bottom:0;width:{outline:.2f}%;border:1px dashed;'
        'box-sizing:border-box;opacity:0.7"></div>'
    )  # fmt: skip
    return (
        '<div style="display:flex;align-items:center;gap:6px">'
        '<div style="position:relative;flex:1;height:0.95em;background:rgba(128,128,128,0.12)" '
        f'title="{escape(f"{name}: {num(value, digits)}{was}", attribute=True)}">'
        f'<div style="height:100%;width:{width:.2f}%;background:{colour}"></div>{ghost}</div>'
        f'<div style="min-width:3em;font-variant-numeric:tabular-nums">{num(value, digits)}</div></div>'
    )


def _plain(title: str, series: Mapping[str, np.ndarray], labels: Sequence[str], digits: int) -> str:
    names = [visible(text).replace("\n", "⏎") for text in labels]
    width = max(map(len, names))
    columns = [[visible(name), *(num(v, digits) for v in values)] for name, values in series.items()]
    widths = [max(map(len, column)) for column in columns]
    lines = zip(["", *names], *columns, strict=True)
    text = "\n".join(
        "  ".join([first.ljust(width), *(c.ljust(w) for c, w in zip(rest, widths, strict=True))]).rstrip()
        for first, *rest in lines
    )
    return f"{visible(title)}\n{text}" if title else text
