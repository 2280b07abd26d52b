"""The output head: from hidden states to log-probabilities of given tokens, without ever holding all logits.

Logits are float32 whatever the weights' type, and come in pieces of at most LOGITS_AT_ONCE numbers. With a frozen head
the gradient is found in the same pass: log p(t) has the gradient W[t] - sum_v p(v) W[v] with respect to the hidden
state, which is kept (one vector per token) until the backward pass scales it.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

LOGITS_AT_ONCE = 1 << 24  # 64 MiB in float32
VOCABULARY_CHUNK = 16384  # rows of a 16-bit head that are widened to float32 at once

_heads: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def picked_logprobs(
    model: Any, hidden: Float[Tensor, "tokens width"], targets: Int[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """Log-probability of one target per hidden state, nats, float32, differentiable."""
    head = base_model(model).get_output_embeddings()
    size = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
    pairs = list(zip(hidden.split(size), targets.split(size), strict=True))
    if not torch.is_grad_enabled():
        return torch.cat([pick(apply_head(model, h), t) for h, t in pairs])
    if type(head) is torch.nn.Linear and not any(p.requires_grad for p in head.parameters()):
        return torch.cat([_FrozenHead.apply(h, t, model) for h, t in pairs])
    piece = lambda h, t: pick(apply_head(model, h), t)  # noqa: E731
    return torch.cat([checkpoint(piece, h, t, use_reentrant=False) for h, t in pairs])


class _FrozenHead(torch.autograd.Function):
    """log p(target) with its gradient towards the hidden state, found while the logits are there."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, model: Any) -> Tensor:
        """Log-probabilities; keeps d log p / d hidden."""
        head = base_model(model).get_output_embeddings()
        logits = apply_head(model, hidden)
        logps = pick(logits, targets)
        pull = torch.softmax(logits, dim=-1).neg_()
        pull.scatter_add_(-1, targets[:, None], torch.ones_like(logps)[:, None])
        if (slope := _slope(base_model(model).config, logits)) is not None:
            pull *= slope
        parts = zip(pull.split(VOCABULARY_CHUNK, -1), head.weight.split(VOCABULARY_CHUNK), strict=True)
        with torch.autocast(hidden.device.type, enabled=False):
            pulled = sum(p @ w.float() for p, w in parts)
        ctx.save_for_backward(pulled.to(hidden.dtype))
        return logps

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        """Scale what was kept."""
        (pulled,) = ctx.saved_tensors
        return pulled * upstream[:, None].to(pulled.dtype), None, None


def pick(logits: Float[Tensor, "tokens vocabulary"], targets: Int[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
    """Log-softmax at one target per row, in float32."""
    logits = logits.float()
    return logits.gather(-1, targets[:, None]).squeeze(-1) - logits.logsumexp(-1)


@torch.no_grad()
def head_is_known(model: Any) -> bool:
    """Whether decoder and head, called apart, give this architecture's own logits (asked once, on four tokens)."""
    if model not in _heads:
        ids = torch.arange(1, 5, device=model.device)[None]
        own = model(input_ids=ids, use_cache=False).logits
        tolerance = 1e-3 if own.dtype == torch.float32 else 0.02 * float(own.abs().max())
        try:
            ours = apply_head(model, decoder(model)(input_ids=ids, use_cache=False).last_hidden_state)
            _heads[model] = own.shape == ours.shape and torch.allclose(own.float(), ours.float(), atol=tolerance)
        except (AttributeError, TypeError, NotImplementedError):
            _heads[model] = False
    return _heads[model]


def apply_head(model: Any, hidden: Float[Tensor, "... width"]) -> Float[Tensor, "... vocabulary"]:
    """The output head with what some families do to its logits (scale, divide, soft cap)."""
    with torch.autocast(hidden.device.type, enabled=False):  # mixed precision would make the logits 16-bit
        return _head_in_full(base_model(model), hidden)


def _head_in_full(base: Any, hidden: Tensor) -> Tensor:
    head = base.get_output_embeddings()
    if type(head) is torch.nn.Linear and hidden.dtype != torch.float32:  # 16-bit logits would sit on a coarse grid
        weights = zip(head.weight.split(VOCABULARY_CHUNK), _bias_chunks(head), strict=True)
        parts = [linear(hidden.float(), w.float(), b) for w, b in weights]
        logits = torch.cat(parts, dim=-1)
    else:
        logits = head(hidden)
    if scale := getattr(base.config, "logit_scale", None):
        logits = logits * scale
    if divide := getattr(base.config, "logits_scaling", None):
        logits = logits / divide
    if cap := getattr(base.config, "final_logit_softcapping", None):
        logits = cap * torch.tanh(logits / cap)
    return logits


def _bias_chunks(head: torch.nn.Linear) -> list[Tensor | None]:
    if head.bias is None:
        return [None] * len(head.weight.split(VOCABULARY_CHUNK))
    return [b.float() for b in head.bias.split(VOCABULARY_CHUNK)]


def base_model(model: Any) -> Any:
    """The causal LM itself, inside of a peft model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def decoder(model: Any) -> Any:
    """What comes before the output head."""
    return base_model(model).get_decoder()


def _slope(config: Any, logits: Tensor) -> Tensor | float | None:
    """d logit / d (head output), from what `apply_head` did to the logits."""
    slope: Tensor | float | None = None
    if cap := getattr(config, "final_logit_softcapping", None):
        slope = 1 - (logits / cap) ** 2
    for factor in (getattr(config, "logit_scale", None), 1 / (getattr(config, "logits_scaling", None) or 1)):
        if factor and factor != 1:
            slope = factor if slope is None else slope * factor
    return slope
