"""Presets reach the functions: settings are complete, plain calls take them, and one setting can be changed."""

import inspect
from dataclasses import fields, replace

import pytest
import torch
from peft import PeftModel

import padlab
from padlab.lm import loading
from padlab.lm.adapters import save_adapter, trainable_copy, with_adapter
from padlab.training.config import PADConfig
from padlab.worlds import toy


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def pair():
    return padlab.load_pair("toy")


@pytest.fixture(scope="module")
def table(pair):
    samples = padlab.sample_responses(pair.student, toy.prompts(8), **padlab.PRESETS["toy"].sampling())
    return padlab.add_selection_probs(padlab.add_rewards(samples, pair.teacher), pair.teacher)


@pytest.mark.parametrize("name", padlab.PRESETS)
def test_settings_are_arguments_of_the_functions_and_no_seeds(name):
    preset = padlab.PRESETS[name]
    sampling, training = preset.sampling(), preset.training()
    assert set(sampling) == {"n", "temperature", "top_p", "max_new_tokens"}
    assert set(sampling) <= set(inspect.signature(padlab.sample_responses).parameters)
    assert set(training) - {f.name for f in fields(PADConfig)} == {"peft_config"}
    assert {"loss", "alpha", "beta", "token_kd", "learning_rate", "num_train_epochs"} <= set(training)
    assert "seed" not in {*sampling, *training}


def test_a_pair_is_named_student_first(tiny):
    student, teacher = tiny
    assert (student, teacher) == (tiny.student, tiny.teacher)
    assert student.name == "tiny student"


@pytest.fixture
def adapters(tiny, tmp_path, monkeypatch):
    """Adapters for the tiny teacher where the reading pairs look for theirs."""
    for seed, name in enumerate(("student", "teacher", "careless-teacher", "judge")):
        network = trainable_copy(tiny.teacher.model, "auto", seed)
        for key, weight in network.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(seed))
        save_adapter(network, "tiny", tmp_path / "reading" / name, torch.bfloat16)
    monkeypatch.setattr(loading, "bundled", lambda name: tmp_path / name)
    monkeypatch.setattr(loading, "load_model", lambda spec, **options: tiny.teacher)
    return tmp_path / "reading"


def test_the_reading_pairs_hold_one_copy_of_the_weights(tiny, adapters):
    table = [{"prompt": "Which?", "responses": ["red", "a blue one"]}]
    for name, folder in (("reading", "teacher"), ("reading-judge", "careless-teacher")):
        student, teacher = padlab.load_pair(name)
        networks = [student.model, teacher.model, teacher.judge, tiny.teacher.model]
        assert len({network.get_input_embeddings().weight.data_ptr() for network in networks}) == 1
        for network, adapter in zip(networks, ("student", folder, "judge"), strict=False):
            expected = replace(tiny.teacher, model=with_adapter(tiny.teacher.model, adapters / adapter))
            found = padlab.score(replace(expected, model=network), "Which?", ["red"])
            assert found == padlab.score(expected, "Which?", ["red"]) != padlab.score(tiny.teacher, "Which?", ["red"])
        judge = replace(tiny.teacher, model=with_adapter(tiny.teacher.model, adapters / "judge"))
        asked = padlab.add_selection_probs(table, teacher)["selection_prob"][:]
        assert asked == padlab.add_selection_probs(table, judge, reply="text")["selection_prob"][:]
        assert student.training == padlab.PRESETS[name].training()
        assert str(adapters) not in student.source + teacher.source


def test_a_trained_adapter_replaces_the_one_it_continued(adapters, tmp_path):
    student, _ = padlab.load_pair("reading")
    rows = [{"prompt": "p", "responses": ["a", "b"], "teacher_reward": [0.0, -1.0]}]
    trained = padlab.distill(student, rows, learning_rate=0.01)
    trained.save(tmp_path / "trained")
    again = replace(student, model=with_adapter(student.model, tmp_path / "trained"))
    assert padlab.score(again, "p", ["a"]) == pytest.approx(padlab.score(trained, "p", ["a"]), abs=1e-6)
    assert padlab.score(again, "p", ["a"]) != padlab.score(student, "p", ["a"])


def test_reading_adapters_are_refused_on_another_model(tiny, adapters):
    with pytest.raises(ValueError, match="was made for another model"):
        padlab.with_judge(tiny.student, adapters / "judge")


def test_the_toy_teacher_is_asked_its_own_question(pair, table):
    asked = padlab.add_selection_probs(table, pair.teacher, question=toy.question)
    assert table["selection_prob"][:] == asked["selection_prob"][:]
    assert sum(asked["option_mass"]) / len(asked) > 0.9


def test_a_plain_distill_trains_with_the_presets_settings(pair, table):
    preset = padlab.PRESETS["toy"]
    plain, explicit = padlab.distill(pair.student, table), padlab.distill(pair.student, table, **preset.training())
    assert plain.weights_hash() == explicit.weights_hash()
    assert not isinstance(plain.model, PeftModel)
    assert max(entry["learning_rate"] for entry in plain.history if "loss" in entry) == preset.learning_rate
    again = padlab.distill(plain, table, max_steps=1)  # a trained student keeps its preset's settings
    assert again.training == preset.training()


def test_one_setting_is_changed_and_the_others_stay(pair, table):
    settings = {**padlab.PRESETS["toy"].training(), "alpha": 0.0}
    changed, expected = padlab.distill(pair.student, table, alpha=0.0), padlab.distill(pair.student, table, **settings)
    assert changed.weights_hash() == expected.weights_hash()
    assert changed.weights_hash() != padlab.distill(pair.student, table).weights_hash()


def test_rounds_take_the_presets_settings(pair):
    sampling = padlab.PRESETS["toy"].sampling()
    plain, _ = padlab.run_rounds(*pair, toy.prompts(4), rounds=1, sampling=sampling)
    table = padlab.sample_responses(pair.student, toy.prompts(4), seed=1, **sampling)
    table = padlab.add_selection_probs(padlab.add_rewards(table, pair.teacher), pair.teacher)
    assert plain.weights_hash() == padlab.distill(pair.student, table, seed=1).weights_hash()


def test_token_level_distillation_without_a_teacher_names_the_argument(pair, table):
    with pytest.raises(ValueError, match=r"pass teacher=.*token_kd=0"):
        padlab.distill(pair.student, table, token_kd=1.0)
    assert padlab.PRESETS["pruned"].training()["token_kd"] > 0  # so a plain call with that pair says so too


def test_selection_without_the_column_says_what_to_do(pair, table):
    with pytest.raises(ValueError, match=r"selection_prob.*add_selection_probs.*alpha=0"):
        padlab.distill(pair.student, table.remove_columns("selection_prob"))
