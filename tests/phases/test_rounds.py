"""Rounds: each draws from the student as it is by then, and a killed run ends in the same table."""

import json
import random

import numpy as np
import pytest

import padlab
from padlab.phases import rounds as module
from padlab.phases.rounds import run_rounds

PROMPTS = [f"Name {k} things." for k in range(4)]
SETTINGS = {
    "rounds": 2, "n": 3, "sampling": {"max_new_tokens": 6}, "learning_rate": 2e-2, "num_train_epochs": 1,
    "gradient_accumulation_steps": 2,
}  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def health(student):
    """A number that changes with the student."""
    return {"weights": int(student.weights_hash(), 16) % 1e6}


def run(tiny, **more):
    return run_rounds(tiny.student, tiny.teacher, PROMPTS, **{**SETTINGS, "evaluate": health, **more})


def test_each_round_samples_from_the_student_as_it_is_by_then(tiny, monkeypatch):
    drawn, sample = [], module.sample_responses
    monkeypatch.setattr(module, "sample_responses", lambda *a, **k: drawn.append(sample(*a, **k)) or drawn[-1])
    before = tiny.student.weights_hash()
    student, history = run(tiny)
    assert tiny.student.weights_hash() == before != student.weights_hash()
    assert [row["round"] for row in history] == [0, 1, 2]
    assert [row["responses"] for row in history] == [0, 3, 6]
    assert len({row["weights"] for row in history}) == 3
    assert history[-1]["weights"] == health(student)["weights"]
    untrained = padlab.sample_responses(tiny.student, PROMPTS, 3, seed=2, max_new_tokens=6)
    assert drawn[1]["responses"] != untrained["responses"]
    assert (
        drawn[0]["responses"]
        == padlab.sample_responses(tiny.student, PROMPTS, 3, seed=1, max_new_tokens=6)["responses"]
    )


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("stage", ["sample_responses", "add_rewards", "distill"])
def test_killed_rounds_end_in_the_same_table(tiny, tmp_path, monkeypatch, stage, at):
    _, wanted = run(tiny)
    original, calls = getattr(module, stage), []

    def dies(*arguments, **named):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    monkeypatch.setattr(module, stage, dies)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, folder=tmp_path / "run")
    monkeypatch.setattr(module, stage, original)
    _, found = run(tiny, folder=tmp_path / "run")
    assert found == wanted
    with pytest.raises(ValueError, match="seed"):
        run(tiny, folder=tmp_path / "run", seed=5)


ROUNDS = """
from pathlib import Path
from padlab.safe_files import write_json

def weights(model):
    event()
    return {"weights": int(model.weights_hash(), 16) % 1e6}

_, history = padlab.run_rounds(
    student, teacher, [f"Name {k} things." for k in range(4)], rounds=3, n=3, alpha=0.5, evaluate=weights,
    sampling={"max_new_tokens": 6, "shard_size": 2}, learning_rate=2e-2, num_train_epochs=2, save_steps=1,
    per_device_train_batch_size=2, gradient_accumulation_steps=1, folder=FOLDER)
write_json(Path(OUT), history)
"""


@pytest.mark.slow
def test_killed_at_random_points_the_history_is_that_of_the_unbroken_run(killer, tmp_path):
    """SIGKILL while a stage is at work: early, in the middle and late in the three rounds, each on a fresh folder."""

    def code(name):
        return ROUNDS.replace("FOLDER", repr(str(tmp_path / name))).replace("OUT", repr(str(tmp_path / f"{name}.json")))

    def history(name):
        return json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))

    status, events = killer.run(code("whole"))
    assert status == 0
    assert [row["round"] for row in history("whole")] == [0, 1, 2, 3]
    draw, parts = random.Random(6), 4
    for k in range(parts):
        name = f"broken-{k}"
        assert killer.run(code(name), draw.randint(k * events // parts + 1, (k + 1) * events // parts))[0] == -9
        status, left = killer.run(code(name))
        assert status == 0
        assert k == 0 or left < events, "what was finished is not done again"
        assert history(name) == history("whole")


def test_the_teacher_is_asked_only_where_its_answers_count(tiny, monkeypatch):
    asked, ask = [], module.add_selection_probs
    monkeypatch.setattr(module, "add_selection_probs", lambda *a, **k: asked.append(k) or ask(*a, **k))
    run(tiny, rounds=1, evaluate=None)
    assert not asked
    _, history = run(tiny, rounds=1, evaluate=None, alpha=0.5, selection={"method": "n-way"})
    assert [k["method"] for k in asked] == ["n-way"]
    assert set(history[1]) == {"round", "responses", "teacher_reward", "loss", "jsd", "kendall_tau"}


def test_sums_are_compared_with_sums(tiny):
    _, history = run(tiny, rounds=1, evaluate=None, length_normalize=False)
    table = padlab.sample_responses(tiny.student, PROMPTS, 3, seed=1, max_new_tokens=6)
    sums = padlab.add_rewards(table, tiny.teacher, length_normalize=False)["teacher_reward"]
    assert history[1]["teacher_reward"] == pytest.approx(sum(map(sum, sums)) / (3 * len(PROMPTS)))


def test_no_round_is_refused(tiny):
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        run_rounds(tiny.student, tiny.teacher, PROMPTS, rounds=0)


def test_token_level_distillation_asks_the_teacher_that_was_given(tiny):
    pair = padlab.Pair(tiny.student, run(tiny, rounds=1)[0])  # one tokenizer
    assert run(pair, rounds=1, token_kd=1.0)[1][1]["loss"] > run(pair, rounds=1)[1][1]["loss"]


def test_an_interruption_ends_the_rounds(tiny, monkeypatch):
    def stop(*_args, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr("padlab.training.trainer.prompt_losses", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tiny)


def test_measures_are_numbers_and_a_lambdas_are_not_kept(tiny, tmp_path):
    def told(value):
        return run(tiny, rounds=1, folder=tmp_path, evaluate=lambda _student: {"q": value})[1][0]["q"]

    assert [told(np.float32(0.5)), told(np.float32(0.25))] == [0.5, 0.25]
    with pytest.raises(ValueError, match="q is 'good'"):
        told("good")
