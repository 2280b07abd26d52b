"""The fast paths against the reference (`padlab.lm.logprobs`) on every architecture: values and gradients."""

import pytest
import torch

import padlab
from padlab.lm.adapters import trainable_copy
from padlab.lm.fast import scoring
from padlab.lm.fast.lm_head import compute_logits, head_is_separable, target_logprobs
from padlab.lm.fast.packing import make_response_batch
from padlab.lm.fast.prefix_tree import make_prefix_tree_batch
from padlab.lm.fast.scoring import can_pack, next_token_logprobs, response_logprobs, score_ids
from padlab.lm.logprobs import mean_over_tokens, token_logprobs

PROMPTS = [[3, 4, 5, 6, 7, 8], [9], [10, 11, 12]]
RESPONSES = [[[20, 21, 22], [23]], [[24, 25, 26, 27, 28, 29, 30], [31, 32], [33, 34, 35]], [[2, 2, 2, 2]]]


def reference(model, prompts, responses):
    """Per prompt, per response: log-probabilities as lists."""
    with torch.no_grad():
        rows = [token_logprobs(model, prompt, group).tolist() for prompt, group in zip(prompts, responses, strict=True)]
    return [
        [row[: len(response)] for row, response in zip(matrix, group, strict=True)]
        for matrix, group in zip(rows, responses, strict=True)
    ]


def assert_same_scores(scored, expected, tolerance=1e-4):
    for group, expected_group in zip(scored, expected, strict=True):
        for logps, expected_logps in zip(group, expected_group, strict=True):
            assert logps == pytest.approx(expected_logps, abs=tolerance)


@pytest.mark.parametrize("tokens_per_batch", [1, 12, 10_000])
def test_scores_are_those_of_the_reference(model, tokens_per_batch):
    expected = reference(model, PROMPTS, RESPONSES)
    assert_same_scores(score_ids(model, PROMPTS, RESPONSES, tokens_per_batch=tokens_per_batch), expected)
    unpacked = score_ids(model, PROMPTS, RESPONSES, tokens_per_batch=tokens_per_batch, pack=False)
    assert_same_scores(unpacked, expected)


def test_exact_scores_are_the_reference(model):
    assert score_ids(model, PROMPTS, RESPONSES, exact=True) == reference(model, PROMPTS, RESPONSES)


@pytest.mark.parametrize("preset", ["tiny", "toy"])
def test_small_pairs_and_adapters_too(preset):
    for language_model in padlab.load_pair(preset):
        size = len(language_model.tokenizer)
        prompts = [[token % size for token in prompt] for prompt in PROMPTS]
        responses = [[[token % size for token in response] for response in group] for group in RESPONSES]
        adapted = trainable_copy(language_model.model, "auto").eval()
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(0))
        for model in (language_model.model, adapted):
            assert_same_scores(score_ids(model, prompts, responses), reference(model, prompts, responses))


def test_which_families_are_packed(build_model):
    """A convolution ignores the attention mask; the others are packed."""
    packed = {family: can_pack(build_model(family)) for family in ("llama", "gpt2", "gemma2", "lfm2")}
    assert packed == {"llama": True, "gpt2": True, "gemma2": True, "lfm2": False}
    assert all(head_is_separable(build_model(family)) for family in packed)


def test_sixteen_bit_weights_are_packed_too(build_model):
    """Their log-probabilities are coarser, which does not mean that responses attend to one another."""
    assert can_pack(build_model("llama").to(torch.bfloat16))


def test_sixteen_bits_do_not_hide_wrong_positions(monkeypatch):
    model, model_inputs = padlab.load_pair("toy").teacher.model.to(torch.bfloat16), scoring._model_inputs
    assert can_pack(model)

    def with_positions_of_the_row(*arguments):
        inputs = model_inputs(*arguments)
        ids = inputs["input_ids"]
        return {**inputs, "position_ids": torch.arange(ids.shape[1])[None].expand_as(ids)}

    monkeypatch.setattr(scoring, "_model_inputs", with_positions_of_the_row)
    monkeypatch.setattr(scoring, "_packing_refusals", {})
    assert not can_pack(model)


def test_a_model_that_ignores_the_mask_gets_rows_of_its_own(monkeypatch, capsys, build_model):
    model, model_inputs = build_model("llama"), scoring._model_inputs

    def causal(*arguments):
        """Every token attends to all tokens before it in the row, also to those of other responses."""
        inputs = model_inputs(*arguments)
        if "attention_mask" in inputs:
            allowed = torch.ones(inputs["attention_mask"].shape, dtype=torch.bool).tril()
            inputs["attention_mask"] = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
        return inputs

    monkeypatch.setattr(scoring, "_model_inputs", causal)
    assert not can_pack(model)
    assert not can_pack(model)
    assert capsys.readouterr().out.count("responses would attend to one another") == 1


def test_no_packing_beyond_a_sliding_window(build_model):
    model = build_model("gemma2")
    assert not can_pack(model, [[1] * 60], [[[2] * 10, [3] * 4]])
    prompts, responses = [[5] * 60], [[[7] * 20, [8, 9]]]
    assert_same_scores(score_ids(model, prompts, responses), reference(model, prompts, responses))


def test_an_unknown_head_falls_back_to_the_models_own_logits(build_model):
    model = build_model("llama")
    model.get_decoder = lambda: (_ for _ in ()).throw(AttributeError("no decoder"))
    assert not head_is_separable(model)
    assert_same_scores(score_ids(model, PROMPTS, RESPONSES), reference(model, PROMPTS, RESPONSES))


@pytest.mark.parametrize("pack", [False, True])
def test_the_gradient_is_that_of_the_reference(model, pack):
    if pack and not can_pack(model):
        pytest.skip("responses of this family cannot share a row")
    batch = make_response_batch(PROMPTS, RESPONSES, pack)
    fast = mean_over_tokens(response_logprobs(model, batch), batch.mask)
    plain = [token_logprobs(model, p, [r]).mean() for p, group in zip(PROMPTS, RESPONSES, strict=True) for r in group]
    weights = list(model.parameters())
    gradients = [
        torch.cat([g.flatten() for g in torch.autograd.grad(rewards.square().sum(), weights)])
        for rewards in (fast, torch.stack(plain))
    ]
    assert torch.linalg.vector_norm(gradients[0] - gradients[1]) < 1e-4 * torch.linalg.vector_norm(gradients[1])


def test_the_order_of_prompts_does_not_matter(model):
    backward = score_ids(model, PROMPTS[::-1], RESPONSES[::-1], tokens_per_batch=12)[::-1]
    assert_same_scores(backward, score_ids(model, PROMPTS, RESPONSES), tolerance=1e-5)


def test_equal_responses_tie_exactly(model):
    (scored,) = score_ids(model, [[5, 6]], [[[7, 8], [9], [7, 8]]])
    assert scored[0] == scored[2]


def test_batches_are_halved_when_memory_runs_out(monkeypatch, build_model):
    model, sizes = build_model("llama"), []

    def with_little_memory(model, batch, names):
        sizes.append(len(batch.input_ids))
        if len(batch.input_ids) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return response_logprobs(model, batch, names)

    prompts, responses = [[5, k] for k in range(8)], [[[7, 8], [9, 10]]] * 8
    expected = score_ids(model, prompts, responses)
    monkeypatch.setattr(scoring, "response_logprobs", with_little_memory)
    assert_same_scores(score_ids(model, prompts, responses, pack=True, tokens_per_batch=48), expected)
    assert sizes == [8, 4, 2, 2, 2, 2]


def test_bf16_weights_give_float32_logprobs(build_model):
    model = build_model("llama").to(torch.bfloat16)
    logps = response_logprobs(model, make_response_batch([[3, 4]], [[[5, 6]]]))
    assert logps.dtype == torch.float32
    off_grid = logps[0] * 128
    assert not torch.equal(off_grid, off_grid.round())  # bf16 values near -5 would all be multiples of 1/32


def test_empty_rows_are_named(build_model):
    model = build_model("llama")
    for exact in (False, True):
        with pytest.raises(ValueError, match="row 1, response 0: no tokens"):
            score_ids(model, [[1], [2]], [[[3]], [[]]], exact=exact)
        with pytest.raises(ValueError, match="row 0: the prompt has no tokens"):
            score_ids(model, [[]], [[[3]]], exact=exact)


def test_broken_weights_are_reported_not_returned(build_model):
    model = build_model("llama")
    model.lm_head.weight.data[7] = float("nan")
    for exact in (False, True):
        with pytest.raises(FloatingPointError, match="row 0: the model's logits are not finite"):
            score_ids(model, [[1, 2]], [[[3]]], exact=exact)


def test_the_mode_of_the_model_is_put_back(build_model):
    model = build_model("llama").train()
    score_ids(model, [[1, 2]], [[[3]]])
    assert model.training
    model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        score_ids(model, [[1, 2]], [[[3]]])
    assert model.training


# --- the output head


@pytest.mark.parametrize("frozen", [False, True])
def test_the_head_in_chunks_gives_the_plain_gradient(monkeypatch, model, frozen):
    """Against autograd through all logits at once; for a frozen head only the hidden states get a gradient."""
    monkeypatch.setattr("padlab.lm.fast.lm_head.MAX_LOGITS", 300)  # logits of two tokens at a time
    if model.config.model_type == "llama":  # as Cohere and Granite do with their logits
        model.config.logit_scale, model.config.logits_scaling = 0.5, 3.0
    model.get_output_embeddings().requires_grad_(not frozen)
    hidden = torch.randn(7, 32, requires_grad=True)
    targets, weights = torch.arange(7) * 3, torch.linspace(-1, 2, 7)
    inputs = [hidden, *(p for p in model.get_output_embeddings().parameters() if p.requires_grad)]
    gradients = torch.autograd.grad((weights * target_logprobs(model, hidden, targets)).sum(), inputs)
    logps = compute_logits(model, hidden).double().log_softmax(-1)[torch.arange(7), targets]
    expected = torch.autograd.grad((weights * logps).sum(), inputs)
    for gradient, wanted in zip(gradients, expected, strict=True):
        assert torch.allclose(gradient, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("max_logits", [300, 1 << 24])
def test_mixed_precision_leaves_the_logits_in_float32(monkeypatch, build_model, max_logits):
    monkeypatch.setattr("padlab.lm.fast.lm_head.MAX_LOGITS", max_logits)
    model = build_model("llama")
    hidden, targets = torch.randn(5, 32, requires_grad=True), torch.arange(5)
    plain = target_logprobs(model, hidden, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = target_logprobs(model, hidden, targets)
        assert compute_logits(model, hidden).dtype == torch.float32
    assert torch.equal(plain, mixed)
    assert torch.equal(*(torch.autograd.grad(logps.sum(), hidden)[0] for logps in (plain, mixed)))


def test_16_bit_heads_are_converted_in_chunks(monkeypatch, build_model):
    model = build_model("llama").to(torch.bfloat16)
    hidden = torch.randn(3, 32, dtype=torch.bfloat16)
    monkeypatch.setattr("padlab.lm.fast.lm_head.VOCABULARY_CHUNK", 50)  # 120 rows: the last chunk is short
    expected = hidden.double() @ model.lm_head.weight.double().T
    assert compute_logits(model, hidden).dtype == torch.float32
    assert torch.allclose(compute_logits(model, hidden).double(), expected, atol=1e-5)
    assert head_is_separable(model)


# --- the next token


QUESTIONS = [[3, 4, 5, 20, 21, 8], [3, 4, 5, 21, 20, 8, 9], [3, 4], [7, 7, 7]]


@pytest.mark.parametrize("pack", [False, None])
def test_questions_in_a_tree_are_answered_as_alone(model, pack):
    logps = next_token_logprobs(model, QUESTIONS, pack=pack)
    assert logps.exp().sum(-1).tolist() == pytest.approx([1] * 4, abs=1e-5)
    for question, row in zip(QUESTIONS, logps, strict=True):
        logits = model(input_ids=torch.tensor([question])).logits[0, -1]
        assert torch.allclose(row, logits.log_softmax(-1), atol=1e-4)


def test_common_beginnings_are_stored_once():
    tree = make_prefix_tree_batch(QUESTIONS, pack=True)
    assert tree.input_ids.shape == (1, 13)  # 6, 4 more, none, 3 more
    assert tree.position_ids[0, tree.columns].tolist() == [len(q) - 1 for q in QUESTIONS]
