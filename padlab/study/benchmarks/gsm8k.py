"""GSM8K: grade-school word problems, scored here by the final number.

Sources: 1,319 test problems (openai/gsm8k), whose answers end in "#### NUMBER"; greedy, 512 new tokens. The official
alternative is `lm-eval` (task gsm8k); its worked examples come from the training split. The eight here are padlab's
own, so that no other file is needed; give others with `examples`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from padlab.data_files import read_rows
from padlab.rankings.uncertainty import mean_interval
from padlab.runs import write_jsonl
from padlab.study.benchmarks.answers import Answer
from padlab.study.benchmarks.gsm8k_examples import EXAMPLES
from padlab.study.benchmarks.questions import Hub, Question, Row, make_questions, question_rows
from padlab.study.benchmarks.results import Result, Results

HUB = Hub("openai/gsm8k", "main/test-00000-of-00001.parquet")
SETTINGS = {"max_new_tokens": 512, "top_p": 1.0}
NAME = "GSM8K"
INSTRUCTION = 'Solve the problem step by step. End with a line "#### " followed by the final number alone.'
PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"  # 18, 1,018, 0.5, .5
NUMBER = re.compile(rf"((?<![\d)])-)?({PLAIN})(?:/({PLAIN}))?")  # a minus behind a digit is a subtraction
STRICT = re.compile(r"#### ?\$?(-?\d[\d,]*(?:\.\d+)?)")


def gsm8k_correct(response: str, gold: str) -> bool:
    """Whether a response ends in the right number.

    The number after the last "####" counts, else the last number of the text. `$`, `,`, `*` and units are left out, and
    the two are compared as numbers (18 = 18.0).

    Args:
        response: the model's text.
        gold: the data set's answer, or its final number.

    Raises:
        ValueError: the gold answer holds no number.

    >>> gsm8k_correct("So she makes **$1,018.00** a day.", "9 * 2 = 18\\n#### 1018")
    True
    """
    wanted = final_number(gold)
    if wanted is None:
        raise ValueError(f"the gold answer holds no number: {gold!r}")
    return final_number(response) == wanted


def gsm8k_strict(response: str, gold: str) -> bool:
    """The strict rule: right only where the response writes the number behind "####".

    >>> gsm8k_strict("18", "#### 18"), gsm8k_strict("#### 18", "#### 18")
    (False, True)
    """
    found = STRICT.findall(response)
    return bool(found) and Decimal(found[-1].replace(",", "")) == final_number(gold)


def final_number(text: str) -> Decimal | None:
    """The number after the last "####", else the last number of the text; None where there is none.

    >>> final_number("7 + 5 = **12** eggs"), final_number("#### $1,200 in 3 weeks")
    (Decimal('12'), Decimal('1200'))
    """
    plain = re.sub(r"[$*€£]", "", text.replace("−", "-").replace("{,}", ",").replace("\\,", ""))
    behind = plain.rpartition("####")[2] if "####" in plain else ""
    found = NUMBER.findall(behind)[:1] or NUMBER.findall(plain)[-1:]
    if not found:
        return None
    sign, number, divisor = (part.replace(",", "") for part in found[0])
    value = Decimal(sign + number)
    return value if not divisor or not Decimal(divisor) else value / Decimal(divisor)


def load_questions(source: Any = None, limit: int | None = None, shots: int = 0) -> list[Question]:
    """Questions of a file with `question` and `answer`; None: the official test split.

    Args:
        source, limit: see `padlab.study.benchmarks.questions`.
        shots: worked examples in front of each question, as earlier turns, 0 to 8.

    Raises:
        ValueError: shots out of range, or a file that is not such a one.
    """
    if not 0 <= shots <= len(EXAMPLES):
        raise ValueError(f"shots must be 0 to {len(EXAMPLES)}, got {shots}")
    before = []
    for question, answer in EXAMPLES[:shots]:
        before += [{"role": "user", "content": _asked(question)}, {"role": "assistant", "content": answer}]
    rows = [{"number": number, **row} for number, row in enumerate(question_rows(source, HUB))]

    def make(row: Row) -> Question:
        return Question(str(row["number"]), (_asked(row["question"]),), before=tuple(before), gold=row["answer"])

    return make_questions(rows, make, limit)


def write_answers(folder: Path, model: str, questions: Sequence[Question], answers: Sequence[Sequence[Answer]]) -> Path:
    """`gsm8k/MODEL.jsonl`: question, response, gold answer, right or not by both rules; returns its path."""
    path = folder / "gsm8k" / f"{model}.jsonl"
    write_jsonl(path, [_scored(q, a.text, model) for q, (a,) in zip(questions, answers, strict=True)])
    return path


def judging_command(path: Path, model: str) -> str:
    """The official alternative, on merged weights and on an adapter."""
    task = "--tasks gsm8k --num_fewshot 8 --apply_chat_template --fewshot_as_multiturn --batch_size 8"
    return (
        "scored here; with lm-eval (pip install lm-eval):\n"
        f"  lm_eval --model hf --model_args pretrained=FOLDER_OF_MERGED_WEIGHTS {task}\n"
        f"  lm_eval --model hf --model_args pretrained=BASE_MODEL,peft=FOLDER_OF_ADAPTER {task}"
    )


def read_judgements(path: str | Path, questions: Sequence[Question] = ()) -> Results:
    """Right answers in percent, by the flexible and by the strict rule, of a file of `write_answers`.

    Raises:
        ValueError: not such a file.
    """
    rows = read_rows(path)
    if not rows or not {"response", "gold", "model"} <= rows[0].keys():
        raise ValueError(f"{path} is no file of GSM8K answers (question, response, gold, model)")
    found = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        for measure, rule in (("right, %", gsm8k_correct), ("right by the strict rule, %", gsm8k_strict)):
            right = [100.0 * rule(row["response"], row["gold"]) for row in own]
            found.append(Result(NAME, model, measure, mean_interval(right)))
    return Results(tuple(found))


def _asked(question: str) -> str:
    return f"{question}\n\n{INSTRUCTION}"


def _scored(question: Question, response: str, model: str) -> dict[str, Any]:
    right, strict = gsm8k_correct(response, question.gold), gsm8k_strict(response, question.gold)
    row = {"id": question.id, "model": model, "question": question.turns[0], "response": response}
    return {**row, "gold": question.gold, "right": right, "right_strict": strict}
