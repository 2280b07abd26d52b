"""Experiments in the toy world, where the true quality of every response is known: tables, figures, 95 % intervals.

    python bench/toy_experiments.py alpha [--seeds 5] [--worlds toy toy-aligned]
    python bench/toy_experiments.py rounds decompose steps baselines n temperature beta divergence
    python bench/toy_experiments.py length_normalize rate scale

Every run samples from the untrained student, takes the teacher's rewards and selection probabilities, trains on 64
prompts, and is evaluated on 256 held-out prompts: true quality of fresh samples, and agreement (Kendall tau) of the
student's rewards with the truth and with the teacher's calibrated rewards, on the untrained student's samples.
Intervals: t over seeds, of the paired change since before training and of paired differences between settings. Seeds
differ in prompts, samples and training; the models are the bundled ones. Results are kept per seed; without a name all
experiments run; the same command again computes only what is missing.
"""

import argparse
import time
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import torch
from _measure import machine, peak_extra_mib
from _toy import PRESET, SAMPLING, TRAINING, StudentEvaluation, candidates, read_or_run
from _toy_report import draw_figure, print_paired, print_table
from datasets import Dataset

import padlab
from padlab.rankings.calibration import log_selection
from padlab.study.methods import trained_students
from padlab.worlds.toy import prompts

ALPHAS = [k / 10 for k in range(11)]
LENGTH = 6.5  # tokens of a response, about; brings sums to the scale of means
BUDGET = 8  # responses per prompt, spent in one round or in several
BASELINES = ("sft", "token_kd", "dpo", "simpo", "vpd", "ppd")

Results = dict[str, dict[str, float]]  # setting -> measures


class Setup:
    """What all settings of one seed share: models, 64 training prompts, evaluation.

    Args:
        world: "toy" or "toy-aligned".
        seed: decides prompts, samples and training.
        settings: of `padlab.distill`, instead of `TRAINING`.
    """

    def __init__(self, world: str, seed: int, **settings: float):
        self.student, self.teacher = padlab.load_pair(world)
        self.seed, self.prompts = seed, prompts(64, seed=seed)
        self.settings = {**TRAINING, "seed": seed, **settings}
        self.evaluate = StudentEvaluation(self.student, self.teacher, seed)

    @cached_property
    def table(self) -> Dataset:
        """Training candidates with the preset's settings."""
        return self.draw()

    def draw(self, **options: float) -> Dataset:
        """Training candidates with some other settings, see `_toy.candidates`."""
        return candidates(self.student, self.teacher, self.prompts, self.seed, **options)

    def train(self, table: Dataset, **settings: object) -> padlab.LanguageModel:
        """The trained student."""
        return padlab.distill(self.student, table, **{**self.settings, **settings})

    def run_rounds(self, rounds: int, n: int, **settings: object) -> tuple[padlab.LanguageModel, list]:
        """The student after so many rounds of n responses per prompt, and their history."""
        settings = {**self.settings, **settings}
        return padlab.run_rounds(
            self.student, self.teacher, self.prompts, rounds=rounds, n=n, sampling=SAMPLING, **settings
        )


def vary_alpha(setup: Setup) -> Results:
    """Weight of the selection probability."""
    return {f"{a:g}": setup.evaluate(setup.train(setup.table, alpha=a), a) for a in ALPHAS}


def vary_beta(setup: Setup) -> Results:
    """Scale from nats/token to scores."""
    return {f"{b:g}": setup.evaluate(setup.train(setup.table, beta=b)) for b in (1.0, 3.0, 10.0, 30.0, 100.0)}


def vary_divergence(setup: Setup) -> Results:
    """Jensen-Shannon and others."""
    names = ("js", "forward_kl", "reverse_kl", "released")
    return {name: setup.evaluate(setup.train(setup.table, divergence=name)) for name in names}


def vary_n(setup: Setup) -> Results:
    """Responses per prompt."""
    return {str(n): setup.evaluate(setup.train(setup.draw(n=n))) for n in range(2, 9)}


def vary_temperature(setup: Setup) -> Results:
    """Of the training samples; evaluation samples are drawn at the preset's."""
    values = (0.5, 0.8, 1.0, 1.3, 1.6)
    return {f"{value:g}": setup.evaluate(setup.train(setup.draw(temperature=value))) for value in values}


def vary_rate(setup: Setup) -> Results:
    """Learning rates at alpha 0.3; the highest also with token-level distillation beside PPD."""
    results = {}
    for value, token_kd in ((1e-3, 0.0), (3e-4, 0.0), (1e-4, 0.0), (1e-3, 1.0)):
        settings = {"alpha": 0.3, "learning_rate": value, "token_kd": token_kd, "teacher": setup.teacher}
        name = f"{value:g}{', token_kd' * bool(token_kd)}"
        results[name] = setup.evaluate(setup.train(setup.table, **settings), 0.3)
    return results


def compare_scales(setup: Setup) -> Results:
    """Does selection help by its order, or because its spread is wider than that of the rewards?"""
    plans = {  # table, settings
        "likelihood": (setup.table, {"alpha": 0.0}),
        "likelihood, as wide as selection": (setup.table.map(with_spread_of_selection), {"alpha": 0.0}),
        "selection, as narrow as likelihood": (setup.table, {"alpha": 1.0, "match_scale": True}),
        "selection": (setup.table, {"alpha": 1.0}),
    }
    return {name: setup.evaluate(setup.train(table, **more), **more) for name, (table, more) in plans.items()}


def with_spread_of_selection(row: dict) -> dict[str, list[float]]:
    """The teacher's rewards of a prompt with the standard deviation of its log selection probabilities; same order."""
    reward = torch.tensor(row["teacher_reward"], dtype=torch.float64)
    spread = log_selection(torch.tensor(row["selection_prob"], dtype=torch.float64)).std(correction=0)
    factor = spread / reward.std(correction=0) if reward.std(correction=0) > 0 else 1.0
    return {"teacher_reward": (reward.mean() + factor * (reward - reward.mean())).tolist()}


def compare_normalization(setup: Setup) -> Results:
    """Means or sums of token log-probabilities; p_sel weighs less beside sums, unless both have one scale."""
    results = {}
    for normalize, name in ((True, "mean"), (False, "sum")):
        table, beta = setup.draw(length_normalize=normalize), PRESET.beta if normalize else PRESET.beta / LENGTH
        for alpha, match_scale in ((0.0, False), (PRESET.alpha, False), (PRESET.alpha, True)):
            settings = {"alpha": alpha, "match_scale": match_scale}
            trained = setup.train(table, beta=beta, length_normalize=normalize, **settings)
            results[f"{name}, alpha {alpha:g}{', match_scale' * match_scale}"] = setup.evaluate(trained, **settings)
    return results


def run_baselines(setup: Setup) -> Results:
    """Six methods at equal budget."""
    settings = {name: value for name, value in setup.settings.items() if name != "num_train_epochs"}
    students = trained_students(
        setup.student, setup.teacher, setup.prompts, methods=BASELINES, epochs=setup.settings["num_train_epochs"],
        sampling=SAMPLING, **settings,
    )  # fmt: skip
    return {method: setup.evaluate(trained) for method, trained in students}


def run_rounds(setup: Setup) -> Results:
    """Six rounds of four responses, measured after each."""
    _, history = setup.run_rounds(6, PRESET.n, evaluate=setup.evaluate)
    return {str(row["round"]): row for row in history[1:]}


def decompose_budget(setup: Setup) -> Results:
    """The same number of responses in one round, in two, in four.

    Every round passes over the 64 prompts, so four rounds make four times as many steps, each on a quarter of the
    responses, and the schedule of the learning rate begins anew in each.
    """
    plans = [(BUDGET // n, n) for n in (BUDGET, BUDGET // 2, BUDGET // 4)]
    return {f"{number} x {n}": rounds_with_costs(setup, number, n) for number, n in plans}


def rounds_with_costs(setup: Setup, number: int, n: int) -> dict[str, float]:
    """Measures after so many rounds, and their seconds and extra memory without the evaluation."""
    students, start = [], time.perf_counter()
    memory = peak_extra_mib(lambda: students.append(setup.run_rounds(number, n)[0]))
    seconds = time.perf_counter() - start
    return {**setup.evaluate(students[0]), "seconds": seconds, "MiB": memory}


def compare_steps(setup: Setup) -> Results:
    """Does a second round help by its new samples, or by its steps? All but the first make equally many steps."""
    once = PRESET.epochs
    plans = {  # rounds, responses per prompt and round, epochs per round
        "1 x 8": (1, 8, once),
        "1 x 8, twice as long": (1, 8, 2 * once),
        "1 x 4, twice as long": (1, 4, 2 * once),
        "2 x 4": (2, 4, once),
    }
    return {
        name: setup.evaluate(setup.run_rounds(number, n, num_train_epochs=epochs)[0])
        for name, (number, n, epochs) in plans.items()
    }


EXPERIMENTS: dict[str, Callable[[Setup], Results]] = {
    "alpha": vary_alpha,
    "rounds": run_rounds,
    "decompose": decompose_budget,
    "baselines": run_baselines,
    "n": vary_n,
    "temperature": vary_temperature,
    "beta": vary_beta,
    "divergence": vary_divergence,
    "length_normalize": compare_normalization,
    "rate": vary_rate,
    "scale": compare_scales,
    "steps": compare_steps,
}


def one_seed(experiment: str, world: str, seed: int) -> Results:
    """Measures of every setting; "before" is the untrained student."""
    setup = Setup(world, seed)
    return {"before": setup.evaluate(setup.student), **EXPERIMENTS[experiment](setup)}


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
    options.folder.mkdir(parents=True, exist_ok=True)
    for experiment in EXPERIMENTS if "all" in options.experiments else options.experiments:
        start, results = time.monotonic(), {}
        for world in options.worlds:
            for seed in range(options.seeds):
                path = options.folder / f"{experiment}-{world}-{seed}.json"
                result = read_or_run(path, world, partial(one_seed, experiment, world, seed))
                results.setdefault(world, []).append(result)
            print_table(experiment, world, results[world])
            print_paired(experiment, results[world])
        draw_figure(experiment, results, options.folder / f"{experiment}.png")
        print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
