"""Token ids laid out as rows: one sequence per row, a prompt with its responses in one row, or a tree of questions.

Where the architecture allows, text that several sequences begin with stands (and is computed) once. A token sees
itself and what comes before it in its own sequence; its position is its place in that sequence. Which tokens count is
known from lengths, never from comparing with a pad id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Ids = Sequence[int]
Batch = TypeVar("Batch", "TokenBatch", "TreeBatch")


@dataclass(frozen=True)
class TokenBatch:
    """Prompts with their responses as right-padded rows.

    Args:
        input_ids, position_ids: rows x length.
        attention: rows x 1 x length x length, 0 or the lowest float, or None where plain causal attention does.
        row: for each response, the row it stands in.
        columns: responses x width, the column that predicts each response token.
        targets: responses x width, the response's token ids.
        mask: responses x width, True where a token exists.
    """

    input_ids: Int[Tensor, "rows length"]
    position_ids: Int[Tensor, "rows length"]
    attention: Float[Tensor, "rows 1 length length"] | None
    row: Int[Tensor, " responses"]
    columns: Int[Tensor, "responses width"]
    targets: Int[Tensor, "responses width"]
    mask: Bool[Tensor, "responses width"]


def make_batch(prompts: Sequence[Ids], responses: Sequence[Sequence[Ids]], share: bool = False) -> TokenBatch:
    """Lay out prompts and their responses.

    Args:
        prompts: token ids per prompt.
        responses: per prompt, token ids per response (numbers of responses may differ).
        share: one row per prompt (its responses side by side) instead of one row per response.

    Raises:
        ValueError: a prompt or response without tokens (a mean over nothing has no value).

    >>> make_batch([[5, 6]], [[[7, 8, 9], [4]]], share=True).columns.tolist()
    [[1, 2, 3], [1, 0, 0]]
    """
    for number, (prompt, group) in enumerate(zip(prompts, responses, strict=True)):
        if not prompt:
            raise ValueError(f"row {number}: the prompt has no tokens; drop the row")
        for k, response in enumerate(group):
            if not response:
                raise ValueError(f"row {number}, response {k}: no tokens, so no log-probability; drop the response")
    groups = list(zip(prompts, responses, strict=True))
    if not share:
        groups = [(prompt, [response]) for prompt, group in groups for response in group]
    length = max(len(p) + sum(map(len, g)) for p, g in groups)
    width = max(len(r) for _, g in groups for r in g)
    segments = torch.full((len(groups), length), -1)
    input_ids, position_ids = torch.zeros_like(segments), torch.arange(length).repeat(len(groups), 1)
    row, columns, targets, counts = [], [], [], []
    for number, (prompt, group) in enumerate(groups):
        start, end = 0, len(prompt)
        for segment, part in enumerate([prompt, *group]):
            span = slice(start, start + len(part))
            input_ids[number, span] = torch.tensor(part)
            segments[number, span] = segment
            if segment:
                position_ids[number, span] = torch.arange(end, end + len(part))
                row.append(number)
                columns.append(_padded([end - 1, *range(start, start + len(part) - 1)], width))
                targets.append(_padded(part, width))
                counts.append(len(part))
            start += len(part)
    mask = torch.arange(width) < torch.tensor(counts)[:, None]
    attention = _shared_prefix_attention(segments) if share and any(len(g) > 1 for _, g in groups) else None
    stacked = [torch.tensor(x) for x in (row, columns, targets)]
    return TokenBatch(input_ids, position_ids, attention, *stacked, mask)


@dataclass(frozen=True)
class TreeBatch:
    """Sequences of which only what follows the last token is asked; beginnings in common stand once.

    Args:
        input_ids, position_ids, attention: as in `TokenBatch`.
        row, column: for each sequence, where its last token stands.
    """

    input_ids: Int[Tensor, "rows length"]
    position_ids: Int[Tensor, "rows length"]
    attention: Float[Tensor, "rows 1 length length"] | None
    row: Int[Tensor, " sequences"]
    column: Int[Tensor, " sequences"]


def make_tree(groups: Sequence[Sequence[Ids]], share: bool = False) -> TreeBatch:
    """Lay out sequences, group by group.

    Args:
        groups: token ids of sequences; those of a group may share a row.
        share: one row per group, common beginnings once, instead of one row per sequence.

    >>> make_tree([[[5, 6, 7], [5, 6, 8, 9]]], share=True).input_ids.tolist()
    [[5, 6, 7, 8, 9]]
    """
    groups = groups if share else [[sequence] for group in groups for sequence in group]
    trees = [_tree(group) for group in groups]
    length = max(len(tokens) for tokens, *_ in trees)
    input_ids, position_ids = (
        torch.zeros(len(trees), length, dtype=torch.long),
        torch.arange(length).repeat(len(trees), 1),
    )
    allowed = torch.ones(length, length, dtype=torch.bool).tril().repeat(len(trees), 1, 1)
    for number, (tokens, depths, parents, _) in enumerate(trees):
        input_ids[number, : len(tokens)] = torch.tensor(tokens)
        position_ids[number, : len(tokens)] = torch.tensor(depths)
        for k, parent in enumerate(parents):
            allowed[number, k, :k] = allowed[number, parent, :k] if parent >= 0 else False  # what its parent sees
    row = [number for number, tree in enumerate(trees) for _ in tree[3]]
    branches = any(parent != k - 1 for _, _, parents, _ in trees for k, parent in enumerate(parents))
    attention = _additive(allowed) if branches else None
    last = torch.tensor([column for tree in trees for column in tree[3]])
    return TreeBatch(input_ids, position_ids, attention, torch.tensor(row), last)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch on another device."""
    values = [getattr(batch, field.name) for field in fields(batch)]
    return type(batch)(*(v if v is None else v.to(device) for v in values))


def _tree(group: Sequence[Ids]) -> tuple[list[int], list[int], list[int], list[int]]:
    """(tokens, depth of each, parent of each, place of each sequence's last token); -1 is the root's parent."""
    known: dict[tuple[int, int], int] = {}  # (parent, token) -> place
    tokens, depths, parents, last = [], [], [], []
    for sequence in group:
        place = -1
        for depth, token in enumerate(sequence):
            step = (place, token)
            if step not in known:
                known[step] = len(tokens)
                tokens.append(token)
                depths.append(depth)
                parents.append(place)
            place = known[step]
        if place < 0:
            raise ValueError("a sequence has no tokens; drop it")
        last.append(place)
    return tokens, depths, parents, last


def _padded(values: Ids, width: int) -> list[int]:
    return [*values, *[0] * (width - len(values))]


def _shared_prefix_attention(segments: Int[Tensor, "rows length"]) -> Float[Tensor, "rows 1 length length"]:
    """0 where a position may look: backwards, at the prompt and at its own response; else the lowest float."""
    length = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]
    allowed = (same | (segments == 0)[:, None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
    return _additive(allowed)


def _additive(allowed: Bool[Tensor, "rows length length"]) -> Float[Tensor, "rows 1 length length"]:
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]
