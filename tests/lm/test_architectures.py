"""Scores, gradients and samples of every kind of architecture against plain forward passes of transformers."""

import pytest
import torch
import transformers
from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model

import padlab
from padlab.lm.chat import encode_answers, encode_chat, stop_ids
from padlab.lm.fast.packing import make_response_batch
from padlab.lm.fast.scoring import can_pack, response_logprobs
from padlab.lm.models import LanguageModel
from padlab.lm.plain_text import control_tokens
from padlab.lm.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer("teacher")
WORDS = len(TOKENIZER)
COMMON = {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0, "initializer_range": 0.3}
ATTENTION = {**COMMON, "num_attention_heads": 4, "intermediate_size": 64}
GROUPED = {**ATTENTION, "num_key_value_heads": 2}
GPT = {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.3}
BLOOM = {"vocab_size": WORDS, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
OPT = {**COMMON, "num_attention_heads": 4, "ffn_dim": 64, "word_embed_proj_dim": 32}
OPT = {**{k: v for k, v in OPT.items() if k not in ("pad_token_id", "initializer_range")}, "init_std": 0.3}
XLNET = {"vocab_size": WORDS, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}
T5 = {"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
MAMBA = {"mamba_d_state": 8, "intermediate_size": 64}
FAMILIES = {  # configuration class without "Config", and its arguments
    "Llama": GROUPED,  # as Llama-3
    "Mistral": {**GROUPED, "sliding_window": 16},
    "Mixtral": {**GROUPED, "num_local_experts": 2},
    "Gemma2": {**GROUPED, "head_dim": 8, "sliding_window": 16},
    "Gemma3Text": {**GROUPED, "head_dim": 8},
    "Qwen2": GROUPED,
    "Qwen3": {**GROUPED, "head_dim": 8},
    "Phi3": GROUPED,
    "Olmo2": ATTENTION,
    "Cohere": ATTENTION,
    "GPT2": GPT,
    "GPTNeoX": ATTENTION,
    "OPT": OPT,
    "Bloom": BLOOM,
    "Falcon": {**COMMON, "num_attention_heads": 4},
    "Mamba": {**COMMON, "state_size": 8},
    "Mamba2": {**COMMON, "num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1},
    "Jamba": {**GROUPED, **MAMBA, "mamba_dt_rank": 4, "attn_layer_period": 2, "attn_layer_offset": 1,
              "num_experts": 2, "use_mamba_kernels": False},
    "Lfm2": {**GROUPED, "full_attn_idxs": [1]},
    "RecurrentGemma": {**ATTENTION, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 16},
    "Qwen3Next": {**GROUPED, "head_dim": 8, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16,
                  "shared_expert_intermediate_size": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 2,
                  "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    "Rwkv": {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
}  # fmt: skip
ANSWERS = ["yes please", "no", "a longer answer, perhaps"]


def language_model(family, arguments, kind="CausalLM"):
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**arguments)
    model = getattr(transformers, f"AutoModelFor{kind}").from_config(config).eval()
    with torch.no_grad():  # logits far enough apart that a mistake shows
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(0.3 / weight.std().clamp(min=1e-6))
    return LanguageModel(model, TOKENIZER, family)


@pytest.fixture(scope="module", params=list(FAMILIES))
def lm(request):
    return language_model(request.param, FAMILIES[request.param])


def plain_logps(model, ids):
    """Log-probabilities after each position: one plain forward pass over one sequence, no cache."""
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)


def plain_rewards(model, prompt, answers):
    """Mean token log-probabilities, differentiable, one sequence at a time."""
    means = []
    for answer in answers:
        logps = plain_logps(model, [*prompt, *answer])
        means.append(torch.stack([logps[len(prompt) + k - 1, i] for k, i in enumerate(answer)]).mean())
    return torch.stack(means)


def test_rewards_are_those_of_plain_forward_passes(lm):
    prompts = ["Hi", "A rather longer prompt, is it not?"]
    table = padlab.add_rewards([{"prompt": p, "responses": ANSWERS} for p in prompts], lm, "reward")
    for prompt, rewards in zip(prompts, table["reward"], strict=True):
        with torch.no_grad():
            expected = plain_rewards(lm.model, *encode_answers(TOKENIZER, prompt, ANSWERS))
        assert rewards == pytest.approx(expected.tolist(), abs=1e-4)


def test_gradients_are_those_of_plain_forward_passes(lm):
    prompt, answers = encode_answers(TOKENIZER, "Hi there", ANSWERS)
    logps = response_logprobs(
        lm.model, make_response_batch([prompt], [answers], can_pack(lm.model, [prompt], [answers]))
    )
    ours = sum(row[: len(ids)].mean() for row, ids in zip(logps, answers, strict=True))
    weights = [w for w in lm.model.parameters() if w.requires_grad]
    pairs = zip(
        torch.autograd.grad(ours, weights, allow_unused=True),
        torch.autograd.grad(plain_rewards(lm.model, prompt, answers).sum(), weights, allow_unused=True),
        strict=True,
    )
    for found, expected in pairs:
        assert (found is None) == (expected is None)
        if found is not None:
            assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max() + 1e-2))


def test_the_likeliest_tokens_are_those_of_plain_forward_passes(lm):
    prompts = ["Hi", "A rather longer prompt, is it not?"]
    stops = sorted(i for i in stop_ids(lm.model, TOKENIZER) if i < WORDS)
    never = [i for i in control_tokens(TOKENIZER).values() if i not in stops]
    table = padlab.sample_responses(lm, prompts, n=2, max_new_tokens=8, temperature=1e-4)
    for prompt, (ids, _) in zip(prompts, table["response_ids"], strict=True):
        sequence = encode_chat(TOKENIZER, prompt)
        for drawn in ids:
            with torch.no_grad():
                logps = plain_logps(lm.model, sequence)[-1]
            logps[never] = -torch.inf
            if not TOKENIZER.decode(sequence[len(encode_chat(TOKENIZER, prompt)) :]).strip():
                logps[stops] = -torch.inf  # a response has a visible character before it may end
            assert logps[drawn] > logps.max() - 1e-3
            sequence.append(drawn)


def test_equal_models_have_loss_zero_in_training(lm):
    """Also where the configuration has dropout (GPT-2's own is 0.1)."""
    rows = padlab.add_rewards([{"prompt": "Why?", "responses": ANSWERS}], lm)
    trained = padlab.distill(lm, rows, max_steps=1, gradient_accumulation_steps=1, peft_config=None)
    assert abs(trained.history[0]["loss"]) < 1e-5


@pytest.mark.parametrize("checkpointing", [False, True])
def test_no_dropout_under_gradient_checkpointing(checkpointing):
    lm = language_model("GPT2", {**GPT, "attn_pdrop": 0.5, "resid_pdrop": 0.5, "embd_pdrop": 0.5})
    rows = padlab.add_rewards([{"prompt": "Why?", "responses": ANSWERS}], lm)
    settings = {"max_steps": 1, "gradient_accumulation_steps": 1, "peft_config": None}
    trained = padlab.distill(lm, rows, gradient_checkpointing=checkpointing, **settings)
    assert abs(trained.history[0]["loss"]) < 1e-6
    assert trained.history[0]["grad_norm"] < 1e-4


@pytest.mark.parametrize(
    ("family", "arguments", "kind", "reason"),
    [
        ("Bert", ATTENTION, "CausalLM", "tokens see what follows"),
        ("Roberta", ATTENTION, "MaskedLM", "tokens see what follows"),
        ("XLNet", XLNET, "CausalLM", "tokens see what follows"),
        ("T5", {**T5, "decoder_start_token_id": 0}, "Seq2SeqLM", "encoder-decoder"),
        ("Llama", {**GROUPED, "num_labels": 1}, "SequenceClassification", r"shape \(1, 1\)"),
        ("Llama", {**GROUPED, "num_labels": 2}, "TokenClassification", "2 numbers per token"),
    ],
)
def test_what_is_no_causal_language_model_is_refused_by_name(family, arguments, kind, reason):
    lm = language_model(family, arguments, kind)
    for use in (
        lambda: padlab.score(lm, "Hi", ["yes"]),
        lambda: padlab.sample_responses(lm, ["Hi"], n=2, max_new_tokens=2),
        lambda: padlab.distill(lm, [{"prompt": "Hi", "responses": ["a", "b"], "teacher_reward": [-1.0, -2.0]}]),
    ):
        with pytest.raises(ValueError, match=f"{family}.*{reason}"):
            use()


@pytest.mark.parametrize("make", [PromptTuningConfig, PromptEncoderConfig, PrefixTuningConfig])
def test_adapters_with_virtual_tokens_are_refused_by_name(tiny, make):
    network = get_peft_model(padlab.load_pair("tiny").student.model, make(task_type="CAUSAL_LM", num_virtual_tokens=4))
    lm = LanguageModel(network.eval(), tiny.student.tokenizer, "soft prompt")
    with pytest.raises(ValueError, match=make.__name__):
        padlab.score(lm, "Hi", ["yes"])
