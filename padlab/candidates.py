"""The one table that flows through the phases: its columns and its checks.

A `datasets.Dataset`, one row per prompt; each phase adds columns and changes none.

    prompt               str            required; the last user message
    previous_messages    list of {role, content}: the conversation before the prompt, where there is one
    responses            list of n str  required
    response_ids         list of n lists of int: exactly what was sampled, end-of-turn token included
    response_tokenizer   str: whose ids these are (`LanguageModel.tokenizer_hash`); without ids text is encoded
    finished             list of n bool: the end-of-turn token was sampled; without it EOS is not counted
    teacher_reward, student_reward   n floats, nats/token
    selection_prob       n floats, sum 1
    option_mass          float: probability the answer is one of the option letters
    none_mass            float: probability the answer begins with "None"
    position_bias        float: P(first option) - 1/(number of options)
    order_consistency    float: share of the orders that choose alike; confident: bool, whether to believe the answers
    token_logps          n lists of floats; selection_votes: n x n floats (on request)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from padlab.conversations import PREVIOUS, check_previous
from padlab.ranked_shapes import recognised

if TYPE_CHECKING:
    from datasets import Dataset

PER_RESPONSE = ("response_ids", "finished", "teacher_reward", "student_reward", "selection_prob", "token_logps")
OF_RESPONSES = (  # columns that speak of a row's responses, and of no others
    *PER_RESPONSE, "responses", "response_tokenizer", "duplicates", "option_mass", "none_mass", "position_bias",
    "order_consistency", "confident", "selection_votes",
)  # fmt: skip
ARROW_ERRORS = (ValueError, TypeError, OverflowError)  # mixed types, lone surrogates, numbers of more than 64 bits
NUMBERS = ("teacher_reward", "student_reward", "selection_prob")


def check_candidates(table: Dataset, needs: Sequence[str] = ()) -> Dataset:
    """Check a candidates table; returns it unchanged.

    Args:
        table: a `datasets.Dataset` or a list of row dicts.
        needs: further columns that must be there, e.g. ("teacher_reward",).

    Raises:
        ValueError: missing column, no rows, empty prompt or response, ragged columns, NaN or infinite numbers,
            selection probabilities that do not sum to 1; names row, column and remedy.

    >>> check_candidates([{"prompt": "Hi", "responses": ["a", "b"]}]).column_names
    ['prompt', 'responses']
    """
    table = as_dataset(table)
    missing = [c for c in ("prompt", "responses", *needs) if c not in table.column_names]
    if missing:
        raise ValueError(_missing_message(missing, table.column_names))
    if len(table) == 0:
        raise ValueError("the candidates table has no rows; sample responses for at least one prompt")
    for row, entry in enumerate(table):
        _check_row(row, entry, needs)
    return table


def add_columns(table: Dataset, columns: Mapping[str, Sequence[Any]]) -> Dataset:
    """The table with columns added (an existing column of that name is replaced by the new values)."""
    for name, values in columns.items():
        if name in table.column_names:
            table = table.remove_columns(name)
        table = table.add_column(name, list(values))
    return table


def as_dataset(table: Any) -> Dataset:
    """A table, or a list or stream of row dicts, as a `datasets.Dataset`.

    Raises:
        ValueError: a DatasetDict, anything else that has no rows, or a row that does not fit (named).
    """
    from datasets import Dataset

    rows = rows_of(table)
    if isinstance(rows, Dataset):
        return rows
    rows = list(rows)
    if not all(isinstance(entry, Mapping) for entry in rows):
        raise ValueError("expected a datasets.Dataset or a list of rows, each a dict")
    names = dict.fromkeys(name for entry in rows for name in entry)
    rows = [{name: entry.get(name) for name in names} for entry in rows]  # from_list knows the first row's names only
    try:
        return Dataset.from_list(rows)
    except ARROW_ERRORS as error:  # find the row that is to blame: the first whose prefix does not fit
        fits, fails = 0, len(rows)
        while fails - fits > 1:
            middle = (fits + fails) // 2
            fits, fails = (middle, fails) if _fits(rows[:middle]) else (fits, middle)
        alone = (name for name in names if not _fits([{name: entry[name]} for entry in rows[:fails]]))
        column = next(alone, "all columns")
        message = f"row {fails - 1} does not fit into the table: {column}: {error}; mend or drop that row"
        raise ValueError(message) from None


def _fits(rows: list[dict[str, Any]]) -> bool:
    """Whether rows make a table."""
    from datasets import Dataset

    try:
        Dataset.from_list(rows)
    except ARROW_ERRORS:
        return False
    return True


def rows_of(source: Any) -> Iterable[Any]:
    """What holds the rows: a Dataset or an IterableDataset, read as plain Python values, or a list.

    Raises:
        ValueError: a DatasetDict (the splits are named), or something that has no rows.
    """
    from datasets import Dataset, DatasetDict, IterableDataset

    if hasattr(source, "to_dict") and hasattr(source, "iloc"):
        raise ValueError("this is a pandas DataFrame; write datasets.Dataset.from_pandas(frame)")
    if isinstance(source, DatasetDict):
        raise ValueError(f"this is a DatasetDict; choose one split: {', '.join(map(str, source))}")
    if not isinstance(source, Dataset | IterableDataset | Sequence) or isinstance(source, str | bytes):
        raise ValueError(f"expected a datasets.Dataset or a list of rows, got a {type(source).__name__}")
    formatted = isinstance(source, IterableDataset) or (
        isinstance(source, Dataset) and source.format["type"] is not None
    )
    return source.with_format(None) if formatted else source


def _missing_message(missing: list[str], present: list[str]) -> str:
    hints = {
        "responses": "run padlab.sample_responses, or bring your own",
        "teacher_reward": "run padlab.add_rewards(table, teacher, column='teacher_reward'), or padlab.from_ranked",
        "student_reward": "run padlab.add_rewards(table, student, column='student_reward')",
        "selection_prob": "run padlab.add_selection_probs(table, teacher), or set alpha=0",
    }
    hint = "; ".join(hints[c] for c in missing if c in hints)
    if "responses" in missing and (shape := recognised(present)):
        hint = f"this looks like {shape[0]} data: padlab.from_ranked(table) converts it"
    return f"missing column(s) {', '.join(missing)}; there are {', '.join(present) or 'none'}. {hint}".strip()


def _check_row(row: int, entry: Mapping[str, Any], needs: Sequence[str]) -> None:
    responses = entry["responses"]
    if not isinstance(entry["prompt"], str) and entry["prompt"] is not None:
        kind = type(entry["prompt"]).__name__
        raise ValueError(f"row {row}: the prompt must be one text, got a {kind}; padlab.load_prompts reads messages")
    if not (entry["prompt"] or "").strip():
        raise ValueError(f"row {row}: the prompt is empty; drop the row or give it a text")
    check_previous(entry.get(PREVIOUS), f"row {row}, {PREVIOUS}")
    if not isinstance(responses, Sequence) or isinstance(responses, str) or not responses:
        raise ValueError(f"row {row}: `responses` must be a list of at least one string")
    for column in needs:
        if entry[column] is None:
            raise ValueError(f"row {row}: {column} is not there; score that row again or drop it")
    named = [c for c in needs if c not in ("prompt", "responses") and isinstance(entry[c], Sequence)]
    for column in dict.fromkeys([*PER_RESPONSE, *named]):
        if entry.get(column) is None:
            continue
        if not isinstance(entry[column], Sequence) or isinstance(entry[column], str):
            raise ValueError(f"row {row}: {column} must be a list, one entry per response, got {entry[column]!r:.60}")
        if len(entry[column]) != len(responses):
            raise ValueError(f"row {row}: {column} has {len(entry[column])} entries for {len(responses)} responses")
    sampled = entry.get("response_ids") or [[]] * len(responses)
    for k, (text, ids) in enumerate(zip(responses, sampled, strict=True)):
        if text is not None and not isinstance(text, str):
            raise ValueError(f"row {row}, response {k}: a response must be text, got a {type(text).__name__}")
        if text is None or not (text.strip() or ids):
            raise ValueError(f"row {row}, response {k}: empty response; drop it or sample again")
    for column in dict.fromkeys([*NUMBERS, *named]):
        for k, value in enumerate(entry.get(column) or []):
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"row {row}, response {k}: {column} is {value}; score that response again or drop it")
    if not all(isinstance(value, bool) for value in entry.get("finished") or []):
        raise ValueError(f"row {row}: `finished` must hold true or false per response, got {entry['finished']}")
    probabilities = entry.get("selection_prob")
    if probabilities and (min(probabilities) < 0 or abs(sum(probabilities) - 1) > 1e-4):
        raise ValueError(f"row {row}: selection_prob must be >= 0 and sum to 1, got {probabilities}")
