"""Training under a large vocabulary: memory beside that of scoring, gradients against the plain reference."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import padlab
from padlab.lm.adapters import trainable_copy
from padlab.lm.fast import lm_head
from padlab.lm.fast.lm_head import target_logprobs
from padlab.lm.fast.packing import make_response_batch
from padlab.lm.fast.scoring import can_pack, response_logprobs, score_ids
from padlab.lm.logprobs import mean_over_tokens, token_logprobs

WORDS, LENGTH = 20_000, 64
TEACHER = torch.tensor([[4.0, 3.0, 2.0, 1.0]])


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors made inside that are alive; `most` is the largest number."""

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.most = set(), 0, 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        before = {t.untyped_storage()._cdata for t in tree_leaves((arguments, named)) if isinstance(t, torch.Tensor)}
        made = function(*arguments, **(named or {}))
        for storage in (t.untyped_storage() for t in tree_leaves(made) if isinstance(t, torch.Tensor)):
            if storage._cdata not in before | self.alive:
                self.alive.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        return made

    def _freed(self, key, size):
        self.alive.discard(key)
        self.now -= size


def peak(run):
    run()
    with Peak() as counted:
        run()
    return counted.most


@pytest.fixture
def case(build_model, monkeypatch):
    """(model, its LoRA copy, prompt, four responses); logits of eight tokens may be held at once."""

    def make(family, tied):
        monkeypatch.setattr(lm_head, "MAX_LOGITS", 8 * WORDS)
        model = build_model(family, words=WORDS)
        if tied:
            model.lm_head.weight = model.get_input_embeddings().weight
        student = trainable_copy(model, "auto").train()
        for name, weight in student.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(0))
        ids = torch.randint(5, WORDS, (4, LENGTH), generator=torch.Generator().manual_seed(1)).tolist()
        return model, student, list(range(40, 72)), ids

    return make


def ppd_gradient(student, logps, mask):
    student.zero_grad(set_to_none=True)
    padlab.ppd_loss(10 * mean_over_tokens(logps, mask)[None], TEACHER).backward()
    return torch.cat([p.grad.flatten() for p in student.parameters() if p.requires_grad])


@pytest.mark.parametrize("tied", [False, True])
def test_a_training_step_takes_at_most_twice_the_memory_of_scoring(case, tied):
    model, student, prompt, responses = case("llama", tied)
    batch = make_response_batch([prompt], [responses], pack=True)
    scoring = peak(lambda: score_ids(model, [prompt], [responses]))
    training = peak(lambda: ppd_gradient(student, response_logprobs(student, batch), batch.mask))
    assert 8 * WORDS * 4 < scoring < 4 * LENGTH * WORDS * 4 / 4  # a piece of the logits at least, not a quarter of all
    assert training <= 2 * scoring


@pytest.mark.parametrize(("family", "tied"), [("llama", False), ("llama", True), ("gemma2", True)])
def test_the_gradient_is_that_of_the_plain_reference(case, family, tied):
    _, student, prompt, responses = case(family, tied)
    batch = make_response_batch([prompt], [responses], can_pack(student, [prompt], [responses]))
    found = ppd_gradient(student, response_logprobs(student, batch), batch.mask)
    wanted = ppd_gradient(student, token_logprobs(student, prompt, responses), batch.mask)
    assert float(wanted.norm()) > 0
    assert float((found - wanted).norm() / wanted.norm()) < 1e-4


@pytest.mark.parametrize("bias", [False, True])
def test_16_bit_frozen_heads_have_float32_derivatives(build_model, monkeypatch, bias):
    monkeypatch.setattr(lm_head, "VOCABULARY_CHUNK", 50)  # 120 rows: the last chunk is short
    model = build_model("llama").to(torch.bfloat16).requires_grad_(False)
    if bias:
        model.lm_head.bias = torch.nn.Parameter(torch.randn(120, dtype=torch.bfloat16), requires_grad=False)
    hidden, targets = torch.randn(6, 32, dtype=torch.bfloat16, requires_grad=True), torch.arange(6) * 7
    logps = target_logprobs(model, hidden, targets)
    logits = hidden.double() @ model.lm_head.weight.double().T + (model.lm_head.bias.double() if bias else 0)
    wanted = logits.log_softmax(-1)[torch.arange(6), targets]
    assert torch.allclose(logps.double(), wanted, atol=1e-5)
    found, expected = (torch.autograd.grad(values.sum(), hidden)[0] for values in (logps, wanted))
    assert torch.allclose(found.float(), expected.float(), rtol=1e-2, atol=1e-6)  # one rounding to bfloat16


def test_mixed_precision_leaves_the_derivatives_of_a_frozen_head_in_float32(build_model):
    model = build_model("llama").requires_grad_(False)
    hidden, targets = torch.randn(5, 32, requires_grad=True), torch.arange(5)
    (plain,) = torch.autograd.grad(target_logprobs(model, hidden, targets).sum(), hidden)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (mixed,) = torch.autograd.grad(target_logprobs(model, hidden, targets).sum(), hidden)
    assert torch.equal(plain, mixed)
