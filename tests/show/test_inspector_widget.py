"""The inspector's widget without a browser, its files, and `padlab inspect`."""

import json
import re
import threading
import time

import nbformat
import pytest

import padlab
from padlab.cli import main
from padlab.demo import execute
from padlab.show import inspection as module
from padlab.show.inspector_files import memory_needed, read_responses
from padlab.show.inspector_page import as_python

HOSTILE = ["<script>alert(1)</script>", "$x$ \\(y\\) <|im_end|>", "\u202egnp.exe <img src=x onerror=alert(1)>"]


def alerts(widget):
    return [error.value for error in widget.controls.errors.values() if error.value]


def marked(widget):
    return [name.value != f"<b>{'ABCDEFGH'[k]}</b>" for k, (name, _, _) in enumerate(widget.controls.parts())]


def is_grey(widget):
    return "opacity" in widget.controls.view.value[:40]


def field(widget, index):
    return widget.controls.parts()[index][1]


def click(widget, name):
    getattr(widget.controls, f"{name}_button").click()
    widget.wait(60)


@pytest.fixture
def widget(tiny):
    made = padlab.inspect(*tiny, prompt="Hi", responses=["a", "b", "c"], judge=True, before=tiny.student)
    made.wait(60)
    return made


def test_an_edit_marks_its_row_greys_the_view_and_is_scored_on_request(widget):
    assert (marked(widget), is_grey(widget), alerts(widget)) == ([False] * 3, False, [])
    old = widget.controls.view.value
    field(widget, 1).value = "another"
    assert (marked(widget), is_grey(widget)) == ([False, True, False], True)
    widget.controls.alpha.value = 0.9  # while a text waits, the view stays that of the old one
    assert (marked(widget), is_grey(widget)) == ([False, True, False], True)
    click(widget, "score")
    assert (marked(widget), is_grey(widget)) == ([False] * 3, False)
    assert widget.controls.view.value != old
    click(widget, "undo")
    assert field(widget, 1).value == "b"
    assert not is_grey(widget)


def test_sliders_change_the_view_within_the_promised_time(widget):
    seconds, views = [], set()
    for step in range(1, 21):
        began = time.perf_counter()
        widget.controls.alpha.value = step / 20
        seconds.append(time.perf_counter() - began)
        views.add(widget.controls.view.value)
    assert len(views) == 20
    assert min(seconds) < 0.05


def test_errors_are_shown_beside_their_field_and_recovered_from(widget, monkeypatch):
    shown = widget.controls.view.value
    field(widget, 0).value = ""
    click(widget, "score")
    assert len(alerts(widget)) == 1
    assert shown.split(">", 1)[1] == widget.controls.view.value.split(">", 1)[1]  # the last good view, greyed
    field(widget, 0).value = "a"
    click(widget, "score")
    assert (alerts(widget), is_grey(widget)) == ([], False)
    widget.controls.pick["student"].value = "/nowhere/model"
    widget.controls.pickers.children[-1].click()
    widget.wait(60)
    assert "/nowhere/model" in widget.controls.errors["models"].value
    monkeypatch.setattr(module.Inspection, "_score_new", lambda *_: 1 / 0)
    field(widget, 0).value = "new"
    click(widget, "score")
    assert "ZeroDivisionError" in alerts(widget)[-1]  # nothing is swallowed, in the thread either


def test_a_look_that_cannot_be_drawn_is_greyed_and_said(tiny):
    widget = padlab.inspect(*tiny, prompt="Hi", responses=["a", "b"])
    widget.wait(60)
    widget.controls.alpha.value = 0.5  # nobody has asked the teacher
    assert is_grey(widget)
    assert len(alerts(widget)) == 1
    assert "not asked" in widget._repr_mimebundle_()["text/plain"]
    widget.controls.judge.value = True
    click(widget, "score")
    assert (is_grey(widget), alerts(widget)) == (False, [])
    for wrong in ({"alpha": 2.0}, {"beta": -1.0}, {"alpha": 0.5, "judge": False}):
        with pytest.raises(ValueError, match=r"alpha|beta"):
            padlab.inspect(*tiny, prompt="Hi", responses=["a", "b"], **wrong)


def test_what_is_typed_is_not_lost_or_passed_over(widget):
    field(widget, 0).value = "typed"
    for name in ("pin", "export"):
        click(widget, name)
        assert "not scored yet" in alerts(widget)[0]
    click(widget, "undo")  # first back to what was scored
    assert [f.value for _, f, _ in widget.controls.parts()] == ["a", "b", "c"]
    assert widget.inspection.previous is None


def test_cancel_stops_between_batches_and_score_goes_on(widget, monkeypatch):
    real, reached, go = module.Inspection._score_new, threading.Event(), threading.Event()

    def slow(*arguments):
        reached.set()
        assert go.wait(60)
        return real(*arguments)

    monkeypatch.setattr(module.Inspection, "_score_new", slow)
    field(widget, 0).value = "new"
    widget.controls.score_button.click()
    assert reached.wait(60)
    widget.controls.score_button.click()  # a second time while it works
    assert "at work" in alerts(widget)[0]
    widget.controls.cancel_button.click()
    go.set()
    widget.wait(60)
    assert widget.inspection.missing()
    assert is_grey(widget)
    click(widget, "score")
    assert not widget.inspection.missing()
    assert not is_grey(widget)


def test_number_draw_file_and_pin(widget, tmp_path):
    widget.controls.number.value = 5
    assert len(widget.controls.rows.children) == 5
    assert marked(widget) == [False] * 3 + [True] * 2
    widget.controls.number_box.children[1].click()  # Draw
    widget.wait(60)
    assert alerts(widget) == []
    assert len(widget.inspection.snapshot().responses) == 5
    (tmp_path / "r.txt").write_text("one\ntwo\n\nthree\n")
    widget.controls.file.value = str(tmp_path / "r.txt")
    widget.controls.number_box.children[3].click()
    widget.wait(60)
    assert widget.inspection.snapshot().responses == ("one", "two", "three")
    click(widget, "pin")
    field(widget, 2).value = "four"
    click(widget, "score")
    assert "change" in widget.controls.parts()[2][2].value


def test_rows_of_a_table_and_the_next_disagreement(tiny):
    table = padlab.sample_responses(tiny.student, ["a", "b", "c"], n=3, max_new_tokens=5)
    table = padlab.add_rewards(padlab.add_rewards(table, tiny.teacher), tiny.student, "student_reward")
    widget = padlab.inspect(*tiny, table=table, row=1)
    widget.wait(60)
    assert widget.controls.prompt.value == "b"
    visited = []
    for _ in range(3):
        widget.controls.row_box.children[1].click()
        widget.wait(60)
        visited.append(widget.controls.row.value)
    assert sorted(visited) == [0, 1, 2]
    assert alerts(widget) == []
    assert widget.inspection.previous.row["prompt"] == {0: "a", 1: "b", 2: "c"}[visited[1]]
    with pytest.raises(ValueError, match="missing column"):
        padlab.inspect(*tiny, table=[{"prompt": "a"}])
    with pytest.raises(ValueError, match="no row 3"):
        padlab.inspect(*tiny, table=table, row=3)


def test_texts_stay_texts(tiny):
    widget = padlab.inspect(*tiny, prompt=HOSTILE[0], responses=[*HOSTILE, "word " * 150])
    widget.wait(60)
    assert alerts(widget) == []
    facts = [facts.value for _, _, facts in widget.controls.parts()]
    for html in (
        *facts,
        widget.controls.view.value,
        widget.controls.fixed.value,
        widget._repr_mimebundle_()["text/html"],
    ):
        assert not re.search("<script|<img|\u202e|<\\|im_end\\|>", html)


def test_exported_files_say_the_same(widget, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    click(widget, "export")
    assert alerts(widget) == []
    files = {path.suffix: path for path in tmp_path.iterdir()}
    assert set(files) == {".html", ".json", ".png", ".jsonl", ".py"}
    numbers = json.loads(files[".json"].read_text())
    assert numbers["responses"] == ["a", "b", "c"]
    assert numbers["models"]["student"]["weights"] == widget.inspection.models["student"].weights_hash()
    row = padlab.load_prompts(files[".jsonl"])[0]
    assert row["teacher_reward"] == pytest.approx(numbers["rewards"]["teacher"])
    code = files[".py"].read_text()
    compile(code, "exported", "exec")
    assert code.strip() == as_python(widget.inspection)
    click(widget, "export")  # does not write over the first
    assert len(list(tmp_path.iterdir())) == 10


def test_a_saved_notebook_shows_the_view_without_a_kernel(tmp_path):
    shown = "padlab.inspect(*padlab.load_pair('tiny'), prompt='Hi', responses=['marked', 'b'])"
    code = f"import padlab\nw = {shown}\nw.wait()\nw"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    execute(notebook, tmp_path)
    (output,) = (o for o in notebook.cells[0].outputs if o.output_type == "execute_result")
    assert "marked" in output.data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" not in output.data


def test_responses_from_files(tmp_path):
    (tmp_path / "list.json").write_text('["one\\nline", "two"]')
    assert read_responses(tmp_path / "list.json") == ["one\nline", "two"]
    (tmp_path / "cited.txt").write_text("[citation needed] yes\nno\n")
    assert read_responses(tmp_path / "cited.txt") == ["[citation needed] yes", "no"]
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    (tmp_path / "numbers").write_text("[1, 2]")
    (tmp_path / "broken.json").write_text("[")
    reasons = {
        "numbers": "texts only",
        "broken.json": "not valid JSON",
        "latin": "latin is not UTF-8",
        "c": "no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=reason):
            read_responses(tmp_path / name)
    with pytest.raises(ValueError, match="is a folder"):
        read_responses(tmp_path)
    (tmp_path / "m.safetensors").write_bytes(b"x" * 300_000_000)
    assert "0.3 GB" in memory_needed(str(tmp_path))


def test_the_command_writes_a_page_and_json(tmp_path, capsys):
    (tmp_path / "r.txt").write_text("\n".join(HOSTILE))
    common = ["inspect", "--preset", "tiny", "--out", str(tmp_path)]
    assert main([*common, "--prompt", "Hi", "--responses", str(tmp_path / "r.txt"), "--judge", "--alpha", "0.5"]) == 0
    printed = capsys.readouterr().out
    page = (tmp_path / "inspection.html").read_text()
    assert str(tmp_path / "inspection.html") in printed
    assert not re.search("<script|<img src=x|http", page)
    assert page.count('type="radio"') == 11
    assert json.loads((tmp_path / "inspection.json").read_text())["alpha"] == 0.5
    student, teacher = padlab.load_pair("tiny")
    table = padlab.add_rewards(padlab.sample_responses(student, ["a", "b"], n=2, max_new_tokens=4), teacher)
    padlab.add_rewards(table, student, "student_reward").to_json(tmp_path / "t.jsonl")
    assert main([*common, "--table", str(tmp_path / "t.jsonl"), "--most-disagreeing", "1", "--beta", "3"]) == 0
    rows = json.loads((tmp_path / "disagreements.json").read_text())["rows"]
    assert len(rows) == 2
    assert rows[0]["agreement"]["jsd"] >= rows[1]["agreement"]["jsd"]
    said = "student: tiny student, teacher: tiny teacher; alpha 0, beta 3"
    for text in (capsys.readouterr().out, (tmp_path / "disagreements.html").read_text()):
        assert "t.jsonl" in text
        assert said in text
    scored = ["--table", str(tmp_path / "t.jsonl"), "--most-disagreeing", "1", "--out", str(tmp_path)]
    assert main(["inspect", *scored]) == 0
    assert "beta 10" in capsys.readouterr().out, "no model, no preset: as in Python"
    capsys.readouterr()
    for wrong in (
        ["--prompt", "x"],
        [],
        ["--table", str(tmp_path / "t.jsonl"), "--row", "9"],
        ["--most-disagreeing", "2"],
    ):
        assert main([*common, *wrong]) == 1
        assert capsys.readouterr().err.startswith("padlab inspect: ")


def test_a_run_folder_brings_its_own_models(tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["sample", run, "--preset", "tiny", "--limit", "2"]) == 0
    assert main(["score", run]) == 0
    assert main(["distill", run]) == 0
    assert main(["inspect", "--table", run, "--row", "1", "--out", str(tmp_path)]) == 0
    read = lambda name: json.loads((tmp_path / name).read_text())  # noqa: E731
    assert set(read("inspection.json")["models"]) == {"before", "student", "teacher"}
    padlab.load_pair("tiny").teacher.save(tmp_path / "other")
    assert main(["inspect", "--table", run, "--student", str(tmp_path / "other"), "--out", str(tmp_path)]) == 0
    models = read("inspection.json")["models"]
    assert (set(models), models["student"]["name"], models["teacher"]["name"]) == (
        {"student", "teacher"}, "other", "tiny teacher"
    )  # fmt: skip


def test_named_models_do_not_inherit_what_others_said(tmp_path):
    student, teacher = padlab.load_pair("tiny")
    table = padlab.add_rewards(padlab.sample_responses(student, ["a", "b"], n=2, max_new_tokens=4), student)
    table = padlab.add_selection_probs(padlab.add_rewards(table, teacher, "student_reward"), student, votes=True)
    table.to_json(tmp_path / "t.jsonl")
    command = ["inspect", "--table", str(tmp_path / "t.jsonl"), "--most-disagreeing", "1", "--out", str(tmp_path)]
    assert main([*command, "--preset", "tiny"]) == 0
    rows = json.loads((tmp_path / "disagreements.json").read_text())["rows"]
    right = padlab.add_rewards(table, teacher, "t")["t"]
    for row in rows:
        assert row["rewards"]["teacher"] == pytest.approx(right[row["row"]], abs=1e-5)
        assert "selection_prob" not in row
