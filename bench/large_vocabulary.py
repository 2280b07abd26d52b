"""Memory of a training step beside that of scoring, under vocabularies of several sizes.

    python bench/large_vocabulary.py [--threads 2] [--width 256] [--blocks 4] [--prompt 32] [--response 512]

A Llama with random weights; four responses. Scoring: `score_ids`. Training: forward and backward pass of PPD with LoRA
r 16 on all linear layers, gradients included, plainly and with gradient checkpointing of the blocks. The numbers are
peak extra memory beyond the weights, MiB; the activations of the blocks, which do not depend on the vocabulary, are in
them. On a CPU the process starts itself again so that freed tensors are given back at once (glibc would keep many).
"""

import os
import sys

import torch
from _measure import peak_extra_mib, speed_options
from scoring import random_ids
from training import padlab_step
from transformers import LlamaConfig, LlamaForCausalLM

from padlab.lm.adapters import trainable_copy
from padlab.lm.fast.scoring import score_ids

N, VOCABULARIES = 4, (32_000, 128_000, 256_000)
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def peaks(words: int, tied: bool, options) -> dict[str, float]:
    """Peak extra memory, MiB, of each kind of work."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=words, hidden_size=options.width, intermediate_size=4 * options.width,
                         num_hidden_layers=options.blocks, num_attention_heads=4, num_key_value_heads=2,
                         tie_word_embeddings=tied)  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    (prompt,), (responses,) = ids = random_ids(1, N, options.prompt, options.response, words)
    student, scores = trainable_copy(model, "auto").train(), torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    step = lambda: padlab_step(student, prompt, responses, scores)  # noqa: E731
    found = {"scoring": _peak(lambda: score_ids(model, *ids)), "training": _peak(step)}
    student.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return {**found, "training, checkpointing": _peak(step)}


def _peak(run) -> float:
    run()
    return peak_extra_mib(run)


def main() -> None:
    """One line per vocabulary and kind of head."""
    options = speed_options(__doc__, shapes=False, width=256, blocks=4, prompt=32, response=512)
    print(f"{options.blocks} blocks of width {options.width}, {options.prompt} + {N} x {options.response} tokens")
    print("vocabulary  head      scoring  training  ratio  blocks checkpointed, ratio")
    for words in VOCABULARIES:
        for tied in (True, False):
            scoring, *trainings = peaks(words, tied, options).values()
            ratios = "".join(f"{training:10.0f}{training / scoring:7.2f}" for training in trainings)
            print(f"{words:10,}  {'tied' if tied else 'untied':8}{scoring:9.0f}{ratios}", flush=True)


if __name__ == "__main__":
    if not GIVE_BACK.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **GIVE_BACK})
    main()
