"""The baselines through the trainer: first losses against formulas, what each needs, that each learns its own aim."""

import math

import numpy as np
import pytest
import torch

import padlab
from padlab.phases.distillation import distill
from padlab.phases.rewards import add_rewards
from padlab.training.config import PADConfig
from padlab.training.per_prompt_losses import LOSSES, Scored, chosen_and_rejected, prompt_losses

PROMPTS = [f"Name {k} things." for k in range(6)]
ONE_STEP = {"learning_rate": 0.0, "num_train_epochs": 1, "gradient_accumulation_steps": 6, "logging_steps": 1}


@pytest.fixture(scope="module")
def models(tiny):
    """A pair with one tokenizer: the student is the teacher with other weights."""
    teacher = tiny.teacher
    return padlab.Pair(padlab.prune_blocks(teacher, teacher.model.config.num_hidden_layers - 1), teacher)


@pytest.fixture(scope="module")
def table(models):
    student, teacher = models
    drawn = padlab.sample_responses(student, PROMPTS, n=3, max_new_tokens=8)
    return add_rewards(add_rewards(drawn, teacher), student, "student_reward")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def first_loss(models, table, loss, **settings):
    trained = distill(models.student, table, loss=loss, teacher=models.teacher, **{**ONE_STEP, **settings})
    return trained.history[0]["loss"]


def test_before_training_dpo_is_ln_2_and_sft_the_mean_reward(models, table):
    assert first_loss(models, table, "dpo") == pytest.approx(math.log(2), abs=1e-5)
    assert first_loss(models, table, "sft") == pytest.approx(-np.mean(table["student_reward"]), abs=1e-4)


def test_token_distillation_beside_a_loss_is_their_weighted_sum(models, table):
    ppd, kd = first_loss(models, table, "ppd"), first_loss(models, table, "token_kd")
    assert first_loss(models, table, "ppd", token_kd=0.5) == pytest.approx(ppd + 0.5 * kd, abs=1e-5)
    with pytest.raises(ValueError, match="token_kd must be 0 or a positive number"):
        PADConfig("out", token_kd=-1.0)


def test_simpo_compares_the_teachers_best_and_worst(models, table):
    margins = [row[int(np.argmax(t))] - row[int(np.argmin(t))]
               for row, t in zip(table["student_reward"], table["teacher_reward"], strict=True)]  # fmt: skip
    wanted = np.mean([math.log1p(math.exp(-(3.0 * m - 0.5))) for m in margins])
    assert first_loss(models, table, "simpo", simpo_beta=3.0, simpo_gamma=0.5) == pytest.approx(wanted, abs=1e-4)


def test_sums_instead_of_means(models, table):
    """VPD by hand on the log-probabilities of whole responses."""
    sums = table
    for model, column in zip(models, ("student_reward", "teacher_reward"), strict=True):
        sums = add_rewards(sums, model, column, length_normalize=False, token_logps=True)
        assert sums[column] == [[pytest.approx(sum(r)) for r in row] for row in sums["token_logps"]]
    losses = []
    for entry in sums:
        scores = [0.3 * entry["student_reward"][k] for k in np.argsort(entry["teacher_reward"])[::-1]]
        losses.append(sum(np.logaddexp.reduce(scores[k:]) - scores[k] for k in range(len(scores))))
    found = first_loss(models, sums, "vpd", beta=0.3, length_normalize=False)
    assert found == pytest.approx(np.mean(losses), abs=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_its_own_aim(models, table, loss):
    settings = {"learning_rate": 5e-3, "num_train_epochs": 6, "gradient_accumulation_steps": 3, "seed": 1}
    history = distill(models.student, table, loss=loss, teacher=models.teacher, **settings).history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert losses[-1] < losses[0]


def test_token_distillation_says_what_it_needs(models, tiny, table):
    with pytest.raises(ValueError, match="pass teacher="):
        distill(models.student, table, loss="token_kd")
    with pytest.raises(ValueError, match="one tokenizer for both"):
        distill(tiny.student, table.remove_columns(["response_ids"]), loss="token_kd", teacher=models.teacher)


def test_a_prompt_counts_once_however_many_responses_it_has():
    """Padding and the number of responses change no prompt's loss."""
    rewards = torch.tensor([[-1.0, -2.0, -1.5], [-1.0, -2.0, 0.0]])
    teacher = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 0.0]])
    exists = torch.tensor([[True, True, True], [True, True, False]])
    grids = {"rewards": rewards, "teacher_scores": teacher, "exists": exists, "lengths": torch.full((2, 3), 4.0)}
    grids |= {"reference": rewards * 5, "kl": -rewards}
    batch, alone = Scored(**grids), Scored(**{name: grid[1:, :2] for name, grid in grids.items()})
    for loss in LOSSES:
        settings = PADConfig("out", loss=loss)
        both, single = prompt_losses(batch, settings), prompt_losses(alone, settings)
        assert float(both[1]) == pytest.approx(float(single[0]), abs=1e-6)
    places = torch.arange(3.0).expand(2, 3)
    assert [x.tolist() for x in chosen_and_rejected(batch, places)] == [[0, 0], [1, 1]]
