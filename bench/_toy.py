"""Shared by the toy scripts: settings, candidates with the teacher's signals, true quality, results kept in files."""

import gc
import hashlib
import inspect
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from datasets import Dataset

import padlab
from padlab.rankings.metrics import kendall_tau
from padlab.safe_files import write_json
from padlab.worlds.toy import prompts, quality

PRESET = padlab.PRESETS["toy"]  # "toy-aligned" has the same settings
SAMPLING = {**PRESET.sampling(), "shard_size": 256}
TRAINING = {  # the preset's, but all prompts of a step in one pass, which is faster
    **PRESET.training(),
    "gradient_accumulation_steps": 1,
    "per_device_train_batch_size": PRESET.prompts_per_step,
}
MEASURES = ("quality", "tau with truth", "tau with teacher")


class StudentEvaluation:
    """Measures students of one world on 256 held-out prompts.

    Args:
        student: the untrained student; agreement is measured on its samples.
        teacher: gives the calibrated rewards that agreement is measured with.
        seed: decides the prompts and the untrained student's samples.
    """

    def __init__(self, student: padlab.LanguageModel, teacher: padlab.LanguageModel, seed: int):
        self.table = candidates(student, teacher, prompts(256, seed=seed, heldout=True), seed=1000 + seed)
        self.truth = true_quality(self.table)

    def __call__(
        self, student: padlab.LanguageModel, alpha: float = PRESET.alpha, match_scale: bool = False
    ) -> dict[str, float]:
        """`MEASURES`: mean true quality of fresh samples, mean Kendall tau of the student's rewards.

        Args:
            student: trained or not.
            alpha, match_scale: of the teacher's calibrated rewards, as in `padlab.calibrate`.
        """
        samples = padlab.sample_responses(student, self.table["prompt"], seed=99, **SAMPLING)
        rewards = list(padlab.add_rewards(self.table, student, "student_reward")["student_reward"])
        signals = self.table["teacher_reward"], self.table["selection_prob"]
        references = self.truth, padlab.calibrate(*signals, alpha, match_scale=match_scale)
        taus = [float(kendall_tau(rewards, reference).nanmean()) for reference in references]
        return dict(zip(MEASURES, (float(np.mean(true_quality(samples))), *taus), strict=True))


def true_quality(table: Dataset) -> list[list[float]]:
    """True quality of every response, 0 to 1; prompts x n."""
    pairs = zip(table["prompt"], table["responses"], strict=True)
    return [[quality(prompt, response) for response in responses] for prompt, responses in pairs]


def candidates(
    student: padlab.LanguageModel,
    teacher: padlab.LanguageModel,
    texts: Sequence[str],
    seed: int,
    *,
    length_normalize: bool = True,
    **sampling: float,
) -> Dataset:
    """The student's samples with the teacher's rewards and selection probabilities.

    Args:
        student, teacher: the models.
        texts: prompts.
        seed: decides the samples.
        length_normalize: as in `padlab.add_rewards`.
        sampling: settings of `padlab.sample_responses` instead of the preset's, such as n or temperature.
    """
    table = padlab.sample_responses(student, texts, seed=seed, **{**SAMPLING, **sampling})
    table = padlab.add_rewards(table, teacher, length_normalize=length_normalize)
    return padlab.add_selection_probs(table, teacher)


def read_or_run(path: Path, world: str, run: partial) -> dict[str, dict[str, float]]:
    """The result kept in a file if models, settings and scripts are still the same, else that of a new run.

    Args:
        path: the file.
        world: whose models the run uses.
        run: a function with all its arguments; the script that holds it is part of what is compared.
    """
    settings = {"models": [model.describe() for model in padlab.load_pair(world)], "preset": str(PRESET)}
    scripts = {"_toy.py", "toy_experiments.py", Path(inspect.getfile(run.func)).name}
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in sorted(scripts))
    settings["scripts"] = hashlib.sha256(code).hexdigest()[:16]
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["settings"] == settings:
            return kept["result"]
    gc.collect()
    gc.freeze()  # every training collects garbage, which takes a second where many objects are alive
    result = run()
    write_json(path, {"settings": settings, "result": result})
    return result
