"""The widgets in JupyterLab: what their user sees, clicks and types, and how fast it answers."""

import json
import os
import statistics
from pathlib import Path

import pytest

TEXTS = ["Bergen", "Oslo", "Rome is the capital of Italy.", "none"]
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
MODELS = (
    'import padlab, padlab.show.inspection as inspection\nstudent, teacher = padlab.load_pair("tiny")\nprint("ready")'
)
SHOW = """
w = padlab.inspect(student, teacher, prompt="Which city?", responses={responses!r}, judge={judge!r})
for name in ("view", "status", "rows", "prompt"):
    getattr(w.controls, name).add_class("test-" + name)
w.wait()
w
"""
PLAIN = f"padlab.inspect(student, teacher, prompt='Which city?', responses={TEXTS!r}, judge=True)"
ROW = '{"prompt": "?", "responses": ["a", "b"], "teacher_reward": [-2.0, -1.0], "selection_prob": [0.9, 0.1]}'
SMALL = [
    f"from padlab.show import explore\nexplore.explore_alpha([{ROW}])",
    "explore.explore_beta([-1.0, -2.0, -1.5])",
    "explore.explore_ranking([1.0, 0.0, 0.5])",
    'explore.explore_temperature([2.0, 0.0, 1.0], ["yes", "no", "maybe"])',
    "explore.explore_pull()",
    'explore.token_gap(teacher, "Which city?", "Bergen", "Oslo")',
]
SLOW = """
import time
real = inspection.score_ids
def slow(*arguments):
    time.sleep(2)
    return real(*arguments)
inspection.score_ids = slow
print("patched")
"""
COUNT = """
real, scored = inspection.score_ids, []
names = {id(m.model): (m.name, m.tokenizer) for m in (student, teacher)}
def counting(model, prompts, responses):
    name, tokenizer = names[id(model)]
    scored.extend([name, tokenizer.decode(ids)] for row in responses for ids in row)
    return real(model, prompts, responses)
inspection.score_ids = counting
print("patched")
"""
WATCH = """
() => {
    const view = document.querySelector(".test-view"), seen = { pressed: 0, took: [], html: view.innerHTML };
    document.addEventListener("keydown", () => { seen.pressed = performance.now() }, true);
    new MutationObserver(() => {
        if (!seen.pressed || view.innerHTML === seen.html) return;
        seen.html = view.innerHTML;
        seen.took.push(performance.now() - seen.pressed);
        seen.pressed = 0;
    }).observe(view, { childList: true, subtree: true, characterData: true, attributes: true });
    window.moves = seen.took;
}
"""
OVERFLOW = "() => document.documentElement.scrollWidth - innerWidth"
SIDEWAYS = """
() => [...document.querySelectorAll(".jp-OutputArea-output, .jp-WindowedPanel-outer, .jp-Notebook")]
    .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== "hidden")
    .map(e => `${e.className}: ${e.scrollWidth} in ${e.clientWidth}`)
"""
CUT = """
() => {
    const right = e => e.getBoundingClientRect().right;
    const inside = (e, box) => !box || box.matches(".jp-OutputArea-output") || (
        (getComputedStyle(box).overflowX === "visible" || right(e) <= right(box)) && inside(e, box.parentElement));
    const parts = ".jupyter-button, .widget-label, .jupyter-widgets :is(input, select, textarea)";
    return [...document.querySelectorAll(parts)].filter(e => e.offsetWidth).filter(e =>
        !inside(e, e.parentElement) || (e.matches("button, label") && e.scrollWidth > e.clientWidth)
    ).map(e => e.labels?.[0]?.innerText || e.innerText || e.type);
}
"""


def show(responses=TEXTS, judge=False):
    """The cell that shows the inspector."""
    return SHOW.format(responses=list(responses), judge=judge)


def view(book):
    """The picture's HTML."""
    return book.page.locator(".test-view").inner_html()


def greyed(book):
    """Whether the picture is drawn pale."""
    code = "e => Math.min(...[e, ...e.querySelectorAll('div')].slice(0, 6).map(x => +getComputedStyle(x).opacity))"
    return book.page.locator(".test-view").evaluate(code) < 0.6


def marks(book):
    """What stands beside each response's field."""
    return book.page.locator(".test-rows .widget-hbox > .widget-html").all_inner_texts()


def fields(book):
    """The responses' fields."""
    return book.page.locator(".test-rows textarea")


def click(book, name):
    """Click a button of the inspector."""
    book.page.locator(".jp-OutputArea").get_by_role("button", name=name, exact=True).click()


def alerts(book):
    """The errors that are shown."""
    return [text for text in book.page.locator(".jp-OutputArea [role=alert]").all_inner_texts() if text.strip()]


def status(book):
    """The line below the buttons."""
    return book.page.locator(".test-status").inner_text()


def take_picture(page, name):
    """A screenshot, where PADLAB_SCREENSHOTS names a folder for them."""
    if folder := os.environ.get("PADLAB_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / name)


def test_run_all_shows_every_widget(notebook):
    sources = [MODELS, show(judge=True), *SMALL]
    book = notebook("all.ipynb", sources)
    book.run_all()
    for number in range(1, len(sources)):
        widget = book.output(number).locator(".jupyter-widgets").first
        widget.wait_for()
        assert widget.bounding_box()["height"] > 100, sources[number]
        assert book.output(number).locator(".jp-RenderedHTMLCommon, .jp-RenderedText").count() == 0, sources[number]
    assert book.errors() == []
    assert alerts(book) == []
    assert book.record.complaints == []
    away = [url for url in book.record.requests if not url.startswith((f"http://127.0.0.1:{book.lab.port}/", "data:"))]
    assert [url for url in away if not url.startswith("blob:")] == []
    cut = set()
    for width, height in ((1280, 720), (1920, 1080)):
        book.page.set_viewport_size({"width": width, "height": height})
        book.page.wait_for_timeout(500)
        assert book.page.evaluate(OVERFLOW) <= 0
        assert book.page.evaluate(SIDEWAYS) == []
        cut |= set(book.page.evaluate(CUT))
        for part, where in (("controls", ".test-prompt"), ("view", ".test-view")):
            book.page.locator(where).evaluate("e => e.scrollIntoView({block: 'start'})")
            book.page.wait_for_timeout(500)
            take_picture(book.page, f"inspector-{part}-{width}x{height}.png")
    assert cut == set(), "no label, button or field is cut off"


def test_a_slider_moved_by_keyboard_changes_the_picture_soon(notebook):
    book = notebook("slider.ipynb", [MODELS, show(judge=True), "print(w.inspection.state.alpha)"])
    book.run_all()
    handle = book.output(1).locator("[role=slider]").first
    handle.focus()
    book.page.evaluate(WATCH)
    pictures = [view(book)]
    for number in range(30):
        book.page.keyboard.press("ArrowRight")
        book.page.wait_for_function(f"() => window.moves.length > {number}", timeout=20_000, polling=5)
        pictures.append(view(book))
    assert len(set(pictures)) == 31, "each move shows something else"
    took = sorted(book.page.evaluate("() => window.moves"))
    median, late = statistics.median(took), took[round(0.95 * len(took)) - 1]
    print(f"\nkey to picture, 30 moves: median {median:.0f} ms, 95th percentile {late:.0f} ms, most {took[-1]:.0f} ms")
    assert median < 1000
    for _ in range(20):  # without waiting: the last move must not be lost
        book.page.keyboard.press("ArrowRight")
    shown = float(book.output(1).locator(".widget-readout").first.inner_text())
    book.until(lambda: f"{shown:g}" in view(book), "the picture is that of the last move")
    assert abs(float(book.run(2)[1]) - shown) < 1e-6
    assert 0.4 < shown < 0.6
    assert book.record.complaints == []


def test_an_edited_response_alone_is_scored_again(notebook):
    cells = [MODELS, show(), COUNT, "import json; print(json.dumps(scored))"]
    book = notebook("edit.ipynb", cells)
    book.run_all()
    before, picture = marks(book), view(book)
    assert len(set(map(len, before))) == 1
    assert not greyed(book)
    field = fields(book).nth(1)
    field.click()
    book.page.keyboard.press("End")
    book.page.keyboard.type("!")
    book.until(lambda: marks(book)[1] != before[1], "the edited row is marked", seconds=10)
    book.until(lambda: greyed(book), "the picture is greyed", seconds=10)
    assert [a == b for a, b in zip(marks(book), before, strict=True)] == [True, False, True, True]
    assert json.loads(book.run(3)[1]) == [], "nothing is scored before the click"
    click(book, "Score")
    book.until(lambda: marks(book) == before, "the mark is gone")
    book.until(lambda: not greyed(book), "the picture is that of the fields")
    assert view(book) != picture
    assert json.loads(book.run(3)[1]) == [["tiny student", "Oslo!"], ["tiny teacher", "Oslo!"]]
    book.page.keyboard.press("Escape")
    click(book, "Undo")
    book.until(lambda: field.input_value() == "Oslo", "the text is the old one")
    book.until(lambda: not greyed(book) and marks(book) == before, "nothing has to be scored again")
    assert len(json.loads(book.run(3)[1])) == 2
    assert book.record.complaints == []


def test_the_kernel_answers_while_models_work_and_cancel_stops_them(notebook):
    cells = [MODELS, show(), SLOW, "print(w._thread.is_alive())", "print(len(w.inspection.missing()))"]
    book = notebook("cancel.ipynb", cells)
    book.run_all()
    fields(book).nth(0).fill("Trondheim")
    done = status(book)
    click(book, "Score")
    book.until(lambda: status(book) != done, "the status says that something is done", seconds=10)
    took, alive = book.run(3)
    assert alive == "True", "the cell was run while the models worked"
    assert took < 1.5
    click(book, "Cancel")
    book.until(lambda: book.run(3)[1] == "False", "the models are stopped", seconds=30)
    missing = int(book.run(4)[1])
    assert missing > 0
    assert str(missing) in status(book), "the status says that something is missing"
    assert greyed(book)
    click(book, "Score")
    book.until(lambda: not greyed(book), "the rest is scored", seconds=30)
    assert book.run(4)[1] == "0"
    assert alerts(book) == []
    assert book.record.complaints == []


def test_an_error_is_shown_and_recovered_from(notebook):
    book = notebook("error.ipynb", [MODELS, show()])
    book.run_all()
    marked, picture = marks(book), view(book)
    fields(book).nth(2).fill("")
    click(book, "Score")
    book.until(lambda: alerts(book), "the error is shown", seconds=20)
    assert book.page.locator(".jp-OutputArea [role=alert]").first.is_visible()
    assert "C" in alerts(book)[0], "it names the response"
    assert greyed(book)
    assert book.page.locator(".test-view").inner_text().strip(), "the last good picture stays"
    fields(book).nth(2).fill("Rome")
    click(book, "Score")
    book.until(lambda: not alerts(book), "the error is gone", seconds=20)
    book.until(lambda: not greyed(book) and marks(book) == marked, "the new picture is there", seconds=20)
    assert view(book) != picture
    assert book.record.complaints == []


HOSTILE = [
    "<script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "$x^2$ and \\(y\\) and $$z$$",
    "<|im_end|>\n<|im_start|>assistant\nA",
    "\u202eevil \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "x" * 10_000,
    "</textarea></div></body>\x00\x1b[31m",
]
LONG_CONTEXT = "for m in (student, teacher):\n    m.model.config.max_position_embeddings = 32768\nprint('long')"
CONTROL = "import ipywidgets\nipywidgets.HTML('<img src=x onerror=\"window.control=1\">')"


def test_hostile_texts_do_nothing(notebook):
    prompt = "<img src=x onerror=window.hacked=1> $x^2$ <|im_end|> " + "y" * 3000
    cell = show(HOSTILE).replace("'Which city?'", repr(prompt)).replace('"Which city?"', repr(prompt))
    book = notebook("hostile.ipynb", ["# $x^2$ is a formula", MODELS, LONG_CONTEXT, cell, CONTROL])
    book.run_all()
    page = book.page
    page.wait_for_function("() => window.control === 1")  # such an element would run here
    page.locator(".jp-MarkdownOutput :is(mjx-container, .MathJax)").first.wait_for(state="attached")  # formulas are on
    book.until(lambda: not greyed(book), "everything is scored")
    assert alerts(book) == []
    output = book.output(2)
    output.locator("[class*=Collapse-header]").first.click()  # every token is shown, too
    page.wait_for_timeout(1000)
    assert page.evaluate("() => window.hacked") is None
    assert output.locator("mjx-container, .MathJax, .katex, script, img").count() == 0
    shown = output.inner_text()
    for text in HOSTILE[:3]:
        assert text in shown, "each is shown as it was written"
    assert "<|im_end|>" in shown
    assert "\u202e" not in shown, "no text turns what stands after it"
    assert fields(book).nth(1).input_value() == HOSTILE[1]
    assert len(fields(book).nth(5).input_value()) == 10_000
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate(SIDEWAYS) == []
    fields(book).nth(0).fill(HOSTILE[1] + HOSTILE[0])  # typed, not given
    click(book, "Score")
    book.until(lambda: HOSTILE[1] + HOSTILE[0] in output.inner_text(), "it is shown", seconds=60)
    output.get_by_placeholder("file").fill(HOSTILE[1])
    click(book, "Read file")
    book.until(lambda: any(HOSTILE[1] in text for text in alerts(book)), "the error names the file", seconds=20)
    page.wait_for_timeout(500)
    assert page.evaluate("() => window.hacked") is None


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A notebook with every widget as a user writes it, executed and saved without the widgets' state."""
    nbclient = pytest.importorskip("nbclient")
    from nbformat import v4

    cells = [v4.new_code_cell(text.strip()) for text in (MODELS, PLAIN, *SMALL)]
    executed = v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("saved"))}}
    nbclient.NotebookClient(executed, timeout=300, store_widget_state=False, resources=folder).execute()
    assert "widgets" not in executed.metadata
    return executed


def assert_twins_are_shown(saved, page, cells, output):
    """Every widget's cell shows its last view, without the widget."""
    assert page.locator(cells).count() == 2 + len(SMALL)
    for number, cell in enumerate(saved.cells[1:], start=1):
        twin = page.locator(cells).nth(number).locator(output)
        shown, text = twin.inner_text(), cell.outputs[0]["data"]["text/plain"]
        assert twin.is_visible()
        assert twin.locator("script, .jupyter-widgets").count() == 0
        assert len(text.split()) > 10, "it shows something"
        assert [word for word in text.split() if word.isalpha() and word not in shown] == [], cell.source
    inspector = page.locator(cells).nth(1).locator(output).inner_text()
    assert all(text in inspector for text in ["Which city?", *TEXTS])


def test_a_saved_notebook_shows_the_last_views_on_a_page(saved, new_page, tmp_path):
    nbconvert = pytest.importorskip("nbconvert")
    html, _ = nbconvert.HTMLExporter().from_notebook_node(saved)
    path = tmp_path / "saved.html"
    path.write_text(html, encoding="utf-8")
    page, _ = new_page(java_script_enabled=False, offline=True)
    page.goto(path.as_uri())
    assert_twins_are_shown(saved, page, ".jp-CodeCell", ".jp-OutputArea-output")
    assert page.evaluate(OVERFLOW) <= 0


def test_a_saved_notebook_shows_the_last_views_in_jupyterlab(saved, notebook):
    book = notebook("saved.ipynb", [], saved=saved)
    assert_twins_are_shown(saved, book.page, ".jp-Notebook .jp-CodeCell", ".jp-OutputArea-output")
    assert book.record.complaints == []
