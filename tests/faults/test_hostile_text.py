"""No text that people or models wrote becomes anything but text: every place that shows, draws or writes it.

A trial is one hostile text in one place. `PADLAB_FAULT_COUNTS=FILE` collects how many were tried and lost.
"""

import ast
import io
import json
import re
import warnings
from contextlib import contextmanager
from dataclasses import replace

import nbformat
import pytest
from ipywidgets import HTML
from PIL import Image

import padlab
from padlab.data_files import read_rows
from padlab.demo import write_html
from padlab.show import explore, html, plots
from padlab.show.html import page as pages
from padlab.show.html.safe import visible
from padlab.show.inspection import Inspection
from padlab.show.inspection_state import Response
from padlab.show.inspector_files import export
from padlab.show.inspector_page import inspect_static
from tests.faults.campaign import count
from tests.faults.hostile import HARMLESS, SAMPLE, SCORABLE, SURROGATE, TEXTS, WITH_TEXT, Parsed, check_inert, hidden
from tests.show.conftest import plot_calls

REWARDS = [-1.0, -2.0, -3.0, -4.0]


class Trials:
    """How many were tried, and the names of those that failed, with the reason."""

    def __init__(self):
        self.tried, self.lost = 0, []

    @contextmanager
    def __call__(self, name):
        self.tried += 1
        try:
            yield
        except Exception as error:
            self.lost.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")


@pytest.fixture
def trial(request):
    """Runs one trial; at the end the counts are written, and the test fails if one was lost."""
    trials = Trials()
    yield trials
    if "a sample" in request.node.name:  # the same texts are counted under "all"
        assert not trials.lost, trials.lost[:5]
    else:
        count("hostile text", trials.tried, trials.lost, request.node.name)


@pytest.fixture(params=["a sample", pytest.param("all", marks=pytest.mark.slow)])
def scorable(request):
    """Name -> text of those that the tiny models score."""
    return {name: text for name, text in SCORABLE.items() if request.param == "all" or name in SAMPLE}


# --- functions that make HTML, views, widgets

ROW = {"teacher_reward": REWARDS[:2], "student_reward": REWARDS[1::-1], "selection_prob": [0.9, 0.1]}


def row(text):
    return {"prompt": text, "responses": [text, "other"], **ROW}


VIEWS = {  # place -> function of a text that gives an Html, or HTML alone
    "bars": lambda t: html.bars({t: [1, 2]}, [t, "b"], {t: "#000000"}, ghost={t: [2, 1]}, title=t),
    "token_heatmap": lambda t: html.token_heatmap([t, t], [-1, -2], title=t),
    "responses": lambda t: html.responses(t, [t, "b"], rewards={t: [1, 2]}, probs=[0.5, 0.5]),
    "side_by_side": lambda t: html.side_by_side(t, [t], t + " ", [t], [t]),
    "table": lambda t: html.table([{t: t, "b": 1}], caption=t),
    "error_box": lambda t: html.error_box(ValueError(t)) + html.error_box(KeyError(t)),
    "page": lambda t: pages.page(t, [(t, pages.folded(t, "")), ("", pages.choice("a", {t: "", "b": ""}, "b"))]),
    "image": lambda t: pages.image(b"", t),
    "explore_alpha": lambda t: explore.explore_alpha([row(t)]),
    "explore_beta": lambda t: explore.explore_beta([-1.0, -2.0], [t, "b"], [-2.0, -1.0]),
    "explore_temperature": lambda t: explore.explore_temperature([2.0, 1.0], [t, "b"]),
    "explore_grid": lambda t: explore.explore_grid([0, 1], {t: [(0, 0, 0), (1, 0, 2)]}, name=t),
    "explore_steps": lambda t: explore.explore_steps({0: [-2.0, -1.0], 4: [-1.0, -2.0]}, [-1.0, -2.0], [t, "b"]),
    "inspect_static": lambda t: inspect_static([row(t)], beta=2.0),
    "inspect_table": lambda t: padlab.inspect_table([row(t)], note=t),
}


def shown(made):
    """(HTML, text) of what a place has made; a widget also gives its saved view."""
    if isinstance(made, str):
        return made, ""
    if hasattr(made, "shown"):
        data = made._repr_mimebundle_()
        return data["text/html"] + made.output.value, data["text/plain"]
    return made._repr_html_(), made.text


OF_TABLES = ("explore_alpha", "inspect_static", "inspect_table")  # a table takes no lone surrogate and no empty prompt


@pytest.mark.parametrize("place", VIEWS)
def test_views(trial, place):
    harmless = shown(VIEWS[place](HARMLESS))[0]
    for name, text in (WITH_TEXT if place in OF_TABLES else TEXTS).items():
        with trial(name):
            page, plain = shown(VIEWS[place](text))
            check_inert(page, harmless)
            assert not hidden(plain)
            if place not in ("image", "page"):  # there it is an attribute or a title
                assert without_space(visible(text))[:30] in without_space(Parsed(page).text)


def without_space(text):
    return re.sub(r"[\s␣⏎⇥]", "", text)


def test_what_is_typed_into_a_widget(trial):
    """A ranking that is none, a value that a view refuses: the error is shown, as text."""
    ranking = explore.explore_ranking([1.0, 0.0, 2.0, 1.0, 0.0])
    ranking.named["ranking"].value = "B"
    harmless = ranking.error.value
    for name, text in TEXTS.items():
        with trial(name):
            ranking.named["ranking"].value = text
            check_inert(ranking.error.value, harmless)


# --- the inspector


def html_of(widget):
    """All HTML that stands in a widget's parts."""
    parts, found = [widget], ""
    while parts:
        part = parts.pop()
        parts += getattr(part, "children", ())
        found += part.value if isinstance(part, HTML) else ""
    return found


def test_the_inspector_in_a_notebook(trial, tiny, scorable):
    def inspector(text):
        named = [replace(model, name=text, source=text) for model in tiny]
        made = padlab.inspect(*named, prompt=text, responses=[text, "other"], judge=True, alpha=0.5)
        made.wait(60)
        data = made._repr_mimebundle_()
        return html_of(made) + data["text/html"], data["text/plain"]

    harmless = inspector(HARMLESS)[0]
    for name, text in scorable.items():
        with trial(name):
            page, plain = inspector(text)
            check_inert(page, harmless)
            assert not hidden(plain)


def test_what_is_typed_into_the_inspector(trial, tiny):
    widget = padlab.inspect(*tiny, prompt="q", responses=["a", "b"])
    widget.wait(60)

    def typed(text):
        widget.controls.pick["student"].value = widget.controls.file.value = text
        for action in (widget._guarded("models", widget.load), widget._guarded("texts", widget.read)):
            action()
            widget.wait(60)
        said = html_of(widget)
        assert said.count('role="alert"') == 2, "a model and a file of that name are not there"
        return said

    harmless = typed("no/such")
    for name, text in TEXTS.items():
        with trial(name):
            check_inert(typed(text), harmless)


def replay(source):
    """What the exported lines call padlab with, run with stand-ins for the models and the inspector."""
    called = {}
    ast.parse(source)
    lines = "\n".join(line for line in source.splitlines() if line != "import padlab")
    stand_in = type("padlab", (), {"load_model": str, "inspect": lambda *models, **named: called.update(named)})
    exec(compile(lines, "exported.py", "exec"), {"padlab": stand_in})
    return called


@pytest.mark.parametrize("sampled", [False, True], ids=["typed", "sampled"])
def test_pages_and_files_of_the_inspector(trial, tiny, tmp_path, sampled, scorable):
    """Page, JSON, table and Python lines of a text that is prompt, response and both models' name; a trial per file."""

    def written(text, folder):
        texts = [text, HARMLESS]
        roles = ("system", "user", "assistant", "user")[0 if len(text) < 100 else 2 :]  # longer ones pass the context
        said = [{"role": role, "content": text} for role in roles]
        named = [replace(model, name=text, source=text) for model in tiny]
        responses = [Response(t, True) for t in texts] if sampled else texts
        made = Inspection(*named, said if sampled else text, responses).score()
        folder.mkdir()
        return made, {path.suffix: path for path in export(made, folder)}, len(roles)

    harmless = written(HARMLESS + ".", tmp_path / "harmless")[1][".html"].read_text(encoding="utf-8")
    for number, (name, text) in enumerate(scorable.items()):
        with trial(f"{name}, scored and written"):
            made, files, turns = written(text, tmp_path / str(number))
        with trial(f"{name}, page"):
            check_inert(files[".html"].read_text(encoding="utf-8"), harmless)
            assert not hidden(inspect_static(made).text)
        with trial(f"{name}, JSON"):
            content = json.loads(files[".json"].read_text(encoding="utf-8"))
            assert content["responses"] == [text, HARMLESS]
            assert sampled or content["prompt"] == text
            assert [content["models"][role]["name"] for role in ("student", "teacher")] == [text, text]
        with trial(f"{name}, table"):
            (saved,) = read_rows(files[".jsonl"])
            assert (saved["prompt"], saved["responses"]) == (text, [text, HARMLESS])
            assert not sampled or [m["content"] for m in saved["previous_messages"]] == [text] * (turns - 1)
        with trial(f"{name}, Python"):
            called = replay(files[".py"].read_text(encoding="utf-8"))
            assert [r.text if sampled else r for r in called["responses"]] == [text, HARMLESS]
            assert called["prompt"] == text or [m["content"] for m in called["prompt"]] == [text] * turns


def test_the_page_of_a_table(trial, tmp_path):
    def written(texts, note):
        table = [{**row(text), "responses": [text, "other"]} for text in texts]
        padlab.inspect_table(table, path=tmp_path / "table.html", note=note, most=len(texts))
        return (tmp_path / "table.html").read_text(), json.loads((tmp_path / "table.json").read_text())

    harmless, _ = written([HARMLESS] * 2, HARMLESS)
    page, content = written(list(WITH_TEXT.values()), "; ".join(WITH_TEXT.values()))
    with trial("all of them in the note and in the rows"):
        check_inert(page, harmless)
        assert content["about"].startswith("; ".join(WITH_TEXT.values()))
    found = {(r["prompt"], r["responses"][0]) for r in content["rows"]}
    for name, text in WITH_TEXT.items():
        with trial(name):
            assert (text, text) in found
            assert without_space(visible(text))[:30] in without_space(Parsed(page).text)


def test_lone_surrogates_are_refused_where_a_model_reads_them(trial, tiny):
    for prompt, responses in (("q", ["a", SURROGATE]), (SURROGATE, ["a", "b"])):
        with trial("surrogates"), pytest.raises(ValueError, match="surrogates"):
            Inspection(*tiny, prompt, responses).score()


# --- the page of a notebook


def test_the_page_of_a_notebook(trial, tmp_path, scorable):
    def written(text):
        figure = plots.plot_levels([text, "b"], {text: [(0.3, 0.2, 0.4), (0.6, 0.5, 0.7)]}, what=text, of=text)
        data, metadata = figure._repr_mimebundle_()
        view, widget = html.responses(text, [text]), explore.explore_temperature([2.0, 1.0], [text, "b"])
        outputs = [
            nbformat.v4.new_output("stream", name="stdout", text=view.text + visible(text) + "\n"),
            nbformat.v4.new_output("display_data", data, metadata=metadata),
            nbformat.v4.new_output("execute_result", {"text/html": view._repr_html_(), "text/plain": repr(view)}),
            nbformat.v4.new_output("display_data", widget._repr_mimebundle_()),
            nbformat.v4.new_output("execute_result", {"text/plain": repr(text)}),
        ]
        cell = nbformat.v4.new_code_cell("show(text)", id="one", outputs=outputs)
        return write_html(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "page.html").read_text(encoding="utf-8")

    harmless = written(HARMLESS)
    for name, text in {**scorable, "surrogates": SURROGATE}.items():
        with trial(name):
            check_inert(written(text), harmless)


# --- figures: a few texts in all of them are drawn in tests/show/test_plots.py


@pytest.mark.slow  # some minutes
@pytest.mark.parametrize("place", plot_calls())
def test_figures(trial, place):
    for name, text in TEXTS.items():
        for title in (None, text):
            call = plot_calls([text, text, "b", "c"], title=title)[place]
            with trial(name), warnings.catch_warnings():
                warnings.simplefilter("error")  # a missing glyph warns, so does a layout that does not fit
                figure = call()
                assert Image.open(io.BytesIO(figure.png())).width > 500
                assert not hidden(figure.alt_text)
