"""The candidates table as one model's token ids: the sampled ids where the tokenizer is the same, else encoded text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from padlab.conversations import conversation
from padlab.lm.chat import decode_answer, encode_answers, end_of_turn_id, stop_ids
from padlab.lm.models import LanguageModel
from padlab.lm.plain_text import plain_text

if TYPE_CHECKING:
    from datasets import Dataset


def candidate_ids(model: LanguageModel, candidates: Dataset) -> tuple[list[list[int]], list[list[list[int]]]]:
    """(prompt ids per row, response ids per row and response) as this model sees them.

    Raises:
        ValueError: a response without tokens, or prompt and response together exceed the context; names row and
            response.
    """
    tokenizer_hash = model.tokenizer_hash()
    end, stops = end_of_turn_id(model.tokenizer), stop_ids(model.model, model.tokenizer)
    prompts, responses = [], []
    for row, entry in enumerate(candidates):
        same_tokenizer = bool(entry.get("response_ids")) and entry.get("response_tokenizer") == tokenizer_hash
        try:
            texts = [] if same_tokenizer else entry["responses"]
            prompt, group = encode_answers(model.tokenizer, conversation(entry), texts)
            if same_tokenizer:
                group = [_sampled_ids(model, entry, k, prompt, stops) for k in range(len(entry["responses"]))]
            group = [_with_end(entry, k, ids, end, stops) for k, ids in enumerate(group)]
        except ValueError as error:
            raise ValueError(f"row {row}: {error}") from None
        for k, ids in enumerate(group):
            if len(prompt) + len(ids) > model.max_length:
                raise ValueError(
                    f"row {row}, response {k}: prompt ({len(prompt)}) and response ({len(ids)}) exceed the context of "
                    f"{model.name} ({model.max_length} tokens); shorten or drop it"
                )
        prompts.append(prompt)
        responses.append(group)
    return prompts, responses


def _sampled_ids(model: LanguageModel, entry: dict[str, Any], k: int, prompt: list[int], stops: set[int]) -> list[int]:
    """The ids that were sampled, if they read as the response's text."""
    ids, control = list(entry["response_ids"][k]), plain_text(model.tokenizer).ids
    if found := [i for i in ids[:-1] if i in control] or [i for i in ids[-1:] if i in control - stops]:
        token = model.tokenizer.convert_ids_to_tokens(found[0])
        raise ValueError(
            f"response {k}: response_ids hold the control token {token!r}; remove that column to score text"
        )
    if decode_answer(model.tokenizer, prompt, ids, stops) != entry["responses"][k]:
        raise ValueError(f"response {k}: its text is not what response_ids say; remove that column to score the text")
    return ids


def _with_end(entry: dict[str, Any], k: int, ids: list[int], end: int, stops: set[int]) -> list[int]:
    """With the end-of-turn token, where the response finished by itself."""
    if entry.get("finished") and entry["finished"][k] and not (ids and ids[-1] in stops):
        ids = [*ids, end]
    if not ids:
        raise ValueError(f"response {k} has no tokens; drop it")
    return ids
