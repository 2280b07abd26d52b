"""A title of "" is no title, and a name that begins with "_" stands wherever any other name stands."""

import pytest
from matplotlib.text import Text

from padlab.show import plots

ALL = [name for name in plots.__all__ if name.startswith("plot_")]


def shown(figure):
    """Every text that is drawn, in its order."""
    figure.draw_without_rendering()
    return [text.get_text().strip() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


@pytest.mark.parametrize("title", ["", "  "])
@pytest.mark.parametrize("name", ALL)
def test_an_empty_title_is_none_and_the_finding_stays_in_the_alt_text(calls, name, title):
    usual, without = calls()[name](), calls(title=title)[name]()
    assert usual.get_suptitle()
    assert without.get_suptitle() == ""
    assert without.alt_text == usual.alt_text
    assert without.png()


@pytest.mark.parametrize("names", [["Q", "Qb", "Qc", "Qd"], ["Q one name", "Q two", "Q three", "Q four"]])
@pytest.mark.parametrize("name", ALL)
def test_a_leading_underscore_changes_nothing_else(calls, name, names):
    usual = shown(calls(names)[name]())
    marked = shown(calls([text.replace("Q", "_") for text in names])[name]())
    assert [text.replace("_", "Q") for text in marked] == usual


def test_a_curve_without_a_name_is_in_the_legend_too():
    figure = plots.plot_alpha_curve([0, 1], [[0, 1]] * 2, [[0, 0]] * 2, [[1, 1]] * 2, names=["", "b"])
    assert len(figure.axes[0].get_legend().get_texts()) == 3
