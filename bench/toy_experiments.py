"""Experiments in the toy world, where the true quality of every response is known: tables, figures, 95 % intervals.

    python bench/toy_experiments.py alpha [--seeds 5] [--worlds toy toy-aligned]
    python bench/toy_experiments.py rounds decompose baselines n temperature beta divergence reduction rate scale steps

Every run samples from the untrained student, scores and asks the toy teacher, trains on 64 prompts, and is judged on
256 held-out prompts: true quality of fresh samples, and agreement (Kendall tau) of the student's rewards with the truth
and with the teacher's calibrated rewards, on the untrained student's samples. Intervals: t over seeds, of the paired
change since before training and of paired differences between settings. Seeds differ in prompts, samples and training;
the models are the bundled ones. Results are kept per seed; without a name all run; the same command again computes only
what is missing.
"""

import argparse
import gc
import hashlib
import inspect
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _measure import machine, peak_extra_mib
from _toy_report import draw_figure, print_paired, print_table

import padlab
from padlab.phases.rounds import rounds_for
from padlab.runs import write_json
from padlab.study.agreement import kendall_tau
from padlab.worlds.toy import prompts, quality, question

PRESET = padlab.PRESETS["toy"]
SAMPLING = {"top_p": PRESET.top_p, "max_new_tokens": PRESET.max_new_tokens, "shard_size": 256}
TRAINING = {
    "learning_rate": PRESET.learning_rate, "num_train_epochs": PRESET.epochs, "gradient_accumulation_steps": 1,
    "per_device_train_batch_size": PRESET.prompts_per_step, "peft_config": None,
}  # fmt: skip
ALPHAS = [k / 10 for k in range(11)]
EXPERIMENTS = (
    "alpha",
    "rounds",
    "decompose",
    "baselines",
    "n",
    "temperature",
    "beta",
    "divergence",
    "reduction",
    "rate",
    "scale",
    "steps",
)
LENGTH = 6.5  # tokens of a response, about; brings sums to the scale of means
BUDGET = 8  # responses per prompt, spent in one round or in several


class Judge:
    """Measures students on one seed's held-out prompts."""

    measures = ("quality", "tau with truth", "tau with teacher")

    def __init__(self, teacher, student, seed: int):
        self.table = candidates(teacher, student, prompts(256, seed=seed, heldout=True), 4, 1000 + seed)
        self.truth = truth(self.table)

    def __call__(self, student, alpha: float = PRESET.alpha, match_scale: bool = False) -> dict[str, float]:
        """Quality of fresh samples; agreement on the untrained student's samples."""
        fresh = padlab.sample_responses(student, self.table["prompt"], 4, seed=99, **SAMPLING)
        ours = padlab.add_rewards(self.table, student, "student_reward")["student_reward"]
        said = zip(self.table["teacher_reward"], self.table["selection_prob"], strict=True)
        wanted = [padlab.calibrate(r, p, alpha, match_scale=match_scale).tolist() for r, p in said]
        found = {"quality": float(np.mean(truth(fresh)))}
        for name, reference in zip(self.measures[1:], (self.truth, wanted), strict=True):
            taus = [kendall_tau(a, b) for a, b in zip(ours, reference, strict=True)]
            found[name] = float(np.nanmean(taus))
        return found


def truth(table) -> list[list[float]]:
    """True quality of every response."""
    return [[quality(p, r) for r in row] for p, row in zip(table["prompt"], table["responses"], strict=True)]


def candidates(teacher, student, asked, n, seed, temperature=1.0, **scoring):
    """Samples of the student with the teacher's rewards and selection probabilities."""
    table = padlab.sample_responses(student, asked, n, seed=seed, temperature=temperature, **SAMPLING)
    return padlab.add_selection_probs(padlab.add_rewards(table, teacher, **scoring), teacher, ask=question)


def widened(table):
    """The teacher's rewards of each prompt on the scale of its log selection probabilities; same order."""

    def one(row):
        reward, said = np.array(row["teacher_reward"]), np.log(np.maximum(row["selection_prob"], 1e-38))
        factor = said.std() / reward.std() if reward.std() > 0 else 1.0
        return {"teacher_reward": (reward.mean() + factor * (reward - reward.mean())).tolist()}

    return table.map(one)


def one_seed(experiment: str, world: str, seed: int) -> dict[str, dict[str, float]]:
    """Setting -> measures; "before" is the untrained student."""
    student, teacher = padlab.load_pair(world)
    judge, asked = Judge(teacher, student, seed), prompts(64, seed=seed)
    settings = {**TRAINING, "seed": seed}

    def draw(n=PRESET.n, **more):
        return candidates(teacher, student, asked, n, seed, **more)

    def train(table, **more):
        return padlab.distill(student, table, **{"alpha": PRESET.alpha, **settings, **more})

    found = {"before": judge(student)}
    if experiment in _EXPERIMENTS:
        return found | _EXPERIMENTS[experiment](teacher, student, asked, judge, settings)
    table = draw()
    plans = {
        "alpha": lambda: {f"{a:g}": judge(train(table, alpha=a), a) for a in ALPHAS},
        "beta": lambda: {f"{b:g}": judge(train(table, beta=b)) for b in (1.0, 3.0, 10.0, 30.0, 100.0)},
        "divergence": lambda: {
            d: judge(train(table, divergence=d)) for d in ("js", "forward_kl", "reverse_kl", "released")
        },
        "n": lambda: {str(n): judge(train(draw(n))) for n in range(2, 9)},
        "temperature": lambda: {f"{t:g}": judge(train(draw(temperature=t))) for t in (0.5, 0.8, 1.0, 1.3, 1.6)},
        "rate": lambda: {
            f"{rate:g}{', token_kd' * bool(kd)}": judge(
                train(table, alpha=0.3, learning_rate=rate, token_kd=kd, teacher=teacher), 0.3
            )
            for rate, kd in ((1e-3, 0.0), (3e-4, 0.0), (1e-4, 0.0), (1e-3, 1.0))
        },
        "scale": lambda: {  # does selection help by what it says, or by being on a wider scale?
            "likelihood": judge(train(table, alpha=0.0), 0.0),
            "likelihood, as wide as selection": judge(train(widened(table), alpha=0.0), 0.0),
            "selection, as narrow as likelihood": judge(train(table, alpha=1.0, match_scale=True), 1.0, True),
            "selection": judge(train(table, alpha=1.0), 1.0),
        },
        "reduction": lambda: {  # p_sel weighs less beside sums, unless it is brought to the scale of the rewards
            f"{kind}, alpha {a:g}{', standardised' * even}": judge(
                train(draw(reduction=kind), alpha=a, beta=beta, reward_reduction=kind, match_scale=even), a, even
            )
            for kind, beta in (("mean", PRESET.beta), ("sum", PRESET.beta / LENGTH))
            for a, even in ((0.0, False), (PRESET.alpha, False), (PRESET.alpha, True))
        },
    }
    return found | plans[experiment]()


def baselines(teacher, student, asked, judge, settings) -> dict[str, dict[str, float]]:
    """Six methods at equal budget."""
    more = {k: v for k, v in settings.items() if k not in ("seed", "num_train_epochs")}
    rows = padlab.compare_baselines(
        student, teacher, asked, judge, alpha=PRESET.alpha, seed=settings["seed"], epochs=settings["num_train_epochs"],
        sampling=SAMPLING, asking={"ask": question}, **more,
    )  # fmt: skip
    return {r["method"]: {k: v for k, v in r.items() if k != "method"} for r in rows if r["method"] != "none"}


def rounds(teacher, student, asked, judge, settings) -> dict[str, dict[str, float]]:
    """Six rounds of four responses, measured after each."""
    history = _rounds(teacher, student, asked, settings, 6, PRESET.n, evaluate=judge)[1]
    return {str(row["round"]): row for row in history[1:]}


def decompose(teacher, student, asked, judge, settings) -> dict[str, dict[str, float]]:
    """The same number of responses in one round, in two, in four; seconds and extra memory without the measuring.

    Every round passes over the 64 prompts, so four rounds make four times as many steps, each on a quarter of the
    responses, and the schedule of the learning rate begins anew in each.
    """
    found = {}
    for n in (BUDGET, BUDGET // 2, BUDGET // 4):
        count, start, trained = rounds_for(BUDGET, n), time.perf_counter(), []

        def run(count=count, n=n, trained=trained):
            trained.append(_rounds(teacher, student, asked, settings, count, n)[0])

        memory = peak_extra_mib(run)
        seconds = time.perf_counter() - start
        found[f"{count} x {n}"] = {**judge(trained[0]), "seconds": seconds, "MiB": memory}
    return found


def steps(teacher, student, asked, judge, settings) -> dict[str, dict[str, float]]:
    """Does a second round help by its new samples, or by its steps? All but the first make equally many steps."""
    once = PRESET.epochs
    plans = {  # rounds, responses per prompt and round, epochs per round
        "1 x 8": (1, 8, once),
        "1 x 8, twice as long": (1, 8, 2 * once),
        "1 x 4, twice as long": (1, 4, 2 * once),
        "2 x 4": (2, 4, once),
    }
    return {
        name: judge(_rounds(teacher, student, asked, settings | {"num_train_epochs": epochs}, count, n)[0])
        for name, (count, n, epochs) in plans.items()
    }


_EXPERIMENTS = {"baselines": baselines, "rounds": rounds, "decompose": decompose, "steps": steps}


def _rounds(teacher, student, asked, settings, count, n, **more):
    return padlab.run_rounds(
        student, teacher, asked, rounds=count, n=n, alpha=PRESET.alpha, sampling=SAMPLING, asking={"ask": question},
        **settings, **more,
    )  # fmt: skip


def read_or_run(kept: Path, world: str, run: partial) -> dict[str, dict[str, float]]:
    """One result, from its file if models, settings, this script and the one that asks are the same."""
    settings = {"models": [m.describe() for m in padlab.load_pair(world)], "preset": str(PRESET)}
    scripts = {Path(__file__).name, Path(inspect.getfile(run.func)).name}
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in sorted(scripts))
    settings["scripts"] = hashlib.sha256(code).hexdigest()[:16]
    if kept.exists():
        known = json.loads(kept.read_text(encoding="utf-8"))
        if known["settings"] == settings:
            return known["result"]
    gc.collect()
    gc.freeze()  # every training collects garbage, which takes a second where much is alive
    found = run()
    write_json(kept, {"settings": settings, "result": found})
    return found


def main() -> None:
    """All seeds, kept as they come; a table per world, a figure per experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", default="all", choices=(*EXPERIMENTS, "all"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worlds", nargs="+", default=["toy", "toy-aligned"])
    parser.add_argument("--folder", type=Path, default=Path("bench-out/toy"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(machine(options.threads))
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    for experiment in EXPERIMENTS if "all" in options.experiments else options.experiments:
        start, results = time.monotonic(), {}
        for world in options.worlds:
            for seed in range(options.seeds):
                kept = options.folder / f"{experiment}-{world}-{seed}.json"
                found = read_or_run(kept, world, partial(one_seed, experiment, world, seed))
                results.setdefault(world, []).append(found)
            print_table(experiment, world, results[world])
            print_paired(experiment, results[world])
        draw_figure(experiment, results, options.folder / f"{experiment}.png")
        print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
