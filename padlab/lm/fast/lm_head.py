"""The output head: log-probabilities of given tokens from hidden states, without holding all logits at once.

Logits are float32 whatever the weights' type. They are computed for a few tokens at a time and, for the gradient, a
second time (checkpointing), so that memory does not grow with vocabulary x tokens.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, linear
from torch.utils.checkpoint import checkpoint

MAX_LOGITS = 1 << 24  # logits held at once: 64 MiB in float32; four times as many on a GPU
VOCABULARY_CHUNK = 16384  # rows of a 16-bit head that are converted to float32 at once

FLOAT32_PRODUCTS = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 8)  # torch.mm has out_dtype, on a GPU

_separable: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def target_logprobs(
    model: Any, hidden: Float[Tensor, "tokens width"], targets: Int[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """Log-probability of one target token per hidden state, nats, float32, differentiable."""
    size = max(1, MAX_LOGITS * (4 if hidden.is_cuda else 1) // vocabulary_size(model))
    chunks = list(zip(hidden.split(size), targets.split(size), strict=True))
    logprobs = lambda h, t: selective_log_softmax(compute_logits(model, h), t)  # noqa: E731
    if len(chunks) == 1 or not torch.is_grad_enabled():
        return torch.cat([logprobs(*chunk) for chunk in chunks])
    return torch.cat([checkpoint(logprobs, *chunk, use_reentrant=False) for chunk in chunks])


def selective_log_softmax(
    logits: Float[Tensor, "tokens vocabulary"], targets: Int[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """Log-softmax at one target per row, in float32."""
    return -cross_entropy(logits.float(), targets, reduction="none")


def compute_logits(model: Any, hidden: Float[Tensor, "... width"]) -> Float[Tensor, "... vocabulary"]:
    """The output head in float32, with the factors and the soft cap that some families apply to its logits."""
    base = base_model(model)
    with torch.autocast(hidden.device.type, enabled=False):  # mixed precision would make the logits 16-bit
        logits = _apply_head(base.get_output_embeddings(), hidden)
        if scale := getattr(base.config, "logit_scale", None):
            logits = logits * scale
        if divisor := getattr(base.config, "logits_scaling", None):
            logits = logits / divisor
        if cap := getattr(base.config, "final_logit_softcapping", None):
            logits = cap * torch.tanh(logits / cap)
        return logits


@torch.no_grad()
def head_is_separable(model: Any) -> bool:
    """Whether decoder and head, one after the other, give the model's own logits (tried once, on four tokens)."""
    if model not in _separable:
        ids = torch.arange(1, 5, device=model.device)[None]
        expected = model(input_ids=ids, use_cache=False).logits
        tolerance = 1e-3 if expected.dtype == torch.float32 else 0.02 * float(expected.abs().max().nan_to_num())
        try:
            logits = compute_logits(model, decoder(model)(input_ids=ids, use_cache=False).last_hidden_state)
            same_shape = logits.shape == expected.shape
            _separable[model] = same_shape and torch.allclose(logits.float(), expected.float(), atol=tolerance)
        except (AttributeError, TypeError, NotImplementedError):
            _separable[model] = False
    return _separable[model]


def base_model(model: Any) -> Any:
    """The causal LM itself, inside of a peft model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def decoder(model: Any) -> Any:
    """The model without its output head."""
    return base_model(model).get_decoder()


def vocabulary_size(model: Any) -> int:
    """Number of rows of the output head (at least the tokenizer's vocabulary; some models pad it)."""
    return base_model(model).get_output_embeddings().weight.shape[0]


def _apply_head(head: Any, hidden: Tensor) -> Tensor:
    if type(head) is not torch.nn.Linear or hidden.dtype == torch.float32:
        return head(hidden)
    if hidden.is_cuda and FLOAT32_PRODUCTS and head.bias is None and not torch.is_grad_enabled():
        flat = torch.mm(hidden.flatten(0, -2), head.weight.t(), out_dtype=torch.float32)  # 16-bit factors, float32 sums
        return flat.unflatten(0, hidden.shape[:-1])
    hidden = hidden.float()  # 16-bit logits would be rounded to a coarse grid
    weights = head.weight.split(VOCABULARY_CHUNK)
    biases = [None] * len(weights) if head.bias is None else [b.float() for b in head.bias.split(VOCABULARY_CHUNK)]
    return torch.cat([linear(hidden, w.float(), b) for w, b in zip(weights, biases, strict=True)], dim=-1)
