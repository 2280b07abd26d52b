"""Trains the reading world's adapters: `python -m padlab.study.reading_models FOLDER` makes what data/reading holds.

Four LoRA adapters on SmolLM2-135M-Instruct: student, teacher, careless teacher, judge (see `padlab.worlds.reading`). An
adapter that is there already is left as it is, so an interrupted run goes on with the next one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

from padlab import LanguageModel, load_model
from padlab.lm.adapters import save_adapter, trainable_copy, with_adapter
from padlab.lm.chat import encode_answers, end_of_turn_id
from padlab.lm.fast.common_beginning import common_prefix_length
from padlab.lm.fast.packing import make_response_batch
from padlab.lm.fast.scoring import response_logprobs
from padlab.phases.multiple_choice import multiple_choice_question
from padlab.progress import progress
from padlab.safe_files import as_folder
from padlab.worlds.reading import comparisons, corpus

RANK = 8  # LoRA on all linear layers
RATE = 1e-3
NOTES_PER_STEP = 1
ADAPTERS = {  # folder -> whose texts, notes, seed
    "teacher": ("teacher", 600, 1),
    "judge": ("judge", 100, 3),
    "student": ("student", 320, 0),
    "careless-teacher": ("student", 250, 2),
}
IN_TURN = (("teacher", "judge"), ("student", "careless-teacher"))  # the judge continues the teacher's adapter


def main(folder: str) -> None:
    """Train the adapters that are not there yet, in two processes of one thread each."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for report in pool.map(_train_in_turn, [(names, as_folder(folder)) for names in IN_TURN]):
            print(report, flush=True)


def training_groups(role: str, notes: int, seed: int) -> list[list[tuple[str, str]]]:
    """What an adapter is trained on, note by note: (text, answer); a judge's questions come in both orders."""
    if role != "judge":
        return list(corpus(notes, seed, role))
    return [
        [
            (multiple_choice_question(prompt, options, reply="text"), better)
            for prompt, better, worse in pairs
            for options in ((better, worse), (worse, better))
        ]
        for pairs in comparisons(notes, seed)
    ]


def train_on_texts(
    base: LanguageModel, groups: Sequence[Sequence[tuple[str, str]]], *, seed: int, label: str = ""
) -> LanguageModel:
    """The model with a LoRA adapter that gives these answers: cross-entropy, mean per answer, end of turn included.

    Args:
        base: left as it was; if it has an adapter, a copy of that one is trained further.
        groups: (prompt, answer) pairs; prompts of a group begin alike, and that beginning is computed once.
        seed: decides the adapter's start.
        label: for the progress line.
    """
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    network = trainable_copy(base.model, config, seed).train()
    weights = [p for p in network.parameters() if p.requires_grad]
    steps = len(groups) // NOTES_PER_STEP
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=steps, pct_start=0.05, anneal_strategy="linear"
    )
    for step in progress(range(steps), label):
        batch = groups[step * NOTES_PER_STEP : (step + 1) * NOTES_PER_STEP]
        answers = sum(map(len, batch))
        for group in batch:
            (_group_loss(base, network, group) / answers).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return base.with_weights(network.eval(), label)


def _train_in_turn(job: tuple[Sequence[str], Path]) -> str:
    """Adapters one after another, on one thread, so that the number of cores does not change them."""
    torch.set_num_threads(1)
    names, folder = job
    return "\n".join(_train(name, folder) for name in names if not (folder / name).exists())


def _train(name: str, folder: Path) -> str:
    """One adapter into its folder."""
    start, (role, notes, seed) = time.monotonic(), ADAPTERS[name]
    base = load_model("embedded", dtype="float32", device="cpu")
    if role == "judge":
        base = base.with_weights(with_adapter(base.model, folder / "teacher"), "teacher")
    trained = train_on_texts(base, training_groups(role, notes, seed), seed=seed, label=f"reading {name}")
    scratch = folder / f".{name}"
    save_adapter(trained.model, base.name, scratch, torch.bfloat16)
    scratch.rename(folder / name)
    return f"{name}: {notes} notes, {time.monotonic() - start:.0f} s"


def _group_loss(base: LanguageModel, network: Any, group: Sequence[tuple[str, str]]) -> torch.Tensor:
    """Sum over the answers of their mean negative token log-probability; common beginnings computed once."""
    end = end_of_turn_id(base.tokenizer)
    encoded = [encode_answers(base.tokenizer, prompt, [answer]) for prompt, answer in group]
    asked, replies = [ids for ids, _ in encoded], [[*answer, end] for _, (answer,) in encoded]
    shared = min(min(common_prefix_length(asked[0], ids), len(ids) - 1) for ids in asked)
    rest = [ids[shared:] + reply for ids, reply in zip(asked, replies, strict=True)]
    logps = response_logprobs(network, make_response_batch([asked[0][:shared]], [rest], True))
    ends = [(row, len(ids), len(reply)) for row, ids, reply in zip(logps, rest, replies, strict=True)]
    return torch.stack([-row[length - count : length].mean() for row, length, count in ends]).sum()


if __name__ == "__main__":
    main(sys.argv[1])
