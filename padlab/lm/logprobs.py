"""Log-probabilities of responses, computed the plain way: one forward pass, shift, log-softmax, mask, mean.

A causal language model's logits at position t predict the token at position t + 1. So for a prompt x and a response y

    log p(y_k | x, y_<k) = log_softmax(logits[len(x) + k - 1])[y_k],    k = 0, 1, ..., len(y) - 1,

and the reward of y is the mean of these over k. `padlab.lm.fast` gives the same numbers with less time and memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def token_logprobs(
    model: Any, prompt_ids: Sequence[int], response_ids: Sequence[Sequence[int]]
) -> Float[Tensor, "responses length"]:
    """Log-probability of every token of every response to one prompt, differentiable.

    Args:
        model: a causal LM.
        prompt_ids: token ids of the prompt, at least one.
        response_ids: token ids of each response.

    Returns:
        nats, float32, <= 0; 0 after the end of a response. Logits of a model with 16-bit weights are 16-bit numbers,
        so for such a model these values are coarser than those of `padlab.lm.fast`.
    """
    rows = [torch.tensor([*prompt_ids, *response]) for response in response_ids]
    input_ids = pad_sequence(rows, batch_first=True).to(model.device)  # causal: padding on the right changes nothing
    logits = model(input_ids=input_ids, use_cache=False).logits.float()
    predictions = logits[:, len(prompt_ids) - 1 : -1].log_softmax(dim=-1)  # shift: position t predicts token t + 1
    targets = input_ids[:, len(prompt_ids) :]
    logps = predictions.gather(-1, targets[:, :, None]).squeeze(-1)
    return logps.where(response_mask(response_ids).to(logps.device), 0.0)


def response_mask(response_ids: Sequence[Sequence[int]]) -> Bool[Tensor, "responses length"]:
    """True where a response has a token, known from the lengths: an id equal to the padding id counts like any other.

    Args:
        response_ids: per response its token ids; responses of different lengths.

    Returns:
        responses x the longest response's tokens.

    >>> response_mask([[7, 8, 9], [0]]).int().tolist()
    [[1, 1, 1], [1, 0, 0]]
    """
    lengths = torch.tensor([len(response) for response in response_ids])
    return torch.arange(int(lengths.max())) < lengths[:, None]


def mean_over_tokens(
    values: Float[Tensor, "responses length"], mask: Bool[Tensor, "responses length"]
) -> Float[Tensor, " responses"]:
    """Mean over the tokens of each response; of log-probabilities this is the reward, nats/token.

    Args:
        values: one number per token, 0 where `mask` is False.
        mask: as `response_mask` returns it; every response has a token.

    >>> mean_over_tokens(torch.tensor([[-1.0, -3.0], [-4.0, 0.0]]), torch.tensor([[True, True], [True, False]]))
    tensor([-2., -4.])
    """
    return values.sum(-1) / mask.to(values.device).sum(-1)
