"""Notebooks 06 and 08 in JupyterLab, as a reader uses them: Run All, then a slider moved, a response edited."""

import re

import nbformat
import pytest

from padlab.demo import notebook_folder

COMPLAINTS = "[data-mime-type='application/vnd.jupyter.stderr'], .jp-OutputArea [role=alert]"
SMALLER = {r"^PRESET = .*": 'PRESET = "tiny"', r"\bPROMPTS = \d+": "PROMPTS = 4", "SEEDS = 4 ": "SEEDS = 2 "}
PATIENCE = 300  # seconds for all cells of a notebook; they take less than a minute where nothing else runs


def at_small_size(name):
    """A notebook of the course, with random weights and small numbers where it has them, and nothing run yet."""
    saved = nbformat.read(notebook_folder() / name, as_version=4)
    for cell in saved.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            for pattern, text in SMALLER.items():
                cell.source = re.sub(pattern, text, cell.source, flags=re.MULTILINE)
    return saved


@pytest.fixture
def course(notebook):
    """Opens a notebook of the course, runs all of its cells by the menu, and looks for errors."""

    def make(name):
        saved = at_small_size(name)
        book = notebook(name, [], saved=saved)
        book.run_all(PATIENCE)
        book.until(lambda: book.lab.kernel_is_idle(name), "the kernel is idle", seconds=60)
        prompts = book.page.locator(".jp-Notebook .jp-CodeCell .jp-InputArea-prompt").all_inner_texts()
        code = sum(cell.cell_type == "code" for cell in saved.cells)
        assert [re.sub(r"\W", "", text) for text in prompts] == [str(k) for k in range(1, code + 1)]
        assert_no_errors(book)
        return book

    return make


def assert_no_errors(book):
    """No cell and no widget shows an error or a warning, and nothing is asked of another server."""
    shown = book.page.locator(COMPLAINTS).all_inner_texts()
    assert book.errors() == [text for text in shown if text.strip()] == []
    assert book.record.complaints == []
    own = (f"http://127.0.0.1:{book.lab.port}/", "data:", "blob:")
    assert [url for url in book.record.requests if not url.startswith(own)] == []


@pytest.mark.slow
def test_the_alpha_slider_of_06_moves_its_view(course):
    book = course("06_alpha_and_rounds.ipynb")
    handle = book.page.locator(".jp-OutputArea [role=slider]").last
    box = handle.locator("xpath=ancestor::div[contains(@class, 'widget-vbox')][1]")
    view = lambda: [text for text in box.locator(".widget-html").all_inner_texts() if text.strip()]  # noqa: E731
    begin = view()
    assert begin, "the widget shows something before it is touched"
    handle.focus()
    seen = [begin]
    for _ in range(3):
        book.page.keyboard.press("ArrowRight")
        book.until(lambda: view() not in ([], seen[-1]), "the view follows the slider", seconds=20)
        seen.append(view())
    assert len({tuple(texts) for texts in seen}) == 4, "each value shows something else"
    for _ in range(3):
        book.page.keyboard.press("ArrowLeft")
    book.until(lambda: view() == begin, "back at the first value, the first view", seconds=20)
    assert_no_errors(book)


@pytest.mark.slow
def test_a_response_of_08_is_edited_and_scored(course):
    book = course("08_inspector.ipynb")
    inspector = book.page.locator(".jp-OutputArea-output", has=book.page.get_by_role("button", name="Score")).last
    prompt, field, *others = inspector.locator("textarea").all()
    assert len(others) == 2, "three responses"
    assert "Question" in prompt.input_value()
    view = inspector.locator(".widget-html", has_text="probability of each ranking").last
    unscored = inspector.get_by_text("not scored", exact=True)
    before, typed = view.inner_text(), field.input_value()
    assert unscored.count() == 0
    field.click()
    book.page.keyboard.press("End")
    book.page.keyboard.type(" Or not.")
    book.until(lambda: unscored.count() == 1, "the edited response is marked", seconds=20)
    assert view.inner_text() == before, "nothing is scored before the click"
    inspector.get_by_role("button", name="Score", exact=True).click()
    book.until(lambda: unscored.count() == 0, "the mark is gone", seconds=60)
    book.until(lambda: view.inner_text() != before, "the view is that of the new text", seconds=20)
    assert "change" in inspector.inner_text(), "the numbers say what the edit changed"
    inspector.get_by_role("button", name="Undo", exact=True).click()
    book.until(lambda: field.input_value() == typed, "the text is the old one", seconds=20)
    book.until(lambda: unscored.count() == 0, "the old text is scored already", seconds=20)
    assert_no_errors(book)
