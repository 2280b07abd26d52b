"""Token-level divergence against plain forwards: values, gradient, and where there is nothing to learn."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from padlab.lm import token_kl as module
from padlab.lm.fast.packing import make_batch
from padlab.lm.fast.token_kl import token_kl

PROMPTS = [[3, 4, 5], [9]]
RESPONSES = [[[20, 21, 22], [23]], [[31, 32], [33, 34, 35]]]


def build(family, seed):
    torch.manual_seed(seed)
    if family == "gpt2":
        config = GPT2Config(vocab_size=60, n_layer=2, n_head=2, n_embd=32, initializer_range=0.2)
        return GPT2LMHeadModel(config).eval()
    size = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig(vocab_size=60, hidden_size=32, intermediate_size=64, initializer_range=0.2, **size)
    return LlamaForCausalLM(config).eval()


@pytest.fixture(params=["llama", "gpt2"])
def pair(request):
    return build(request.param, 0), build(request.param, 1)


def plain(student, teacher):
    """The oracle: one sequence per forward, the sum over the vocabulary written out."""
    found = []
    for prompt, group in zip(PROMPTS, RESPONSES, strict=True):
        for response in group:
            ids = torch.tensor([prompt + response])
            with torch.no_grad():
                p = teacher(input_ids=ids).logits[0].softmax(-1)
            q = student(input_ids=ids).logits[0].softmax(-1)
            each = (p * (p / q).log()).sum(-1)
            found.append(each[len(prompt) - 1 : len(prompt) + len(response) - 1])
    return found


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("at_once", [1 << 24, 240])
def test_values_and_gradient_of_plain_forwards(pair, share, at_once, monkeypatch):
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", at_once)  # 240: two tokens at a time
    student, teacher = pair
    logps, kl = token_kl(student, teacher, make_batch(PROMPTS, RESPONSES, share))
    wanted = plain(student, teacher)
    for row, each in zip(kl, wanted, strict=True):
        assert row[: len(each)].tolist() == pytest.approx(each.tolist(), abs=1e-5)
        assert not row[len(each) :].any()
    assert float(logps.detach().max()) <= 0
    weight = student.get_input_embeddings().weight
    (ours,) = torch.autograd.grad(kl.sum(), weight)
    (theirs,) = torch.autograd.grad(torch.cat(wanted).sum(), weight)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert all(p.grad is None for p in teacher.parameters())


def test_a_model_is_no_distance_from_itself(pair):
    _, kl = token_kl(pair[0], pair[0], make_batch(PROMPTS, RESPONSES, True))
    assert float(kl.detach().abs().max()) < 1e-6


def test_two_vocabularies_are_refused(pair):
    torch.manual_seed(0)
    other = GPT2LMHeadModel(GPT2Config(vocab_size=70, n_layer=1, n_head=2, n_embd=32)).eval()
    with pytest.raises(ValueError, match="one vocabulary: 60 and 70"):
        token_kl(pair[0], other, make_batch(PROMPTS, RESPONSES, False))


def test_nothing_reaches_the_teacher(pair):
    for weight in pair[1].parameters():
        weight.requires_grad_(True)
    token_kl(*pair, make_batch(PROMPTS, RESPONSES, True))[1].sum().backward()
    assert all(weight.grad is None for weight in pair[1].parameters())
    assert any(weight.grad is not None for weight in pair[0].parameters())
