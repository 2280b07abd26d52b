"""Token-level divergence against plain forward passes: values, gradient, and where there is nothing to learn."""

import pytest
import torch

from padlab.lm.fast import token_kl as module
from padlab.lm.fast.packing import make_response_batch
from padlab.lm.fast.scoring import can_pack
from padlab.lm.fast.token_kl import token_kl
from padlab.lm.logprobs import token_logprobs

PROMPTS = [[3, 4, 5], [9]]
RESPONSES = [[[20, 21, 22], [23]], [[31, 32], [33, 34, 35]]]


@pytest.fixture(params=["llama", "gpt2", "gemma2", "lfm2"])
def pair(request, build_model):
    """(student, teacher)"""
    return build_model(request.param, 0, 60), build_model(request.param, 1, 60)


def plain_kl(student, teacher):
    """The oracle: one sequence per forward pass, the sum over the vocabulary written out."""
    divergences = []
    for prompt, group in zip(PROMPTS, RESPONSES, strict=True):
        for response in group:
            ids = torch.tensor([prompt + response])
            with torch.no_grad():
                p = teacher(input_ids=ids).logits[0].softmax(-1)
            q = student(input_ids=ids).logits[0].softmax(-1)
            kl = (p * (p / q).log()).sum(-1)
            divergences.append(kl[len(prompt) - 1 : len(prompt) + len(response) - 1])
    return divergences


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("max_logits", [1 << 24, 240])
def test_values_and_gradient_of_plain_forward_passes(pair, pack, max_logits, monkeypatch):
    monkeypatch.setattr(module, "MAX_LOGITS", max_logits)  # 240: logits of two tokens at a time
    student, teacher = pair
    if pack and not can_pack(student):
        pytest.skip("responses of this family cannot share a row")
    logps, kl = token_kl(student, teacher, make_response_batch(PROMPTS, RESPONSES, pack))
    expected = plain_kl(student, teacher)
    for row, divergences in zip(kl, expected, strict=True):
        assert row[: len(divergences)].tolist() == pytest.approx(divergences.tolist(), abs=1e-5)
        assert not row[len(divergences) :].any()
    reference = [row for p, group in zip(PROMPTS, RESPONSES, strict=True) for row in token_logprobs(student, p, group)]
    for row, wanted in zip(logps, reference, strict=True):
        assert row[: len(wanted)].tolist() == pytest.approx(wanted.tolist(), abs=1e-4)
    weight = student.get_input_embeddings().weight
    (gradient,) = torch.autograd.grad(kl.sum(), weight)
    (expected_gradient,) = torch.autograd.grad(torch.cat(expected).sum(), weight)
    assert torch.allclose(gradient, expected_gradient, atol=1e-5)
    assert all(p.grad is None for p in teacher.parameters())


def test_the_divergence_of_a_model_from_itself_is_0(pair):
    _, kl = token_kl(pair[0], pair[0], make_response_batch(PROMPTS, RESPONSES))
    assert float(kl.detach().abs().max()) < 1e-6


def test_two_vocabularies_are_refused(build_model):
    with pytest.raises(ValueError, match="one vocabulary; the student has 60 tokens, the teacher 70"):
        token_kl(build_model("gpt2", 0, 60), build_model("gpt2", 0, 70), make_response_batch(PROMPTS, RESPONSES))


def test_no_gradient_reaches_the_teacher(pair):
    for weight in pair[1].parameters():
        weight.requires_grad_(True)
    token_kl(*pair, make_response_batch(PROMPTS, RESPONSES))[1].sum().backward()
    assert all(weight.grad is None for weight in pair[1].parameters())
    assert any(weight.grad is not None for weight in pair[0].parameters())
