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

from padlab.safe_files import write_jsonl
from padlab.study.benchmarks.answers import Answer
from padlab.study.benchmarks.gsm8k_examples import EXAMPLES
from padlab.study.benchmarks.questions import Hub, Question, Row, make_questions, question_rows, texts
from padlab.study.benchmarks.results import Result, Results, judged_rows, percent_interval

HUB = Hub("openai/gsm8k", "main/test-00000-of-00001.parquet")
SETTINGS = {"max_new_tokens": 512, "top_p": 1.0}
NAME = "GSM8K"
INSTRUCTION = 'Solve the problem step by step. End with a line "#### " followed by the final number alone.'
PLAIN = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"  # 18, 1,018, 0.5, .5
NUMBER = re.compile(rf"((?<![\d)])-)?({PLAIN})(?:/({PLAIN}))?")  # a minus behind a digit is a subtraction
STRICT = re.compile(r"#### (-?[\d.,]+)")


def gsm8k_correct(response: str, gold: str) -> bool:
    """Whether a response ends in the right number.

    The number after the last "####" counts (after its "=", if there is one), else the last number of the text; a
    heading that begins with words, such as "#### Step 3", is no answer. `$`, `,`, `*` and units are left out, a/b is a
    fraction, and the two are compared as numbers (18 = 18.0).

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
    """The strict rule of `lm-eval` (strict-match): right only where the first "#### " is followed by the number.

    Args:
        response: the model's text.
        gold: the data set's answer, which ends with "#### number".

    >>> gsm8k_strict("18", "#### 18"), gsm8k_strict("#### 18", "#### 18")
    (False, True)
    """
    found = STRICT.search(response)
    number = NUMBER.fullmatch(found[1].rstrip(".,")) if found else None
    return number is not None and _value(number) == final_number(gold)


def final_number(text: str) -> Decimal | None:
    """The number after the last "####", else the last number of the text; None where there is none.

    >>> final_number("7 + 5 = **12** eggs"), final_number("#### $1,200 in 3 weeks")
    (Decimal('12'), Decimal('1200'))
    """
    plain = text.replace("−", "-").replace("{,}", ",").replace("\\,", "").replace("*", " ")
    plain = re.sub(r"[$€£]", "", plain)
    line = plain.rpartition("####")[2].lstrip().partition("\n")[0] if "####" in plain else ""
    marked = NUMBER.match(line.rpartition("=")[2].strip())
    found = [marked] if marked else list(NUMBER.finditer(plain))
    return _value(found[-1]) if found else None


def _value(found: re.Match) -> Decimal:
    sign, number, divisor = ((part or "").replace(",", "") for part in found.groups())
    value = Decimal(sign + number)
    return value / Decimal(divisor) if divisor and Decimal(divisor) else value


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
    rows = [{**row, "number": number} for number, row in enumerate(question_rows(source, HUB))]

    def make(row: Row) -> Question:
        if not isinstance(row["answer"], str) or final_number(row["answer"]) is None:
            raise ValueError(f"the answer holds no number: {row['answer']!r}")
        return Question(
            str(row["number"]), (_asked(*texts(row["question"])),), before=tuple(before), gold=row["answer"]
        )

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


def read_judgements(path: str | Path) -> Results:
    """Right answers in percent, by the flexible and by the strict rule, of a file of `write_answers`.

    Args:
        path: JSONL with response, gold and model.

    Raises:
        ValueError: not such a file.
    """
    rows = judged_rows(path, {"response": str, "gold": str, "model": str}, "GSM8K answers")
    found = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        for measure, rule in (("right, %", gsm8k_correct), ("right by the strict rule, %", gsm8k_strict)):
            found.append(Result(NAME, model, measure, percent_interval([rule(r["response"], r["gold"]) for r in own])))
    return Results(tuple(found))


def _asked(question: str) -> str:
    return f"{question}\n\n{INSTRUCTION}"


def _scored(question: Question, response: str, model: str) -> dict[str, Any]:
    right, strict = gsm8k_correct(response, question.gold), gsm8k_strict(response, question.gold)
    row = {"id": question.id, "model": model, "question": question.turns[0], "response": response}
    return {**row, "gold": question.gold, "right": right, "right_strict": strict}
