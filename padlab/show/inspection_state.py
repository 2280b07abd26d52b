"""What is inspected: a prompt, its responses as they were typed or sampled, and how they are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from padlab.conversations import conversation
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


def check_look(alpha: float, beta: float) -> None:
    """ValueError unless alpha lies in 0 to 1 and beta is a positive number."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in 0 (likelihood alone) to 1 (selection alone), got {alpha}")
    if not 0 < beta < float("inf"):
        raise ValueError(f"beta must be a positive number, got {beta}")


def conversation_key(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """A row's conversation as something that a dictionary can be asked for."""
    return tuple((m["role"], m["content"]) for m in conversation(row))


def comparable(state: State, other: State) -> bool:
    """Whether responses of two states can be compared place by place: one prompt, edits in place, none moved."""
    if conversation_key(state.row) != conversation_key(other.row) or len(state.responses) != len(other.responses):
        return False
    texts, others = ([r.text for r in s.responses] for s in (state, other))
    same = sum(a == b for a, b in zip(texts, others, strict=True))
    return same > 0 and not any(text in others for k, text in enumerate(texts) if text != others[k])


def as_responses(responses: Sequence[str | Response]) -> tuple[Response, ...]:
    """Texts and responses as responses; ValueError for one text, or more than 8."""
    if isinstance(responses, str):
        raise ValueError(f"responses must be a list of texts, got one text: write [{responses[:20]!r}]")
    if len(responses) > MOST:
        raise ValueError(f"{len(responses)} responses; at most {MOST} can be inspected at once")
    if wrong := [r for r in responses if not isinstance(r, str | Response)]:
        raise ValueError(f"a response must be text, got a {type(wrong[0]).__name__}")
    return tuple(r if isinstance(r, Response) else Response(r) for r in responses)


def scoring_row(row: Mapping[str, Any], response: Response, model: LanguageModel) -> dict[str, Any]:
    """A table's row of one response, with its sampled tokens where they are this model's."""
    columns = {**row, "responses": [response.text], "finished": [response.finished]}
    if response.ids and response.tokenizer == model.tokenizer_hash():
        columns |= {"response_ids": [list(response.ids)], "response_tokenizer": response.tokenizer}
    return columns
