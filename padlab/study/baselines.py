"""SFT, token-level distillation, DPO, SimPO, VPD and PPD at equal budget: one student, one table of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padlab.candidates import check_candidates
from padlab.lm.models import LanguageModel
from padlab.phases.selection import add_selection_probs, calibrate
from padlab.phases.distillation import distill
from padlab.phases.rewards import add_rewards
from padlab.phases.rounds import Evaluate
from padlab.phases.sampling import sample_responses

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
    n: int = 4,
    alpha: float = 0.0,
    seed: int = 0,
    epochs: float = 1.0,
    sampling: Mapping[str, Any] | None = None,
    asking: Mapping[str, Any] | None = None,
    each: Mapping[str, Mapping[str, Any]] | None = None,
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
        n: responses per prompt, >= 2.
        alpha: weight of the selection probability, for all methods that read the teacher's order, 0 to 1.
        seed: decides samples and training.
        epochs: passes over the n responses of every prompt.
        sampling, asking: as in `padlab.run_rounds`.
        each: method -> settings of its own, e.g. {"dpo": {"learning_rate": 5e-5}}.
        folder: run folder for samples, scores and checkpoints; the same call again goes on.
        training: settings of `distill` for all methods.

    Returns:
        one row per method, the untrained student's first ("none"): method, tokens (response tokens seen), and what
        `evaluate` gave.

    Raises:
        ValueError: an unknown method, sums for rewards (the methods would differ in scale), or what `distill` refuses.
    """
    if training.get("reward_reduction", "mean") != "mean":
        raise ValueError("compare_baselines compares means of token log-probabilities; leave reward_reduction out")
    if unknown := [m for m in methods if m not in METHODS]:
        raise ValueError(f"unknown methods {', '.join(unknown)}; there are {', '.join(METHODS)}")
    place = None if folder is None else Path(folder)
    tables = {"student": _table(student, teacher, prompts, n, seed, alpha, sampling, asking, _in(place, "student"))}
    if "sft" in methods:
        tables["teacher"] = _table(teacher, teacher, prompts, n, seed, 0.0, sampling, asking, _in(place, "teacher"))
    budget = epochs * response_tokens(tables["student"])
    rows = [{"method": "none", "tokens": 0, **evaluate(student)}]
    for method in methods:
        table = tables["teacher" if method == "sft" else "student"]
        settings = {"alpha": alpha, **training, **(each or {}).get(method, {})}
        if method in PAIRED:  # the table then holds what the pair was chosen by
            table = best_and_worst(table, settings["alpha"], settings.get("match_scale", False))
        if method in (*PAIRED, "sft"):
            settings |= {"alpha": 0.0, "match_scale": False}
        asks = method == "token_kd" or settings.get("token_kd")
        settings |= {"seed": seed, "loss": method, "teacher": teacher if asks else None, "keep_interrupted": False}
        passes = budget / response_tokens(table)
        trained = distill(student, table, num_train_epochs=passes, folder=_in(place, method), **settings)
        rows.append({"method": method, "tokens": round(budget), **evaluate(trained)})
    return rows


def best_and_worst(table: Dataset, alpha: float = 0.0, match_scale: bool = False) -> Dataset:
    """Per prompt the response with the highest calibrated reward, then the lowest; `teacher_reward` holds these."""
    kept = []
    for entry in table:
        chosen = entry["selection_prob"] if alpha > 0 else None
        reward = calibrate(entry["teacher_reward"], chosen, alpha, match_scale=match_scale)
        places = [int(reward.argmax()), int(reward.argmin())]
        columns = {c: [entry[c][k] for k in places] for c in COLUMNS if entry.get(c) is not None}
        columns["teacher_reward"] = [float(reward[k]) for k in places]
        kept.append({"prompt": entry["prompt"], "response_tokenizer": entry["response_tokenizer"], **columns})
    return check_candidates(kept)


def response_tokens(table: Dataset) -> int:
    """Response tokens of a sampled table, one pass."""
    return sum(len(ids) for row in table["response_ids"] for ids in row)


def _table(writer, teacher, prompts, n, seed, alpha, sampling, asking, folder) -> Dataset:
    table = sample_responses(writer, prompts, n, seed=seed, folder=folder, **(sampling or {}))
    table = add_rewards(table, teacher, folder=folder)
    return add_selection_probs(table, teacher, folder=folder, **(asking or {})) if alpha > 0 else table


def _in(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / name
