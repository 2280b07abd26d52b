"""What holds for every figure: complete, inert, legible, in the house style, and freed."""

import gc
import inspect
import io
import re
import sys
import warnings
import weakref
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image

from padlab.show import plots
from padlab.show.html.safe import num
from padlab.show.plots import style
from padlab.show.plots.labels import item_names, label, metric_label, percent
from padlab.show.plots.style import STUDENT, TEACHER, Figure, house_style

ALL = [name for name in plots.__all__ if name.startswith("plot_")]


def texts(figure):
    figure.draw_without_rendering()
    return [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


def assert_inside(figure):
    """Nothing drawn leaves the figure."""
    box = figure.get_tightbbox()
    assert min(box.x0, box.y0) >= 0, box
    assert (figure.get_size_inches() >= (box.x1, box.y1)).all(), box


def test_every_public_plot_is_in_these_tests(calls):
    assert set(calls()) == set(ALL)


@pytest.mark.parametrize("projector", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_figure_is_complete(calls, name, projector):
    plots.projector(projector)
    sentences = ["Water boils at a hundred degrees.", "It costs $5.", "That depends on the pressure.", "I do not know."]
    figure = calls(sentences if projector else None)[name]()
    assert isinstance(figure, Figure)
    assert 20 < len(figure.alt_text) < 600
    assert figure.alt_text.endswith(".")
    assert any(char.isdigit() for char in figure.alt_text)
    assert figure.get_suptitle()
    sizes = [text.get_fontsize() for text in texts(figure) if len(text.get_text()) > 1]
    assert np.median(sizes) >= (12.5 if projector else 9)
    assert_inside(figure)
    png = figure.png()
    assert Image.open(io.BytesIO(png)).width >= 850
    assert len(png) < 120_000
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


# Of the first and the last axes of each figure: what the labels across and up must name; None: no scale to name.
UNITS = {
    "plot_rankings": ("ranking (best on top)", "probability (0 to 1)"),
    "plot_rewards": ("(nats/token)", None),
    "plot_pairwise": (None, "probability (0 to 1)"),
    "plot_rank_marginals": ("rank (1 = best)", "probability (0 to 1)"),
    "plot_entropy_beta": ("no unit", "(nats)"),
    "plot_training": ("step", "divergence (nats)"),
    "plot_before_after": ("difference after − before, mean over prompts, 95 % interval", None),
    "plot_levels": ("right answers, share of answers, 95 % interval", None),
    "plot_students": ("tokens", None),
    "plot_rounds": ("round (0: before training)", "true quality (0 to 1)"),
    "plot_paired": ("before: Jensen-Shannon divergence (nats)", "after: Jensen-Shannon divergence (nats)"),
    "plot_scatter": ("length, tokens", "reward, nats"),
    "plot_position_bias": ("a is listed first (0 to 1)", "b is listed first (0 to 1)"),
    "plot_reliability": ("(0 to 1)", "share correct (0 to 1)"),
    "plot_alpha_curve": ("alpha (0: reward alone", "divergence (nats)"),
    "plot_calibration_step": ("alpha (0: reward alone", "probability of rank 1 (0 to 1)"),
}


@pytest.mark.parametrize("name", sorted(UNITS))
def test_axes_say_what_they_measure_and_in_which_unit(calls, name):
    across, up = UNITS[name]
    axes = calls()[name]().axes
    assert across is None or any(across in each.get_xlabel() for each in axes)
    assert up is None or any(up in each.get_ylabel() for each in axes)
    assert set(ALL) - set(UNITS) == {"plot_simplex", "plot_permutohedron"}  # these have no scales


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shift", [0, 3, 5])
def test_hostile_text_is_drawn_and_inert(calls, hostile, name, shift):
    labels = hostile[shift:] + hostile[:shift]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph warns
        figure = calls(labels, title=labels[0] + " title")[name]()
        for text in texts(figure):
            assert not text.get_parse_math()
            assert not text.get_usetex()
            assert len(text.get_text()) < 400
        figure.png()
    assert not any(char in figure.alt_text for char in "\x00\x1b\u202e\ud800")


def test_dollars_stay_dollars_in_the_picture():
    figure = plots.plot_rewards([-1, -2], [-1, -2], ["costs $5 or $6", "\\alpha and $\\beta$"])
    shown = [text.get_text() for text in texts(figure)]
    assert "A  costs $5 or $6" in shown
    assert "B  \\alpha and $\\beta$" in shown


@pytest.mark.parametrize("name", ALL)
def test_every_plot_takes_a_title_and_documents_its_arguments(calls, name):
    function = getattr(plots, name)
    parameters = inspect.signature(function).parameters
    assert parameters["title"].default is None
    assert all(parameter in function.__doc__ for parameter in parameters)
    figure = calls(title="A title of my own")[name]()
    assert figure.get_suptitle() == "A title of my own"


def test_font_sizes_stand_in_the_house_style_alone():
    for path in Path(style.__file__).parent.glob("*.py"):
        assert not re.search(r"(font|label|title)_?size[\"']?[=:] *\d", path.read_text(encoding="utf-8")), path


def test_projector_switches_later_figures_and_back():
    plain = plots.plot_rewards([-1, -2], [-2, -1])
    plots.projector()
    large = plots.plot_rewards([-1, -2], [-2, -1])
    plots.projector(False)
    again = plots.plot_rewards([-1, -2], [-2, -1])
    assert again.png() == plain.png()
    assert large.axes[0].xaxis.label.get_fontsize() == 18
    large.png()  # drawn after the switch back, its new ticks are still large
    assert large.axes[0].get_xticklabels()[0].get_fontsize() == pytest.approx(16.5)
    assert plain.axes[0].xaxis.label.get_fontsize() == pytest.approx(13)


def test_axes_by_hand_are_in_the_house_style_also_outside_of_it():
    with matplotlib.style.context(["dark_background", {"font.size": 30, "text.parse_math": True}]):
        figure, axes = plots.axes(8, 4)
        axes.plot([0, 1], [0, 1], label="costs $5 or $6")
        axes.set(title="true quality $x$", xlabel="round")
        axes.text(0, 0, "$y$")
        axes.legend()
    assert isinstance(figure, Figure)
    for text in texts(figure):
        assert not text.get_parse_math()
        assert 10 <= text.get_fontsize() <= 16
        assert to_hex(text.get_color()) == "#000000"
    assert to_hex(axes.lines[0].get_color()) == plots.ITEMS[0]
    assert plots.axes(8, 4, rows=2, columns=2)[1].shape == (2, 2)


@given(st.text(alphabet=st.characters(), max_size=80), st.integers(2, 40))
@settings(max_examples=60, deadline=None)
def test_labels_are_short_single_lines(text, limit):
    shown = label(text, limit)
    assert len(shown) <= limit
    assert "\n" not in shown
    shown.encode("utf-8")


def test_numbers_and_metrics_in_words():
    expected = ["0.00", "−1.5", "0 %", "100 %", ">99 %"]
    assert [num(-0.001), num(-1.5, 1), percent(0), percent(1), percent(0.9951)] == expected
    assert item_names(["ab", "c"], 2) == (["ab", "c"], [])
    assert metric_label("kendall_tau") == "Kendall tau (−1 to 1)"
    assert metric_label("my own $x$") == "my own $x$"


def test_the_users_own_style_changes_nothing():
    plain = plots.plot_rewards([-1, -2], [-2, -1]).png()
    with matplotlib.style.context(["dark_background", {"font.size": 30, "text.parse_math": True}]):
        assert plots.plot_rewards([-1, -2], [-2, -1]).png() == plain
        later = plots.plot_rewards([-1, -2], [-2, -1])
    assert later.png() == plain
    before = dict(matplotlib.rcParams)
    with house_style():
        pass
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("scale", [0.5, 1, 1.37, 1.6])
def test_the_small_png_is_the_picture(scale):
    plots.projector(scale == 1.37)
    figure = plots.plot_rankings([0, 1, 2], [2, 1, 0])
    full = io.BytesIO()
    figure.savefig(full, format="png", dpi=100 * scale)
    true, small = (
        np.asarray(Image.open(data).convert("RGB"), dtype=int) for data in (full, io.BytesIO(figure.png(scale)))
    )
    assert true.shape == small.shape
    assert np.abs(true - small).mean() < 0.5
    for colour in (TEACHER, STUDENT):
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(small - rgb).max(-1) <= 2).sum() == pytest.approx((true == rgb).all(-1).sum(), rel=0.1)


def test_figures_are_freed(calls):
    references = {name: weakref.ref(call()) for name, call in calls().items()}
    for _ in range(3):  # cycles that hold cycles
        gc.collect()
    assert [name for name, reference in references.items() if reference() is not None] == []
