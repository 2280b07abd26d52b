"""Token-level distillation: how far apart two models' next-token distributions are at every response token."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from padlab.lm.fast.packing import TokenBatch, on_device
from padlab.lm.fast.lm_head import LOGITS_AT_ONCE, pick
from padlab.lm.fast.scoring import response_states


def token_kl(
    model: Any, teacher: Any, batch: TokenBatch
) -> tuple[Float[Tensor, "responses width"], Float[Tensor, "responses width"]]:
    """Log-probability of every response token, and KL(teacher || model) of the next-token distributions at its place.

    Logits are held for a few tokens at a time and computed again for the gradient, so that memory does not grow with
    vocabulary x length. The gradient goes to `model` only.

    Args:
        model: the causal LM that learns.
        teacher: a causal LM with the same vocabulary.
        batch: see `make_batch`.

    Returns:
        (log-probabilities under `model`, divergences), nats, float32; 0 where there is no token.

    Raises:
        ValueError: the vocabularies differ in size.
    """
    batch = on_device(batch, model.device)
    response, step = batch.mask.nonzero(as_tuple=True)
    targets = batch.targets[response, step]
    states, head = response_states(model, batch)
    with torch.no_grad():
        theirs, their_head = response_states(teacher, batch)
    sizes = [m.get_output_embeddings().weight.shape[0] for m in (model, teacher)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"token-level distillation needs one vocabulary: {sizes[0]} and {sizes[1]} tokens")

    def piece(ours: Tensor, wanted: Tensor, ids: Tensor) -> Tensor:
        with torch.no_grad():
            log_p = torch.log_softmax(their_head(wanted).float(), -1)
        logits = head(ours).float()
        kl = (log_p.exp() * (log_p - torch.log_softmax(logits, -1))).sum(-1)
        return torch.stack([pick(logits, ids), kl])

    size = max(1, LOGITS_AT_ONCE // (2 * sizes[0]))
    parts = zip(states.split(size), theirs.split(size), targets.split(size), strict=True)
    values = torch.cat([checkpoint(piece, *part, use_reentrant=False) for part in parts], dim=-1)
    empty = torch.zeros(batch.targets.shape, device=values.device)
    logps, kl = (empty.index_put((response, step), row) for row in values)
    return logps, kl
