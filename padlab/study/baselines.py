"""SFT, token-level distillation, DPO, SimPO, VPD and PPD at equal budget: one student, one table of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padlab import LanguageModel, add_rewards, add_selection_probs, check_candidates, distill, sample_responses
from padlab.conversations import PREVIOUS
from padlab.phases.rounds import Evaluate
from padlab.rankings.calibration import calibrate
from padlab.runs import as_folder

if TYPE_CHECKING:
    from datasets import Dataset

METHODS = ("sft", "token_kd", "dpo", "simpo", "vpd", "ppd")
PAIRED = ("dpo", "simpo")  # these read the teacher's best and worst response only
COLUMNS = ("responses", "response_ids", "finished")


def compare_baselines(
    student: LanguageModel,
    teacher: LanguageModel,
    prompts: Dataset | Sequence[str],
    evaluate: Evaluate,
    *,
    methods: Sequence[str] = METHODS,
    seed: int = 0,
    epochs: float = 1.0,
    sampling: Mapping[str, Any] | None = None,
    selection: Mapping[str, Any] | None = None,
    method_settings: Mapping[str, Mapping[str, Any]] | None = None,
    folder: str | Path | None = None,
    **training: Any,
) -> list[dict[str, Any]]:
    """Train the same student by each method on the same prompts, with the same number of response tokens seen.

    All but SFT learn from the student's own samples; SFT imitates the teacher's. DPO and SimPO read two responses per
    prompt and SFT's responses have other lengths, so their passes are stretched until as many tokens were seen.

    Args:
        student, teacher: left as they were.
        prompts: for training.
        evaluate: measures a student; also called on the untrained one.
        methods: some of `METHODS`; "token_kd" needs one tokenizer for both models.
        seed: decides samples and training.
        epochs: passes over the n responses of every prompt.
        sampling, selection: as in `padlab.run_rounds`; n (responses per prompt, default 4) is one of `sampling`.
        method_settings: method -> settings of its own, e.g. {"dpo": {"learning_rate": 5e-5}}.
        folder: run folder for samples, scores and checkpoints; the same call again goes on.
        training: settings of `distill` for all methods; what is not given is the preset's. alpha weighs the selection
            probability for all methods that read the teacher's order.

    Returns:
        one row per method, the untrained student's first ("none"): method, tokens (response tokens seen), and what
        `evaluate` gave.

    Raises:
        ValueError: an unknown method, sums for rewards (the methods would differ in scale), or what `distill` refuses.
    """
    if not training.get("length_normalize", True):
        raise ValueError("compare_baselines compares means of token log-probabilities; leave length_normalize out")
    if unknown := [m for m in methods if m not in METHODS]:
        raise ValueError(f"unknown methods {', '.join(unknown)}; there are {', '.join(METHODS)}")
    training = {"alpha": 0.0, **student.training, **training}
    draw = {"n": 4, **(sampling or {}), "seed": seed}
    asking = (selection or {}) if training["alpha"] > 0 else None
    own = _scored_samples(student, teacher, prompts, asking, folder=_subfolder(folder, "student"), **draw)
    budget = epochs * response_tokens(own)
    rows = [{"method": "none", "tokens": 0, **evaluate(student)}]
    for method in methods:
        settings = {**training, **(method_settings or {}).get(method, {}), "loss": method, "seed": seed}
        table = own
        if method == "sft":
            table = _scored_samples(teacher, teacher, prompts, None, folder=_subfolder(folder, "teacher"), **draw)
        if method in PAIRED:  # the table then holds what the pair was chosen by
            table = keep_best_and_worst(table, settings["alpha"], settings.get("match_scale", False))
        if method in (*PAIRED, "sft"):
            settings |= {"alpha": 0.0, "match_scale": False}
        needs_teacher = method == "token_kd" or settings.get("token_kd")
        settings |= {"teacher": teacher if needs_teacher else None, "keep_interrupted": False}
        settings["num_train_epochs"] = budget / response_tokens(table)
        trained = distill(student, table, folder=_subfolder(folder, method), **settings)
        rows.append({"method": method, "tokens": round(budget), **evaluate(trained)})
    return rows


def keep_best_and_worst(table: Dataset, alpha: float = 0.0, match_scale: bool = False) -> Dataset:
    """Per prompt the response with the highest calibrated reward, then the lowest; `teacher_reward` holds these."""
    rows = []
    for entry in table:
        selection_prob = entry["selection_prob"] if alpha > 0 else None
        reward = calibrate(entry["teacher_reward"], selection_prob, alpha, match_scale=match_scale)
        ends = [int(reward.argmax()), int(reward.argmin())]
        columns = {c: [entry[c][k] for k in ends] for c in COLUMNS if entry.get(c) is not None}
        columns["teacher_reward"] = [float(reward[k]) for k in ends]
        kept = {c: entry[c] for c in ("prompt", PREVIOUS, "response_tokenizer") if entry.get(c) is not None}
        rows.append({**kept, **columns})
    return check_candidates(rows)


def response_tokens(table: Dataset) -> int:
    """Response tokens of a sampled table, one pass."""
    return sum(len(ids) for row in table["response_ids"] for ids in row)


def _scored_samples(
    writer: LanguageModel, teacher: LanguageModel, prompts: Any, selection: Mapping[str, Any] | None, **sampling: Any
) -> Dataset:
    """Samples of `writer` with the teacher's rewards, and its selection probabilities unless `selection` is None."""
    folder = sampling["folder"]
    table = add_rewards(sample_responses(writer, prompts, **sampling), teacher, folder=folder)
    return table if selection is None else add_selection_probs(table, teacher, folder=folder, **selection)


def _subfolder(folder: str | Path | None, name: str) -> Path | None:
    return None if folder is None else as_folder(folder) / name
