"""Fields of ranked data: a row's question, answers and numbers, each checked and named in errors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from padlab.conversations import (
    PREVIOUS,
    answer_text,
    checked_messages,
    conversation,
    dialogue_messages,
    prompt_columns,
    turns,
)

Row = dict[str, Any]
TRUTH = {"true": 1, "false": 0}
HELPSTEER_TURN = r"\n?<extra_id_1>(User|Assistant)\n"


def read_rows(table: Iterable[Row], read: Callable[[Row, str], Any], skip_faulty: bool = False) -> list[Any]:
    """`read(row, its name)` of every row; faulty rows are an error, or left out with a warning, that names them."""
    done, faults = [], {}
    for row, entry in enumerate(table):
        try:
            done.append(read(dict(entry), f"row {row}"))
        except ValueError as error:
            faults[row] = str(error)
    if not faults:
        return done
    first, *others = faults
    if len(set(faults.values())) == 1 and not done:  # a fault of the table
        raise ValueError(faults[first])
    listed = ", ".join(map(str, others[:10])) + (", ..." if len(others) > 10 else "")
    message = faults[first] + (f" ({len(others)} more cannot be read: rows {listed})" if others else "")
    if not skip_faulty:
        raise ValueError(f"{message}; skip_faulty=True (--skip-faulty) leaves such rows out" if others else message)
    warnings.warn(f"{len(faults)} rows are left out: {message}", stacklevel=3)
    return done


def take_question(entry: Row, column: str, where: str) -> Row:
    """The columns `prompt` and `previous_messages`, taken out of the row; its own previous messages count."""
    asked = question_columns(turns(entry.pop(column)), f"{where}, {column}")
    if previous := entry.pop(PREVIOUS, None):
        if PREVIOUS in asked:
            raise ValueError(f"{where}: a column {PREVIOUS} beside a conversation in {column}; remove one of them")
        previous = checked_messages(previous, f"{where}, {PREVIOUS}")
        asked = prompt_columns([*previous, *conversation(asked)], f"{where}, {PREVIOUS}")
    return asked


def question_columns(value: Any, where: str) -> Row:
    """The columns of a question: a text, or messages that end with the user's."""
    if not isinstance(value, str):
        value = checked_messages(value, where)
        if value and value[-1]["role"] == "assistant" and value[-1]["content"].strip():
            raise ValueError(f"{where}: the conversation ends with an assistant message, not the user's; drop the row")
    asked = prompt_columns(value, where)
    if not asked["prompt"].strip():
        raise ValueError(f"{where}: the prompt is empty; drop the row")
    return asked


def helpsteer_turns(value: Any) -> Any:
    """HelpSteer's prompt as messages where it marks turns; its first turn, the user's, bears no mark."""
    if not isinstance(value, str) or "<extra_id_1>Assistant\n" not in value:
        return value
    first = "" if value.startswith("<extra_id_1>") else "<extra_id_1>User\n"
    return dialogue_messages(first + value, HELPSTEER_TURN)


def answer(value: Any, asked: Row, where: str) -> str:
    """A response's text, which must not be empty."""
    text = answer_text(value, conversation(asked), where)
    if not text.strip():
        raise ValueError(f"{where}: empty response; drop it")
    return text


def number(value: Any, name: str, where: str) -> float:
    """A finite number, also as text ("4.5", "True", from a CSV file); true counts as 1."""
    with suppress(TypeError, ValueError, OverflowError):
        found = float(TRUTH.get(value.lower(), value) if isinstance(value, str) else value)
        if math.isfinite(found):
            return found
    raise ValueError(f"{where}: {name} is {value!r:.60}, expected a number; give it one or drop the response")


def check_columns(entry: Row, names: Iterable[str]) -> None:
    """ValueError where a named column is missing."""
    if missing := [name for name in names if name not in entry]:
        there = f"there are {', '.join(entry)}"
        raise ValueError(f"no column {', '.join(missing)}; {there}. Name it with prompt=, responses=, score= or rank=")


def take_list(entry: Row, column: str, where: str) -> list[Any]:
    """A column's list, taken out of the row."""
    value = entry.pop(column)
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{where}, {column}: expected a list, found {type(value).__name__}; mend or drop the row")
    return list(value)
