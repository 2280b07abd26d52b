"""Adapters of every kind: saved, loaded and continued whole, merged right or refused, never on another base."""

import copy
import os

import peft
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import padlab
from padlab.lm.adapters import with_adapter
from padlab.lm.models import LanguageModel

ROWS = [{"prompt": "Hi", "responses": ["yes", "no", "perhaps"], "teacher_reward": [-1.0, -2.0, -4.0]}]
LORA = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]}
KINDS = {
    "LoRA": peft.LoraConfig(**LORA),
    "LoRA, rank-stabilised": peft.LoraConfig(**LORA, use_rslora=True),
    "DoRA": peft.LoraConfig(**LORA, use_dora=True),
    "embeddings": peft.LoraConfig(**{**LORA, "target_modules": ["q_proj", "embed_tokens"]}),
    "head": peft.LoraConfig(**{**LORA, "target_modules": ["q_proj", "lm_head"]}),
    "some tokens": peft.LoraConfig(**LORA, trainable_token_indices=list(range(5, 150))),
    "norm saved whole": peft.LoraConfig(**LORA, modules_to_save=["norm"]),
    "IA3": peft.IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj"], feedforward_modules=[]),
    "VeRA": peft.VeraConfig(**LORA),
    "LoHa": peft.LoHaConfig(**LORA),
    "LoKr": peft.LoKrConfig(**LORA),
}  # fmt: skip
SETTINGS = {"max_steps": 2, "learning_rate": 0.05, "gradient_accumulation_steps": 1}
every_kind = pytest.mark.parametrize("kind", KINDS)
tied_or_not = pytest.mark.parametrize("tied", [True, False])


def base_model(tied, seed=0):
    """A model with tied embeddings, or with an output head of its own."""
    tokenizer = padlab.load_pair("tiny").student.tokenizer
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        initializer_range=0.2, tie_word_embeddings=tied,
    )  # fmt: skip
    return LanguageModel(LlamaForCausalLM(config).eval(), tokenizer, "base")


def scores(model):
    return padlab.score(model, "Hi", ["yes", "no", "something else"])


@every_kind
def test_every_kind_is_trained_on_16_bit_weights(kind, tmp_path):
    """As on a GPU: what is trained is float32, the frozen weights may be bfloat16."""
    base_model(False).save(tmp_path / "base")
    base = padlab.load_model(tmp_path / "base", dtype="bfloat16")
    trained = padlab.distill(base, ROWS, peft_config=copy.deepcopy(KINDS[kind]), **SETTINGS)
    assert scores(trained) != pytest.approx(scores(base), abs=1e-3)
    assert base.model.dtype == torch.bfloat16
    trained.save(tmp_path / "trained")
    again = padlab.load_model(tmp_path / "trained", dtype="bfloat16")
    assert scores(again) == pytest.approx(scores(trained), abs=0.05)


@tied_or_not
@every_kind
def test_saved_and_loaded_it_scores_the_same(kind, tied, tmp_path):
    base = base_model(tied)
    base.save(tmp_path / "base")
    base = padlab.load_model(tmp_path / "base")
    trained = padlab.distill(base, ROWS, peft_config=copy.deepcopy(KINDS[kind]), **SETTINGS)
    assert scores(trained) != pytest.approx(scores(base), abs=1e-3)
    trained.save(tmp_path / "trained")
    os.chdir(tmp_path)
    assert scores(padlab.load_model("trained")) == pytest.approx(scores(trained), abs=1e-5)
    assert sum(f.stat().st_size for f in (tmp_path / "trained").glob("*.safetensors")) < (
        90_000 if kind == "VeRA" else 60_000
    )  # not the base


@tied_or_not
@every_kind
def test_all_of_it_is_trained_further(kind, tied):
    first = padlab.distill(base_model(tied), ROWS, peft_config=copy.deepcopy(KINDS[kind]), **SETTINGS)
    before = peft.get_peft_model_state_dict(first.model, save_embedding_layers=False)
    before = {name: value.clone() for name, value in before.items()}
    second = padlab.distill(first, ROWS, **SETTINGS)
    after = peft.get_peft_model_state_dict(second.model, save_embedding_layers=False)
    fixed = {name for name in before if "vera_A" in name or "vera_B" in name}  # VeRA's random matrices never move
    unmoved = {name for name in before if torch.equal(before[name], after[name])}
    assert unmoved == fixed
    now = peft.get_peft_model_state_dict(first.model, save_embedding_layers=False)
    assert all(torch.equal(before[name], now[name]) for name in before)


@tied_or_not
@every_kind
def test_merged_it_scores_the_same_or_is_refused_by_name(kind, tied):
    first = padlab.distill(base_model(tied), ROWS, peft_config=copy.deepcopy(KINDS[kind]), **SETTINGS)
    full = {"peft_config": None, "max_steps": 1, "learning_rate": 0.0}
    if tied and kind in ("embeddings", "head"):  # the merged weight would change at both ends of the model
        with pytest.raises(ValueError, match=r"adapter \(LoraConfig\) changes the model"):
            padlab.distill(first, ROWS, **full)
    else:
        merged = padlab.distill(first, ROWS, **full)
        assert not hasattr(merged.model, "peft_config")
        assert scores(merged) == pytest.approx(scores(first), abs=1e-4)


def test_another_base_of_the_same_shape_is_refused(tmp_path):
    trained = padlab.distill(base_model(True), ROWS, **SETTINGS)
    trained.save(tmp_path)
    with pytest.raises(ValueError, match=r"another model of the same shape: "):
        with_adapter(base_model(True, seed=1).model, tmp_path)
    for dtype in (torch.bfloat16, torch.float32):
        assert with_adapter(base_model(True).model.to(dtype), tmp_path)


@pytest.mark.parametrize("change", ["small", "one row"])
def test_a_slightly_trained_base_is_refused(tmp_path, change):
    padlab.distill(base_model(True), ROWS, **SETTINGS).save(tmp_path)
    other = base_model(True)
    with torch.no_grad():
        if change == "small":
            for weight in other.model.parameters():
                weight.mul_(1.02)
        else:
            other.model.model.layers[1].mlp.up_proj.weight[0] += 0.1
    with pytest.raises(ValueError, match="another model of the same shape"):
        with_adapter(other.model, tmp_path)


def test_bundled_adapters_say_what_they_were_made_for():
    for name in ("student", "teacher", "careless-teacher", "judge"):
        assert (padlab.bundled.bundled(f"reading/{name}") / "base_weights.json").exists()
