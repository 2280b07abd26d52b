"""Token sequences that begin alike, as the paths of a tree: a common beginning is computed once.

Used for selection questions, where only the token after the last one is predicted. Each token attends to the tokens on
its path from the root, and its position is its depth, so the predictions are those of sequences in rows of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from padlab.lm.fast.packing import TokenIds, additive_mask, pad_rows


@dataclass(frozen=True)
class PrefixTreeBatch:
    """Sequences in one row as a tree, or each in a row of its own.

    Args:
        input_ids, position_ids, attention_mask: as in `ResponseBatch`.
        rows, columns: for each sequence, where its last token stands.
    """

    input_ids: Int[Tensor, "rows width"]
    position_ids: Int[Tensor, "rows width"]
    attention_mask: Float[Tensor, "rows 1 width width"] | None
    rows: Int[Tensor, " sequences"]
    columns: Int[Tensor, " sequences"]

    def to(self, device: torch.device) -> PrefixTreeBatch:
        """The same batch on another device."""
        tensors = [getattr(self, field.name) for field in fields(self)]
        return PrefixTreeBatch(*(None if tensor is None else tensor.to(device) for tensor in tensors))


def make_prefix_tree_batch(sequences: Sequence[TokenIds], pack: bool = False) -> PrefixTreeBatch:
    """Lay out sequences.

    Args:
        sequences: token ids.
        pack: all in one row, common beginnings once, instead of one row per sequence.

    Raises:
        ValueError: a sequence without tokens.

    >>> make_prefix_tree_batch([[5, 6, 7], [5, 6, 8, 9]], pack=True).input_ids.tolist()
    [[5, 6, 7, 8, 9]]
    """
    trees = [_Tree(sequences)] if pack else [_Tree([sequence]) for sequence in sequences]
    input_ids = pad_rows([tree.tokens for tree in trees])
    branching = any(parent != node - 1 for tree in trees for node, parent in enumerate(tree.parents))
    return PrefixTreeBatch(
        input_ids=input_ids,
        position_ids=pad_rows([tree.depths for tree in trees]),
        attention_mask=additive_mask(trees[0].ancestors()[None]) if branching else None,
        rows=torch.tensor([row for row, tree in enumerate(trees) for _ in tree.ends]),
        columns=torch.tensor([node for tree in trees for node in tree.ends]),
    )


class _Tree:
    """Nodes in order of insertion: token, depth and parent of each (-1 before the first), and where sequences end."""

    def __init__(self, sequences: Sequence[TokenIds]) -> None:
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.parents: list[int] = []
        children: dict[tuple[int, int], int] = {}  # (parent, token) -> node
        self.ends = [self._add(sequence, children) for sequence in sequences]

    def _add(self, sequence: TokenIds, children: dict[tuple[int, int], int]) -> int:
        if not sequence:
            raise ValueError("a sequence has no tokens; drop it")
        node = -1
        for depth, token in enumerate(sequence):
            edge = (node, token)
            if edge not in children:
                children[edge] = len(self.tokens)
                self.tokens.append(token)
                self.depths.append(depth)
                self.parents.append(node)
            node = children[edge]
        return node

    def ancestors(self) -> Bool[Tensor, "nodes nodes"]:
        """Row i is True at node i and at every node on its path to the root."""
        allowed = torch.eye(len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                allowed[node] |= allowed[parent]
        return allowed
