"""One student trained by every method at equal budget: PAD, imitation, pairwise and listwise baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from padlab import (
    LanguageModel,
    add_rewards,
    add_selection_probs,
    check_candidates,
    distill,
    load_prompts,
    run_rounds,
    sample_responses,
)
from padlab.conversations import PREVIOUS
from padlab.rankings.calibration import calibrate
from padlab.safe_files import as_folder

if TYPE_CHECKING:
    from datasets import Dataset

METHODS = ("vpd", "ppd", "ppd_rounds", "sft", "token_kd", "dpo", "simpo")
LISTWISE = ("lipo", "pro", "rrhf")  # further baselines that read all n responses
PAIRED = ("dpo", "simpo")  # these read the teacher's best and worst response only
ROUNDS = 3
COLUMNS = ("responses", "response_ids", "finished")


class Trained(NamedTuple):
    """A student after its training.

    Args:
        method: one of `METHODS` or `LISTWISE`.
        student: the trained model.
    """

    method: str
    student: LanguageModel


def trained_students(
    student: LanguageModel,
    teacher: LanguageModel,
    prompts: Dataset | Sequence[str],
    *,
    methods: Sequence[str] = METHODS,
    seed: int = 0,
    epochs: float | None = None,
    sampling: Mapping[str, Any] | None = None,
    selection: Mapping[str, Any] | None = None,
    method_settings: Mapping[str, Mapping[str, Any]] | None = None,
    folder: str | Path | None = None,
    **training: Any,
) -> Iterator[Trained]:
    """Train the same student by each method on the same prompts, with the same number of response tokens seen.

    All but SFT learn from the student's own samples; SFT imitates the teacher's. DPO and SimPO read two responses per
    prompt and SFT's responses have other lengths, so their passes are stretched until as many tokens were seen.
    "ppd_rounds" spends the budget in three rounds, each on fresh samples.

    Args:
        student, teacher: left as they were.
        prompts: for training.
        methods: some of `METHODS` and `LISTWISE`; "token_kd" needs one tokenizer for both models.
        seed: decides samples and training.
        epochs: passes over the n responses of every prompt; None: the preset's, else 1.
        sampling, selection: as in `padlab.run_rounds`; n (responses per prompt, default 4) is one of `sampling`.
        method_settings: method -> settings of its own, e.g. {"dpo": {"learning_rate": 5e-5}}.
        folder: run folder for samples, scores and checkpoints; the same call again goes on.
        training: settings of `distill` for all methods; what is not given is the preset's. alpha weighs the selection
            probability for all methods that read the teacher's order.

    Yields:
        `Trained`, in the order of `methods`; only the current student is held in memory.

    Raises:
        ValueError: an unknown method, sums for rewards (the methods would differ in scale), or what `distill` refuses.
    """
    if not training.get("length_normalize", True):
        raise ValueError("the methods are compared on means of token log-probabilities; leave length_normalize out")
    if isinstance(methods, str):
        raise ValueError(f"methods must be a list of names: write [{methods!r}]")
    if spare := [m for m in method_settings or {} if m not in methods]:
        raise ValueError(f"method_settings names {', '.join(spare)}, not among the methods {', '.join(methods)}")
    if unknown := [m for m in methods if m not in (*METHODS, *LISTWISE)]:
        raise ValueError(f"unknown methods {', '.join(unknown)}; there are {', '.join((*METHODS, *LISTWISE))}")
    training = {"alpha": 0.0, **student.training, **training}
    epochs = float(student.training.get("num_train_epochs", 1) if epochs is None else epochs)
    plan = _Plan(student, teacher, load_prompts(prompts), {"n": 4, **(sampling or {})}, dict(selection or {}), folder)
    alphas = [training["alpha"], *((method_settings or {}).get(m, {}).get("alpha", 0.0) for m in methods)]
    own = plan.samples(student, "student", seed, max(alphas) > 0)
    budget = epochs * response_tokens(own)
    for method in methods:
        settings = {**training, **(method_settings or {}).get(method, {}), "seed": seed, "keep_interrupted": False}
        if method == "ppd_rounds":
            yield Trained(method, plan.in_rounds(settings, epochs))
        else:
            table = plan.samples(teacher, "teacher", seed, False) if method == "sft" else own
            yield Trained(method, plan.once(method, table, settings, budget))


class _Plan(NamedTuple):
    """What all methods share."""

    student: LanguageModel
    teacher: LanguageModel
    prompts: Dataset
    sampling: dict[str, Any]
    selection: dict[str, Any]
    folder: str | Path | None

    def samples(self, writer: LanguageModel, name: str, seed: int, ask: bool) -> Dataset:
        """Samples of `writer` with the teacher's rewards, and its selection probabilities if asked."""
        folder = self.place(name)
        table = sample_responses(writer, self.prompts, **{**self.sampling, "seed": seed}, folder=folder)
        table = add_rewards(table, self.teacher, folder=folder)
        return add_selection_probs(table, self.teacher, folder=folder, **self.selection) if ask else table

    def once(self, method: str, table: Dataset, settings: dict[str, Any], budget: float) -> LanguageModel:
        """Train by a method on one table until `budget` response tokens were seen."""
        if method in PAIRED:  # the table then holds what the pair was chosen by
            table = keep_best_and_worst(table, settings["alpha"], settings.get("match_scale", False))
        if method in (*PAIRED, "sft"):
            settings = {**settings, "alpha": 0.0, "match_scale": False}
        settings = {**settings, "loss": method, "num_train_epochs": budget / response_tokens(table)}
        needs_teacher = method == "token_kd" or settings.get("token_kd")
        return distill(
            self.student, table, teacher=self.teacher if needs_teacher else None, folder=self.place(method), **settings
        )

    def in_rounds(self, settings: dict[str, Any], epochs: float) -> LanguageModel:
        """PPD in rounds, each with its share of the passes."""
        settings = {**settings, "loss": "ppd", "num_train_epochs": epochs / ROUNDS, "folder": self.place("ppd_rounds")}
        trained, _ = run_rounds(
            self.student, self.teacher, self.prompts, rounds=ROUNDS, sampling=self.sampling, selection=self.selection,
            **settings,
        )  # fmt: skip
        return trained

    def place(self, name: str) -> Path | None:
        """A folder of its own within the run folder."""
        return None if self.folder is None else as_folder(self.folder) / name


def keep_best_and_worst(table: Dataset, alpha: float = 0.0, match_scale: bool = False) -> Dataset:
    """Per prompt the response with the highest calibrated reward, then the lowest; `teacher_reward` holds these.

    Args:
        table: candidates with teacher_reward, and selection_prob where alpha > 0.
        alpha, match_scale: as in `padlab.calibrate`.
    """
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
