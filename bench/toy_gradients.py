"""In which direction does each loss's gradient point for the untrained student, and is that the direction of quality?

    python bench/toy_gradients.py [--seeds 5] [--prompts 256] [--worlds toy toy-aligned]

Gradients over all weights at the start of training, on training prompts with the student's own four responses. Cosine
with the gradient of the expected true quality of the student's samples (policy gradient on 512 other training prompts,
8 samples each, minus the prompt's mean); with PPD's gradient on the same responses; and with the same loss's gradient
on as many other prompts, which shows how much of it is noise: of two gradients of one direction the noisier has the
smaller cosine with everything, so compare losses on many prompts. Then the norm of the gradient of each loss over
rankings with respect to the scores (those of equal texts added up), by how far student and teacher are apart.
95 % t intervals over seeds. Training continues from here with Adam steps on eight prompts each, whose direction may
differ.
"""

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from math import log

import numpy as np
import torch
from _measure import machine
from _toy import PRESET, SAMPLING, candidates, true_quality
from _toy_report import t_interval
from datasets import Dataset
from toy_why import TEACHERS, half_random

import padlab
from padlab.lm.encoding import candidate_ids
from padlab.lm.fast.packing import make_response_batch
from padlab.lm.fast.scoring import response_logprobs
from padlab.training.config import PADConfig
from padlab.training.trainer import PADTrainer
from padlab.worlds.toy import prompts

LOSSES = {
    "ppd": {"loss": "ppd"},
    "vpd": {"loss": "vpd"},
    "dpo": {"loss": "dpo"},
    "simpo": {"loss": "simpo"},
    "ppd, KL(teacher, student)": {"loss": "ppd", "divergence": "forward_kl"},
    "ppd, KL(student, teacher)": {"loss": "ppd", "divergence": "reverse_kl"},
}
RANKING_LOSSES = {
    "ppd": padlab.ppd_loss,
    "vpd": padlab.vpd_loss,
    "ppd, KL(teacher, student)": partial(padlab.ppd_loss, divergence="forward_kl"),
    "ppd, KL(student, teacher)": partial(padlab.ppd_loss, divergence="reverse_kl"),
}
JSD_BINS = (0.0, 0.1, 0.5, 0.9, 1.01)  # bounds of the Jensen-Shannon divergence, in ln 2
QUALITY_PROMPTS = 512  # for the gradient of quality, and for the norms


def loss_gradient(student: padlab.LanguageModel, table: Dataset, **settings: str) -> torch.Tensor:
    """Gradient of the loss on the whole table, over all weights as one vector."""
    settings = {"alpha": PRESET.alpha, "beta": PRESET.beta, "per_device_train_batch_size": len(table), **settings}
    with tempfile.TemporaryDirectory() as folder:
        trainer = PADTrainer(student, PADConfig(folder, **settings), table)
    student.model.zero_grad()
    trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader()))).backward()
    return flat_gradient(student)


def quality_gradient(student: padlab.LanguageModel, texts: Sequence[str], seed: int) -> torch.Tensor:
    """Gradient of minus the expected true quality of samples at T 1 (score function, baseline: the prompt's mean)."""
    table = padlab.sample_responses(student, texts, seed=seed, **{**SAMPLING, "n": 8})
    truth = torch.tensor(true_quality(table))
    batch = make_response_batch(*candidate_ids(student, table), pack=True)
    student.model.zero_grad()
    logps = response_logprobs(student.model, batch).sum(-1).view(truth.shape)
    (-((truth - truth.mean(-1, keepdim=True)) * logps).sum(-1).mean() / 7).backward()
    return flat_gradient(student)


def flat_gradient(student: padlab.LanguageModel) -> torch.Tensor:
    """The gradients that a backward pass left at the weights, as one vector."""
    return torch.cat([p.grad.flatten() for p in student.model.parameters()])


def directions(world: str, seed: int, count: int) -> dict[tuple[str, str], tuple[float, ...]]:
    """(teacher, loss) -> cosines with the gradient of quality, with PPD's, with the same loss's on other prompts."""
    student, teacher = padlab.load_pair(world)
    texts = prompts(2 * count + QUALITY_PROMPTS, seed=seed)
    of_quality = quality_gradient(student, texts[2 * count :], seed)
    tables = [candidates(student, teacher, texts[start : start + count], seed) for start in (0, count)]
    cosines = {}
    for name, spread in TEACHERS.items():
        pair = tables if spread is None else [half_random(table, seed, spread) for table in tables]
        gradients = {
            loss: [loss_gradient(student, table, **settings) for table in pair] for loss, settings in LOSSES.items()
        }
        for loss, (first, second) in gradients.items():
            others = of_quality, gradients["ppd"][0], second
            cosines[name, loss] = tuple(float(torch.cosine_similarity(first, other, dim=0)) for other in others)
    return cosines


def gradient_shares(world: str, seed: int) -> dict[str, np.ndarray]:
    """Shares per bin of `JSD_BINS`: of the prompts, and of each loss's gradient norms (teacher unchanged)."""
    student, teacher = padlab.load_pair(world)
    table = candidates(student, teacher, prompts(QUALITY_PROMPTS, seed=seed), seed)
    table = padlab.add_rewards(table, student, "student_reward")
    student_scores = PRESET.beta * torch.tensor(list(table["student_reward"]))
    teacher_scores = PRESET.beta * padlab.calibrate(table["teacher_reward"], table["selection_prob"], PRESET.alpha)
    first_equal = torch.tensor([[row.index(text) for text in row] for row in table["responses"]])
    jsd = padlab.js_divergence(student_scores, teacher_scores).value.double()
    bins = torch.bucketize(jsd / log(2), torch.tensor(JSD_BINS[1:-1]))

    def shares(weights: torch.Tensor) -> np.ndarray:
        return (torch.bincount(bins, weights, minlength=len(JSD_BINS) - 1) / weights.sum()).numpy()

    result = {"prompts": shares(torch.ones(len(bins)))}
    for name, loss in RANKING_LOSSES.items():
        scores = student_scores.clone().requires_grad_()
        loss(scores, teacher_scores).sum().backward()
        result[name] = shares(torch.zeros_like(scores).scatter_add(-1, first_equal, scores.grad).norm(dim=-1))
    return result


def report_directions(world: str, seeds: int, count: int) -> None:
    """Cosines of every teacher and loss; differences between the teachers, paired by seed."""
    cosines = [directions(world, seed, count) for seed in range(seeds)]
    print(f"\n{world}: cosine of gradients on {count} prompts, {seeds} seeds")
    others = ("quality", "ppd", "itself on other prompts")
    for name, loss in cosines[0]:
        values = np.array([seed[name, loss] for seed in cosines]).T
        texts = ("  {} {:+.2f} +- {:.2f}".format(k, *t_interval(v)) for k, v in zip(others, values, strict=True))
        print(f"  teacher {name:30} {loss:25}" + "".join(texts))
    as_it_is, small_spread, full_spread = TEACHERS
    for loss in LOSSES:
        for first, second in ((small_spread, as_it_is), (small_spread, full_spread)):
            change = [seed[first, loss][0] - seed[second, loss][0] for seed in cosines]
            print(f"  {loss:25} quality, {first} minus {second}: " + "{:+.2f} +- {:.2f}".format(*t_interval(change)))


def report_shares(world: str, seeds: int) -> None:
    """Mean shares per bin over the seeds."""
    shares = [gradient_shares(world, seed) for seed in range(seeds)]
    print("  JSD / ln 2: " + ", ".join(f"{low:g} to {min(high, 1):g}" for low, high in pairwise(JSD_BINS)))
    for name in shares[0]:
        means = np.mean([seed[name] for seed in shares], axis=0)
        print(f"  {name:25} " + ", ".join(f"{share:.0%}" for share in means), flush=True)


def main() -> None:
    """Both reports per world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--worlds", nargs="+", default=["toy", "toy-aligned"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(machine(options.threads))
    for world in options.worlds:
        report_directions(world, options.seeds, options.prompts)
        report_shares(world, options.seeds)


if __name__ == "__main__":
    main()
