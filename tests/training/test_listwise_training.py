"""LiPO-lambda, PRO and RRHF through the trainer: first values, weights, accumulation, the reference."""

import math

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

import padlab
from padlab.lm.adapters import trainable_copy
from padlab.phases.distillation import distill
from padlab.phases.rewards import add_rewards
from padlab.training.config import PADConfig
from padlab.training.trainer import PADTrainer

PROMPTS = [f"Name {k} things." for k in range(4)]
LOSSES = ("lipo", "pro", "rrhf")
ONE_STEP = {"learning_rate": 0.0, "num_train_epochs": 1, "gradient_accumulation_steps": 4}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def tables(tiny):
    """The same prompts with two and with three responses; `student_reward` and `token_logps` are the student's."""
    drawn = (padlab.sample_responses(tiny.student, PROMPTS, n=n, max_new_tokens=8) for n in (2, 3))
    scored = (add_rewards(table, tiny.teacher) for table in drawn)
    return [add_rewards(table, tiny.student, "student_reward", token_logps=True) for table in scored]


def first_loss(tiny, table, loss, **settings):
    return distill(tiny.student, table, loss=loss, **{**ONE_STEP, **settings}).history[0]["loss"]


def test_lipo_starts_at_ln_2_times_its_weights(tiny, tables):
    """Before training s is 0 for all, so with two responses every pair costs ln 2, whichever is ranked first."""
    gaps = []
    for rewards in tables[0]["teacher_reward"]:
        psi = [(0.5 + 1 / (1 + math.exp(10 * (other - own)))) / 2 for own, other in (rewards, rewards[::-1])]
        gaps.append(abs(2 ** psi[0] - 2 ** psi[1]))
    expected = np.mean(gaps) * (1 / math.log(2) - 1 / math.log(3)) * math.log(2)
    assert first_loss(tiny, tables[0], "lipo") == pytest.approx(expected, abs=1e-4)


def test_pro_starts_at_the_formula(tiny, tables):
    """R is beta x the teacher's reward; imitation is of the sum of the best response's log-probabilities."""
    expected = []
    for entry in tables[1]:
        order = np.argsort(entry["teacher_reward"])[::-1]
        r = np.array(entry["student_reward"])[order]
        big_r = 10 * np.array(entry["teacher_reward"])[order]
        terms = [[r[k] * (big_r[k] - big_r[2]), *(r[k + 1 :] * (big_r[k] - big_r[k + 1 :]))] for k in (0, 1)]
        imitation = 0.1 * 2**2 * -sum(entry["token_logps"][order[0]])
        expected.append(sum(np.logaddexp.reduce(row) - row[0] for row in terms) + imitation)
    assert first_loss(tiny, tables[1], "pro", pro_sft=0.1) == pytest.approx(np.mean(expected), rel=1e-4)


def test_rrhf_starts_at_the_formula(tiny, tables):
    expected = []
    for entry in tables[1]:
        p, big_r = entry["student_reward"], entry["teacher_reward"]
        hinge = sum(max(0, p[i] - p[j]) for i in range(3) for j in range(3) if big_r[i] < big_r[j])
        expected.append(hinge - p[int(np.argmax(big_r))])
    assert first_loss(tiny, tables[1], "rrhf") == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_training_changes_the_weights_and_lowers_the_loss(tiny, tables, loss):
    settings = {"learning_rate": 5e-3, "num_train_epochs": 6, "gradient_accumulation_steps": 4, "seed": 1}
    trained = distill(tiny.student, tables[1], loss=loss, **settings)
    start = trained.with_weights(trainable_copy(tiny.student.model, "auto", 1), "")
    losses = [entry["loss"] for entry in trained.history if "loss" in entry]
    assert losses[-1] < losses[0]
    assert trained.weights_hash() != start.weights_hash()


class Grab(TrainerCallback):
    """Keeps the gradient of the only optimizer step."""

    def on_pre_optimizer_step(self, args, state, control, model, **others):
        self.found = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]).clone()


def gradient(tiny, table, loss, batch, accumulate):
    grab = Grab()
    args = PADConfig(
        loss=loss, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulate, learning_rate=0.0,
        num_train_epochs=1, max_grad_norm=0.0,
    )  # fmt: skip
    model = tiny.student.with_weights(trainable_copy(tiny.student.model, None), "probe")
    PADTrainer(model, args, table, callbacks=[grab]).train()
    return grab.found


@pytest.mark.parametrize("loss", LOSSES)
def test_accumulation_gives_the_same_gradient(tiny, tables, loss):
    """With two responses: with more, LiPO's weights at s = 0 depend on rounding."""
    one_by_four, four_by_one = (gradient(tiny, tables[0], loss, *sizes) for sizes in ((1, 4), (4, 1)))
    size = float(torch.linalg.vector_norm(one_by_four))
    assert size > 0
    assert float(torch.linalg.vector_norm(four_by_one - one_by_four)) < 1e-4 * size


def test_lipo_needs_the_student_before_training(tiny, tables):
    args = PADConfig(loss="lipo", learning_rate=5e-3, max_steps=1)
    model = tiny.student.with_weights(trainable_copy(tiny.student.model, None), "probe")
    trainer = PADTrainer(model, args, tables[0])
    trainer.train()
    with pytest.raises(ValueError, match="loss 'lipo' compares with the student before training"):
        trainer.evaluate(tables[0])
