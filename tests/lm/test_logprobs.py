"""The reference: numbers by hand, one response at a time, and what padding may not do."""

import math
from types import SimpleNamespace

import pytest
import torch

from padlab.lm.logprobs import mean_over_tokens, response_mask, token_logprobs

PROMPT, RESPONSES = [3, 4, 5], [[20, 21, 22], [23], [0, 0]]


def test_four_numbers_by_hand():
    """A model whose logits depend on the token alone: after token 1, token 2 has probability 3/4."""
    table = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])  # rows: token read; columns: token predicted

    def network(input_ids, use_cache):
        return SimpleNamespace(logits=table[input_ids])

    network.device = torch.device("cpu")
    logps = token_logprobs(network, [0, 1], [[1, 1, 0], [0]])
    assert torch.allclose(logps.exp(), torch.tensor([[3 / 4, 3 / 4, 1 / 4], [1 / 4, 1, 1]]))
    mean = mean_over_tokens(logps, response_mask([[1, 1, 0], [0]]))
    assert mean.tolist() == pytest.approx([(2 * math.log(3 / 4) + math.log(1 / 4)) / 3, math.log(1 / 4)])


def test_each_response_as_if_it_were_alone(model):
    """The oracle: one sequence per forward pass, token by token, in float64."""
    logps = token_logprobs(model, PROMPT, RESPONSES)
    assert logps.dtype == torch.float32
    for response, row in zip(RESPONSES, logps, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([PROMPT + response])).logits[0].double()
        probs = [logits[len(PROMPT) + k - 1].softmax(-1)[token] for k, token in enumerate(response)]
        assert row.detach().tolist() == pytest.approx(
            [*(float(p.log()) for p in probs), *[0.0] * (3 - len(response))], abs=1e-5
        )


def test_the_gradient_is_that_of_the_sequences(model):
    weight = model.get_input_embeddings().weight
    mean = mean_over_tokens(token_logprobs(model, PROMPT, RESPONSES), response_mask(RESPONSES))
    (gradient,) = torch.autograd.grad(mean.sum(), weight)
    alone = [token_logprobs(model, PROMPT, [response]).mean() for response in RESPONSES]
    (expected,) = torch.autograd.grad(sum(alone), weight)
    assert torch.allclose(gradient, expected, atol=1e-4)


def test_the_mask_comes_from_lengths():
    assert response_mask(RESPONSES).tolist() == [[True, True, True], [True, False, False], [True, True, False]]
