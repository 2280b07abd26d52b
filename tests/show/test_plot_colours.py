"""The two models' colours mean the models and nothing else, in every figure and page; student first, teacher second."""

import inspect
import io
import re

import matplotlib.collections
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from padlab.show import html, plots
from padlab.show.plots import style
from padlab.show.plots.style import STUDENT, TEACHER, house_style

ALL = [name for name in plots.__all__ if name.startswith("plot_")]
BOTH_MODELS = {name for name in ALL if "student" in str(inspect.signature(getattr(plots, name)))}
BOTH_MODELS |= {"plot_rank_marginals", "plot_scatter", "plot_students"}  # panels, points in the models' colours


@pytest.mark.parametrize("name", sorted(BOTH_MODELS - {"plot_students"}))  # there the rows are named, the teacher last
def test_student_comes_first_in_arguments_legends_and_panels(calls, name):
    models = [p for p in inspect.signature(getattr(plots, name)).parameters if p.startswith(("student", "teacher"))]
    assert models == sorted(models)
    figure = calls()[name]()
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    shown = [text.get_text() for legend in legends for text in legend.get_texts()]
    shown = shown or [axes.get_title() for axes in figure.axes]
    shown = [text for text in shown if "student" in text or "teacher" in text]
    assert ["student" in text for text in shown] == [True, False]


def colours(figure):
    """Every colour of the figure's lines, patches, collections, colour maps and texts, without transparency."""
    found = set()
    for artist in figure.findobj():
        for name in ("get_color", "get_facecolor", "get_edgecolor", "get_markerfacecolor", "get_markeredgecolor"):
            values = getattr(artist, name, list)()
            values = [values] if isinstance(values, str | tuple) else list(values)
            found |= {to_hex(value) for value in values if not isinstance(value, str) or value != "none"}
        if isinstance(artist, matplotlib.collections.QuadMesh):
            found |= {to_hex(artist.cmap(position)) for position in (0.0, 0.5, 1.0)}
    return found


def lab(colour):
    """CIELAB coordinates (D65), in which a distance of 2.3 is just visible."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    x, y, z = np.cbrt(np.array(to_xyz) @ linear / [0.95047, 1, 1.08883])  # exact above a luminance of 0.009
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(first, second):
    return np.linalg.norm(lab(first) - lab(second))


@pytest.mark.parametrize("name", ALL)
def test_the_models_colours_mean_the_models_and_nothing_else(calls, name):
    figure = calls()[name]()
    figure.draw_without_rendering()
    shown = colours(figure)
    both = {STUDENT.lower(), TEACHER.lower()}
    if name in BOTH_MODELS:
        assert both <= shown
    else:
        close = [colour for colour in shown if min(distance(colour, model) for model in both) < 35]
        assert close == []
    for legend in (axes.get_legend() for axes in figure.axes if axes.get_legend()):
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            model = STUDENT if "student" in text.get_text() else TEACHER if "teacher" in text.get_text() else None
            assert (model or "").lower() in {*colours(handle), ""}, text
            assert model is not None or not both & colours(handle), text


def test_no_other_colour_looks_like_a_models():
    named = [style.DATA, style.NEUTRAL, style.FAINT, style.BETTER, style.WORSE, *plots.ITEMS]
    for colour in named:
        assert min(distance(colour, STUDENT), distance(colour, TEACHER)) > 40, colour
    assert len(set(plots.ITEMS)) == len(plots.ITEMS) >= 6
    with house_style():
        assert [c["color"] for c in matplotlib.rcParams["axes.prop_cycle"]] == list(plots.ITEMS)


def test_no_page_has_a_models_colour():
    page = html.responses("p", ["a", "b"], rewards=[-1.0, -2.0], probs=[0.25, 0.75])._repr_html_()
    page += html.token_heatmap(["a", "b"], [-1.0, -9.5])._repr_html_() + html.table([{"a": 1}])._repr_html_()
    page += html.side_by_side("a", ["x"], "b", ["y"], ["p"])._repr_html_()
    found = re.findall(r"#[0-9a-fA-F]{6}", page)
    assert found
    assert all(min(distance(colour, STUDENT), distance(colour, TEACHER)) > 35 for colour in found)


def test_heat_maps_keep_their_shades_in_the_small_png():
    matrix = np.linspace(0, 1, 9).reshape(3, 3)
    figure = plots.plot_rank_marginals({"student": matrix, "teacher": matrix})
    shown = np.asarray(Image.open(io.BytesIO(figure.png())).convert("RGB"), dtype=int)
    for axes in figure.axes[:2]:
        for value in matrix.ravel():
            wanted = 255 * np.array(axes.collections[0].cmap(value)[:3])
            assert (np.abs(shown - wanted).max(-1) <= 12).sum() > 1000
