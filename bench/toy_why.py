"""Why does the paper's order PPD > VPD > pairwise not hold in the toy world? Two suspects, tested.

    python bench/toy_why.py [--seeds 10] [--worlds toy toy-aligned] [--rates 3e-5 1e-4 3e-4]

Steps: DPO and SimPO read two of four responses, so at equal tokens they make twice as many steps; here they are also
trained for as many steps as PPD. Certainty: the toy teacher is right nine times in ten and sure of it, so that best and
worst may tell all there is. On half of the training prompts (every second) its rewards and selection probabilities are
dealt to the responses by chance, and either it says so (their spread is a tenth of what it was) or it does not. Only a
loss that reads "how much better" can tell the two halves apart. Rates, seeds and printing as in bench/toy_methods.py.
"""

import random
import time
from functools import cache, partial
from itertools import product

import numpy as np
from toy_experiments import PRESET, TRAINING, Judge, candidates
from toy_methods import arguments, over_rates

import padlab
from padlab.study.baselines import best_and_worst, response_tokens
from padlab.worlds.toy import prompts

TEACHERS = {"as it is": None, "half by chance, and it says so": 0.1, "half by chance, unsaid": 1.0}
PAIRED = ("dpo", "simpo")


def by_chance(table, seed: int, spread: float):
    """Every second prompt's rewards and log p_sel in an order by chance, and with so much of their spread.

    Equal texts may be dealt unequal signals, which no student can follow.
    """

    def one(row: dict, number: int) -> dict:
        if number % 2 == 0:
            return {}
        order = random.Random(f"{seed} {number}").sample(range(len(row["responses"])), len(row["responses"]))
        reward, said = np.array(row["teacher_reward"])[order], np.log(np.maximum(row["selection_prob"], 1e-38))[order]
        reward, said = (x.mean() + spread * (x - x.mean()) for x in (reward, said))
        chance = np.exp(said) / np.exp(said).sum()
        return {"teacher_reward": reward.tolist(), "selection_prob": chance.tolist()}

    return table.map(one, with_indices=True)


@cache
def beginning(world: str, seed: int) -> tuple:
    """What all runs of a seed share: student, judge, training table, measures before."""
    student, teacher = padlab.load_pair(world)
    judge = Judge(teacher, student, seed)
    return student, judge, candidates(teacher, student, prompts(64, seed=seed), PRESET.n, seed), judge(student)


def one_seed(world: str, seed: int, rate: float, spread: float | None) -> dict[str, dict[str, float]]:
    """Method -> measures at this rate; "before" is the untrained student."""
    student, judge, table, before = beginning(world, seed)
    table = table if spread is None else by_chance(table, seed, spread)
    pair, found = best_and_worst(table, PRESET.alpha), {"before": before}
    settings = {**TRAINING, "seed": seed, "learning_rate": rate}
    for loss in ("ppd", "vpd"):
        found[loss] = judge(padlab.distill(student, table, loss=loss, alpha=PRESET.alpha, **settings))
    passes = TRAINING["num_train_epochs"] * response_tokens(table) / response_tokens(pair)
    for loss, (how, epochs) in product(PAIRED, (("tokens", passes), ("steps", TRAINING["num_train_epochs"]))):
        trained = padlab.distill(student, pair, loss=loss, **settings | {"num_train_epochs": epochs})
        found[f"{loss}, equal {how}"] = judge(trained)
    return found


def main() -> None:
    """All worlds, teachers, rates and seeds."""
    options, start = arguments(__doc__, [3e-5, 1e-4, 3e-4]), time.monotonic()
    for world, (name, spread) in product(options.worlds, TEACHERS.items()):
        run = partial(one_seed, spread=spread)
        over_rates(options, world, f"why-{world}-{spread}", f"{world}, teacher {name}", run)
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
