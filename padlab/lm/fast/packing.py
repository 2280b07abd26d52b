"""Prompts and responses as tensors: one response per row, or a prompt with all its responses packed into one row.

In a packed row the prompt is computed once. A response's tokens attend to the prompt and to their own response, and
their positions continue from the prompt's, so every response has the log-probabilities that it has in a row of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from padlab.lm.logprobs import response_mask

TokenIds = Sequence[int]


@dataclass(frozen=True)
class ResponseBatch:
    """Prompts with their responses as right-padded rows.

    Args:
        input_ids, position_ids: rows x width.
        attention_mask: rows x 1 x width x width, 0 or the lowest float, added to the attention scores; None where plain
            causal attention is right.
        rows: for each response, the row it stands in.
        logit_columns: responses x length, the column whose logits predict each response token.
        target_ids: responses x length, the response's token ids.
        mask: responses x length, True where a token exists.
    """

    input_ids: Int[Tensor, "rows width"]
    position_ids: Int[Tensor, "rows width"]
    attention_mask: Float[Tensor, "rows 1 width width"] | None
    rows: Int[Tensor, " responses"]
    logit_columns: Int[Tensor, "responses length"]
    target_ids: Int[Tensor, "responses length"]
    mask: Bool[Tensor, "responses length"]

    def to(self, device: torch.device) -> ResponseBatch:
        """The same batch on another device."""
        tensors = [getattr(self, field.name) for field in fields(self)]
        return ResponseBatch(*(None if tensor is None else tensor.to(device) for tensor in tensors))

    def unflatten(self, values: Float[Tensor, " tokens"]) -> Float[Tensor, "responses length"]:
        """One value per response token, response by response, as a matrix with 0 where there is no token."""
        return values.new_zeros(self.mask.shape).index_put(self.mask.nonzero(as_tuple=True), values)


def make_response_batch(
    prompts: Sequence[TokenIds], responses: Sequence[Sequence[TokenIds]], pack: bool = False
) -> ResponseBatch:
    """Lay out prompts and their responses.

    Args:
        prompts: token ids per prompt.
        responses: per prompt, token ids per response (numbers of responses may differ).
        pack: one row per prompt (its responses side by side) instead of one row per response.

    Raises:
        ValueError: a prompt or response without tokens (a mean over nothing has no value).

    >>> make_response_batch([[5, 6]], [[[7, 8, 9], [4]]], pack=True).logit_columns.tolist()
    [[1, 2, 3], [1, 0, 0]]
    """
    check_token_ids(prompts, responses)
    groups = list(zip(prompts, responses, strict=True))
    if not pack:
        groups = [(prompt, [response]) for prompt, group in groups for response in group]
    tokens, positions, segments, columns = zip(*(_packed_row(*group) for group in groups), strict=True)
    in_order = [response for _, group in groups for response in group]
    return ResponseBatch(
        input_ids=pad_rows(tokens),
        position_ids=pad_rows(positions),
        attention_mask=_packed_attention(pad_rows(segments, -1)) if len(in_order) > len(groups) else None,
        rows=torch.tensor([row for row, (_, group) in enumerate(groups) for _ in group]),
        logit_columns=pad_rows([c for row in columns for c in row]),
        target_ids=pad_rows(in_order),
        mask=response_mask(in_order),
    )


def check_token_ids(prompts: Sequence[TokenIds], responses: Sequence[Sequence[TokenIds]]) -> None:
    """ValueError naming the first prompt or response without tokens."""
    for row, (prompt, group) in enumerate(zip(prompts, responses, strict=True)):
        if not prompt:
            raise ValueError(f"row {row}: the prompt has no tokens; drop the row")
        for k, response in enumerate(group):
            if not response:
                raise ValueError(f"row {row}, response {k}: no tokens, so no log-probability; drop the response")


def _packed_row(prompt: TokenIds, responses: Sequence[TokenIds]) -> tuple[list[int], list[int], list[int], list]:
    """(token ids, positions, segments, logit columns of each response); segment 0 is the prompt, then the responses."""
    tokens, positions, segments = list(prompt), list(range(len(prompt))), [0] * len(prompt)
    columns = []
    for segment, response in enumerate(responses, start=1):
        columns.append([len(prompt) - 1, *range(len(tokens), len(tokens) + len(response) - 1)])
        tokens += response
        positions += range(len(prompt), len(prompt) + len(response))
        segments += [segment] * len(response)
    return tokens, positions, segments, columns


def _packed_attention(segments: Int[Tensor, "rows width"]) -> Float[Tensor, "rows 1 width width"]:
    """0 where a position may attend (backwards, to the prompt and to its own response), else the lowest float."""
    same_segment = segments[:, :, None] == segments[:, None, :]
    in_prompt = (segments == 0)[:, None, :]
    return additive_mask((same_segment | in_prompt).tril())


def additive_mask(allowed: Bool[Tensor, "rows width width"]) -> Float[Tensor, "rows 1 width width"]:
    """0 where attention is allowed, else the lowest float."""
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]


def pad_rows(rows: Sequence[Sequence[int]], value: int = 0) -> Int[Tensor, "rows width"]:
    """Lists of integers as one matrix, padded on the right."""
    return pad_sequence([torch.tensor(list(row)) for row in rows], batch_first=True, padding_value=value)
