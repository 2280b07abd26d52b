"""The candidates table as one model's token ids: the sampled ids where the tokenizer is the same, else encoded text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from padlab.lm.chat import decode_text, encode_chat, encode_text, end_of_turn_id, stop_ids
from padlab.lm.models import LanguageModel

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
            prompt = encode_chat(model.tokenizer, entry["prompt"])
            count = len(entry["responses"])
            group = [_response_ids(model, entry, k, same_tokenizer, end, stops) for k in range(count)]
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


def _response_ids(
    model: LanguageModel, entry: dict[str, Any], k: int, same_tokenizer: bool, end: int, stops: set[int]
) -> list[int]:
    if same_tokenizer:
        ids = list(entry["response_ids"][k])
        if decode_text(model.tokenizer, ids, stops) != entry["responses"][k]:
            raise ValueError(
                f"response {k}: its text is not what response_ids say; remove that column to score the text"
            )
    else:
        ids = encode_text(model.tokenizer, entry["responses"][k])
    if entry.get("finished") and entry["finished"][k] and not (ids and ids[-1] in stops):
        ids.append(end)
    if not ids:
        raise ValueError(f"response {k} has no tokens; drop it")
    return ids
