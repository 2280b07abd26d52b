"""Tables of values and model texts, as HTML and as plain text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from padlab.show.html.safe import CELL, Html, escape, shorten, visible


def _cell(value: Any, digits: int, limit: int) -> tuple[str, bool]:
    """The cell's text, and whether it is a number."""
    if value is None:
        return "–", False
    if isinstance(value, bool | np.bool_ | str) or not hasattr(value, "__float__"):
        return shorten(value, limit), False
    return (f"{value:,}" if isinstance(value, int | np.integer) else f"{float(value):.{digits}g}"), True


def _plain_table(headings: Sequence[str], cells: Sequence[Sequence[tuple[str, bool]]]) -> str:
    """Columns set apart by two spaces, texts cut to 48 characters, one line a row."""
    columns = []
    for index, heading in enumerate(headings):
        texts = [heading, *(row[index][0] for row in cells)]
        texts = [visible(text).replace("\n", "⏎").replace("\t", " ") for text in texts]
        texts = [text if len(text) <= 48 else text[:47] + "…" for text in texts]
        width, numbers = max(map(len, texts)), all(row[index][1] for row in cells)
        columns.append([text.rjust(width) if numbers else text.ljust(width) for text in texts])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def _html_table(headings: Sequence[str], cells: Sequence[Sequence[tuple[str, bool]]], caption: str | None) -> str:
    head = "".join(f'<th scope="col" style="{CELL}text-align:left">{escape(heading)}</th>' for heading in headings)
    body = ""
    for row in cells:
        sides = [(text, "right" if number else "left") for text, number in row]
        tds = [f'<td dir="auto" style="{CELL}text-align:{side}">{escape(text)}</td>' for text, side in sides]
        body += f"<tr>{''.join(tds)}</tr>"
    top = f'<caption style="text-align:left;font-weight:bold;padding:4px 10px">{escape(caption)}</caption>'
    return (
        f'<table style="border-collapse:collapse;color:inherit">{top if caption else ""}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] | Mapping[str, str] | None = None,
    caption: str | None = None,
    digits: int = 3,
    limit: int = 600,
) -> Html:
    """A table of plain values and model texts that is safe to show.

    Args:
        rows: one mapping per row, column name to value; a value a row lacks, or None, is shown as a dash.
        columns: the columns to show, in order, or a mapping from column name to heading; None: those of the first row.
        caption: a line above the table.
        digits: significant digits of numbers, at least 1.
        limit: characters shown of a text, at least 1; the rest is counted.

    Raises:
        ValueError: a column that no row has.

    >>> table([{"metric": "tau", "value": 0.51234}])
    metric  value
    tau     0.512
    """
    rows = list(rows)
    columns = columns if columns is not None else list(rows[0]) if rows else []
    headings = list(columns.values()) if isinstance(columns, Mapping) else list(columns)
    known = {key for row in rows for key in row}
    if unknown := [name for name in columns if rows and name not in known]:
        raise ValueError(f"no row of the table has the column(s) {unknown}; there are: {sorted(map(str, known))}")
    cells = [[_cell(row.get(name), digits, limit) for name in columns] for row in rows]
    plain = _plain_table(headings, cells)
    return Html(_html_table(headings, cells, caption), f"{visible(caption)}\n{plain}" if caption else plain)
