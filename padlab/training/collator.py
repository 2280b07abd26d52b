"""What the trainer reads: a candidates table as token ids with the teacher's scores, and batches of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from padlab.candidates import check_candidates
from padlab.lm.encoding import candidate_ids
from padlab.lm.fast.packing import make_response_batch
from padlab.lm.fast.scoring import score_ids
from padlab.lm.models import LanguageModel
from padlab.rankings.calibration import calibrate

if TYPE_CHECKING:
    from datasets import Dataset

    from padlab.training.config import PADConfig

NEEDS_REFERENCE = ("dpo", "lipo")  # losses that compare with the student before training


def training_examples(student: LanguageModel, candidates: Dataset, config: PADConfig) -> list[dict[str, Any]]:
    """Per prompt: token ids as the student sees them, and the teacher's scores (beta x calibrated reward).

    Args:
        student: before training; for the losses in NEEDS_REFERENCE its log-probabilities are the reference.
        candidates: table with `teacher_reward`, and `selection_prob` if alpha > 0.
        config: alpha, beta, match_scale and loss decide.

    Raises:
        ValueError: a column is missing, or holds a number that is not finite (row named).
    """
    needs = ("teacher_reward", "selection_prob") if config.alpha > 0 else ("teacher_reward",)
    candidates = check_candidates(candidates, needs)
    prompt_ids, response_ids = candidate_ids(student, candidates)
    examples = []
    for row, entry in enumerate(candidates):
        selection_prob = entry["selection_prob"] if config.alpha > 0 else None
        reward = torch.tensor(entry["teacher_reward"])
        scores = config.beta * calibrate(reward, selection_prob, config.alpha, match_scale=config.match_scale)
        ids = {"prompt_ids": prompt_ids[row], "response_ids": response_ids[row]}
        examples.append({**ids, "row": row, "teacher_scores": scores.tolist()})
    if config.loss in NEEDS_REFERENCE:
        for example, row in zip(examples, score_ids(student.model, prompt_ids, response_ids), strict=True):
            example["reference"] = [sum(logps) for logps in row]
    return examples


def collate(examples: Sequence[dict[str, Any]], pack: bool) -> dict[str, Any]:
    """A batch: tokens, which responses exist, and grids of prompts x n padded with 0.

    Args:
        examples: see `training_examples`.
        pack: prompt and responses in one row, see `padlab.lm.fast.packing.make_response_batch`.
    """
    width = max(len(e["response_ids"]) for e in examples)
    exists = torch.tensor([[k < len(e["response_ids"]) for k in range(width)] for e in examples])
    tokens = make_response_batch([e["prompt_ids"] for e in examples], [e["response_ids"] for e in examples], pack)
    batch = {"tokens": tokens, "exists": exists, "examples": list(examples)}
    for name in ("teacher_scores", "reference"):
        if name in examples[0]:
            batch[name] = torch.tensor([[*e[name], *[0.0] * (width - len(e[name]))] for e in examples])
    return batch


def to_grid(values: Tensor, exists: Tensor) -> Tensor:
    """One value per response as prompts x n; 0 where a prompt has fewer responses."""
    exists = exists.to(values.device)
    return torch.zeros(exists.shape, device=values.device, dtype=values.dtype).masked_scatter(exists, values)
