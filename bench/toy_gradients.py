"""In which direction does each loss pull the untrained student, and is that the direction of true quality?

    python bench/toy_gradients.py [--seeds 5] [--prompts 256] [--worlds toy toy-aligned]

Gradients over all weights at the start of training, on training prompts with the student's own four responses. Cosine
with the gradient of the expected true quality of what the student writes (policy gradient on 512 other training
prompts, 8 samples each, minus the prompt's mean); with PPD's gradient on the same responses; and with the same loss's
gradient on as many other prompts, i.e. how much of it is chance: of two gradients of one direction the noisier has the
smaller cosine with everything, so compare losses on many prompts. Then how hard each loss over rankings pulls, by how
far student and teacher are apart: length of its gradient with respect to the scores, those of equal texts added up.
95 % t intervals over seeds. Training goes on from here in steps of Adam on eight prompts, which is another thing.
"""

import argparse
import tempfile
from functools import partial
from itertools import pairwise
from math import log

import numpy as np
import torch
from _measure import machine
from _toy_report import interval
from toy_experiments import PRESET, SAMPLING, candidates, truth
from toy_why import TEACHERS, by_chance

import padlab
from padlab.lm.fast.packing import make_batch
from padlab.lm.fast.scoring import token_logprobs
from padlab.phases.rewards import candidate_ids
from padlab.training.trainer import PADConfig, PADTrainer
from padlab.worlds.toy import prompts

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
APART = (0.0, 0.1, 0.5, 0.9, 1.01)  # bounds of the Jensen-Shannon divergence, in ln 2
OTHERS = 512  # prompts for the direction of quality


def gradient(student, table, **settings) -> torch.Tensor:
    """Of the loss on the whole table, all weights in one row."""
    with tempfile.TemporaryDirectory() as place:
        config = PADConfig(place, **{"alpha": PRESET.alpha, "beta": PRESET.beta, **settings},
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


def flat(student) -> torch.Tensor:
    """The gradient as it stands in the weights."""
    return torch.cat([p.grad.flatten() for p in student.model.parameters()])


def directions(world: str, seed: int, count: int) -> dict[tuple[str, str], tuple[float, ...]]:
    """(teacher, loss) -> cosines with the gradient of quality, with PPD's, with the same loss's on other prompts."""
    student, teacher = padlab.load_pair(world)
    drawn = prompts(2 * count + OTHERS, seed=seed)
    wanted = quality_gradient(student, drawn[2 * count :], seed)
    tables = [candidates(teacher, student, drawn[k : k + count], PRESET.n, seed) for k in (0, count)]
    found = {}
    for name, spread in TEACHERS.items():
        both = tables if spread is None else [by_chance(table, seed, spread) for table in tables]
        pulls = {loss: [gradient(student, table, **more) for table in both] for loss, more in LOSSES.items()}
        for loss, (first, second) in pulls.items():
            others = wanted, pulls["ppd"][0], second
            found[name, loss] = tuple(float(torch.cosine_similarity(first, other, dim=0)) for other in others)
    return found


def strengths(world: str, seed: int) -> dict[str, np.ndarray]:
    """Shares per bin of `APART`: of the prompts, and of each loss's pull (the teacher as it is, 512 prompts)."""
    student, teacher = padlab.load_pair(world)
    table = candidates(teacher, student, prompts(OTHERS, seed=seed), PRESET.n, seed)
    ours = PRESET.beta * torch.tensor(list(padlab.add_rewards(table, student, "student_reward")["student_reward"]))
    said = zip(table["teacher_reward"], table["selection_prob"], strict=True)
    theirs = PRESET.beta * torch.stack([padlab.calibrate(r, p, PRESET.alpha) for r, p in said])
    same = torch.tensor([[row.index(text) for text in row] for row in table["responses"]])  # first equal text
    bins = torch.bucketize(padlab.js_divergence(ours, theirs).value.double() / log(2), torch.tensor(APART[1:-1]))

    def shares(weights: torch.Tensor) -> np.ndarray:
        return (torch.bincount(bins, weights, minlength=len(APART) - 1) / weights.sum()).numpy()

    found = {"prompts": shares(torch.ones(len(bins)))}
    for name, loss in PULLS.items():
        scores = ours.clone().requires_grad_()
        loss(scores, theirs).sum().backward()
        found[name] = shares(torch.zeros_like(scores).scatter_add(-1, same, scores.grad).norm(dim=-1))
    return found


def report(world: str, seeds: int, count: int) -> None:
    """Both tables of one world."""
    found = [directions(world, seed, count) for seed in range(seeds)]
    print(f"\n{world}: cosine of gradients on {count} prompts, {seeds} seeds")
    for name, loss in found[0]:
        values = np.array([seed[name, loss] for seed in found]).T
        said = zip(("quality", "ppd", "itself on other prompts"), map(interval, values), strict=True)
        print(f"  teacher {name:30} {loss:25}" + "".join(f"  {k} {m:+.2f} +- {h:.2f}" for k, (m, h) in said))
    as_it_is, told, unsaid = TEACHERS
    for loss in LOSSES:
        for first, second in ((told, as_it_is), (told, unsaid)):
            change = [seed[first, loss][0] - seed[second, loss][0] for seed in found]
            print(f"  {loss:25} quality, {first} minus {second}: " + "{:+.2f} +- {:.2f}".format(*interval(change)))
    shares = [strengths(world, seed) for seed in range(seeds)]
    print("  JSD / ln 2: " + ", ".join(f"{a:g} to {min(b, 1):g}" for a, b in pairwise(APART)))
    for name in shares[0]:
        means = np.mean([seed[name] for seed in shares], axis=0)
        print(f"  {name:25} " + ", ".join(f"{share:.0%}" for share in means), flush=True)


def main() -> None:
    """One report per world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--worlds", nargs="+", default=["toy", "toy-aligned"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(machine(options.threads))
    for world in options.worlds:
        report(world, options.seeds, options.prompts)


if __name__ == "__main__":
    main()
