"""Is this a causal language model, and does its cache keep the past? Tried once per model, before its first numbers.

A masked language model, a reward head or an adapter with virtual tokens also takes token ids and returns numbers; they
would be read as log-probabilities without a word. So each model is tried on six tokens before it scores, samples or
trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

_IDS = (1, 4, 2, 5, 3, 6)  # of the tokens tried, counted from the middle of the vocabulary
_refusals: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # model -> why it is refused, or ""


def check_language_model(model: Any) -> None:
    """Check that a model gives logits for every token of a text, each from the tokens before it alone.

    Raises:
        ValueError: virtual tokens, another kind of output, or tokens that see what follows them; the model is named.
    """
    if model not in _refusals:
        _refusals[model] = _reason_against(model)
    if _refusals[model]:
        raise ValueError(
            f"{_name(model)} cannot be scored, sampled or trained as a causal language model: {_refusals[model]}"
        )


def check_known_ids(model: Any, ids: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    """ValueError naming the first text with a token id for which the model has no embedding."""
    known = model.get_input_embeddings().weight.shape[0]
    for name, row in zip(names, ids, strict=True):
        if (largest := max(row, default=0)) >= known:
            raise ValueError(
                f"{name}: token id {largest}, but the model has embeddings for {known} tokens only; the tokenizer "
                "belongs to another model, or tokens were added to it: model.resize_token_embeddings(len(tokenizer))"
            )


def not_finite(model: Any) -> str:
    """What to say of a model whose logits are NaN or infinite."""
    advice = "load it with dtype='float32' (or bfloat16: float16 overflows), or try attn_implementation='eager'"
    if model.dtype == torch.float32:
        advice = "its weights are damaged, or were trained at too high a rate: load or train it again"
    return f"the model's logits are not finite ({model.dtype}); {advice}"


def ordinary_ids(model: Any, *numbers: int) -> list[int]:
    """Token ids from the middle of the vocabulary; the first ids are often control tokens."""
    size = model.config.get_text_config().vocab_size
    return [(size // 2 + k) % size for k in numbers]


def _name(model: Any) -> str:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return type(base).__name__


@torch.no_grad()
def _reason_against(model: Any) -> str:
    """Empty for a causal language model."""
    for config in getattr(model, "peft_config", {}).values():
        if config.is_prompt_learning:
            return (
                f"its adapter ({type(config).__name__}) puts virtual tokens before the prompt, which padlab does not "
                "support; use LoRA or another adapter of the weights"
            )
    if getattr(model.config, "is_encoder_decoder", False):
        return "it is an encoder-decoder model"
    was_training = model.training
    model.eval()
    try:
        first, second = (_logits(model, ordinary_ids(model, *_IDS[:-1], last)) for last in (_IDS[-1], 9))
    except (AttributeError, TypeError, ValueError, IndexError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return f"a forward pass over six tokens fails ({type(error).__name__}: {str(error)[:120]})"
    finally:
        model.train(was_training)
    if first.dim() != 2 or first.shape[0] != len(_IDS):
        return f"for six tokens it returns numbers of shape {tuple(first.shape)}, expected one row of logits per token"
    if first.shape[1] < (words := model.config.get_text_config().vocab_size):
        return f"it returns {first.shape[1]} numbers per token, and its vocabulary has {words} tokens"
    before, last = (first - second)[:-1].abs().max(), (first - second)[-1].abs().max()
    if before > (1e-4 if model.dtype == torch.float32 else 0.02) * last:
        return "tokens see what follows them (a masked language model?), so its numbers are no probabilities of a text"
    return ""


def _logits(model: Any, ids: list[int]) -> Tensor:
    logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits
    return logits[0].float() if logits.dim() == 3 else logits.float()
