"""Trains the reading world's adapters: `python -m padlab.study.reading_models FOLDER` makes what data/reading holds.

Four LoRA adapters on SmolLM2-135M-Instruct: student, teacher, careless teacher, judge (see `padlab.worlds.reading`). An
adapter that is there already is left as it is, so an interrupted run goes on with the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig

from padlab import LanguageModel
from padlab.lm.adapters import trainable_copy
from padlab.lm.chat import encode_chat, encode_text, end_of_turn_id
from padlab.lm.fast.packing import make_response_batch
from padlab.lm.fast.scoring import response_logprobs
from padlab.phases.multiple_choice import common_prefix_length
from padlab.progress import progress

RANK = 8


def train_on_texts(
    base: LanguageModel,
    groups: Sequence[Sequence[tuple[str, str]]],
    *,
    rate: float,
    notes_per_step: int,
    seed: int,
    label: str = "",
) -> Any:
    """A LoRA adapter that gives these answers: cross-entropy on the answers' tokens and the end of the turn.

    Args:
        base: the bare model, left as it was.
        groups: (prompt, answer) pairs; prompts of a group begin alike and are computed together.
        rate: falls linearly to 0 after a short warm-up.
        notes_per_step: groups per optimizer step.
        seed: decides the adapter's start.
    """
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    network = trainable_copy(base.model, config, seed).train()
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0, betas=(0.9, 0.98))
    steps = len(groups) // notes_per_step
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.05, anneal_strategy="linear"
    )
    for step in progress(range(steps), label):
        batch = groups[step * notes_per_step : (step + 1) * notes_per_step]
        total = sum(len(group) for group in batch)
        for group in batch:
            (_group_loss(base, network, group) / total).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return network.eval()


def _group_loss(base: LanguageModel, network: Any, group: Sequence[tuple[str, str]]) -> torch.Tensor:
    """Sum over the answers of their mean negative token log-probability; common beginnings computed once."""
    end = end_of_turn_id(base.tokenizer)
    asked = [encode_chat(base.tokenizer, prompt) for prompt, _ in group]
    replies = [[*encode_text(base.tokenizer, answer), end] for _, answer in group]
    shared = min(common_prefix_length(asked[0], ids) for ids in asked)
    shared = min(shared, min(map(len, asked)) - 1)
    rest = [ids[shared:] + reply for ids, reply in zip(asked, replies, strict=True)]
    logps = response_logprobs(network, make_response_batch([asked[0][:shared]], [rest], True))
    losses = [
        -row[len(ids) - len(reply) : len(ids)].mean() for row, ids, reply in zip(logps, rest, replies, strict=True)
    ]
    return torch.stack(losses).sum()
