"""The warning of a training that learns the order by making every sampled response unlikely."""

import warnings
from types import SimpleNamespace

import pytest

import padlab
from padlab.training.callbacks import FALL, WarnFalling

ARGS = SimpleNamespace(learning_rate=1e-3)


def log_of(chosen, rejected, tau, steps=16):
    """A log that goes from the first number of each pair to the second."""

    def at(ends, k):
        return ends[0] + (ends[1] - ends[0]) * k / (steps - 1)

    return [
        {"loss": 0.1, "rewards/chosen": at(chosen, k), "rewards/rejected": at(rejected, k), "kendall_tau": at(tau, k)}
        for k in range(steps)
    ]


def warned(log):
    """How often a training with this log warns."""
    callback = WarnFalling()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for k in range(len(log)):
            callback.on_log(
                ARGS, SimpleNamespace(log_history=log[: k + 1], global_step=k + 1, is_world_process_zero=True), None
            )
    return len(caught)


def test_both_falling_while_tau_rises_is_said_once():
    assert warned(log_of((-1, -4), (-2, -7), (0.3, 0.7))) == 1


@pytest.mark.parametrize(
    "log",
    [
        log_of((-1, -0.5), (-2, -7), (0.3, 0.7)),  # the best response stays likely: that is how it should go
        log_of((-1, -4), (-2, -7), (0.7, 0.3)),  # the order gets worse too, which tau shows by itself
        log_of((-1, -1 - FALL / 2), (-2, -7), (0.3, 0.7)),
        log_of((-1, -4), (-2, -7), (0.3, 0.7), steps=7),
        [{"loss": 0.1}] * 20,
    ],
)
def test_other_trainings_are_not_warned_of(log):
    assert warned(log) == 0


def test_the_trainer_warns(tiny):
    rows = [
        {"prompt": f"Name {k}.", "responses": ["red fish", "blue"], "teacher_reward": [0.0, -1.0]} for k in range(8)
    ]
    with pytest.warns(UserWarning, match=r"less likely.*learning_rate than 0\.05") as caught:
        padlab.distill(tiny.student, rows, learning_rate=0.05, num_train_epochs=6, lr_scheduler_type="constant")
    assert sum("less likely" in str(warning.message) for warning in caught) == 1


def test_on_step_gets_the_student_after_every_step(tiny):
    rows = [
        {"prompt": f"Name {k}.", "responses": ["red fish", "blue"], "teacher_reward": [0.0, -2.0]} for k in range(6)
    ]
    seen = {}

    def reward(step, student):
        assert not student.model.training
        seen[step] = padlab.score(student, "Name 0.", ["red fish"])[0]

    settings = {"learning_rate": 1e-2, "gradient_accumulation_steps": 2, "num_train_epochs": 1}
    trained = padlab.distill(tiny.student, rows, on_step=reward, **settings)
    assert sorted(seen) == [1, 2, 3]
    assert len({round(value, 6) for value in seen.values()}) == 3, "the weights move from step to step"
    assert seen[3] == pytest.approx(padlab.score(trained, "Name 0.", ["red fish"])[0], abs=1e-5)
    unwatched = padlab.distill(tiny.student, rows, **settings)
    assert unwatched.weights_hash() == trained.weights_hash(), "watching changes nothing"
