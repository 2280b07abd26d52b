"""AlpacaEval 2: answers for the official judge, win rates from its annotations.

Sources (tatsu-lab/alpaca_eval at cd543a1): 805 instructions, one turn; no decoding is prescribed: T = 0.7 is the most
frequent setting in its models_configs, 4,096 new tokens and top-p 1 are those of its Gemma-2 entries (which use T =
0.5). Annotations hold `preference` from 1 (the baseline's answer, output_1) to 2 (the model's, output_2); 0 and 1.5 are
draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from padlab.rankings.intervals import Interval, mean_interval
from padlab.safe_files import write_json
from padlab.study.benchmarks.answers import Answer
from padlab.study.benchmarks.questions import Hub, Question, Row, make_questions, question_rows, texts
from padlab.study.benchmarks.results import Result, Results, judged_rows

HUB = Hub("tatsu-lab/alpaca_eval", "alpaca_eval_gpt4_baseline.json")
SETTINGS = {"max_new_tokens": 4096, "top_p": 1.0}
TEMPERATURE = 0.7
NAME = "AlpacaEval 2"
OFFICIAL_COUNT = 805


def load_questions(source: Any = None, limit: int | None = None) -> list[Question]:
    """Questions of a file with `instruction` (official) or `prompt`, and `dataset`; None: the official file."""
    rows = [{**row, "number": number} for number, row in enumerate(question_rows(source, HUB))]
    return make_questions(rows, _question, limit)


def write_answers(folder: Path, model: str, questions: Sequence[Question], answers: Sequence[Sequence[Answer]]) -> Path:
    """The official `model_outputs.json`, in a folder of its own, where the judge leaves its files; returns its path."""
    path = folder / "alpaca_eval" / model / "model_outputs.json"
    rows = [
        {"dataset": q.category, "instruction": q.turns[0], "output": answer.text, "generator": model}
        for q, (answer,) in zip(questions, answers, strict=True)
    ]
    write_json(path, rows)
    return path


def judging_command(path: Path, model: str) -> str:
    """The official command that judges an answer file."""
    return (
        f"pip install alpaca-eval, set OPENAI_API_KEY, then\n  alpaca_eval --model_outputs {path}\n"
        f"and read its annotations: padlab benchmark alpaca_eval --read {path.parent}/weighted_alpaca_eval_gpt4_turbo/"
        "annotations.json"
    )


def read_judgements(path: str | Path) -> Results:
    """Win rates of an `annotations.json` of `alpaca_eval`, in percent, with the official standard error in the note.

    The length-controlled rate is computed by the package `alpaca_eval` where it is installed and its data can be had;
    otherwise the note says what is missing.

    Args:
        path: `annotations.json`, of one model.

    Raises:
        ValueError: not such a file, several models in it, or no preference at all.
    """
    columns = {"preference": (int, float, NoneType), "generator_2": str}
    rows = judged_rows(path, columns, "annotations of alpaca_eval (annotations.json)")
    models = sorted({row["generator_2"] for row in rows})
    if len(models) > 1:
        raise ValueError(f"{path} holds several models: {', '.join(models)}; give one file per model")
    for number, row in enumerate(rows):
        if preference_of(row) is None and row["preference"] == row["preference"] and row["preference"] is not None:
            raise ValueError(f"{path}, row {number}: preference is {row['preference']}, expected 0 or 1 to 2")
    values = [preference_of(row) for row in rows]
    judged = np.array([v for v in values if v is not None]) * 100
    if not len(judged):
        raise ValueError(f"{path}: the judge gave no preference at all; run it again")
    notes = [f"standard error {standard_error(judged):.2f}"] if len(judged) > 1 else []
    if missing := len(values) - len(judged):
        notes.append(f"{missing} of {len(values)} have no preference and are left out")
    results = Results((Result(NAME, models[0], "win rate, %", mean_interval(judged), "; ".join(notes)),))
    return results + Results((_length_controlled(rows, models[0]),))


def preference_of(row: Row) -> float | None:
    """Probability that the model's answer beats the baseline's, 0 to 1; None where the judge gave none.

    >>> preference_of({"preference": 1.25}), preference_of({"preference": 0})
    (0.25, 0.5)
    """
    value = row["preference"]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    value = 1.5 if value == 0 else float(value)
    return value - 1 if 1 <= value <= 2 else None


def standard_error(values: Sequence[float] | np.ndarray) -> float:
    """Standard error of a mean, as the official tool gives it (n - 1 in the variance).

    >>> round(standard_error([0.0, 100.0]), 1)
    50.0
    """
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


def _question(row: Row) -> Question:
    text = row["instruction"] if "instruction" in row else row["prompt"]
    return Question(str(row["number"]), texts(text), row.get("dataset", ""), TEMPERATURE)


def _length_controlled(rows: Sequence[Row], model: str) -> Result:
    """The package's length-controlled win rate, or a result without a number that says why there is none."""
    measure = "length-controlled win rate, %"
    if len(rows) != OFFICIAL_COUNT:
        return _unknown(model, measure, f"needs annotations of all {OFFICIAL_COUNT} questions, there are {len(rows)}")
    try:
        from alpaca_eval.metrics import get_length_controlled_winrate
    except ImportError:
        return _unknown(model, measure, "not computed: pip install 'padlab[eval]'")
    try:
        found = get_length_controlled_winrate([dict(row) for row in rows], save_weights_dir=None)
    except Exception as error:  # its instruction difficulties come from the Hub, whose errors have many types
        return _unknown(model, measure, f"not computed: alpaca_eval could not get its data ({type(error).__name__})")
    rate, error = float(found["length_controlled_winrate"]), float(found["lc_standard_error"])
    note = f"by alpaca_eval; interval: 1.96 standard errors of {error:.2f}"
    return Result(NAME, model, measure, Interval(rate, rate - 1.96 * error, rate + 1.96 * error, len(rows)), note)


def _unknown(model: str, measure: str, note: str) -> Result:
    return Result(NAME, model, measure, Interval(math.nan, math.nan, math.nan, 0), note)
