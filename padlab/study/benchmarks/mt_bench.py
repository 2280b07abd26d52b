"""MT-Bench: two-turn answers for the official judge, scores per turn and category from its judgements.

Sources (lm-sys/FastChat at 0e6d3e4, fastchat/llm_judge): 80 questions of two turns, 1,024 new tokens, temperature by
category; the judge gives each turn a score from 1 to 10, -1 where it gave none.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from padlab.safe_files import fingerprint, write_jsonl
from padlab.study.benchmarks.answers import Answer
from padlab.study.benchmarks.questions import Hub, Question, Row, make_questions, question_rows, texts
from padlab.study.benchmarks.results import Result, Results, judged_rows, ratio_interval

HUB = Hub("lmsys/mt-bench", "data/mt_bench/question.jsonl", "space")
SETTINGS = {"max_new_tokens": 1024, "top_p": 1.0}
NAME = "MT-Bench"
TEMPERATURES = {
    "writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0,
    "stem": 0.1, "humanities": 0.1,
}  # fmt: skip
OTHER_TEMPERATURE = 0.7  # of a category that is not listed
OFFICIAL_ORDER = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
FIRST_ID, PER_CATEGORY = 81, 10  # the official questions are numbered 81 to 160, ten of a category in a row


def load_questions(source: Any = None, limit: int | None = None) -> list[Question]:
    """Questions of a file with `question_id`, `category` and `turns`; None: the official file."""
    return make_questions(question_rows(source, HUB), _question, limit)


def write_answers(folder: Path, model: str, questions: Sequence[Question], answers: Sequence[Sequence[Answer]]) -> Path:
    """The official `data/mt_bench/model_answer/MODEL.jsonl`; returns its path."""
    path = folder / "data" / "mt_bench" / "model_answer" / f"{model}.jsonl"
    rows = [_answer_row(q, a, model) for q, a in zip(questions, answers, strict=True)]
    write_jsonl(path, rows)
    return path


def judging_command(path: Path, model: str) -> str:
    """The official commands that judge an answer file."""
    return (
        "in fastchat/llm_judge of a clone of github.com/lm-sys/FastChat:\n"
        f"  cp {path} data/mt_bench/model_answer/\n"
        f"  set OPENAI_API_KEY, then python gen_judgment.py --model-list {model} --parallel 2\n"
        f"  python show_result.py --model-list {model}\n"
        "and read its judgements: padlab benchmark mt_bench --read data/mt_bench/model_judgment/gpt-4_single.jsonl"
    )


def read_judgements(path: str | Path) -> Results:
    """Mean scores (1 to 10) of every model in a file of single-answer judgements: of both turns, each, each category.

    Args:
        path: `gpt-4_single.jsonl`, or another judge's. The official numbering, 81 to 160, tells the category.

    Raises:
        ValueError: not such a file.
    """
    columns = {"question_id": (int, str), "model": str, "score": (int, float, NoneType), "turn": int}
    rows = judged_rows(path, columns, "MT-Bench judgements")
    rows = list({(r["model"], r["question_id"], r["turn"]): r for r in rows}.values())  # the last of equal ones
    found: list[Result] = []
    for model in dict.fromkeys(row["model"] for row in rows):
        judged = [row for row in rows if row["model"] == model]
        scored = [row for row in judged if row["score"] not in (-1, None)]
        if not scored:
            raise ValueError(f"{path}: the judge gave {model} no score at all; run it again")
        note = f"{len(judged) - len(scored)} turns without score are left out" if len(judged) > len(scored) else ""
        parts = {"score": scored, **{f"turn {t}": [r for r in scored if r["turn"] == t] for t in (1, 2)}}
        for row in scored:
            parts.setdefault(_category(row["question_id"]), []).append(row)
        found += [
            _mean_score(model, name, part, note if name == "score" else "") for name, part in parts.items() if part
        ]
    return Results(tuple(found))


def _mean_score(model: str, measure: str, rows: Sequence[Row], note: str) -> Result:
    """The mean over the judged turns; the interval resamples questions, whose two turns stay together."""
    scores: dict[Any, list[float]] = {}
    for row in rows:
        scores.setdefault(row["question_id"], []).append(float(row["score"]))
    interval = ratio_interval([sum(s) for s in scores.values()], [len(s) for s in scores.values()])
    return Result(NAME, model, measure, interval, note)


def _category(number: Any) -> str:
    place = (int(number) - FIRST_ID) // PER_CATEGORY if str(number).isdigit() else -1
    return OFFICIAL_ORDER[place] if 0 <= place < len(OFFICIAL_ORDER) else "other"


def _question(row: Row) -> Question:
    temperature = TEMPERATURES.get(row["category"], OTHER_TEMPERATURE)
    return Question(str(row["question_id"]), texts(row["turns"]), row["category"], temperature)


def _answer_row(question: Question, answers: Sequence[Answer], model: str) -> dict[str, Any]:
    turns = [answer.text for answer in answers]
    return {
        "question_id": int(question.id) if question.id.isdigit() else question.id,
        "answer_id": fingerprint(model, question.id, turns),
        "model_id": model,
        "choices": [{"index": 0, "turns": turns}],
        "tstamp": time.time(),
    }
