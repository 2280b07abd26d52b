"""Texts in figures: labels that are plain characters, names of responses and metrics, and numbers."""

import functools
import unicodedata
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from matplotlib import font_manager

from padlab.rankings.metrics import METRICS, Metric
from padlab.show.html.safe import visible

_PREFERRED_FONTS = (  # matplotlib takes each character from the first of these, if installed, that has it
    "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "Yu Gothic", "PingFang SC",
    "Hiragino Sans", "WenQuanYi Zen Hei", "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Hebrew",
    "Noto Sans Devanagari", "Noto Emoji", "Segoe UI Emoji", "Segoe UI Symbol",
)  # fmt: skip
_MOST_MARKS = 3  # on one character, one above the other


@functools.cache
def font_families() -> tuple[str, ...]:
    """The preferred font families that are installed."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return tuple(name for name in _PREFERRED_FONTS if name in installed)


@functools.cache
def _drawable_characters() -> frozenset[int]:
    paths = [font_manager.findfont(name) for name in font_families()]
    return frozenset().union(*(font_manager.get_font(path).get_charmap() for path in paths))


def _width(char: str) -> float:
    """How many characters of usual width it takes."""
    return 1.6 if char in "MWmw@%" or unicodedata.east_asian_width(char) in "WF" else 1.0


def label(text: Any, limit: int = 32) -> str:
    """Text as one line of a figure: hidden characters written out, cut to `limit`, drawable by the installed fonts.

    Args:
        text: anything; str() is taken of it.
        limit: characters kept, at least 2; fewer wide ones (W, 卵), and three of many marks on one character. A text
            that was cut ends in an ellipsis.

    >>> label("a long answer", 8)
    'a long…'
    """
    line = " ".join(visible(str(text)[: 4 * limit]).split())
    marks = accumulate((bool(unicodedata.combining(char)) for char in line), lambda run, more: more and run + 1)
    line = "".join(char for char, run in zip(line, marks, strict=True) if run <= _MOST_MARKS)
    fits = sum(width <= limit for width in accumulate(map(_width, line)))
    line = line if fits == len(line) else line[: fits - 1].rstrip() + "…"
    return "".join(char if ord(char) in _drawable_characters() else "□" for char in line)


def legend_label(text: Any) -> str:
    """Text for a legend, from which matplotlib leaves out what is empty or begins with "_": a hair space keeps it.

    >>> legend_label("_x").strip()
    '_x'
    """
    line = label(text)
    return line if line[:1] not in ("", "_") else "\u200a" + line


def item_names(labels: Sequence[str] | None, n: int, limit: int = 60) -> tuple[list[str], list[str]]:
    """Short names of n responses, and the lines of a key that gives the text of each.

    Args:
        labels: n texts or None. Texts of at most 3 characters are the names; longer ones are named A, B, ... by a key.
        n: the number of responses.
        limit: characters kept of a text in the key.

    >>> item_names(["yes", "no, never"], 2)
    (['A', 'B'], ['A  yes', 'B  no, never'])
    """
    letters = [chr(65 + i) if n <= 26 else str(i + 1) for i in range(n)]
    if labels is None:
        return letters, []
    if len(labels) != n:
        raise ValueError(f"labels: {len(labels)} for {n} responses; give one per response")
    names = [label(text, limit) for text in labels]
    if all(len(name) <= 3 for name in names):
        return names, []
    return letters, [f"{letter}  {name}" for letter, name in zip(letters, names, strict=True)]


def metric_named(name: str) -> Metric:
    """Title, unit and direction of a metric; a name that padlab does not know is its own title, and more is better.

    >>> metric_named("jsd").better, metric_named("my metric").title
    (-1, 'my metric')
    """
    return METRICS.get(name) or Metric(label(name, 48), "", 1)


def metric_label(name: str) -> str:
    """A metric's title with its unit, for an axis.

    >>> metric_label("jsd")
    'Jensen-Shannon divergence (nats)'
    """
    title, unit, _ = metric_named(name)
    return f"{title} ({unit})".replace("(-", "(−") if unit else title


def percent(share: Any) -> str:
    """A share of 1 as whole percents; never 0 or 100 for other shares than 0 and 1.

    >>> percent(0.42), percent(0.001), percent(0.9999)
    ('42 %', '<1 %', '>99 %')
    """
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 < share < 1 else f"{100 * share:.0f} %"
