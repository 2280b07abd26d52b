"""The course's pages, as `padlab demo --notebook` writes them from the committed outputs, opened in a browser."""

import re

import nbformat
import pytest

from padlab.demo import notebook_folder, write_html

COURSE = sorted(path for path in notebook_folder().glob("0[0-8]_*.ipynb"))
LOADED = "() => [...document.images].filter(i => i.complete && i.naturalWidth > 100).length"


@pytest.fixture(params=COURSE, ids=lambda path: path.name)
def exported(request, tmp_path):
    """(notebook, its page)."""
    notebook = nbformat.read(request.param, as_version=4)
    return notebook, write_html(notebook, tmp_path / "page.html")


@pytest.mark.parametrize("width", [390, 1280])
def test_figures_and_formulas_are_there_and_nothing_runs(new_page, exported, width):
    notebook, path = exported
    page, record = new_page(width, 720, java_script_enabled=False)
    page.goto(path.as_uri())
    while (folded := page.locator("details:not([open]) > summary")).count():
        folded.first.click()
    figures = sum("image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", []))
    assert page.evaluate(LOADED) == page.locator("img").count() == figures
    assert figures >= 2
    assert page.locator("script, iframe, object, embed").count() == 0, "no script, of model text or otherwise"
    assert record.complaints == []
    formulas = page.locator("math")
    heights = [formulas.nth(k).bounding_box()["height"] for k in range(formulas.count())]
    assert not heights or min(heights) > 5
    assert "$" not in re.sub(r"\$\d", "", page.locator("body").inner_text()), "a formula is not drawn; $12 is money"
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_solutions_and_answers_are_folded_and_open_on_a_click(new_page, exported):
    notebook, path = exported
    folded = sum(c.source.count("<details") for c in notebook.cells if c.cell_type == "markdown")
    page, _ = new_page(1280, 720, java_script_enabled=False)
    page.goto(path.as_uri())
    closed = page.locator("details:not([open])")
    assert closed.count() == folded
    if folded:
        first = closed.first
        first.locator("summary").click()
        assert page.locator("details:not([open])").count() == folded - 1
