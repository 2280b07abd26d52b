"""Iterations: sample from the student as it is now, score, distil, and again; and the decomposing strategy.

The number of rankings grows as n!, so a budget of N responses per prompt is spent in N / n rounds of n: each round
draws from the student as updated so far, and a ranking is over n responses only. That is our reading of the paper's
decomposing strategy; its text was not at hand, and its released code has no rounds.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padlab.lm.models import LanguageModel
from padlab.phases.selection import add_selection_probs
from padlab.phases.distillation import distill
from padlab.phases.rewards import add_rewards
from padlab.phases.sampling import sample_responses
from padlab.runs import stage_folder, write_json

if TYPE_CHECKING:
    from datasets import Dataset

Evaluate = Callable[[LanguageModel], Mapping[str, float]]


def run_rounds(
    student: LanguageModel,
    teacher: LanguageModel,
    prompts: Dataset | Sequence[str],
    *,
    rounds: int = 3,
    n: int = 4,
    loss: str = "ppd",
    alpha: float = 0.0,
    beta: float = 10.0,
    seed: int = 0,
    sampling: Mapping[str, Any] | None = None,
    asking: Mapping[str, Any] | None = None,
    evaluate: Evaluate | None = None,
    folder: str | Path | None = None,
    **training: Any,
) -> tuple[LanguageModel, list[dict[str, float]]]:
    """Distil in rounds, each on fresh responses of the student as it is by then.

    Args:
        student, teacher: left as they were.
        prompts: the same in every round.
        rounds: >= 1. To spend a budget of N responses per prompt in rounds of n, give N / n (`rounds_for`).
        n: responses per prompt and round, >= 2.
        loss, alpha, beta: as in `distill`; the teacher is asked selection questions only where alpha > 0.
        seed: round r samples with seed + r and trains with seed + r.
        sampling: temperature, top_p, max_new_tokens as in `sample_responses`.
        asking: method, max_response_tokens, ask as in `add_selection_probs`.
        evaluate: measures a student; called on the untrained one and after each round; numbers go into the history. In
            a folder they are kept under the function's name (a lambda or other object without one is asked anew).
        folder: run folder; each round has a folder of its own in it, and the same call again goes on where it stopped.
        training: further settings of `distill`, per round (learning_rate, num_train_epochs, peft_config, ...).

    Returns:
        (the student after the last round, history). History has one row per round, the untrained student's first:
        round, responses (per prompt, so far), teacher_reward (nats/token, mean over this round's samples), loss, jsd,
        kendall_tau (means over this round's steps), and what `evaluate` gave.

    Raises:
        ValueError: settings out of range, or a folder with rounds of other settings (the difference is named).
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    history = [_measured({"round": 0, "responses": 0}, student, evaluate, _place(folder, 0))]
    for number in range(1, rounds + 1):
        place = _place(folder, number)
        table = sample_responses(student, prompts, n, seed=seed + number, folder=place, **(sampling or {}))
        table = add_rewards(table, teacher, reduction=training.get("reward_reduction", "mean"), folder=place)
        if alpha > 0:
            table = add_selection_probs(table, teacher, folder=place, **(asking or {}))
        settings = {"loss": loss, "alpha": alpha, "beta": beta, "seed": seed + number, "folder": place, **training}
        asked = teacher if loss == "token_kd" or training.get("token_kd") else None
        student = distill(student, table, teacher=asked, keep_interrupted=False, **settings)
        row = {"round": number, "responses": number * n, **_means(student, table)}
        history.append(_measured(row, student, evaluate, place))
    return student, history


def rounds_for(budget: int, n: int) -> int:
    """Rounds of n responses that spend a budget of responses per prompt exactly.

    Raises:
        ValueError: the budget is not a multiple of n.

    >>> rounds_for(12, 4)
    3
    """
    if n < 2 or budget < n or budget % n:
        raise ValueError(f"a budget of {budget} responses cannot be spent in rounds of {n}; use a multiple of n >= 2")
    return budget // n


def _means(student: LanguageModel, table: Dataset) -> dict[str, float]:
    steps = [entry for entry in student.history if "loss" in entry]
    found = {"teacher_reward": statistics.fmean(r for row in table["teacher_reward"] for r in row)}
    for name in ("loss", "jsd", "kendall_tau"):
        if values := [entry[name] for entry in steps if name in entry]:
            found[name] = statistics.fmean(values)
    return found


def _measured(row: dict[str, Any], student: LanguageModel, evaluate: Evaluate | None, place: Path | None) -> dict:
    """The row with what `evaluate` says; a finished round is not evaluated again."""
    if evaluate is None:
        return row
    name = getattr(evaluate, "__name__", "<lambda>")
    if name == "<lambda>":  # nothing tells two of them apart, so its numbers are not kept
        place = None
    settings = {"student": student.describe(), "evaluate": name}
    with stage_folder(place, "evaluate", settings) as scratch:
        kept = scratch / "measures.json"
        if not kept.exists():
            write_json(kept, {name: _number(name, value) for name, value in evaluate(student).items()})
        return {**row, **json.loads(kept.read_text(encoding="utf-8"))}


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"evaluate must give numbers by name; {name} is {value!r}") from error


def _place(folder: str | Path | None, number: int) -> Path | None:
    return None if folder is None else Path(folder) / f"round-{number}"
