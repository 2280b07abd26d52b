"""The output head: log-probabilities of given tokens from hidden states, without holding all logits at once.

Logits are float32 whatever the weights' type. They are computed for a few tokens at a time, so that memory does not
grow with vocabulary x tokens. The gradient is the same: the derivatives are computed with the logits where the head is
frozen (LoRA), else the logits are computed a second time (checkpointing).
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
    head = base_model(model).get_output_embeddings()
    frozen = type(head) is torch.nn.Linear and not any(weight.requires_grad for weight in head.parameters())
    if frozen and torch.is_grad_enabled():
        return _FrozenHead.apply(hidden, targets, model, size)
    logprobs = lambda h, t: selective_log_softmax(compute_logits(model, h), t)  # noqa: E731
    if len(chunks) == 1 or not torch.is_grad_enabled():
        return torch.cat([logprobs(*chunk) for chunk in chunks])
    return torch.cat([checkpoint(logprobs, *chunk, use_reentrant=False) for chunk in chunks])


class _FrozenHead(torch.autograd.Function):
    """Log-probabilities of the targets; their derivatives by the hidden states are kept instead of logits.

    A token's log-probability depends on its own hidden state only, so the gradient is the derivative times a number.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, model: Any, size: int) -> Tensor:
        """One log-probability per token, `size` tokens at a time."""
        pieces = zip(hidden.split(size), targets.split(size), strict=True)
        logps, derivatives = zip(*(_logprobs_and_derivatives(model, *piece) for piece in pieces), strict=True)
        ctx.save_for_backward(torch.cat(derivatives))
        ctx.dtype = hidden.dtype
        return torch.cat(logps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Of the hidden states."""
        (derivatives,) = ctx.saved_tensors
        return (gradient[:, None] * derivatives).to(ctx.dtype), None, None, None


def _logprobs_and_derivatives(model: Any, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each target z_y - log sum exp z, and its derivative by the hidden state: (1[y] - p) dz/dh."""
    base, at = base_model(model), targets[:, None]
    logits, cap = compute_logits(model, hidden), getattr(base.config, "final_logit_softcapping", None)
    slope = 1 - (logits / cap).square_() if cap else None  # of cap * tanh(z / cap)
    largest, chosen = logits.amax(-1, keepdim=True), logits.gather(-1, at)
    probs = logits.sub_(largest).exp_()  # in place: this is what takes memory
    total = probs.sum(-1, keepdim=True)
    factors = probs.div_(-total).scatter_add_(-1, at, torch.ones_like(chosen))
    derivatives = _product(factors.mul_(slope) if cap else factors, base.get_output_embeddings().weight)
    derivatives *= getattr(base.config, "logit_scale", None) or 1
    derivatives /= getattr(base.config, "logits_scaling", None) or 1
    return (chosen - largest - total.log()).squeeze(-1), derivatives


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
    logits = hidden.new_empty(*hidden.shape[:-1], len(head.weight))
    for start in range(0, len(head.weight), VOCABULARY_CHUNK):
        rows = slice(start, start + VOCABULARY_CHUNK)
        bias = None if head.bias is None else head.bias[rows].float()
        logits[..., rows] = linear(hidden, head.weight[rows].float(), bias)
    return logits


def _product(factors: Float[Tensor, "tokens vocabulary"], weight: Float[Tensor, "vocabulary width"]) -> Tensor:
    """float32, whatever the weights' type."""
    if factors.is_cuda and FLOAT32_PRODUCTS and weight.dtype == torch.bfloat16:
        return torch.mm(factors.to(weight.dtype), weight, out_dtype=torch.float32)
    result = factors.new_zeros(len(factors), weight.shape[1])
    for factor, rows in zip(factors.split(VOCABULARY_CHUNK, -1), weight.split(VOCABULARY_CHUNK), strict=True):
        result.addmm_(factor, rows.float())
    return result
