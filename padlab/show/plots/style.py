"""The house style of all figures: colours, fonts, projector mode, and a Figure that notebooks show by itself."""

import base64
import contextlib
import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.axes
import matplotlib.figure
import matplotlib.style
import numpy as np
import seaborn as sns
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from padlab.show.html.safe import visible
from padlab.show.plots.labels import font_families, label

# From the palettes of Okabe and Ito (the models) and of Paul Tol (the items), made for colour-blind readers.
STUDENT = "#E69F00"  # these two colours mean the models and nothing else
TEACHER = "#0072B2"
ITEMS = ("#882255", "#44AA99", "#111111", "#CC6677", "#117733", "#7A4E2D")  # responses A, B, C, ...; curves
DATA = ITEMS[0]  # a single series that belongs to neither model alone
NEUTRAL = "#5A5A5A"
FAINT = "#B8B8B8"
BETTER = "#00795A"
WORSE = "#A03E7C"

_FONT_SIZE = 13.0  # points; seaborn's context "talk", for projectors, has 18
_PROJECTOR_CANVAS = 1.2  # factor on width and height, so that the larger texts find room
_projector_on = False


def projector(on: bool = True) -> None:
    """Draw all later figures with 18 pt text on larger canvases, for class rooms; `projector(False)` switches back.

    >>> projector()
    >>> Figure().projector
    True
    >>> projector(False)
    """
    global _projector_on
    _projector_on = on


@contextlib.contextmanager
def house_style(projector: bool | None = None) -> Iterator[None]:
    """Context (and decorator) under which figures are built and drawn; the user's own style has no effect inside.

    Args:
        projector: text of 18 pt; None: as the function `projector` was last called.
    """
    large = _projector_on if projector is None else projector
    sizes = sns.plotting_context("talk" if large else "notebook", font_scale=1.0 if large else _FONT_SIZE / 12)
    looks = {
        "font.family": list(font_families()), "figure.titlesize": "large", "figure.titleweight": "bold",
        "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "axes.linewidth": 0.9, "axes.prop_cycle": cycler(color=ITEMS), "grid.color": "#E3E3E3", "grid.linewidth": 0.8,
        "text.parse_math": False, "text.usetex": False, "hatch.linewidth": 0.6,
    }  # fmt: skip
    with matplotlib.style.context(["default", sizes, looks]):
        yield


class Figure(matplotlib.figure.Figure):
    """A matplotlib Figure that is not registered with pyplot, shows itself in notebooks, and carries an alt text.

    Args:
        width, height: inches; a fifth larger in projector mode.

    >>> Figure(4, 3).alt_text
    ''
    """

    def __init__(self, width: float | int = 9.0, height: float | int = 5.0) -> None:
        self.projector = _projector_on
        factor = _PROJECTOR_CANVAS if self.projector else 1.0
        super().__init__(figsize=(factor * width, factor * height), dpi=100, layout="constrained")
        FigureCanvasAgg(self)
        self.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
        self.alt_text = ""
        self.colours = 64  # of the PNG, at most 256; heat maps need more

    def draw(self, renderer: Any) -> None:
        """Draw in the house style, also where the user's own style has been set since."""
        with house_style(self.projector):
            super().draw(renderer)

    def png(self, scale: float | int = 1.2) -> bytes:
        """The figure as a PNG of few bytes and `colours` colours, so that executed notebooks stay small.

        Args:
            scale: pixels per 1/100 inch, above 0.
        """
        full, small = io.BytesIO(), io.BytesIO()
        self.savefig(full, format="png", dpi=100 * scale, pil_kwargs={"compress_level": 1})
        image = Image.open(full).convert("RGB")
        image = image.quantize(self.colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        image.save(small, "png", optimize=True)
        return small.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        data = {"image/png": base64.b64encode(self.png()).decode(), "text/plain": repr(self)}
        return data, {"image/png": {"width": width, "height": height, "alt": self.alt_text}}

    def __repr__(self) -> str:
        return f"<Figure: {self.alt_text}>"


class HouseAxes(Axes):
    """Axes whose title, texts and legend are in the house style wherever they are added."""

    set_title = house_style()(Axes.set_title)
    text = house_style()(Axes.text)
    annotate = house_style()(Axes.annotate)
    legend = house_style()(Axes.legend)


def axes(
    width: float | int = 9.0, height: float | int = 5.0, rows: int = 1, columns: int = 1, grid: str = "y"
) -> tuple[Figure, Axes | np.ndarray]:
    """A figure and its axes in the house style, also for figures made by hand; like matplotlib.pyplot.subplots.

    Args:
        width, height: inches; a fifth larger in projector mode.
        rows, columns: number of panels.
        grid: thin lines behind the data along "x", "y" or "both".

    Returns:
        the Figure and its axes: one Axes, or an array of them where there are several panels. Set `figure.alt_text`
        and make the figure the last expression of the cell.

    >>> figure, ax = axes(8, 4)
    >>> line = ax.plot([0, 1], [0.5, 0.75], color=STUDENT, label="student")
    """
    with house_style():
        figure = Figure(width, height)
        panels = figure.subplots(rows, columns, subplot_kw={"axes_class": HouseAxes})
        for ax in np.ravel(panels):
            ax.grid(True, axis=grid)
            ax.tick_params(length=0, labelsize=matplotlib.rcParams["xtick.labelsize"])
    return figure, panels


def finish(figure: Figure, title: str | None, finding: str, subject: str, key: Sequence[str] = ()) -> Figure:
    """Set the title, wrapped to the figure's width, the alt text "subject. Finding." and the key; return the figure.

    Args:
        figure: the finished drawing.
        title: the user's title; None: the finding; "": none.
        finding: what there is to see, with the main numbers, without a full stop.
        subject: what the figure shows, without a full stop.
        key: lines below the figure that give the text of each response (`labels.item_names`).
    """
    finding = finding[:1].upper() + finding[1:]
    text = label(finding if title is None else title, 300)
    if text:
        text = re.sub(r" (?=[\d%>])|(?<=>) ", "\u00a0", text)  # numbers, percents and rankings stay in one line
        font_size = matplotlib.rcParams["font.size"]
        width = int(7.4 * _FONT_SIZE / font_size * figure.get_figwidth())  # characters in a line
        width = min(width, len(text) // -(-len(text) // width) + 10)  # lines of about the same length
        figure.suptitle(textwrap.fill(text, width), x=0.012, ha="left")
    figure.alt_text = visible(f"{subject}. {finding}.")
    if key:
        figure.set_figheight(figure.get_figheight() + key_height(key))
        figure.supxlabel("\n".join(key), x=0.02, ha="left", fontsize="small")
    return figure


def key_height(key: Sequence[str]) -> float:
    """Height of the key below a figure, inches.

    >>> key_height([])
    0.0
    """
    return 0.017 * float(matplotlib.rcParams["font.size"]) * len(key)


def legend_above(axes: Axes, columns: int = 4) -> None:
    """The legend above the axes, where it hides no data."""
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, borderaxespad=0.1)
