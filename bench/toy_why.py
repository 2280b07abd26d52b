"""Why does the paper's order PPD > VPD > pairwise not hold in the toy world? Two possible causes, tested.

    python bench/toy_why.py [--seeds 10] [--worlds toy toy-aligned] [--rates 3e-5 1e-4 3e-4]

Steps: DPO and SimPO read two of four responses, so at equal tokens they make twice as many steps; here they are also
trained for as many steps as PPD. Certainty: the toy teacher is right nine times in ten and sure of it, so that the best
and the worst response may give as much information as all four. On half of the training prompts (every second) its
rewards and selection probabilities are assigned to the responses at random, with a tenth of their spread (the teacher
signals its uncertainty) or with all of it (it does not). Only a loss that reads "how much better" can tell the two
halves apart. Rates, seeds and printing as in bench/toy_methods.py.
"""

import random
import time
from functools import cache, partial
from itertools import product

import torch
from _toy import PRESET
from datasets import Dataset
from toy_experiments import Results, Setup
from toy_methods import arguments, compare_rates

from padlab.rankings.calibration import log_selection
from padlab.study.methods import keep_best_and_worst, response_tokens

TEACHERS = {  # name -> spread of the signals on every second prompt, where they are random; None: nowhere
    "as it is": None,
    "half random, small spread": 0.1,
    "half random, full spread": 1.0,
}
PAIRED = ("dpo", "simpo")


def half_random(table: Dataset, seed: int, spread: float) -> Dataset:
    """Every second prompt's rewards and log p_sel in random order, and with this share of their spread.

    Equal texts may get unequal signals, which no student can follow.
    """

    def one_prompt(row: dict, number: int) -> dict[str, list[float]]:
        if number % 2 == 0:
            return {}
        order = random.Random(f"{seed} {number}").sample(range(len(row["responses"])), len(row["responses"]))
        reward, selection_prob = (
            torch.tensor(row[column], dtype=torch.float64)[order] for column in ("teacher_reward", "selection_prob")
        )
        reward, log_p = (x.mean() + spread * (x - x.mean()) for x in (reward, log_selection(selection_prob)))
        return {"teacher_reward": reward.tolist(), "selection_prob": log_p.softmax(-1).tolist()}

    return table.map(one_prompt, with_indices=True)


@cache
def shared(world: str, seed: int) -> tuple[Setup, dict[str, float]]:
    """What all runs of a seed share: its setup, and the measures before training."""
    setup = Setup(world, seed)
    return setup, setup.evaluate(setup.student)


def one_seed(world: str, seed: int, rate: float, spread: float | None) -> Results:
    """Measures of every method at this rate; "before" is the untrained student."""
    setup, before = shared(world, seed)
    table = setup.table if spread is None else half_random(setup.table, seed, spread)
    results = {"before": before}
    for loss in ("ppd", "vpd"):
        results[loss] = setup.evaluate(setup.train(table, loss=loss, learning_rate=rate))
    pairs = keep_best_and_worst(table, PRESET.alpha)  # its rewards are calibrated already: train with alpha 0
    equal_tokens = PRESET.epochs * response_tokens(table) / response_tokens(pairs)
    for loss, (unit, epochs) in product(PAIRED, (("tokens", equal_tokens), ("steps", PRESET.epochs))):
        trained = setup.train(pairs, loss=loss, alpha=0.0, learning_rate=rate, num_train_epochs=epochs)
        results[f"{loss}, equal {unit}"] = setup.evaluate(trained)
    return results


def main() -> None:
    """All worlds, teachers, rates and seeds."""
    options, start = arguments(__doc__, [3e-5, 1e-4, 3e-4]), time.monotonic()
    for world, (name, spread) in product(options.worlds, TEACHERS.items()):
        run = partial(one_seed, spread=spread)
        compare_rates(options, world, f"why-{world}-{spread}", f"{world}, teacher {name}", run)
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
