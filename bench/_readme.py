"""Puts what the speed scripts measured last (bench-out/speed.json) into the README's table; `make bench` calls it.

    python bench/_readme.py

A row is found by its first column; rows that were not measured again stay as they are, new ones are added at the end.
"""

import json
from pathlib import Path

from _measure import KEPT

README = Path(__file__).parent.parent / "README.md"
HEAD = "| what | against plain | against trl |"


def with_rows(text: str, measured: dict[str, list[float | None]]) -> str:
    """The README with these rows in its speed table.

    Raises:
        ValueError: there is no such table.
    """
    before, head, after = text.partition(HEAD)
    if not head:
        raise ValueError(f"README.md has no table that begins with {HEAD!r}")
    table, gap, rest = after.partition("\n\n")
    lines = table.split("\n")
    for what, ratios in measured.items():
        row = f"| {what} | " + " | ".join("-" if r is None else f"{r:.1f} x" for r in ratios) + " |"
        places = [k for k, line in enumerate(lines) if line.startswith(f"| {what} |")]
        lines[places[0] if places else len(lines) :] = [row, *(lines[places[0] + 1 :] if places else [])]
    return before + head + "\n".join(lines) + gap + rest


if __name__ == "__main__":
    if not KEPT.exists():
        raise SystemExit(f"{KEPT} is not there: run bench/scoring.py, training.py, selection.py, sampling.py first")
    README.write_text(with_rows(README.read_text(encoding="utf-8"), json.loads(KEPT.read_text())), encoding="utf-8")
