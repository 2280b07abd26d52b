"""`padlab import` and `padlab benchmark` on the command line."""

import json
import shutil

import pytest

from padlab import run_models
from padlab.cli import main
from padlab.runs import load_table

RATINGS = """question,answer,stars,rater
"What is 2 + 2?",4,5,ann
"What is 2 + 2?",5,1,ann
"What is 2 + 2?","four, of course",5,bob
"Name a bird.",wren,4,ann
"Name a bird.",a cod,1,bob
"""
COLUMNS = ["--prompt", "question", "--responses", "answer", "--score", "stars"]
EGGS = {"question": "2 eggs and 1?", "answer": "2 + 1 = 3\n#### 3"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with imported ratings, and a student trained on them."""
    folder = tmp_path_factory.mktemp("imported")
    (folder / "ratings.csv").write_text(RATINGS, encoding="utf-8")
    words = ["import", str(folder / "ratings.csv"), str(folder / "run"), "--preset", "tiny", *COLUMNS]
    for stage in (words, ["distill", str(folder / "run")]):
        assert main(stage) == 0, stage
    return folder / "run"


def test_ratings_become_candidates(run):
    table = load_table(run / "candidates.jsonl")
    assert table["prompt"][:] == ["What is 2 + 2?", "Name a bird."]
    assert table["responses"][0] == ["4", "5", "four, of course"]
    four, five, words = table["teacher_reward"][0]
    assert four == words > five
    assert "rater" not in table.column_names


def test_the_student_is_trained_and_measured_without_a_teachers_reward(run, capsys):
    assert main(["evaluate", str(run), "--limit", "3"]) == 1, "padlab's own prompts are not what it was trained for"
    assert "--prompts FILE" in capsys.readouterr().err
    assert not (run / "evaluate").exists()
    assert main(["evaluate", str(run), "--prompts", "heldout", "--limit", "3"]) == 0
    assert "fresh samples (3 prompts)" in capsys.readouterr().out


def test_the_import_says_what_it_understood(run, tmp_path, capsys):
    words = ["import", str(run.parent / "ratings.csv"), str(tmp_path), "--preset", "tiny", *COLUMNS]
    assert main([*words, "--scale", "rank", "--spread", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "note: fields of single responses are left out: rater" in out
    assert "2 prompts with 2 to 3 responses, 1 with ties" in out
    assert load_table(tmp_path / "candidates.jsonl")["teacher_reward"][1] == [0.25, -0.25]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["import", "none.csv", "RUN"], "no such file"),
        (["import", "RATINGS", "RUN"], "unknown shape: there are question, answer, stars, rater. Name the columns"),
        (["import", "RATINGS", "RUN", *COLUMNS[:-1], "star"], "no column star; there are question"),
        (["import", "RATINGS", "RUN", *COLUMNS, "--preset", "big"], "no preset 'big'"),
        (["benchmark", "gsm8k", "--model", "embedded", "--questions", "none.jsonl"], "no such file"),
        (["benchmark", "gsm8k", "--run", "RUN"], "is no run folder yet"),
        (["benchmark", "mt_bench", "--read", "RATINGS"], "is no file of MT-Bench judgements"),
    ],
)
def test_mistakes_get_one_line_and_status_1(run, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.setattr(
        "padlab.load_model", lambda *_, **__: run_models.padlab.load_pair("tiny").teacher, raising=False
    )
    places = {"RATINGS": str(run.parent / "ratings.csv"), "RUN": str(tmp_path / "run")}
    assert main([places.get(word, word) for word in words]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "candidates.jsonl").exists()


def test_a_benchmark_of_a_run_before_and_after_training(run, tmp_path, capsys):
    (tmp_path / "gsm8k.jsonl").write_text(json.dumps(EGGS) + "\n", encoding="utf-8")
    words = ["benchmark", "gsm8k", "--run", str(run), "--questions", str(tmp_path / "gsm8k.jsonl"), "--shots", "2"]
    words += ["--max-new-tokens", "4", "--out", str(tmp_path / "out")]
    for more in ([], ["--before"]):
        assert main([*words, *more]) == 0
    out = capsys.readouterr().out
    assert out.count("right by the strict rule, %") == 2
    assert out.count("not comparable with published ones") == 2
    files = sorted(path.name for path in (tmp_path / "out" / "gsm8k").iterdir())
    assert files == ["run-before.jsonl", "run.jsonl"]
    assert main(["benchmark", "gsm8k", "--read", str(tmp_path / "out" / "gsm8k" / "run.jsonl")]) == 0
    assert "GSM8K" in capsys.readouterr().out


def test_imported_ratings_are_never_written_over(run, tmp_path, capsys):
    before = (run / "candidates.jsonl").read_bytes()
    assert main(["score", str(run)]) == 1
    assert "were imported, there is nothing to score" in capsys.readouterr().err
    assert (run / "candidates.jsonl").read_bytes() == before
    (tmp_path / "other.csv").write_text(RATINGS.replace("wren,4", "wren,2"), encoding="utf-8")
    assert main(["import", str(tmp_path / "other.csv"), str(run), "--preset", "tiny", *COLUMNS]) == 1
    assert "holds other data already" in capsys.readouterr().err
    assert main(["import", str(run.parent / "ratings.csv"), str(run), "--preset", "tiny", *COLUMNS]) == 0
    assert json.loads((run / "manifest.json").read_text())["stages"]["import"]["score"] == "stars"


def test_asking_the_teacher_about_imported_ratings_keeps_them(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert main(["score", str(copy), "--selection", "pairwise"]) == 0
    old, new = load_table(run / "candidates.jsonl"), load_table(copy / "candidates.jsonl")
    assert new["teacher_reward"][:] == old["teacher_reward"][:]
    assert "selection_prob" in new.column_names


def test_the_run_folder_names_the_answers(run, tmp_path, monkeypatch):
    (tmp_path / "gsm8k.jsonl").write_text(json.dumps(EGGS) + "\n", encoding="utf-8")
    monkeypatch.chdir(run)
    words = ["benchmark", "gsm8k", "--run", ".", "--questions", str(tmp_path / "gsm8k.jsonl")]
    assert main([*words, "--max-new-tokens", "3", "--out", str(tmp_path)]) == 0
    assert main([*words, "--max-new-tokens", "3", "--out", str(tmp_path), "--name", "mine"]) == 0
    assert {path.name for path in (tmp_path / "gsm8k").iterdir()} == {"run.jsonl", "mine.jsonl"}


def test_one_of_model_run_and_read_must_be_given(capsys):
    with pytest.raises(SystemExit):
        main(["benchmark", "gsm8k"])
    assert "one of the arguments --model --run --read is required" in capsys.readouterr().err


def test_a_students_benchmark_does_not_load_the_teacher(monkeypatch, tiny):
    loaded = []
    monkeypatch.setattr("padlab.load_model", lambda name, **_: loaded.append(name) or tiny.student, raising=False)
    student = run_models.load_student({"preset": "paper", "student": None, "teacher": None})
    assert loaded == ["google/gemma-2-2b-it"]
    assert student.training["learning_rate"] == 8e-7
