"""The four benchmarks: questions in, official answer files out and back, official judgements read."""

import gzip
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import padlab
from padlab.rankings.intervals import mean_interval
from padlab.study.benchmarks import alpaca_eval, arena_hard, gsm8k, gsm8k_correct, mt_bench
from padlab.study.benchmarks import answers as answers_module
from padlab.study.benchmarks.answers import generate_answers
from padlab.study.benchmarks.gsm8k import final_number, gsm8k_strict
from padlab.study.benchmarks.questions import Question
from padlab.study.benchmarks.results import percent_interval, ratio_interval
from padlab.study.benchmarks.run import BENCHMARKS, read_judgements, run_benchmark

SHARED = Path(__file__).parents[3] / "shared" / "data"
official = pytest.mark.skipif(not SHARED.exists(), reason=f"the official files are not in {SHARED}")
FILES = {
    "alpaca_eval": "alpaca_eval_ranked.jsonl.gz", "arena_hard": "arena_hard_v0.1_questions.jsonl",
    "mt_bench": "mt_bench_questions.jsonl", "gsm8k": "gsm8k_test.jsonl",
}  # fmt: skip
ROWS = {  # two questions of each benchmark, in the official shape
    "alpaca_eval": [{"instruction": f"Name {k} rivers.", "dataset": "own", "output": "-"} for k in range(2)],
    "arena_hard": [
        {"uid": f"u{k}", "category": "arena-hard-v0.1", "cluster": "own", "prompt": f"{k}?"} for k in (1, 2)
    ],
    "mt_bench": [
        {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."]},
        {"question_id": 111, "category": "math", "turns": ["1 + 1?", "And 2 more?"]},
    ],
    "gsm8k": [{"question": f"{k} eggs and one?", "answer": f"{k} + 1 = {k + 1}\n#### {k + 1}"} for k in (3, 8)],
}


@pytest.fixture
def model(tiny):
    return tiny.teacher


# --- GSM8K


@official
def test_gold_answers_are_right_and_others_are_not():
    golds = [json.loads(line)["answer"] for line in (SHARED / FILES["gsm8k"]).read_text().splitlines()]
    finals = [gold.rpartition("####")[2].strip() for gold in golds]
    assert len(golds) == 1319
    assert sum(map(gsm8k_correct, golds, golds)) == sum(map(gsm8k_correct, golds, finals)) == 1319
    assert sum(map(gsm8k_strict, golds, golds)) == 1319
    following = golds[1:] + golds[:1]
    equal = [
        float(a.replace(",", "")) == float(b.replace(",", ""))
        for a, b in zip(finals, finals[1:] + finals[:1], strict=True)
    ]
    assert list(map(gsm8k_correct, golds, following)) == equal


@pytest.mark.parametrize(
    ("name", "response", "gold", "right"),
    [
        ("bold with dollar and thousands", "So she makes **$1,018.00** a day.", "#### 1018", True),
        ("units behind the mark", "#### 18 dollars in 3 days", "18", True),
        ("two marks, the last counts", "#### 17\nNo, wait.\n#### 18", "18", True),
        ("a mark without a number", "18 it is.\n####", "18", True),
        ("decimal that is whole", "The answer is 18.0.", "18", True),
        ("unicode minus", "The change is −5 degrees", "-5", True),
        ("LaTeX box", "\\boxed{1{,}018}", "1018", True),
        ("the right number is not the last", "18 eggs, which leaves 2", "18", False),
        ("a subtraction is no negative number", "20-18", "-18", False),
        ("a fraction is no whole number", "She has 3/4", "4", False),
        ("listed digits are no thousands", "1,2,018", "12018", False),
        ("a number in words", "eighteen", "18", False),
        ("headings are no answers", "#### Step 1\n5 + 5\n#### Step 3: the end\nSo it is $18 a day.", "18", True),
        ("an equation behind the mark", "#### 2*9 = 18", "18", True),
        ("words behind the mark", "#### The 2 friends have 18", "18", True),
        ("empty", "", "18", False),
        ("another magnitude", "#### 180", "18", False),
    ],
)
def test_awkward_answers(name, response, gold, right):
    assert gsm8k_correct(response, gold) is right, name


def test_a_gold_answer_without_number_is_refused():
    with pytest.raises(ValueError, match="holds no number"):
        gsm8k_correct("18", "none")


def test_the_worked_examples_compute_right():
    for _, answer in gsm8k.EXAMPLES:
        equations = re.findall(r"([\d+*/ -]+) = \$?(\d+)", answer)
        assert equations
        for left, right in equations:
            assert eval(left) == int(right), left
        assert final_number(answer) == int(equations[-1][1])
        assert gsm8k_strict(answer, answer)


# --- questions and answers


@official
@pytest.mark.parametrize(
    ("name", "count"), [("alpaca_eval", 803), ("arena_hard", 500), ("mt_bench", 80), ("gsm8k", 1319)]
)
def test_official_files_are_read_whole(name, count):
    questions = BENCHMARKS[name].load_questions(SHARED / FILES[name])
    assert len(questions) == len({q.id for q in questions}) == count
    assert {len(q.turns) for q in questions} == ({2} if name == "mt_bench" else {1})
    if name == "mt_bench":
        assert {(q.category, q.temperature) for q in questions} == set(mt_bench.TEMPERATURES.items())
        assert all(mt_bench._category(q.id) == q.category for q in questions)


def test_answers_are_those_of_the_sampling_engine(model):
    """Greedy: the likeliest tokens; T > 0: what sample_responses draws; a later turn reads the earlier answers."""
    greedy, warm = Question("a", ("Hi", "More?")), Question("b", ("Hi",), temperature=0.7)
    (first, second), (sampled,) = generate_answers(model, [greedy, warm], max_new_tokens=5, seed=3)
    table = padlab.sample_responses(model, ["Hi"], 2, temperature=0.7, top_p=1.0, max_new_tokens=5, seed=3)
    assert sampled.text == table["responses"][0][0]
    cold = padlab.sample_responses(model, ["Hi"], 2, temperature=1e-4, top_p=1.0, max_new_tokens=5)
    assert first.text == cold["responses"][0][0]
    talk = {"previous_messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": first.text}]}
    after = padlab.sample_responses(
        model, [{"prompt": "More?", **talk}], 2, temperature=1e-4, top_p=1.0, max_new_tokens=5
    )
    assert second.text == after["responses"][0][0]


def test_an_interrupted_run_goes_on(model, tmp_path, monkeypatch):
    asked, draw = [], answers_module.draw_responses

    def interrupted_at_the_second(*arguments, **options):
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return draw(*arguments, **options)

    monkeypatch.setattr(answers_module, "draw_responses", interrupted_at_the_second)
    settings = {"questions": ROWS["gsm8k"], "max_new_tokens": 3, "batch_size": 1}
    with pytest.raises(KeyboardInterrupt):
        run_benchmark("gsm8k", model, tmp_path, **settings)
    path, _ = run_benchmark("gsm8k", model, tmp_path, **settings)
    assert len(asked) == 3  # one answer, the interruption, the other answer
    more = {**settings, "questions": [*ROWS["gsm8k"], {"question": "4 and 4?", "answer": "#### 8"}]}
    run_benchmark("gsm8k", model, tmp_path, **more, model_name="more")
    assert len(asked) == 4  # a longer list reads the answers that are there
    monkeypatch.undo()
    whole, _ = run_benchmark("gsm8k", model, tmp_path / "new", **settings)
    run_benchmark("gsm8k", model, tmp_path, **settings)
    assert path.read_text() == whole.read_text()


def test_answers_of_others_are_not_written_over(model, tiny, tmp_path):
    ask = lambda m, **more: run_benchmark(  # noqa: E731
        "gsm8k", m, tmp_path, questions=ROWS["gsm8k"], max_new_tokens=3, **{"model_name": "m", **more}
    )
    path, _ = ask(model, limit=1)
    ask(model)  # more questions
    whole = path.read_text()
    for other, more, what in (
        (tiny.student, {}, "other weights"), (model, {"limit": 1}, "2 questions"), (model, {"seed": 1}, "other seed")
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"holds answers as gsm8k/m with {what}"):
            ask(other, **more)
    assert path.read_text() == whole
    assert ask(tiny.student, model_name="n")[0] != path


def test_worked_examples_stand_before_the_question():
    asked = gsm8k.load_questions(ROWS["gsm8k"], shots=8)[0]
    assert [m["role"] for m in asked.before] == ["user", "assistant"] * 8
    assert all(gsm8k.INSTRUCTION in m["content"] for m in asked.before[::2])
    with pytest.raises(ValueError, match="shots must be 0 to 8"):
        gsm8k.load_questions(ROWS["gsm8k"], shots=9)


def test_a_question_too_long_is_named(model):
    with pytest.raises(ValueError, match=r"question long, turn 1: the conversation has .* tokens, the context"):
        generate_answers(model, [Question("long", ("word " * 3000,))], max_new_tokens=4)


def test_the_end_of_the_context_shortens_answers_and_says_so(model, capsys):
    room = model.max_length
    asked = Question("near", ("a" * (room - 60),))
    ((answer,),) = generate_answers(model, [asked], max_new_tokens=room)
    assert answer.tokens < 60
    assert "1 of 1 answers have room" in capsys.readouterr().out


@pytest.mark.parametrize("name", BENCHMARKS)
def test_bad_questions_are_named(name):
    load, first = BENCHMARKS[name].load_questions, ROWS[name][0]
    column = {"alpaca_eval": "instruction", "arena_hard": "prompt", "mt_bench": "turns", "gsm8k": "question"}[name]
    with pytest.raises(ValueError, match="row 1: no column"):
        load([first, {k: v for k, v in ROWS[name][1].items() if k != column}])
    with pytest.raises(ValueError, match="row 0: an empty question"):
        load([{**first, column: ["x", " "] if name == "mt_bench" else " "}])
    if name in ("arena_hard", "mt_bench"):
        with pytest.raises(ValueError, match=r"row 1: the id .* was used before"):
            load([first, first])
    with pytest.raises(ValueError, match="there are no questions"):
        load([])


@pytest.mark.parametrize(
    ("name", "cells", "message"),
    [
        ("mt_bench", {"turns": None}, "row 0: an empty question, or one that is no text"),
        ("mt_bench", {"turns": ["a", 3]}, "row 0: an empty question, or one that is no text"),
        ("arena_hard", {"prompt": 3}, "row 0: an empty question, or one that is no text"),
        ("gsm8k", {"answer": None}, "row 0: the answer holds no number: None"),
        ("gsm8k", {"answer": "none"}, "row 0: the answer holds no number"),
    ],
)
def test_other_types_are_refused_before_anything_is_generated(name, cells, message):
    with pytest.raises(ValueError, match=message):
        BENCHMARKS[name].load_questions([{**ROWS[name][0], **cells}])


def test_numbers_out_of_range_are_refused(model):
    for limit in (0, -1):
        with pytest.raises(ValueError, match=f"limit must be at least 1, got {limit}"):
            mt_bench.load_questions(ROWS["mt_bench"], limit)
    for wrong in ({"max_new_tokens": 0}, {"max_new_tokens": 4, "batch_size": 0}):
        with pytest.raises(ValueError, match="must be at least 1, got"):
            generate_answers(model, [Question("a", ("Hi",))], **wrong)


def test_without_hub_and_file_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: (_ for _ in ()).throw(OSError("offline")))
    with pytest.raises(ValueError, match=r"cannot be had from the Hub .OSError.*--questions FILE"):
        mt_bench.load_questions()


# --- official files


def test_answer_files_have_the_official_shape(model, tmp_path):
    paths = {
        name: run_benchmark(name, model, tmp_path, questions=rows, max_new_tokens=4, model_name="my/model")[0]
        for name, rows in ROWS.items()
    }
    outputs = json.loads(paths["alpaca_eval"].read_text())
    assert [list(row) for row in outputs] == [["dataset", "instruction", "output", "generator"]] * 2
    assert [row["instruction"] for row in outputs] == [row["instruction"] for row in ROWS["alpaca_eval"]]
    arena = [json.loads(line) for line in paths["arena_hard"].read_text().splitlines()]
    assert paths["arena_hard"].relative_to(tmp_path).as_posix() == "data/arena-hard-v0.1/model_answer/my-model.jsonl"
    for row, asked in zip(arena, ROWS["arena_hard"], strict=True):  # what gen_judgment.py reads
        assert (row["uid"], row["model"]) == (asked["uid"], "my-model")
        assert row["messages"][0] == {"role": "user", "content": asked["prompt"]}
        assert isinstance(row["messages"][-1]["content"]["answer"], str)
    bench = [json.loads(line) for line in paths["mt_bench"].read_text().splitlines()]
    for row, asked in zip(bench, ROWS["mt_bench"], strict=True):  # what FastChat's load_model_answers and judges read
        assert (row["question_id"], row["model_id"]) == (asked["question_id"], "my-model")
        assert [len(choice["turns"]) for choice in row["choices"]] == [2]
    scored = [json.loads(line) for line in paths["gsm8k"].read_text().splitlines()]
    assert [row["right"] for row in scored] == [gsm8k_correct(row["response"], row["gold"]) for row in scored]
    for name in ("alpaca_eval", "arena_hard", "mt_bench"):
        assert str(paths[name]) in BENCHMARKS[name].judging_command(paths[name], "my-model")


def test_alpaca_eval_reads_the_answer_file(model, tmp_path):
    package = pytest.importorskip("alpaca_eval.utils")
    path, _ = run_benchmark("alpaca_eval", model, tmp_path, questions=ROWS["alpaca_eval"], max_new_tokens=4)
    frame = package.load_or_convert_to_dataframe(path)
    assert set(frame["generator"]) == {"tiny-teacher"}


# --- judgements


@official
def test_win_rates_equal_the_published_ones(tmp_path):
    lines = gzip.decompress((SHARED / FILES["alpaca_eval"]).read_bytes()).decode().splitlines()
    ranked = [json.loads(line) for line in lines]
    published = json.loads((SHARED / "alpaca_eval_published.json").read_text())["models"]
    assert len(published) == 5
    for name, figures in published.items():
        number = ranked[0]["models"].index(name)
        rows = [{"generator_2": name, "preference": 1 + row["gpt4_preference"][number]} for row in ranked]
        (path := tmp_path / "annotations.json").write_text(json.dumps(rows))
        rate, controlled = read_judgements("alpaca_eval", path).rows
        assert rate.interval.estimate == pytest.approx(figures["win_rate"], abs=0.15)
        assert rate.interval.low < figures["win_rate"] < rate.interval.high
        assert math.isnan(controlled.interval.estimate)
        assert "needs annotations of all 805" in controlled.note


def test_preferences_by_hand(tmp_path):
    values = [1.0, 2.0, 1.5, 0, 1.25, None, float("nan")]
    assert [alpaca_eval.preference_of({"preference": v}) for v in values] == [0, 1, 0.5, 0.5, 0.25, None, None]
    rows = [{"generator_2": "m", "preference": v} for v in values[:-1]]
    (path := tmp_path / "annotations.json").write_text(json.dumps(rows))
    (rate, _) = read_judgements("alpaca_eval", path).rows
    percent = 100 * np.array([0, 1, 0.5, 0.5, 0.25])
    assert rate.interval == mean_interval(percent)
    assert f"{percent.std(ddof=1) / 5**0.5:.2f}; 1 of 6 have no preference" in rate.note


def test_the_standard_error_and_rate_are_those_of_the_package():
    package = pytest.importorskip("alpaca_eval.metrics")
    values = [1.0, 2.0, 1.5, 0, 1.25, 1.75]
    theirs = package.get_winrate([{"preference": v} for v in values])
    ours = 100 * np.array([alpaca_eval.preference_of({"preference": v}) for v in values])
    assert theirs["win_rate"] == pytest.approx(ours.mean())
    assert theirs["standard_error"] == pytest.approx(alpaca_eval.standard_error(ours))


def arena_rows(*games):
    return [
        {"uid": str(k), "model": "m", "baseline": "b", "judge": "j", "games": [g and {"score": g} for g in pair]}
        for k, pair in enumerate(games)
    ]


def test_arena_hard_is_the_bradley_terry_model(tmp_path):
    """Against a likelihood maximised numerically; game 1 has the baseline as A, game 2 the model."""
    games = [("A>B", "A>>B"), ("A>>B", "B>A"), ("A=B", "A>B"), ("B>>A", "A>B"), (None, "A>B")]
    (path := tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, arena_rows(*games))))
    (result,) = read_judgements("arena_hard", path).rows
    points = [(0, 1), (1, 3), (0, 3), (0, 1), (0.5, 1), (1, 1), (1, 3), (1, 1)]  # of the model, weight; by hand

    def loss(strength):
        p = 1 / (1 + math.exp(-strength))
        return -sum(w * (y * math.log(p) + (1 - y) * math.log(1 - p)) for y, w in points)

    strength = minimize_scalar(loss, bounds=(-10, 10), method="bounded", options={"xatol": 1e-9}).x
    assert result.interval.estimate == pytest.approx(100 / (1 + math.exp(-strength)), abs=1e-3)
    assert result.interval.count == 4
    assert "against b, judge j; 1 of 5 without verdict" in result.note


def test_both_spellings_of_a_verdict_and_no_others(tmp_path):
    for a, b in (("B<A", "A>B"), ("B<<A", "A>>B"), ("A<B", "B>A"), ("B=A", "A=B")):
        assert arena_hard.POINTS_OF_A[a] == arena_hard.POINTS_OF_A[b]
    (path := tmp_path / "m.jsonl").write_text(json.dumps(arena_rows(("A>B", "C"))[0]))
    with pytest.raises(ValueError, match="row 0: unknown verdict 'C'"):
        read_judgements("arena_hard", path)


def test_mt_bench_means_per_turn_and_category(tmp_path):
    scores = {(81, 1): 8, (81, 2): 6, (82, 1): 4, (82, 2): -1, (111, 1): 1, (111, 2): 2}
    rows = [{"question_id": q, "turn": t, "model": "m", "score": s} for (q, t), s in scores.items()]
    (path := tmp_path / "gpt-4_single.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = {row.measure: row for row in read_judgements("mt_bench", path).rows}
    means = {"score": 21 / 5, "turn 1": 13 / 3, "turn 2": 4, "writing": 6, "math": 1.5}
    assert {name: row.interval.estimate for name, row in found.items()} == pytest.approx(means)
    assert found["score"].interval.count == 3
    assert found["score"].note.startswith("1 turns without score")


def test_ratio_intervals_resample_questions():
    rng = np.random.default_rng(0)
    wins = rng.integers(0, 2, 400).astype(float)
    i = ratio_interval(wins, np.ones(400))
    half = 1.96 * wins.std() / 20
    assert (i.low, i.high) == pytest.approx((wins.mean() - half, wins.mean() + half), abs=0.01)
    twice = ratio_interval(np.repeat(wins, 1) * 2, np.full(400, 2.0))
    assert twice[:3] == pytest.approx(i[:3])
    with pytest.raises(ValueError, match="no judged questions"):
        ratio_interval([], [])


GOOD = {  # a judged row of each benchmark
    "alpaca_eval": {"generator_2": "m", "preference": 1.5},
    "arena_hard": {"uid": "1", "model": "m", "games": [{"score": "A>B"}, {"score": "A>B"}]},
    "mt_bench": {"question_id": 81, "model": "m", "turn": 1, "score": 7},
    "gsm8k": {"model": "m", "response": "18", "gold": "#### 18"},
}
BAD = [
    ("alpaca_eval", {"preference": "model"}), ("alpaca_eval", {"preference": 3}),
    ("alpaca_eval", {"generator_2": None}),
    ("arena_hard", {"games": None}), ("arena_hard", {"games": [{"score": ["A"]}, {"score": "A>B"}]}),
    ("mt_bench", {"score": "7"}), ("mt_bench", {"turn": None}), ("gsm8k", {"response": None}),
]  # fmt: skip


@pytest.mark.parametrize("name", BENCHMARKS)
def test_files_that_are_no_judgements_are_refused(name, tmp_path):
    (path := tmp_path / "x.jsonl").write_text('{"prompt": "Hi"}\n')
    with pytest.raises(ValueError, match=r"is no file of .* it needs"):
        read_judgements(name, path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"is no file of .* it needs"):
        read_judgements(name, path)
    path.write_text('{"prompt": "Hi"}\n{"prompt": ')
    with pytest.raises(ValueError, match=r"x.jsonl, line 2 is not valid JSON"):
        read_judgements(name, path)
    with pytest.raises(ValueError, match="no such file"):
        read_judgements(name, tmp_path / "none.jsonl")


@pytest.mark.parametrize(("name", "cells"), [*BAD, *((name, key) for name, row in GOOD.items() for key in row)])
def test_a_bad_judgement_is_named_by_its_row(name, cells, tmp_path):
    """A cell of another type, or one that is missing in the second row."""
    good = GOOD[name]
    bad = {k: v for k, v in good.items() if k != cells} if isinstance(cells, str) else {**good, **cells}
    (path := tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, [good, bad])))
    with pytest.raises(ValueError, match="row 1"):
        read_judgements(name, path)


@pytest.mark.parametrize(
    ("name", "cells"),
    [("alpaca_eval", {"preference": None}), ("arena_hard", {"games": [None, None]}), ("mt_bench", {"score": -1})],
)
def test_a_judge_that_gave_nothing_is_an_error(name, cells, tmp_path):
    (path := tmp_path / "x.jsonl").write_text(json.dumps({**GOOD[name], **cells}))
    with pytest.raises(ValueError, match=r"no preference at all|no judged questions|no score at all"):
        read_judgements(name, path)


def test_a_question_judged_twice_counts_once(tmp_path):
    for name, again, estimate in (
        ("arena_hard", {"games": [{"score": "B>A"}, {"score": "A>B"}]}, 100), ("mt_bench", {"score": 3}, 3)
    ):  # fmt: skip
        other = {**GOOD[name], **({"uid": "2"} if name == "arena_hard" else {"question_id": 82}), **again}
        (path := tmp_path / "x.jsonl").write_text(
            "\n".join(map(json.dumps, [GOOD[name], {**GOOD[name], **again}, other]))
        )
        first = read_judgements(name, path).rows[0].interval
        assert (first.estimate, first.count) == (estimate, 2)


def test_shares_are_no_points_where_all_agree():
    low, high = percent_interval([True] * 10)[1:3]
    assert low < 80 < 99 < high <= 100.0001
    assert math.isnan(ratio_interval([1.0], [2.0]).low)


def test_unknown_benchmarks_and_shots_elsewhere(model, tmp_path):
    with pytest.raises(ValueError, match="no benchmark 'mmlu'; there are alpaca_eval, arena_hard"):
        run_benchmark("mmlu", model, tmp_path)
    with pytest.raises(ValueError, match="shots belong to gsm8k"):
        run_benchmark("mt_bench", model, tmp_path, shots=2)
