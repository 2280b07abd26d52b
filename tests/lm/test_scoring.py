"""Token log-probabilities against a plain forward pass, per sequence, and their gradients."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import padlab
from padlab.lm import logprobs as module
from padlab.lm.fast.packing import make_batch, make_tree
from padlab.lm.fast.lm_head import apply_head, head_is_known, picked_logprobs
from padlab.lm.fast.scoring import can_share, mean_logprobs, next_token_logprobs, score_ids, token_logprobs

SIZE = {"vocab_size": 120, "num_hidden_layers": 2, "num_attention_heads": 2}


def build(family):
    torch.manual_seed(0)
    if family == "gpt2":  # absolute positions
        config = GPT2Config(vocab_size=120, n_layer=2, n_head=2, n_embd=32, initializer_range=0.2)
        return GPT2LMHeadModel(config).eval()
    if family == "gemma2":  # soft cap on the logits, sliding window
        config = Gemma2Config(**SIZE, hidden_size=32, intermediate_size=64, num_key_value_heads=1, head_dim=16,
                              final_logit_softcapping=2.0, sliding_window=64, initializer_range=0.2)  # fmt: skip
        return Gemma2ForCausalLM(config).eval()
    config = LlamaConfig(**SIZE, hidden_size=32, intermediate_size=64, num_key_value_heads=1, initializer_range=0.2)
    return LlamaForCausalLM(config).eval()


@pytest.fixture(params=["llama", "gpt2", "gemma2"])
def model(request):
    return build(request.param)


PROMPTS = [[3, 4, 5, 6, 7, 8], [9], [10, 11, 12]]
RESPONSES = [[[20, 21, 22], [23]], [[24, 25, 26, 27, 28, 29, 30], [31, 32], [33, 34, 35]], [[2, 2, 2, 2]]]


def plain(model, prompt, response):
    """The oracle: one sequence, one forward pass, log-softmax, gather."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0].double()
    logps = logits.log_softmax(-1)
    return [float(logps[len(prompt) - 1 + k, t]) for k, t in enumerate(response)]


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("budget", [1, 10_000])
def test_agrees_with_a_plain_forward(model, share, budget):
    scored = score_ids(model, PROMPTS, RESPONSES, share=share, tokens_per_batch=budget)
    for prompt, group, values in zip(PROMPTS, RESPONSES, scored, strict=True):
        for response, logps in zip(group, values, strict=True):
            assert logps == pytest.approx(plain(model, prompt, response), abs=1e-4)


def test_the_fast_ways_are_taken_on_these_families(model):
    assert head_is_known(model)
    assert can_share(model)


def test_sixteen_bit_weights_share_rows_too():
    """Their log-probabilities are coarser, which is no reason to think that responses see one another."""
    assert can_share(build("llama").to(torch.bfloat16))


def test_sixteen_bits_do_not_hide_wrong_positions(monkeypatch):
    model, whole = padlab.load_pair("toy").teacher.model.to(torch.bfloat16), module._inputs
    assert can_share(model)

    def stretched(*arguments):
        inputs = whole(*arguments)
        ids = inputs["input_ids"]
        return {**inputs, "position_ids": torch.arange(ids.shape[1])[None].expand_as(ids)}

    monkeypatch.setattr(module, "_inputs", stretched)
    monkeypatch.setattr(module, "_alone", {})
    assert not can_share(model)


def test_a_model_that_ignores_the_mask_gets_rows_of_its_own(monkeypatch, capsys):
    model = build("llama")
    whole = module._inputs

    def causal(*arguments):
        """Every token sees all that stand before it in the row, whosever they are."""
        inputs = whole(*arguments)
        if "attention_mask" in inputs:
            seen = torch.ones(inputs["attention_mask"].shape, dtype=torch.bool).tril()
            inputs["attention_mask"] = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
        return inputs

    monkeypatch.setattr(module, "_inputs", causal)
    assert not can_share(model)
    assert not can_share(model)
    assert capsys.readouterr().out.count("responses would see one another") == 1


def test_sharing_is_refused_beyond_a_sliding_window():
    model = build("gemma2")
    assert not can_share(model, [[1] * 60], [[[2] * 10, [3] * 4]])
    long = [[5] * 60], [[[7] * 20, [8, 9]]]
    (logps,) = score_ids(model, *long)
    assert logps[0] == pytest.approx(plain(model, long[0][0], long[1][0][0]), abs=1e-4)


def test_an_unknown_head_falls_back_to_the_models_own_logits():
    model = build("llama")
    model.get_decoder = lambda: (_ for _ in ()).throw(AttributeError("no decoder"))
    assert not head_is_known(model)
    (logps,) = score_ids(model, PROMPTS[:1], RESPONSES[:1])
    assert logps[0] == pytest.approx(plain(model, PROMPTS[0], RESPONSES[0][0]), abs=1e-4)


def test_shared_rows_give_the_plain_gradient(model):
    grads = []
    for share in (False, True):
        model.zero_grad()
        batch = make_batch(PROMPTS, RESPONSES, share)
        mean_logprobs(token_logprobs(model, batch), batch.mask).square().sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert torch.linalg.vector_norm(grads[0] - grads[1]) < 1e-4 * torch.linalg.vector_norm(grads[0])


def test_order_and_batching_do_not_matter(model):
    forward = score_ids(model, PROMPTS, RESPONSES)
    backward = score_ids(model, PROMPTS[::-1], RESPONSES[::-1], tokens_per_batch=12)[::-1]
    assert [v for g in forward for r in g for v in r] == pytest.approx(
        [v for g in backward for r in g for v in r], abs=1e-5
    )


def test_pad_id_inside_a_response_counts():
    model = build("llama")
    (logps,) = score_ids(model, [[5, 6]], [[[0, 0, 7]]])
    assert logps[0] == pytest.approx(plain(model, [5, 6], [0, 0, 7]), abs=1e-4)


def test_bf16_weights_give_float32_logprobs():
    model = build("llama").to(torch.bfloat16)
    logps = token_logprobs(model, make_batch([[3, 4]], [[[5, 6]]]))
    assert logps.dtype == torch.float32
    off_grid = logps[0] * 128
    assert not torch.equal(off_grid, off_grid.round())  # bf16 values near -5 would all be multiples of 1/32


def test_empty_rows_are_named():
    with pytest.raises(ValueError, match="row 1, response 0: no tokens"):
        make_batch([[1], [2]], [[[3]], [[]]])
    with pytest.raises(ValueError, match="row 0: the prompt has no tokens"):
        make_batch([[]], [[[3]]])


def test_broken_weights_are_reported_not_returned():
    model = build("llama")
    model.lm_head.weight.data[7] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        score_ids(model, [[1, 2]], [[[3]]])


def test_next_token_is_a_distribution(model):
    logps = next_token_logprobs(model, PROMPTS).detach()
    assert logps.exp().sum(-1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert float(logps[1, 24]) == pytest.approx(plain(model, PROMPTS[1], [24])[0], abs=1e-4)


def test_16_bit_heads_are_widened_in_chunks(monkeypatch):
    model = build("llama").to(torch.bfloat16)
    hidden = torch.randn(3, 32, dtype=torch.bfloat16)
    monkeypatch.setattr("padlab.lm.fast.lm_head.VOCABULARY_CHUNK", 50)  # 120 rows: the last chunk is short
    expected = hidden.double() @ model.lm_head.weight.double().T
    assert apply_head(model, hidden).dtype == torch.float32
    assert torch.allclose(apply_head(model, hidden).double(), expected, atol=1e-5)
    assert head_is_known(model)


QUESTIONS = [[3, 4, 5, 20, 21, 8], [3, 4, 5, 21, 20, 8, 9], [3, 4], [7, 7, 7]]


@pytest.mark.parametrize("share", [False, True])
def test_questions_in_a_tree_are_answered_as_alone(model, share):
    found = next_token_logprobs(model, QUESTIONS, share=share)
    for question, row in zip(QUESTIONS, found, strict=True):
        logits = model(input_ids=torch.tensor([question])).logits[0, -1]
        assert torch.allclose(row, logits.log_softmax(-1), atol=1e-4)


def test_common_beginnings_stand_once():
    tree = make_tree([QUESTIONS], share=True)
    assert tree.input_ids.shape == (1, 13)  # 6, 4 more, none, 3 more
    assert tree.position_ids[0, tree.column].tolist() == [len(q) - 1 for q in QUESTIONS]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_the_chunked_head_gives_the_plain_gradient(monkeypatch, family, frozen):
    """Against autograd through all logits at once; for a frozen head only what lies below it gets a gradient."""
    model = build(family)
    monkeypatch.setattr("padlab.lm.fast.lm_head.LOGITS_AT_ONCE", 300)  # two or three rows of 120 at once
    head = model.get_output_embeddings().weight
    if family == "llama":  # as Cohere and Granite do to their logits
        model.config.logit_scale, model.config.logits_scaling = 0.5, 3.0
    if frozen:
        model.get_output_embeddings().weight = torch.nn.Parameter(head.detach().clone(), requires_grad=False)
    hidden = torch.randn(7, 32, requires_grad=True)
    targets, weights = torch.arange(7) * 3, torch.linspace(-1, 2, 7)
    wanted = [hidden, *(p for p in model.get_output_embeddings().parameters() if p.requires_grad)]
    ours = torch.autograd.grad((weights * picked_logprobs(model, hidden, targets)).sum(), wanted)
    logits = apply_head(model, hidden).double()
    theirs = torch.autograd.grad((weights * logits.log_softmax(-1)[torch.arange(7), targets]).sum(), wanted)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("trained_head", [False, True])
def test_mixed_precision_leaves_the_logits_in_float32(trained_head):
    model = build("llama")
    model.get_output_embeddings().requires_grad_(trained_head)
    hidden, targets = torch.randn(5, 32, requires_grad=True), torch.arange(5)
    plain = picked_logprobs(model, hidden, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = picked_logprobs(model, hidden, targets)
        assert apply_head(model, hidden).dtype == torch.float32
    assert torch.equal(plain, mixed)
    slopes = [torch.autograd.grad(x.sum(), hidden)[0] for x in (plain, mixed)]
    assert torch.equal(*slopes)
