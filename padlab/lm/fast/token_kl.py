"""Token-level distillation: the divergence between two models' next-token distributions at every response token."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from padlab.lm.fast.lm_head import MAX_LOGITS, vocabulary_size
from padlab.lm.fast.packing import ResponseBatch
from padlab.lm.fast.scoring import response_hidden_states


def token_kl(
    student: Any, teacher: Any, batch: ResponseBatch
) -> tuple[Float[Tensor, "responses length"], Float[Tensor, "responses length"]]:
    """Log-probability of every response token, and the divergence of the next-token distributions that predict it.

    KL(teacher || student) = sum over the vocabulary of p (log p - log q), p the teacher's and q the student's
    distribution. Logits are held for a few tokens at a time and computed again for the gradient, so that memory does
    not grow with vocabulary x length. The gradient goes to the student only.

    Args:
        student: the causal LM that learns.
        teacher: a causal LM with the same vocabulary.
        batch: see `make_response_batch`.

    Returns:
        (log-probabilities under the student, divergences), nats, float32; 0 where there is no token.

    Raises:
        ValueError: the vocabularies differ in size.
    """
    sizes = vocabulary_size(student), vocabulary_size(teacher)
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"token-level distillation needs one vocabulary; the student has {sizes[0]} tokens, the teacher {sizes[1]}"
        )
    batch = batch.to(student.device)
    student_hidden, student_logits = response_hidden_states(student, batch)
    with torch.no_grad():
        teacher_hidden, teacher_logits = response_hidden_states(teacher, batch)

    def logprobs_and_kl(student_hidden: Tensor, teacher_hidden: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            log_p = teacher_logits(teacher_hidden).float().log_softmax(-1)
        log_q = student_logits(student_hidden).float().log_softmax(-1)
        kl = (log_p.exp() * (log_p - log_q)).sum(-1)
        return torch.stack([log_q.gather(-1, targets[:, None]).squeeze(-1), kl])

    size = max(1, MAX_LOGITS // (2 * sizes[0]))
    tensors = student_hidden, teacher_hidden, batch.target_ids[batch.mask]
    chunks = zip(*(tensor.split(size) for tensor in tensors), strict=True)
    values = torch.cat([checkpoint(logprobs_and_kl, *chunk, use_reentrant=False) for chunk in chunks], dim=-1)
    logps, kl = (batch.unflatten(row) for row in values)
    return logps, kl
