"""Baselines at equal budget: tokens seen, what each method reads, and one table."""

import pytest

import padlab
from padlab.study import baselines as module
from padlab.study.baselines import METHODS, best_and_worst, compare_baselines, response_tokens

PROMPTS = [f"Name {k} things." for k in range(4)]
SETTINGS = {"n": 3, "sampling": {"max_new_tokens": 6}, "gradient_accumulation_steps": 2, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def models(tiny):
    """Teacher and student with one tokenizer."""
    return tiny[0], padlab.pruned(tiny[0], tiny[0].model.config.num_hidden_layers - 1)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_method_sees_as_many_tokens(models, monkeypatch):
    seen, train = {}, module.distill

    def watched(student, table, **settings):
        seen[settings["loss"]] = settings["num_train_epochs"] * response_tokens(table), table
        return train(student, table, **settings)

    monkeypatch.setattr(module, "distill", watched)
    rows = compare_baselines(models[1], models[0], PROMPTS, lambda s: {"hash": s.weights_hash()}, **SETTINGS)
    assert [row["method"] for row in rows] == ["none", *METHODS]
    assert len({row["hash"] for row in rows}) == len(rows)
    assert len({round(tokens) for tokens, _ in seen.values()}) == 1
    own = padlab.sample_responses(models[1], PROMPTS, 3, max_new_tokens=6)["responses"]
    assert seen["ppd"][1]["responses"] == seen["token_kd"][1]["responses"] == own
    theirs = padlab.sample_responses(models[0], PROMPTS, 3, max_new_tokens=6)["responses"]
    assert seen["sft"][1]["responses"] == theirs
    assert {len(r) for r in seen["dpo"][1]["responses"]} == {2}


def test_best_and_worst_by_calibrated_reward():
    row = {"prompt": "p", "responses": ["a", "b", "c"], "response_ids": [[1], [2], [3]], "response_tokenizer": "x",
           "teacher_reward": [-1.0, -2.0, -3.0], "selection_prob": [0.2, 0.2, 0.6]}  # fmt: skip
    table = padlab.check_candidates([row])
    assert best_and_worst(table)["responses"] == [["a", "c"]]
    chosen = best_and_worst(table, alpha=1.0)
    assert chosen["responses"] == [["c", "a"]]
    assert chosen["selection_prob"][0] == pytest.approx([0.75, 0.25])
    assert chosen["response_ids"] == [[[3], [1]]]


def test_unknown_methods_are_named(models):
    with pytest.raises(ValueError, match="unknown methods orpo; there are sft"):
        compare_baselines(models[1], models[0], PROMPTS, dict, methods=["ppd", "orpo"])
