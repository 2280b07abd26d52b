"""The one table that flows through the phases: its columns, its checks, and conversion to and from TRL's formats.

A `datasets.Dataset`, one row per prompt; each phase adds columns and changes none.

    prompt               str            required
    responses            list of n str  required
    response_ids         list of n lists of int: exactly what was sampled, end-of-turn token included
    response_tokenizer   str: whose ids these are (`LanguageModel.tokenizer_hash`); without ids text is encoded
    finished             list of n bool: the end-of-turn token was sampled; without it EOS is not counted
    teacher_reward, student_reward   n floats, nats/token
    selection_prob       n floats, sum 1
    option_mass          float: probability the answer is one of the option letters
    none_mass            float: probability the answer begins with "None"
    position_bias        float: P(first option) - 1/n
    order_consistency    float: share of the orders that choose alike; confident: bool, whether to believe the answers
    token_logps          n lists of floats; selection_votes: n x n floats (on request)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

PER_RESPONSE = ("response_ids", "finished", "teacher_reward", "student_reward", "selection_prob", "token_logps")
NUMBERS = ("teacher_reward", "student_reward", "selection_prob")


def check_candidates(table: Dataset, needs: Iterable[str] = ()) -> Dataset:
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
    table, needs = _as_dataset(table), tuple(needs)
    missing = [c for c in ("prompt", "responses", *needs) if c not in table.column_names]
    if missing:
        raise ValueError(_missing_message(missing, table.column_names))
    if len(table) == 0:
        raise ValueError("the candidates table has no rows; sample responses for at least one prompt")
    for row, entry in enumerate(table):
        _check_row(row, entry)
        for column in needs:
            if entry[column] is None:
                raise ValueError(f"row {row}: {column} is not there; score that row again or drop it")
    return table


def to_trl(table: Dataset, by: str = "teacher_reward") -> Dataset:
    """TRL's conversational preference format: best and worst response of each prompt by a column.

    Args:
        table: candidates with the column `by` (n floats per row).
        by: any per-response number, higher is better.

    Returns:
        Dataset with prompt, chosen, rejected (lists of messages) and chosen_score, rejected_score. Rows whose
        responses all have the same number carry no preference and are left out.
    """
    table = check_candidates(table, needs=(by,))
    rows = []
    for entry in table:
        order = sorted(range(len(entry[by])), key=entry[by].__getitem__)
        worst, best = order[0], order[-1]
        if entry[by][best] > entry[by][worst]:
            picked = {
                key: [{"role": "assistant", "content": entry["responses"][k]}]
                for key, k in (("chosen", best), ("rejected", worst))
            }
            prompt = [{"role": "user", "content": entry["prompt"]}]
            scores = {"chosen_score": entry[by][best], "rejected_score": entry[by][worst]}
            rows.append({"prompt": prompt, **picked, **scores})
    return _as_dataset(rows)


def from_trl(table: Dataset) -> Dataset:
    """Candidates with n = 2 from a preference data set: prompt, chosen, rejected as text or as messages.

    Raises:
        ValueError: columns are missing, or a conversation has more than one turn.
    """
    table = _as_dataset(table)
    if missing := [c for c in ("prompt", "chosen", "rejected") if c not in table.column_names]:
        raise ValueError(f"a preference table needs prompt, chosen, rejected; missing: {missing}")
    rows = [
        {
            "prompt": _last_text(row, entry["prompt"], "user"),
            "responses": [_last_text(row, entry[c], "assistant") for c in ("chosen", "rejected")],
        }
        for row, entry in enumerate(table)
    ]
    return check_candidates(_as_dataset(rows))


def add_columns(table: Dataset, columns: Mapping[str, Sequence[Any]]) -> Dataset:
    """The table with columns added (an existing column of that name is replaced by the new values)."""
    for name, values in columns.items():
        if name in table.column_names:
            table = table.remove_columns(name)
        table = table.add_column(name, list(values))
    return table


def _as_dataset(table: Any) -> Dataset:
    from datasets import Dataset, DatasetDict, IterableDataset

    if isinstance(table, Dataset):
        return table
    if isinstance(table, DatasetDict):
        raise ValueError(f"this is a DatasetDict; choose one split: {', '.join(map(str, table))}")
    if isinstance(table, IterableDataset):
        table = list(table)
    if isinstance(table, Sequence) and all(isinstance(entry, Mapping) for entry in table):
        return _from_rows(list(table))
    raise ValueError(f"a candidates table is a datasets.Dataset or a list of dicts, not {type(table).__name__}")


def _from_rows(rows: list[Mapping[str, Any]]) -> Dataset:
    from datasets import Dataset

    try:
        return Dataset.from_list(rows)
    except (ValueError, TypeError) as error:  # Arrow's errors and lone surrogates: find the row that is to blame
        for row in range(len(rows)):
            try:
                Dataset.from_list(rows[: row + 1])
            except (ValueError, TypeError):
                raise ValueError(f"row {row} does not fit into the table: {error}; mend or drop that row") from None
        raise


def _missing_message(missing: list[str], present: list[str]) -> str:
    hints = {
        "responses": "run padlab.sample_responses, or bring your own",
        "teacher_reward": "run padlab.add_rewards(table, teacher, column='teacher_reward')",
        "student_reward": "run padlab.add_rewards(table, student, column='student_reward')",
        "selection_prob": "run padlab.add_selection_probs(table, teacher), or set alpha=0",
    }
    hint = "; ".join(hints[c] for c in missing if c in hints)
    if {"chosen", "rejected"} <= set(present):
        hint = "this looks like a preference data set: padlab.from_trl(table) converts it"
    return f"missing column(s) {', '.join(missing)}; there are {', '.join(present) or 'none'}. {hint}".strip()


def _check_row(row: int, entry: Mapping[str, Any]) -> None:
    responses = entry["responses"]
    if not isinstance(entry["prompt"], str) or not entry["prompt"].strip():
        raise ValueError(f"row {row}: the prompt is empty; drop the row or give it a text")
    if not isinstance(responses, Sequence) or isinstance(responses, str) or not responses:
        raise ValueError(f"row {row}: `responses` must be a list of at least one string")
    for k, text in enumerate(responses):
        ids = (entry.get("response_ids") or [None] * len(responses))[k : k + 1]
        if not isinstance(text, str) or (not text.strip() and not (ids and ids[0])):
            raise ValueError(f"row {row}, response {k}: empty response; drop it or sample again")
    for column in PER_RESPONSE:
        if entry.get(column) is not None and len(entry[column]) != len(responses):
            raise ValueError(f"row {row}: {column} has {len(entry[column])} entries for {len(responses)} responses")
    for column in NUMBERS:
        for k, value in enumerate(entry.get(column) or []):
            if value is None or not math.isfinite(value):
                raise ValueError(f"row {row}, response {k}: {column} is {value}; score that response again or drop it")
    probabilities = entry.get("selection_prob")
    if probabilities and (min(probabilities) < 0 or abs(sum(probabilities) - 1) > 1e-4):
        raise ValueError(f"row {row}: selection_prob must be >= 0 and sum to 1, got {probabilities}")


def _last_text(row: int, value: Any, role: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, Sequence) or not all(isinstance(m, Mapping) for m in value):
        raise ValueError(f"row {row}: expected text or a list of messages, found {type(value).__name__}; drop the row")
    texts = [m.get("content") for m in value if m.get("role") == role]
    if len(texts) != 1:
        raise ValueError(f"row {row}: expected exactly one {role} message, found {len(texts)} (single-turn only)")
    if not isinstance(texts[0], str):
        raise ValueError(f"row {row}: the {role} message's content is {type(texts[0]).__name__}, no text; drop it")
    return texts[0]
