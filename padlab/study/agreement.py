"""How closely does the student's ranking match the teacher's, and what does it write now? With bootstrap intervals.

Agreement is measured on given responses (the same before and after training); fresh samples show what changed in what
the student writes: the teacher's reward of them, and length, finished answers and repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from padlab import LanguageModel, add_rewards, calibrate, check_candidates, sample_responses
from padlab.rankings.metrics import kendall_tau
from padlab.study.metrics import Report, prompt_agreement, repetition

if TYPE_CHECKING:
    from datasets import Dataset

Quality = Callable[[str, str], float]  # (prompt, response) -> true quality, 0 to 1


def rank_agreement(
    student: LanguageModel,
    teacher: LanguageModel,
    heldout: Dataset,
    *,
    alpha: float = 0.0,
    beta: float = 10.0,
    match_scale: bool = False,
    length_normalize: bool = True,
    quality: Quality | None = None,
) -> Report:
    """Agreement of two models' rankings of the same responses.

    Args:
        student, teacher: the models; the student's rewards are computed anew, the teacher's only if the table has no
            `teacher_reward`.
        heldout: candidates with independent samples (drawn without `distinct` and `oversample`).
        alpha: weight of `selection_prob` in the teacher's calibrated reward, 0 to 1.
        beta: nats/token to scores, > 0; only the divergence depends on it.
        match_scale: as in `padlab.calibrate`.
        length_normalize: as in `padlab.add_rewards`; must fit the table's `teacher_reward`.
        quality: the truth of a world, e.g. `padlab.worlds.reading.quality`; adds truth_tau.

    Returns:
        Report: `per_prompt` holds one value per prompt of jsd (nats), kendall_tau (tau-b), top1 and pairwise_accuracy
        (shares; see `padlab.rankings.metrics` for ties), with `quality` truth_tau (tau-b between the student's rewards
        and the true quality), NaN where undefined; `table` the candidates with both models'
        rewards; `intervals()` an `Interval(estimate, low, high, count)` per measure: mean over prompts and 95 %
        percentile bootstrap interval (4,000 resamples). Printing it shows these.

    Raises:
        ValueError: missing column, alpha or beta out of range, or a number that is not finite (row named).

    >>> student, teacher = load_pair("tiny")
    >>> report = rank_agreement(student, teacher, [{"prompt": "Hi", "responses": ["one", "another one"]}])
    >>> sorted(report.per_prompt)
    ['jsd', 'kendall_tau', 'pairwise_accuracy', 'top1']
    """
    if not 0 < beta < float("inf"):
        raise ValueError(f"beta must be a positive number, got {beta}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1] (0 = likelihood alone), got {alpha}")
    table = check_candidates(heldout, ("selection_prob",) if alpha > 0 else ())
    if "teacher_reward" not in table.column_names:
        table = add_rewards(table, teacher, "teacher_reward", length_normalize=length_normalize)
    table = add_rewards(table, student, "student_reward", length_normalize=length_normalize)
    rows = []
    for entry in table:
        reward, selection_prob = torch.tensor(entry["teacher_reward"]), entry["selection_prob"] if alpha else None
        calibrated = calibrate(reward, selection_prob, alpha, match_scale=match_scale)
        rows.append(prompt_agreement(entry["student_reward"], calibrated.tolist(), beta))
        if quality is not None:
            truth = [quality(entry["prompt"], response) for response in entry["responses"]]
            rows[-1]["truth_tau"] = float(kendall_tau(entry["student_reward"], truth))
    return Report({name: np.array([row[name] for row in rows]) for name in rows[0]}, table)


def evaluate_samples(
    student: LanguageModel,
    teacher: LanguageModel | None,
    prompts: Dataset | Sequence[str],
    n: int = 4,
    *,
    quality: Quality | None = None,
    **sampling: Any,
) -> Report:
    """What the student writes: independent samples, measured by the teacher's reward, length, ending and repetition.

    Args:
        student: the model that writes.
        teacher: gives the rewards; None leaves them out.
        prompts: table or list of strings.
        n: samples per prompt.
        quality: the truth of a world, e.g. `padlab.worlds.reading.quality`; adds quality (mean, 0 to 1) and right
            (share of samples of quality 1).
        sampling: temperature, top_p, max_new_tokens, seed, folder as in `sample_responses`.

    Returns:
        Report with teacher_reward (nats/token), length (tokens), finished (share of responses that ended by
        themselves), repetition (share of repeated 3-token sequences), and quality and right where asked for; its
        `table` holds the samples.

    >>> evaluate_samples(*load_pair("tiny"), ["Hi"], n=2, max_new_tokens=3).per_prompt["length"]
    array([3.])
    """
    table = sample_responses(student, prompts, n, **sampling)
    ids, measures = table["response_ids"], {}
    if quality is not None:
        truth = [[quality(entry["prompt"], r) for r in entry["responses"]] for entry in table]
        measures |= {"quality": [np.mean(q) for q in truth], "right": [np.mean(np.equal(q, 1)) for q in truth]}
    if teacher is not None:
        table = add_rewards(table, teacher, "teacher_reward", folder=sampling.get("folder"))
        measures["teacher_reward"] = [np.mean(r) for r in table["teacher_reward"]]
    measures |= {
        "length": [np.mean([len(r) for r in row]) for row in ids],
        "finished": [np.mean(f) for f in table["finished"]],
        "repetition": [np.mean([repetition(r) for r in row]) for row in ids],
    }
    return Report({name: np.array(values, float) for name, values in measures.items()}, table)
