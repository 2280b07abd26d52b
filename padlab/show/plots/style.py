"""What all figures share: colours, fonts, checked arrays, inert labels, and a Figure that notebooks show by itself."""

import base64
import functools
import io
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.figure
import matplotlib.style
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from padlab.show.html.safe import visible

# Okabe and Ito's palette: told apart with every common kind of colour blindness, and in grey.
TEACHER = "#0072B2"
STUDENT = "#E69F00"
NEUTRAL = "#5A5A5A"
FAINT = "#B8B8B8"
BETTER = "#009E73"
WORSE = "#CC79A7"
ITEMS = ("#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#5A5A5A", "#A68A00")  # responses A, B, C, ...

_WANTED_FONTS = (  # the first gives the face; the others lend the glyphs that it lacks, where they are installed
    "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "Yu Gothic", "PingFang SC",
    "Hiragino Sans", "WenQuanYi Zen Hei", "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Hebrew",
    "Noto Sans Devanagari", "Noto Emoji", "Segoe UI Emoji", "Segoe UI Symbol",
)  # fmt: skip


@functools.cache
def _fonts() -> tuple[tuple[str, ...], frozenset[int]]:
    """The wanted font families that are installed, and every character they can draw."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    families = tuple(name for name in _WANTED_FONTS if name in installed)
    paths = [font_manager.findfont(name) for name in families]
    return families, frozenset().union(*(font_manager.get_font(path).get_charmap() for path in paths))


def house_style() -> Any:
    """Context (and decorator) under which figures are built and drawn; whatever the user set elsewhere stays out."""
    return matplotlib.style.context(["default", {
        "font.family": list(_fonts()[0]), "font.size": 13, "axes.titlesize": 14, "axes.labelsize": 13,
        "figure.titlesize": 15.5, "legend.fontsize": 12, "legend.frameon": False,
        "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "grid.color": "#E3E3E3", "text.parse_math": False, "text.usetex": False, "hatch.linewidth": 0.6,
    }])  # fmt: skip


class Figure(matplotlib.figure.Figure):
    """A matplotlib Figure that pyplot does not know, that shows itself in notebooks, and that carries an alt text.

    Args:
        width, height: inches.

    >>> Figure(4, 3).alt_text
    ''
    """

    def __init__(self, width: float | int = 9.0, height: float | int = 5.0) -> None:
        super().__init__(figsize=(width, height), dpi=100, layout="constrained")
        FigureCanvasAgg(self)
        self.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
        self.alt_text = ""

    def draw(self, renderer: Any) -> None:
        """Draw in the house style, also where the user's own style has been set since."""
        with house_style():
            super().draw(renderer)

    def png(self, scale: float | int = 1.2) -> bytes:
        """The figure as a PNG of few bytes (40 colours), so that an executed notebook stays small.

        Args:
            scale: pixels per 1/100 inch, above 0.
        """
        raw, small = io.BytesIO(), io.BytesIO()
        self.savefig(raw, format="rgba", dpi=100 * scale)
        width = int(self.get_size_inches()[0] * 100 * scale)
        size = (width, len(raw.getvalue()) // 4 // width)
        image = Image.frombuffer("RGBA", size, raw.getvalue(), "raw", "RGBA", 0, 1).convert("RGB")
        image.quantize(40, dither=Image.Dither.NONE).save(small, "png", optimize=True)
        return small.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        data = {"image/png": base64.b64encode(self.png()).decode(), "text/plain": repr(self)}
        return data, {"image/png": {"width": width, "height": height, "alt": self.alt_text}}

    def __repr__(self) -> str:
        return f"<Figure: {self.alt_text}>"


def array(values: Any, name: str, ndim: int | None = None, finite: bool = True) -> np.ndarray:
    """Numbers from a list, an array, a datasets column or a tensor of any type and device, as float64.

    Args:
        values: the numbers.
        name: the argument's name, for the message.
        ndim: the number of dimensions demanded; None: any.
        finite: whether NaN and infinities are refused.

    Raises:
        ValueError: not numbers, empty, another number of dimensions, or a value that is not finite.

    >>> array([1, 2], "x", ndim=1)
    array([1., 2.])
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    try:
        result = np.asarray(values if hasattr(values, "dtype") else list(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: needs a rectangular array of numbers ({error})") from None
    if result.size == 0 or (ndim is not None and result.ndim != ndim):
        raise ValueError(f"{name}: needs {ndim or 'one or more'} dimension(s) and a value, got shape {result.shape}")
    if finite and not np.isfinite(result).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
        raise ValueError(f"{name}: the value at {where} is {result[where]}; leave it out or compute it again")
    return result


def same_length(**arrays: Any) -> int:
    """The common length of the named arrays or lists; ValueError with all lengths when they differ.

    >>> same_length(before=[1, 2], after=[3, 4])
    2
    """
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"these must have the same length: {lengths}")
    return next(iter(lengths.values()))


def label(text: Any, limit: int = 32) -> str:
    """Text fit for a figure: one line, hidden characters written out, cut visibly, drawable by the fonts at hand.

    Args:
        text: anything; str() is taken of it.
        limit: characters kept, at least 2; an ellipsis ends what was cut.

    >>> label("a long answer", 8)
    'a long…'
    """
    line = " ".join(visible(str(text)[: 4 * limit]).split())
    line = line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
    return "".join(char if ord(char) in _fonts()[1] else "□" for char in line)


def item_names(labels: Sequence[str] | None, n: int, limit: int = 60) -> tuple[list[str], list[str]]:
    """Short names of n responses, and the lines of a key that says what they stand for.

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


def num(value: Any, digits: int = 2) -> str:
    """A number with a true minus sign.

    >>> num(-0.5)
    '−0.50'
    """
    return f"{value:.{digits}f}".replace("-", "−") if round(value, digits) else f"{0:.{digits}f}"


def percent(share: Any) -> str:
    """A share of 1 as whole percents; never 0 or 100 for what is neither.

    >>> percent(0.42), percent(0.001), percent(0.9999)
    ('42 %', '<1 %', '>99 %')
    """
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 < share < 1 else f"{100 * share:.0f} %"


def finish(figure: Figure, title: str | None, default: str, alt_text: str) -> Figure:
    """Set the title, wrapped to the figure's width, and the alt text; return the figure.

    Args:
        figure: the finished drawing.
        title: the user's title or None.
        default: the title that says what to see, used when title is None.
        alt_text: one sentence or two with the main numbers.
    """
    text = label(default if title is None else title, 300).replace(" %", "\u00a0%")
    width = int(7.4 * figure.get_size_inches()[0])
    width = min(width, len(text) // -(-len(text) // width) + 10)  # lines of about the same length
    figure.suptitle(textwrap.fill(text, width), x=0.012, ha="left", fontweight="bold")
    figure.alt_text = visible(alt_text)
    return figure


def light_grid(axes: Axes, axis: str = "y") -> None:
    """Thin grid lines behind the data, along one axis or both."""
    axes.grid(True, axis=axis)
    axes.tick_params(length=0)


def legend_above(axes: Axes, columns: int = 4) -> None:
    """The legend above the axes, where it hides no data."""
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, borderaxespad=0.1)
