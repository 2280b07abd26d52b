"""Did it get better, and at what price? One student before and after training by every method, on the same prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from padlab import LanguageModel, add_rewards, add_selection_probs, check_candidates, load_prompts
from padlab.conversations import PREVIOUS, conversation
from padlab.rankings.intervals import Interval, mean_interval
from padlab.rankings.metrics import METRICS
from padlab.safe_files import as_folder
from padlab.study.agreement import Quality, evaluate_samples, rank_agreement
from padlab.study.benchmarks.answers import generate_answers
from padlab.study.benchmarks.gsm8k import SETTINGS as GSM8K
from padlab.study.benchmarks.gsm8k import gsm8k_correct
from padlab.study.benchmarks.questions import Question
from padlab.study.local_judge import Agreement, local_win_rate
from padlab.study.methods import METHODS, trained_students

if TYPE_CHECKING:
    from datasets import Dataset

AGREEMENT = ("kendall_tau", "jsd", "truth_tau")  # of the measures of `rank_agreement`, those in the table
BEFORE, TEACHER = "before", "teacher"
TARGET = {"alpha": 0.0, "beta": 10.0, "match_scale": False}  # what makes the teacher's scores


@dataclass
class StudentComparison:
    """Measures of every student, prompt by prompt; printing it shows the table.

    Args:
        per_prompt: student ("before", the methods, "teacher") -> measure -> one number per prompt (NaN: undefined).
        samples: student -> its answers to the held-out prompts.
        judged: what must stand beside the local win rate; "" without a judge.
        target: what agreement is measured with, in words.
    """

    per_prompt: dict[str, dict[str, np.ndarray]]
    samples: dict[str, Dataset] = field(repr=False)
    judged: str = ""
    target: str = ""

    @property
    def measures(self) -> list[str]:
        """Names of the measures, in the table's order."""
        return list(dict.fromkeys(name for values in self.per_prompt.values() for name in values))

    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Student -> measure -> mean with its 95 % interval over prompts."""
        return {s: {m: mean_interval(v) for m, v in values.items()} for s, values in self.per_prompt.items()}

    def differences(self) -> dict[str, dict[str, Interval]]:
        """Student -> measure -> paired difference from before training, with its 95 % interval over prompts.

        One training each: another seed moves a student by more than these intervals say.
        """
        before = self.per_prompt[BEFORE]
        return {
            student: {m: mean_interval(v - before[m]) for m, v in values.items() if m in before}
            for student, values in self.per_prompt.items()
            if student != BEFORE
        }

    def levels(self) -> dict[str, float]:
        """Measure -> mean before training, for `padlab.show.plots.plot_students(levels, differences)`."""
        return {measure: interval.estimate for measure, interval in self.intervals()[BEFORE].items()}

    def examples(self, method: str = "ppd", count: int = 3) -> list[dict[str, str]]:
        """Texts side by side, chosen by a rule and not by hand.

        The held-out prompts are sorted by the change of the student trained by `method` (true quality where the world
        has one, else the teacher's reward), and taken evenly from the worst to the best.

        Args:
            method: whose change sorts the prompts.
            count: how many prompts, >= 1; three: the worst, the median, the best.

        Returns:
            per prompt: prompt, change, and the first answer of every student.

        Raises:
            ValueError: a method that was not compared.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        if method not in self.per_prompt:
            raise ValueError(f"no student {method!r}; there are {', '.join(self.per_prompt)}")
        measure = "quality" if "quality" in self.per_prompt[BEFORE] else "teacher_reward"
        change = self.per_prompt[method][measure] - self.per_prompt[BEFORE][measure]
        order = np.argsort(change, kind="stable")
        rows = order[np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)]
        texts = {student: table["responses"] for student, table in self.samples.items()}
        prompts = self.samples[BEFORE]["prompt"]
        return [
            {"prompt": prompts[k], "change": f"{measure} {change[k]:+.2f}", **{s: t[k][0] for s, t in texts.items()}}
            for k in map(int, rows)
        ]

    def __str__(self) -> str:
        intervals, changes = self.intervals(), self.differences()
        lines = [
            "mean [95 % interval over prompts]; behind it the paired difference from before",
            "one training each: another seed moves a student by more; about 1 interval in 20 excludes 0 by chance",
            *([f"agreement (tau, divergence) is with the {self.target}"] if self.target else []),
        ]
        for measure in self.measures:
            known = METRICS[measure]
            lines.append(f"\n{known.title} ({measure}), {known.unit}")
            lines += [self.judged] * (measure == "local_win_rate")
            for student, values in intervals.items():
                if measure in values:
                    value, change = values[measure], changes.get(student, {}).get(measure)
                    shown = f"{value.estimate:7.3f} [{value.low:.3f}, {value.high:.3f}]"
                    lines.append(f"  {student:12} {shown:26} {change or ''}".rstrip())
        return "\n".join(lines)

    __repr__ = __str__


def compare_students(
    student: LanguageModel,
    teacher: LanguageModel,
    prompts: Dataset | Sequence[str],
    heldout: Dataset | Sequence[str],
    *,
    methods: Sequence[str] = METHODS,
    quality: Quality | None = None,
    judge: LanguageModel | None = None,
    agreement: Agreement | None = None,
    gsm8k: Sequence[Question] = (),
    max_new_tokens: int | None = None,
    seed: int = 0,
    sampling: Mapping[str, Any] | None = None,
    selection: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    **training: Any,
) -> StudentComparison:
    """Train one student by every method at equal budget, and measure all of them on the same held-out prompts.

    Equal budget: as many response tokens seen. Methods that read two responses per prompt make more steps for it.

    Args:
        student, teacher: left as they were.
        prompts: for training.
        heldout: for measuring; other prompts than those.
        methods: some of `padlab.study.methods.METHODS` and `LISTWISE`.
        quality: the truth of a world, e.g. `padlab.worlds.reading.quality`.
        judge: a model that judges each student's answers against those before training (`padlab.local_win_rate`).
        agreement: of that judge with GPT-4-turbo (`padlab.judge_agreement`); shown beside the win rate.
        gsm8k: questions of `padlab.study.benchmarks.gsm8k.load_questions`; without them it is left out.
        max_new_tokens: of an answer to these; None: 512.
        seed: decides training samples and training; the held-out samples have their own.
        sampling: as in `sample_responses`, in training and measuring.
        selection: as in `add_selection_probs`, where alpha > 0 and for the judge.
        folder: run folder for all of it; the same call again goes on where it stopped.
        training: epochs, method_settings and settings of `distill`, see `padlab.study.methods.trained_students`.

    Returns:
        `StudentComparison` with, per student: kendall_tau, jsd (agreement with the teacher on the untrained student's
        samples), truth_tau, quality, right (with `quality`), teacher_reward of fresh samples, local_win_rate against
        before, gsm8k; and health: length, repetition, finished, kl_to_start (nats/token, estimated on the student's
        own samples: mean of log p(trained) - log p(before)).

    Raises:
        ValueError: a held-out prompt that is also trained on, or what the phases refuse, see there.
    """
    prompts, heldout = load_prompts(prompts), load_prompts(heldout)
    if shared := len({str(conversation(e)) for e in prompts} & {str(conversation(e)) for e in heldout}):
        raise ValueError(f"{shared} of the held-out prompts are training prompts; give other prompts for measuring")
    place, defaults = None if folder is None else as_folder(folder), {**TARGET, **student.training}
    measure = _Measure(
        start=student,
        teacher=teacher,
        heldout=heldout,
        quality=quality,
        judge=judge,
        agreement=agreement,
        gsm8k=tuple(gsm8k),
        max_new_tokens=max_new_tokens or GSM8K["max_new_tokens"],
        sampling={"n": 4, **(sampling or {}), "seed": seed + 1000},
        selection=dict(selection or {}),
        target={name: training.get(name, defaults[name]) for name in defaults if name in TARGET},
        folder=place,
    )
    measure(BEFORE, student)
    settings = {"methods": methods, "seed": seed, "sampling": sampling, "selection": selection, **training}
    for method, trained in trained_students(student, teacher, prompts, folder=place and place / "training", **settings):
        measure(method, trained)
    measure(TEACHER, teacher)
    target = "teacher's calibrated reward, alpha {alpha:g}, beta {beta:g}".format(**measure.target)
    return StudentComparison(measure.per_prompt, measure.samples, measure.judged, target)


@dataclass
class _Measure:
    """Measures students one after another, the untrained one first."""

    start: LanguageModel
    teacher: LanguageModel
    heldout: Any
    quality: Quality | None
    judge: LanguageModel | None
    agreement: Agreement | None
    gsm8k: tuple[Question, ...]
    max_new_tokens: int
    sampling: dict[str, Any]
    selection: dict[str, Any]
    target: dict[str, Any]
    folder: Path | None
    per_prompt: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    samples: dict[str, Dataset] = field(default_factory=dict)
    judged: str = ""

    def __call__(self, name: str, model: LanguageModel) -> None:
        """All measures of one student, kept under its name."""
        folder = None if self.folder is None else self.folder / "measures" / name
        fresh = evaluate_samples(
            model, self.teacher, self.heldout, quality=self.quality, **self.sampling, folder=folder
        )
        self.samples[name] = fresh.table
        measures = {**self._agreement(model), **fresh.per_prompt}
        measures |= self._kl(model, fresh.table, folder) | self._judged(fresh.table, folder)
        if self.gsm8k:
            measures["gsm8k"] = self._gsm8k(model, folder)
        self.per_prompt[name] = measures

    def _agreement(self, model: LanguageModel) -> dict[str, np.ndarray]:
        """On the untrained student's samples, the same for all."""
        common = self.samples[BEFORE]
        if self.target["alpha"] > 0 and "selection_prob" not in common.column_names:
            folder = self.folder and self.folder / "measures" / BEFORE
            common = add_selection_probs(common, self.teacher, folder=folder, **self.selection)
            self.samples[BEFORE] = common
        report = rank_agreement(model, self.teacher, common, quality=self.quality, **self.target)
        return {name: report.per_prompt[name] for name in AGREEMENT if name in report.per_prompt}

    def _kl(self, model: LanguageModel, table: Dataset, folder: Path | None) -> dict[str, np.ndarray]:
        """Per prompt, mean over its samples of (log p(model) - log p(start)) per token; nothing for other tokens."""
        if not model.shares_vocabulary(self.start):
            return {}
        for column, scorer in (("student_reward", model), ("start_reward", self.start)):
            table = add_rewards(table, scorer, column, folder=folder)
        differences = [np.subtract(row["student_reward"], row["start_reward"]) for row in table]
        return {"kl_to_start": np.array([d.mean() for d in differences])}

    def _judged(self, table: Dataset, folder: Path | None) -> dict[str, np.ndarray]:
        """The win rate of the first answer to each prompt against the one before training."""
        if self.judge is None:
            return {}
        first = [_first_answer(t) for t in (table, self.samples[BEFORE])]
        won = local_win_rate(self.judge, *first, agreement=self.agreement, folder=folder, **self.selection)
        self.judged = won.warning
        return {"local_win_rate": won.per_prompt["win_rate"]}

    def _gsm8k(self, model: LanguageModel, folder: Path | None) -> np.ndarray:
        """Right or not, question by question."""
        settings = {**GSM8K, "max_new_tokens": self.max_new_tokens, "folder": folder and folder / "gsm8k"}
        answers = generate_answers(model, self.gsm8k, **settings)
        return np.array([float(gsm8k_correct(a.text, q.gold)) for q, (a,) in zip(self.gsm8k, answers, strict=True)])


def _first_answer(table: Dataset) -> Dataset:
    """The table with the first of each prompt's responses alone."""
    asked = [{c: entry[c] for c in ("prompt", PREVIOUS) if entry.get(c)} for entry in table]
    return check_candidates([{**a, "responses": r[:1]} for a, r in zip(asked, table["responses"], strict=True)])
