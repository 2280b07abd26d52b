"""Rows that begin alike: one pass over the beginning, the same log-probabilities and gradients as the reference."""

from unittest import mock

import pytest
import torch

from padlab.lm.adapters import trainable_copy
from padlab.lm.fast import common_beginning
from padlab.lm.fast.common_beginning import can_share
from padlab.lm.fast.packing import make_response_batch
from padlab.lm.fast.scoring import can_pack, response_logprobs, score_ids
from padlab.lm.logprobs import mean_over_tokens, token_logprobs

BEGINNING = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
PROMPTS = [[*BEGINNING, 13, 14], BEGINNING, [*BEGINNING, 15, 16, 17]]
RESPONSES = [[[20, 21, 22], [23]], [[24, 25, 26, 27], [31, 32], [33]], [[20, 2, 2]]]


def plain_rewards(model):
    return torch.stack(
        [token_logprobs(model, p, [r]).mean() for p, group in zip(PROMPTS, RESPONSES, strict=True) for r in group]
    )


@pytest.mark.parametrize("pack", [False, True])
def test_rewards_and_gradients_are_those_of_the_reference(model, pack):
    if pack and not can_pack(model):
        pytest.skip("responses of this family cannot share a row")
    batch = make_response_batch(PROMPTS, RESPONSES, pack)
    with mock.patch("padlab.lm.fast.scoring.run_behind", wraps=common_beginning.run_behind) as shared:
        fast = mean_over_tokens(response_logprobs(model, batch), batch.mask)
    assert shared.called == can_share(model)
    plain, weights = plain_rewards(model), list(model.parameters())
    assert torch.allclose(fast, plain, atol=1e-4)
    gradients = [
        torch.cat([g.flatten() for g in torch.autograd.grad(rewards.square().sum(), weights)])
        for rewards in (fast, plain)
    ]
    assert torch.linalg.vector_norm(gradients[0] - gradients[1]) < 1e-4 * torch.linalg.vector_norm(gradients[1])


def test_an_adapter_gets_the_gradient_of_the_beginning_too(tiny):
    network = trainable_copy(tiny.teacher.model, "auto").train()
    batch = make_response_batch(PROMPTS, RESPONSES, True)
    weights = [p for p in network.parameters() if p.requires_grad]
    for weight in weights:
        torch.nn.init.normal_(weight, std=0.1)
    pairs = [mean_over_tokens(response_logprobs(network, batch), batch.mask), plain_rewards(network)]
    found, expected = (torch.autograd.grad(rewards.square().sum(), weights) for rewards in pairs)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5 + 1e-4 * float(b.abs().max()))


def test_the_beginning_is_computed_once(tiny):
    network = tiny.teacher.model
    score_ids(network, PROMPTS, RESPONSES)  # tries once what this network allows
    with mock.patch.object(network.model, "forward", wraps=network.model.forward) as forward:
        score_ids(network, PROMPTS, RESPONSES)
    counts = [call.kwargs["input_ids"].numel() for call in forward.call_args_list]
    longest = max(len(p) + sum(map(len, g)) for p, g in zip(PROMPTS, RESPONSES, strict=True)) - len(BEGINNING) + 1
    assert sum(counts) <= len(BEGINNING) - 1 + 3 * longest


def test_not_under_gradient_checkpointing(tiny):
    network = trainable_copy(tiny.teacher.model, None).train()
    assert can_share(network)
    network.gradient_checkpointing_enable()
    assert not can_share(network)
    batch = make_response_batch(PROMPTS, RESPONSES, True)
    rewards = mean_over_tokens(response_logprobs(network, batch), batch.mask)
    assert torch.allclose(rewards, plain_rewards(network.eval()), atol=1e-4)
