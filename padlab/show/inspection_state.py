"""What is inspected: a prompt, its responses as they were typed or sampled, and how they are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from padlab.lm.models import LanguageModel

MOST = 8  # responses


class Response(NamedTuple):
    """A response's text; `finished`: the end of the turn counts; `ids`: the tokens as they were sampled by a model."""

    text: str
    finished: bool = False
    ids: tuple[int, ...] = ()
    tokenizer: str = ""


@dataclass(frozen=True)
class State:
    """What is inspected: a row's prompt, the responses, and how they are looked at.

    Args:
        row: `prompt`, and `previous_messages` where something was said before.
        responses: up to 8.
        alpha, beta: as in `padlab.show.snapshot.preferences`.
        judge: whether the teacher is asked which response is better.
    """

    row: Mapping[str, Any]
    responses: tuple[Response, ...]
    alpha: float
    beta: float
    judge: bool


def responses_of_row(entry: Mapping[str, Any]) -> list[Response]:
    """The responses of a table's row, with the tokens that were sampled where the row has them."""
    n = len(entry["responses"])
    finished, ids = entry.get("finished") or [False] * n, entry.get("response_ids") or [()] * n
    whose = entry.get("response_tokenizer") or ""
    return [Response(t, f, tuple(i), whose) for t, f, i in zip(entry["responses"], finished, ids, strict=True)]


def as_responses(responses: Sequence[str | Response]) -> tuple[Response, ...]:
    """Texts and responses as responses; ValueError for one text, or more than 8."""
    if isinstance(responses, str):
        raise ValueError(f"responses must be a list of texts, got one text: write [{responses[:20]!r}]")
    if len(responses) > MOST:
        raise ValueError(f"{len(responses)} responses; at most {MOST} can be inspected at once")
    return tuple(r if isinstance(r, Response) else Response(r) for r in responses)


def scoring_row(row: Mapping[str, Any], response: Response, model: LanguageModel) -> dict[str, Any]:
    """A table's row of one response, with its sampled tokens where they are this model's."""
    columns = {**row, "responses": [response.text], "finished": [response.finished]}
    if response.ids and response.tokenizer == model.tokenizer_hash():
        columns |= {"response_ids": [list(response.ids)], "response_tokenizer": response.tokenizer}
    return columns
