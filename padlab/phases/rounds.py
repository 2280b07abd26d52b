"""Iterations: sample from the student as it is now, score, distil, and again; and the decomposing strategy.

The number of rankings grows as n!, so a budget of N responses per prompt is spent in N / n rounds of n: each round
draws from the student as updated so far, and a ranking is over n responses only. That is our reading of the paper's
decomposing strategy; its text was not at hand, and its released code has no rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import PartialState

from padlab.lm.models import LanguageModel
from padlab.phases.distillation import distill
from padlab.phases.rewards import add_rewards
from padlab.phases.sampling import sample_responses
from padlab.phases.selection import add_selection_probs
from padlab.runs import WAIT, made_under, stage_folder
from padlab.safe_files import as_folder, write_text
from padlab.shards import as_shard, read_shard

if TYPE_CHECKING:
    from datasets import Dataset

Evaluate = Callable[[LanguageModel], Mapping[str, float]]


def run_rounds(
    student: LanguageModel,
    teacher: LanguageModel,
    prompts: Dataset | Sequence[str],
    *,
    rounds: int = 3,
    n: int | None = None,
    seed: int = 0,
    sampling: Mapping[str, Any] | None = None,
    selection: Mapping[str, Any] | None = None,
    evaluate: Evaluate | None = None,
    folder: str | Path | None = None,
    **training: Any,
) -> tuple[LanguageModel, list[dict[str, float]]]:
    """Distil in rounds, each on fresh responses of the student as it is by then.

    Args:
        student, teacher: left as they were.
        prompts: the same in every round.
        rounds: >= 1. To spend a budget of N responses per prompt in rounds of n, give N / n.
        n: responses per prompt and round, >= 2; None: that of `sampling`, else 4.
        seed: round r samples with seed + r and trains with seed + r.
        sampling: n, temperature, top_p, max_new_tokens as in `sample_responses`.
        selection: method, max_response_tokens, question as in `add_selection_probs`; used only where alpha > 0.
        evaluate: measures a student; called on the untrained one and after each round; numbers go into the history. In
            a folder they are kept under the function's name (a lambda or other object without one is asked anew).
        folder: run folder; each round has a folder of its own in it, and the same call again goes on where it stopped.
        training: settings of `distill`, per round (loss, alpha, beta, learning_rate, ...); what is not given is the
            preset's, as there.

    Returns:
        (the student after the last round, history). History has one row per round, the untrained student's first:
        round, responses (per prompt, so far), teacher_reward (nats/token, mean over this round's samples), loss, jsd,
        kendall_tau (means over this round's steps), and what `evaluate` gave.

    Raises:
        ValueError: settings out of range, or a folder with rounds of other settings (the difference is named).
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    training = {**student.training, **training}
    sampling = {"n": 4, **(sampling or {}), **({} if n is None else {"n": n})}
    needs_teacher = training.get("loss") == "token_kd" or training.get("token_kd")
    history = [_with_evaluation({"round": 0, "responses": 0}, student, evaluate, _round_folder(folder, 0))]
    for number in range(1, rounds + 1):
        round_folder = _round_folder(folder, number)
        table = sample_responses(student, prompts, seed=seed + number, folder=round_folder, **sampling)
        normalize = training.get("length_normalize", True)
        table = add_rewards(table, teacher, length_normalize=normalize, folder=round_folder)
        if training.get("alpha", 0) > 0:
            table = add_selection_probs(table, teacher, folder=round_folder, **(selection or {}))
        settings = {"seed": seed + number, "folder": round_folder, "keep_interrupted": False, **training}
        student = distill(student, table, teacher=teacher if needs_teacher else None, **settings)
        row = {"round": number, "responses": number * sampling["n"], **_means(student, table)}
        history.append(_with_evaluation(row, student, evaluate, round_folder))
    return student, history


def _means(student: LanguageModel, table: Dataset) -> dict[str, float]:
    steps = [entry for entry in student.history if "loss" in entry]
    means = {"teacher_reward": statistics.fmean(r for row in table["teacher_reward"] for r in row)}
    for name in ("loss", "jsd", "kendall_tau"):
        if values := [entry[name] for entry in steps if name in entry]:
            means[name] = statistics.fmean(values)
    return means


def _with_evaluation(
    row: dict[str, Any], student: LanguageModel, evaluate: Evaluate | None, folder: Path | None
) -> dict:
    """The row with the numbers of `evaluate`; a finished round is not evaluated again."""
    if evaluate is None:
        return row
    name = getattr(evaluate, "__name__", "<lambda>")
    if name == "<lambda>":  # nothing tells two of them apart, so their numbers are not stored
        folder = None
    settings = {"student": student.describe(), "evaluate": name}
    with PartialState().main_process_first(), stage_folder(folder, "evaluate", settings, wait=WAIT) as place:
        stored = place / "measures.jsonl"
        if not stored.exists():
            measures = {name: _number(name, value) for name, value in evaluate(student).items()}
            write_text(stored, as_shard([measures], stored, made_under(settings)), locked=True)
        return {**row, **read_shard(stored, 1, made_under(settings))[0]}


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"evaluate must give numbers by name; {name} is {value!r}") from error


def _round_folder(folder: str | Path | None, number: int) -> Path | None:
    return None if folder is None else as_folder(folder) / f"round-{number}"
