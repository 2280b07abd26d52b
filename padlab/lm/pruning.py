"""Depth pruning: leave out the transformer blocks that change their input least.

Block influence of a block = 1 - mean cosine similarity between what goes in and what comes out, over tokens
(Men et al. 2024, "ShortGPT"). A student pruned this way is fluent but worse than its teacher: something to repair.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from padlab.lm.chat import encode_chat

PROBE_TEXTS = (
    "Explain why the sky looks blue to someone who has never studied physics.",
    "Write a short story about a lighthouse keeper who finds a letter.",
    "A train leaves at nine and arrives at half past eleven. How long is the journey?",
    "List three ways to keep a houseplant alive during a long holiday.",
    "Rewrite politely: send me the report now, you are late again.",
    "What is the difference between a city and a town?",
    "Summarise in one sentence: The museum opens at ten. On Mondays it stays closed, and pupils pay half.",
    "Give me a plan for a weekend in which I want to learn to swim.",
)


@torch.no_grad()
def block_influence(model: Any, tokenizer: Any, texts: tuple[str, ...] = PROBE_TEXTS) -> Float[Tensor, " blocks"]:
    """Influence of every transformer block, 0 (does nothing) upwards; one forward pass per text.

    Args:
        model: a causal LM whose blocks are found as `model.get_decoder().layers`.
        tokenizer: its tokenizer.
        texts: user prompts, put into the chat template.

    Raises:
        ValueError: the architecture does not keep its blocks in a list called `layers`.
    """
    changes: list[list[Tensor]] = [[] for _ in _layers(model)]

    def record(module: Any, inputs: Any, output: Any, block: int) -> None:
        out = output[0] if isinstance(output, tuple) else output
        similarity = torch.cosine_similarity(inputs[0].float(), out.float(), dim=-1)
        changes[block].append(1 - similarity.flatten().cpu())

    hooks = [layer.register_forward_hook(partial(record, block=k)) for k, layer in enumerate(_layers(model))]
    try:
        for text in texts:
            model(input_ids=torch.tensor([encode_chat(tokenizer, text)], device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack([torch.cat(tokens).mean() for tokens in changes])


def prune_depth(model: Any, tokenizer: Any, keep_blocks: int) -> tuple[Any, list[int]]:
    """(a copy with the `keep_blocks` most influential blocks, indices of the blocks left out).

    The first and the last block always stay.

    Raises:
        ValueError: keep_blocks outside 2..number of blocks.
    """
    total = len(_layers(model))
    if not 2 <= keep_blocks <= total:
        raise ValueError(f"keep_blocks must lie between 2 and {total}, got {keep_blocks}")
    influence = block_influence(model, tokenizer)
    order = (influence[1:-1].argsort() + 1).tolist()
    removed = sorted(order[: total - keep_blocks])
    kept = [k for k in range(total) if k not in removed]
    student = copy.deepcopy(model)
    decoder = student.get_decoder()
    decoder.layers = torch.nn.ModuleList(decoder.layers[k] for k in kept)
    for index, layer in enumerate(decoder.layers):
        layer.self_attn.layer_idx = index
    config = student.config
    student.name_or_path = config._name_or_path = ""  # it can no longer be loaded from where the teacher came from
    config.num_hidden_layers = keep_blocks
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[k] for k in kept]
    return student.eval(), removed


def _layers(model: Any) -> torch.nn.ModuleList:
    layers = getattr(model.get_decoder(), "layers", None)
    if not isinstance(layers, torch.nn.ModuleList):
        raise ValueError(f"{type(model).__name__} keeps its blocks elsewhere than in get_decoder().layers")
    return layers
