"""Callbacks of a training run: one progress line, a warning, and functions of the user's."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from transformers import TrainerCallback

from padlab.progress import progress

FALL = 0.5  # nats/token by which both likelihoods must have fallen before `WarnFalling` speaks
RISE = 0.05  # ... and tau must have risen


class Progress(TrainerCallback):
    """One progress line over all steps.

    Args:
        label: what the line begins with.
    """

    def __init__(self, label: str) -> None:
        self.label = label

    def on_train_begin(self, args, state, control, **others):
        """Start at the step that was resumed from."""
        steps = range(state.global_step, state.max_steps if state.is_world_process_zero else state.global_step)
        self.bar: Iterator[int] = iter(progress(steps, self.label))
        next(self.bar, None)

    def on_step_end(self, args, state, control, **others):
        """One step further."""
        next(self.bar, None)


class WarnFalling(TrainerCallback):
    """Warn once when the student's likelihood of its best and worst responses both fall while their order improves.

    A distribution over rankings says how far apart responses are, not how likely: the order can be learnt by making all
    of them unlikely, and then the student writes something else. The first quarter of the logged steps so far is
    compared with the last quarter, from eight logged steps on.
    """

    def __init__(self) -> None:
        self.warned = False

    def on_log(self, args, state, control, **others):
        """Compare the beginning with the last steps."""
        log = [e for e in state.log_history if {"rewards/chosen", "rewards/rejected", "kendall_tau"} <= e.keys()]
        if self.warned or len(log) < 8 or not state.is_world_process_zero:
            return
        quarter = len(log) // 4
        ends = log[:quarter], log[-quarter:]
        chosen, rejected, tau = (
            [statistics.fmean(entry[name] for entry in part) for part in ends]
            for name in ("rewards/chosen", "rewards/rejected", "kendall_tau")
        )
        if chosen[0] - chosen[1] > FALL and rejected[0] - rejected[1] > FALL and tau[1] > tau[0] + RISE:
            self.warned = True
            warnings.warn(
                f"step {state.global_step}: the student ranks its samples better (tau {tau[0]:.2f} to {tau[1]:.2f}), "
                f"but finds them less likely (best {chosen[0]:.2f} to {chosen[1]:.2f} nats/token, worst "
                f"{rejected[0]:.2f} to {rejected[1]:.2f}): what it writes may get worse. Read its samples; a lower "
                f"learning_rate than {args.learning_rate:g} or fewer steps mend it",
                stacklevel=2,
            )


class CallOnLog(TrainerCallback):
    """Calls a function of the user's with the log so far after every logged step.

    Args:
        function: takes the list of logged entries.
    """

    def __init__(self, function: Callable[[list[dict[str, float]]], None]) -> None:
        self.function = function

    def on_log(self, args, state, control, **others):
        """Pass the log on."""
        self.function(state.log_history)


class CallOnStep(TrainerCallback):
    """Calls a function of the user's with the step's number and the network as it is after that optimizer step.

    Args:
        function: takes the number, from 1, and the network.
    """

    def __init__(self, function: Callable[[int, Any], None]) -> None:
        self.function = function

    def on_step_end(self, args, state, control, model=None, **others):
        """Pass the network on, in eval mode."""
        training = model.training
        self.function(state.global_step, model.eval())
        model.train(training)
