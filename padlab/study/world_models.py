"""Trains the toy world's models from scratch: `python -m padlab.study.world_models FOLDER` makes what data/toy holds.

Teacher: 4 blocks of width 96, which reads texts and selection questions. Student: 3 blocks of width 32, a twelfth of
the size, which reads fewer texts and no questions. Both are Llama models; words are tokens.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from padlab.lm.models import LanguageModel
from padlab.progress import progress
from padlab.safe_files import as_folder
from padlab.worlds.toy import WORDS, WRITERS, corpus

CONTROL = ["<pad>", "<user>", "<answer>", "<end>"]
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' <end>' }}{% else %}"
    "{{ '<user> ' + m['content'] + ' <answer>' }}{% endif %}{% endfor %}"
)
SIZES = {  # width, blocks, steps, texts per step, share of questions
    "teacher": (96, 4, 2500, 128, 0.5),
    "student": (32, 3, 3000, 64, 0.0),
}
RATE = 2e-3


def toy_tokenizer() -> Any:
    """One token per word; `<user> ... <answer> ... <end>`."""
    words = [*CONTROL, "sort", "better", ":", ".", "A", "B", "C", "D", *WORDS]
    raw = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="."))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<end>", additional_special_tokens=["<user>", "<answer>"]
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def toy_model(world: str, role: str, seed: int = 0) -> LanguageModel:
    """Train one model; the same seed gives the same weights on the same machine.

    Args:
        world: "toy" or "toy-aligned".
        role: "teacher" or "student".
        seed: decides the start and the texts.
    """
    width, blocks, steps, batch, questions = SIZES[role]
    tokenizer = toy_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer), hidden_size=width, intermediate_size=8 * width // 3,
                num_hidden_layers=blocks, num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=128,
                tie_word_embeddings=True, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )  # fmt: skip
    texts = corpus(steps * batch, seed, world, questions)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.05)
    for _ in progress(range(steps), f"{world} {role}"):
        ids, labels = _batch(tokenizer, list(islice(texts, batch)))
        loss = network(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return LanguageModel(network.eval(), tokenizer, f"{world} {role}", f"{world} seed={seed}")


def main(folder: str) -> None:
    """Train all four and save them, side by side: faster than all cores on each in turn."""
    jobs = [(role, world, as_folder(folder)) for role in SIZES for world in WRITERS]  # teachers take longest
    with ProcessPoolExecutor(len(jobs), get_context("spawn")) as pool:
        for report in pool.map(_train, jobs):
            print(report, flush=True)


def _train(job: tuple[str, str, Path]) -> str:
    """One model into its folder, on one thread, so that the number of cores does not change it."""
    torch.set_num_threads(1)
    start, (role, world, folder) = time.monotonic(), job
    model = toy_model(world, role)
    model.save(folder / f"{world}-{role}")
    weights = sum(p.numel() for p in model.model.parameters())
    return f"{model.name}: {weights:,} weights, {time.monotonic() - start:.0f} s"


def _batch(tokenizer: Any, texts: list[tuple[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids, and labels where the answer stands."""
    vocabulary, ids, labels = tokenizer.get_vocab(), [], []
    for prompt, answer in texts:
        before = [vocabulary[word] for word in ("<user>", *prompt.split(), "<answer>")]
        after = [vocabulary[word] for word in (*answer.split(), "<end>")]
        ids.append(torch.tensor(before + after))
        labels.append(torch.tensor([-100] * len(before) + after))
    padded = pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id)
    return padded, pad_sequence(labels, batch_first=True, padding_value=-100)


if __name__ == "__main__":
    main(sys.argv[1])
