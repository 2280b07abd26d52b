"""Puts the last measurements of the speed scripts (bench-out/speed.json) into the table of docs/results.md.

    python bench/_speed_table.py

`make bench` calls it. A row is found by its first column; rows that were not measured again stay as they are, new ones
are added at the end.
"""

import json
from pathlib import Path

from _measure import SPEED_FILE

PAGE = Path(__file__).parent.parent / "docs" / "results.md"
HEADER = "| what | against plain | against trl |"


def with_rows(text: str, measured: dict[str, list[float | None]]) -> str:
    """The page with these rows in its speed table.

    Args:
        text: Markdown with a table that begins with `HEADER`.
        measured: first column -> how many times as long the plain way and trl take; None: not measured.

    Raises:
        ValueError: there is no such table.
    """
    before, header, after = text.partition(HEADER)
    if not header:
        raise ValueError(f"{PAGE.name} has no table that begins with {HEADER!r}")
    table, gap, rest = after.partition("\n\n")
    lines = table.split("\n")
    for what, ratios in measured.items():
        row = f"| {what} | " + " | ".join("-" if ratio is None else f"{ratio:.1f} x" for ratio in ratios) + " |"
        known = [k for k, line in enumerate(lines) if line.startswith(f"| {what} |")]
        if known:
            lines[known[0]] = row
        else:
            lines.append(row)
    return before + header + "\n".join(lines) + gap + rest


if __name__ == "__main__":
    if not SPEED_FILE.exists():
        raise SystemExit(
            f"{SPEED_FILE} is not there: run bench/scoring.py, training.py, selection.py, sampling.py first"
        )
    measured = json.loads(SPEED_FILE.read_text(encoding="utf-8"))
    PAGE.write_text(with_rows(PAGE.read_text(encoding="utf-8"), measured), encoding="utf-8")
