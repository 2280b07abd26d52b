"""The `tiny` pair: random weights built in a second, two different tokenizers and templates, for tests.

Both tokenizers are byte-level BPE trained on the texts below; the student's has fewer merges, another vocabulary
order, a BOS token and a Gemma-like template without a system role, so that every re-tokenizing path is exercised.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from padlab.lm.pruning import PROBE_TEXTS

_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_TURNS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else 'user') + '\n' + m['content'] | trim"
    " + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def tiny_tokenizer(which: str) -> Any:
    """A byte-level BPE tokenizer; `which` is "teacher" (ChatML) or "student" (BOS, turns, no system role)."""
    teacher = which == "teacher"
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] if teacher else ["<pad>", "<bos>", "<eos>"]
    special += [] if teacher else ["<start_of_turn>", "<end_of_turn>"]
    trainer = trainers.BpeTrainer(
        vocab_size=384 if teacher else 330,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator([*PROBE_TEXTS, "A B C D E F G H \nA\nB"], trainer)
    names = (
        {"eos_token": "<|im_end|>"} if teacher else {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, additional_special_tokens=special, **names)
    tokenizer.chat_template = _CHATML if teacher else _TURNS
    return tokenizer


def tiny_model(tokenizer: Any, layers: int, seed: int, width: int = 64, context: int = 1024) -> LlamaForCausalLM:
    """A Llama with random weights that fits the tokenizer.

    Args:
        tokenizer: decides the size of the vocabulary and the ids of control tokens.
        layers: number of blocks.
        seed: the same seed gives the same weights.
        width: hidden size; a multiple of the number of heads.
        context: most tokens of prompt and response together.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.15,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()
