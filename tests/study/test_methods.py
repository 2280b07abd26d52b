"""Baselines at equal budget: tokens seen, what each method reads, and one table."""

import numpy as np
import pytest
import torch

import padlab
from padlab.study import methods as module
from padlab.study.methods import LISTWISE, METHODS, keep_best_and_worst, response_tokens, trained_students
from padlab.training.collator import training_examples
from padlab.training.config import PADConfig

PROMPTS = [f"Name {k} things." for k in range(4)]
SETTINGS = {"sampling": {"n": 3, "max_new_tokens": 6}, "gradient_accumulation_steps": 2, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def models(tiny):
    """A pair with one tokenizer."""
    blocks = tiny.teacher.model.config.num_hidden_layers
    return padlab.Pair(padlab.prune_blocks(tiny.teacher, blocks - 1), tiny.teacher)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_method_sees_as_many_tokens(models, monkeypatch):
    seen, train = {}, module.distill

    def watched(student, table, **settings):
        seen[settings["loss"]] = settings["num_train_epochs"] * response_tokens(table), table
        return train(student, table, **settings)

    monkeypatch.setattr(module, "distill", watched)
    methods = (*METHODS, *LISTWISE)
    trained = list(trained_students(*models, PROMPTS, methods=methods, epochs=1, **SETTINGS))
    assert [method for method, _ in trained] == [*methods]
    hashes = {student.weights_hash() for _, student in trained}
    assert len(hashes | {models.student.weights_hash()}) == len(methods) + 1
    assert set(seen) == set(methods) - {"ppd_rounds"}
    assert len({round(tokens) for tokens, _ in seen.values()}) == 1
    own = padlab.sample_responses(models.student, PROMPTS, 3, max_new_tokens=6)["responses"]
    assert seen["ppd"][1]["responses"] == seen["token_kd"][1]["responses"] == seen["lipo"][1]["responses"] == own
    theirs = padlab.sample_responses(models.teacher, PROMPTS, 3, max_new_tokens=6)["responses"]
    assert seen["sft"][1]["responses"] == theirs
    assert {len(r) for r in seen["dpo"][1]["responses"]} == {2}


def test_rounds_share_the_passes(models, monkeypatch):
    seen = {}
    monkeypatch.setattr(module, "run_rounds", lambda *_, **settings: (models.student, seen.update(settings)))
    list(trained_students(*models, PROMPTS, methods=["ppd_rounds"], epochs=6, seed=4, **SETTINGS))
    assert seen["rounds"] * seen["num_train_epochs"] == 6
    assert (seen["loss"], seen["seed"], seen["sampling"]["n"]) == ("ppd", 4, 3)


def test_best_and_worst_by_calibrated_reward():
    row = {"prompt": "p", "responses": ["a", "b", "c"], "response_ids": [[1], [2], [3]], "response_tokenizer": "x",
           "teacher_reward": [-1.0, -2.0, -3.0], "selection_prob": [0.2, 0.2, 0.6]}  # fmt: skip
    table = padlab.check_candidates([row])
    assert keep_best_and_worst(table)["responses"] == [["a", "c"]]
    chosen = keep_best_and_worst(table, alpha=1.0)
    assert chosen["responses"] == [["c", "a"]]
    assert chosen["teacher_reward"][0] == pytest.approx(np.log([0.6, 0.2]).tolist())
    assert chosen["response_ids"] == [[[3], [1]]]


def test_a_pairs_first_is_better_by_what_chose_it(models, monkeypatch):
    """Also where reward and selection disagree: calibrated again over two responses, they would cancel."""
    seen = {}

    def given(student, table, **settings):
        seen[settings["loss"]] = training_examples(student, table, PADConfig(**pad_fields(settings)))
        return student

    def pad_fields(settings):
        return {k: v for k, v in settings.items() if k in ("loss", "alpha", "beta", "match_scale")}

    def asked(table, *_, **__):
        turned = [list(torch.softmax(-torch.tensor(r), 0)) for r in table["teacher_reward"]]
        return table.add_column("selection_prob", [[float(p) for p in row] for row in turned])

    monkeypatch.setattr(module, "distill", given)
    monkeypatch.setattr(module, "add_selection_probs", asked)
    more = {**SETTINGS, "alpha": 0.4, "match_scale": True, "method_settings": {"dpo": {"alpha": 0.6}}}
    list(trained_students(*models, PROMPTS, methods=["dpo", "simpo"], epochs=1, **more))
    for examples in seen.values():
        assert all(e["teacher_scores"][0] > e["teacher_scores"][1] for e in examples)
    firsts = [[e["response_ids"][0] for e in seen[loss]] for loss in ("dpo", "simpo")]
    assert all(a != b for a, b in zip(*firsts, strict=True))  # 0.6 and 0.4 lie on either side of a tie


def test_unknown_methods_are_named(models):
    with pytest.raises(ValueError, match="unknown methods orpo; there are vpd"):
        next(trained_students(*models, PROMPTS, methods=["ppd", "orpo"]))
