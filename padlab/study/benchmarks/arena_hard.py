"""Arena-Hard v0.1: answers for the official judge, win rates against the baseline from its judgements.

Sources (lmarena/arena-hard-auto at 196f6b8): 500 prompts, one turn, T = 0 and 4,096 new tokens; baseline gpt-4-0314,
judge gpt-4-1106-preview. Every prompt is judged in two games; in the first the baseline is A, in the second the model
is A. A clear verdict (>>) counts three times.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from padlab.rankings.intervals import Interval
from padlab.safe_files import fingerprint, write_jsonl
from padlab.study.benchmarks.answers import Answer
from padlab.study.benchmarks.questions import Hub, Question, Row, make_questions, question_rows, texts
from padlab.study.benchmarks.results import Result, Results, judged_rows, ratio_interval

BENCH = "arena-hard-v0.1"
HUB = Hub("lmarena-ai/arena-hard-auto", f"data/{BENCH}/question.jsonl")
SETTINGS = {"max_new_tokens": 4096, "top_p": 1.0}
NAME = "Arena-Hard v0.1"
JUDGE = "gpt-4-1106-preview"
POINTS_OF_A = {  # verdict -> (points of A, weight); the official weight of a clear verdict is 3
    "A>>B": (1.0, 3), "A>B": (1.0, 1), "A=B": (0.5, 1), "B=A": (0.5, 1), "B>A": (0.0, 1), "B>>A": (0.0, 3),
    "A<B": (0.0, 1), "A<<B": (0.0, 3), "B<A": (1.0, 1), "B<<A": (1.0, 3),
}  # fmt: skip


def load_questions(source: Any = None, limit: int | None = None) -> list[Question]:
    """Questions of a file with `uid` and `prompt`; None: the official file."""
    return make_questions(question_rows(source, HUB), _question, limit)


def write_answers(folder: Path, model: str, questions: Sequence[Question], answers: Sequence[Sequence[Answer]]) -> Path:
    """The official `data/arena-hard-v0.1/model_answer/MODEL.jsonl`; returns its path."""
    path = folder / "data" / BENCH / "model_answer" / f"{model}.jsonl"
    rows = [_answer_row(q, a, model) for q, (a,) in zip(questions, answers, strict=True)]
    write_jsonl(path, rows)
    return path


def judging_command(path: Path, model: str) -> str:
    """The official commands that judge an answer file."""
    judged = f"data/{BENCH}/model_judgment/{JUDGE}/{model}.jsonl"
    return (
        f"in a clone of github.com/lmarena/arena-hard-auto, with the baseline's answers of its data set:\n"
        f"  cp {path} data/{BENCH}/model_answer/\n"
        f"  add {model} to model_list in config/{BENCH}.yaml, set OPENAI_API_KEY\n"
        f"  python gen_judgment.py --setting-file config/{BENCH}.yaml\n"
        f"  python show_result.py --benchmark {BENCH} --judge-names {JUDGE} --category {BENCH}\n"
        f"and read its judgements: padlab benchmark arena_hard --read {judged}"
    )


def read_judgements(path: str | Path) -> Results:
    """The Bradley-Terry win rate against the baseline, in percent, of a file of judgements of one model.

    With a single opponent the maximum likelihood of the Bradley-Terry model is in closed form: sigmoid of the
    difference in strength = weighted share of points. The interval resamples questions (the official table resamples
    games and gives 90 %).

    Args:
        path: JSONL with uid, model and games, of one model.

    Raises:
        ValueError: not such a file, several models in it, an unknown verdict (row named), or no verdict at all.
    """
    rows = judged_rows(path, {"uid": (str, int), "model": str, "games": list}, "Arena-Hard judgements")
    models = sorted({row["model"] for row in rows})
    if len(models) > 1:
        raise ValueError(f"{path} holds several models: {', '.join(models)}; give one file per model")
    points = {row["uid"]: _points(row, number) for number, row in enumerate(rows)}  # judged again: the last counts
    games = list(points.values())
    judged = [game for game in games if game is not None]
    interval = ratio_interval(*zip(*judged, strict=True)) if judged else ratio_interval([], [])
    note = f"against {rows[0].get('baseline', 'the baseline')}, judge {rows[0].get('judge', '?')}"
    if missing := len(games) - len(judged):
        note += f"; {missing} of {len(games)} without verdict are left out"
    return Results((Result(NAME, models[0], "win rate, %", _percent(interval), note),))


def _points(row: Row, number: int) -> tuple[float, float] | None:
    """(weighted points of the model, sum of weights) over both games; None where a verdict is missing."""
    scores = [game.get("score") if isinstance(game, dict) else None for game in row["games"]]
    if len(scores) != 2 or None in scores:
        return None
    if unknown := [score for score in scores if str(score) not in POINTS_OF_A]:
        raise ValueError(f"row {number}: unknown verdict {unknown[0]!r}; expected one of {', '.join(POINTS_OF_A)}")
    (baseline, first), (model, second) = (POINTS_OF_A[score] for score in scores)
    return first * (1 - baseline) + second * model, first + second


def _percent(interval: Interval) -> Interval:
    return Interval(*(100 * value for value in interval[:3]), interval.count)


def _question(row: Row) -> Question:
    return Question(str(row["uid"]), texts(row["prompt"]), row.get("cluster", ""), 0.0)


def _answer_row(question: Question, answer: Answer, model: str) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": question.turns[0]},
        {"role": "assistant", "content": {"answer": answer.text}},
    ]
    return {
        "uid": question.id,
        "ans_id": fingerprint(model, question.id, answer.text),
        "model": model,
        "messages": messages,
        "tstamp": time.time(),
        "metadata": {},  # style features: utils/add_markdown_info.py of the official repository adds them
    }
