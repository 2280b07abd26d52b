"""In which direction does each loss pull the untrained student, and is that the direction of true quality?

    python bench/toy_gradients.py [--seeds 10] [--worlds toy toy-aligned]

Gradients over all weights at the start of training, on 64 training prompts with the student's own four responses.
Against PPD: cosine of a loss's gradient with PPD's on the same responses. Against quality: cosine with the gradient of
the expected true quality of what the student writes (policy gradient on 512 other training prompts, 8 samples each,
minus the prompt's mean). Against itself: cosine of the gradients of one loss on two disjoint sets of 64 prompts, i.e.
how much of it is chance. 95 % t intervals over seeds. And how hard each loss over rankings pulls where student and
teacher are farthest apart: the Jensen-Shannon divergence is bounded, so it is flat there.
"""

import argparse
from functools import partial
from math import log

import numpy as np
import torch
from _measure import machine
from _toy_report import interval
from toy_experiments import PRESET, SAMPLING, candidates, truth
from toy_why import TEACHERS, by_chance

import padlab
from padlab.lm.batches import make_batch
from padlab.lm.logprobs import token_logprobs
from padlab.phases.rewards import candidate_ids
from padlab.phases.trainer import PADConfig, PADTrainer
from padlab.study.toy import prompts

LOSSES = {
    "ppd": {"loss": "ppd"},
    "vpd": {"loss": "vpd"},
    "dpo": {"loss": "dpo"},
    "simpo": {"loss": "simpo"},
    "ppd, KL(teacher, student)": {"loss": "ppd", "divergence": "forward_kl"},
    "ppd, KL(student, teacher)": {"loss": "ppd", "divergence": "reverse_kl"},
}

PULLS = {
    "ppd": padlab.ppd_loss,
    "vpd": padlab.vpd_loss,
    "ppd, KL(teacher, student)": partial(padlab.ppd_loss, divergence="forward_kl"),
    "ppd, KL(student, teacher)": partial(padlab.ppd_loss, divergence="reverse_kl"),
}


def gradient(student, table, **settings) -> torch.Tensor:
    """Of the loss on the whole table, all weights in one row."""
    config = PADConfig("none", **{"alpha": PRESET.alpha, "beta": PRESET.beta, **settings},
                       per_device_train_batch_size=len(table))  # fmt: skip
    trainer = PADTrainer(student, config, table)
    student.model.zero_grad()
    trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader()))).backward()
    return flat(student)


def quality_gradient(student, asked, seed: int) -> torch.Tensor:
    """Of minus the expected true quality of samples at T 1 (score function, baseline: the prompt's mean)."""
    table = padlab.sample_responses(student, asked, 8, seed=seed, temperature=1.0, **SAMPLING)
    known = torch.tensor(truth(table))
    batch = make_batch(*candidate_ids(student, table), share=True)
    student.model.zero_grad()
    sums = token_logprobs(student.model, batch).sum(-1).view(known.shape)
    (-((known - known.mean(-1, keepdim=True)) * sums).sum(-1).mean() / 7).backward()
    return flat(student)


def saturated(world: str, seed: int) -> dict[str, tuple[float, float]]:
    """Loss -> (share of the prompts whose Jensen-Shannon divergence is above 0.9 ln 2, their share of its pull).

    The pull of a prompt is the length of the loss's gradient with respect to the student's scores.
    """
    teacher, student = padlab.load_pair(world)
    table = candidates(teacher, student, prompts(512, seed=seed), PRESET.n, seed)
    ours = PRESET.beta * torch.tensor(list(padlab.add_rewards(table, student, "student_reward")["student_reward"]))
    said = zip(table["teacher_reward"], table["selection_prob"], strict=True)
    theirs = PRESET.beta * torch.stack([padlab.calibrate(r, p, PRESET.alpha) for r, p in said])
    far = padlab.js_divergence(ours, theirs).value > 0.9 * log(2)
    found = {}
    for name, loss in PULLS.items():
        scores = ours.clone().requires_grad_()
        loss(scores, theirs).sum().backward()
        pull = scores.grad.norm(dim=-1)
        found[name] = float(far.float().mean()), float(pull[far].sum() / pull.sum())
    return found


def flat(student) -> torch.Tensor:
    """The gradient as it stands in the weights."""
    return torch.cat([p.grad.flatten() for p in student.model.parameters()])


def one_seed(world: str, seed: int) -> dict[tuple[str, str], tuple[float, ...]]:
    """(teacher, loss) -> cosines with PPD, with quality, with the same loss on other prompts."""
    teacher, student = padlab.load_pair(world)
    drawn = prompts(640, seed=seed)
    wanted = quality_gradient(student, drawn[128:], seed)
    tables = [candidates(teacher, student, drawn[k : k + 64], PRESET.n, seed) for k in (0, 64)]
    found = {}
    for name, spread in TEACHERS.items():
        both = tables if spread is None else [by_chance(table, seed, spread) for table in tables]
        pulls = {loss: [gradient(student, table, **more) for table in both] for loss, more in LOSSES.items()}
        for loss, (first, second) in pulls.items():
            others = pulls["ppd"][0], wanted, second
            found[name, loss] = tuple(float(torch.cosine_similarity(first, other, dim=0)) for other in others)
    return found


def main() -> None:
    """One table per world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--worlds", nargs="+", default=["toy", "toy-aligned"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(machine(options.threads))
    for world in options.worlds:
        found = [one_seed(world, seed) for seed in range(options.seeds)]
        print(f"\n{world}: cosine of gradients, {options.seeds} seeds")
        for name, loss in found[0]:
            values = np.array([seed[name, loss] for seed in found]).T
            said = zip(("ppd", "quality", "itself on other prompts"), map(interval, values), strict=True)
            print(f"  teacher {name:30} {loss:25}" + "".join(f"  {k} {m:+.2f} +- {h:.2f}" for k, (m, h) in said))
        far = [saturated(world, seed) for seed in range(options.seeds)]
        for loss in PULLS:
            share, pull = (np.mean([seed[loss][k] for seed in far]) for k in (0, 1))
            print(f"  {loss:25} {share:.0%} of the prompts are above 0.9 ln 2, with {pull:.0%} of the pull on scores")


if __name__ == "__main__":
    main()
