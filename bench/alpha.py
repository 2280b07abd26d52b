"""Does calibration bring the teacher's ranking nearer to a reference? Two sweeps over alpha, with intervals.

    python bench/alpha.py [heldout] [--prompts 96]
    python bench/alpha.py FILE.jsonl.gz [--prompts 64] [--cut 96]

"heldout": responses whose order is known by construction (teacher at T 0.3 > teacher at T 1.2 > student > student with
25 blocks > both of: a loop of the first words, the teacher's answer to another prompt), on padlab's held-out prompts.
A file: prompts with `responses` and `gpt4_preference` (a strong judge's probability that the response beats a fixed
baseline), e.g. AlpacaEval's outputs of several models; responses are cut to --cut tokens, for rewards and for selection
questions alike. Everything that needs a model is kept in --folder, so that a second run only computes.
"""

import argparse
import gzip
import json
import math
import random
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from _measure import machine
from datasets import Dataset
from scipy.stats import spearmanr

import padlab
from padlab.lm.chat import encode_text
from padlab.rankings.calibration import SELECTION_FLOOR
from padlab.rankings.intervals import mean_interval
from padlab.rankings.metrics import pairwise_accuracy
from padlab.rankings.reliability import reliability
from padlab.show.plots import plot_alpha_curve, plot_reliability
from padlab.study.judge_training import SAMPLING

PERIOD = 8  # tokens that the loop repeats
KINDS = ["teacher, T 0.3", "teacher, T 1.2", "student, T 0.8", "25 blocks, T 0.8", "loop", "answer to another prompt"]
ORDER = [5, 4, 3, 2, 0, 0]  # the last two kinds share the last rank


def by_construction(student: padlab.LanguageModel, teacher: padlab.LanguageModel, count: int, folder: Path) -> list:
    """Rows with six responses and the reference order; the loop repeats the first words of the teacher's answer."""
    prompts = padlab.load_prompts("heldout", limit=count)
    weakest = padlab.prune_blocks(padlab.with_judge(teacher, None), 25)
    writers = {
        "teacher-0.3": (teacher, 0.3), "teacher-1.2": (teacher, 1.2), "student-0.8": (student, 0.8),
        "25-blocks-0.8": (weakest, 0.8),
    }  # fmt: skip
    texts = {}
    for name, (model, temperature) in writers.items():
        settings = {**SAMPLING, "n": 2, "seed": 7, "temperature": temperature}
        texts[name] = padlab.sample_responses(model, prompts, folder=folder / name, **settings)["responses"]
    rows, tokenizer, answers = [], teacher.tokenizer, texts["teacher-0.3"]
    for k, prompt in enumerate(prompts["prompt"]):
        first = encode_text(tokenizer, answers[k][0])[:PERIOD]
        loop = tokenizer.decode((first * 48)[:48])
        other = answers[(k + 17) % count][0]
        rows.append(shuffled(prompt, [*(texts[name][k][0] for name in writers), loop, other], ORDER, kind=KINDS))
    return [row for row in rows if all(text.strip() for text in row["responses"])]


def shuffled(prompt: str, responses: list, truth: list, **more: list) -> dict:
    """A row in random order: with the best first, a teacher that prefers the first option would seem to be right."""
    order = list(range(len(responses)))
    random.Random(prompt).shuffle(order)
    columns = {"responses": responses, "truth": truth, **more}
    return {"prompt": prompt, **{name: [values[k] for k in order] for name, values in columns.items()}}


def judged_file(teacher: padlab.LanguageModel, path: Path, count: int, cut: int) -> list:
    """Rows of a file, every response cut to the same number of the teacher's tokens; prompts of at most 200 tokens."""
    rows, tokenizer = [], teacher.tokenizer
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            texts = [tokenizer.decode(encode_text(tokenizer, text)[:cut]) for text in entry["responses"]]
            if len(encode_text(tokenizer, entry["prompt"])) <= 200 and all(text.strip() for text in texts):
                full = [len(text) for text in entry["responses"]]
                rows.append(shuffled(entry["prompt"], texts, entry["gpt4_preference"], full_length=full))
            if len(rows) == count:
                return rows
    return rows


def one_order(votes: list[list[float]]) -> list[float]:
    """Selection probabilities of one prompt from one order of each pair only, the one in which the table lists them.

    The released code asks each pair once, in one order. votes[i][j] = P(choose i) when i stands first.
    """
    first_wins, n = np.array(votes), len(votes)
    beats = np.triu(first_wins, 1) + np.tril(1 - first_wins.T, -1)
    return (2 / n * beats.sum(1) / (n - 1)).round(12).tolist()


def print_sweeps(table: Dataset, folder: Path) -> None:
    """Every variant's curve, and whether an inner alpha is better than both ends."""
    asked_once = [one_order(votes) for votes in table["selection_votes"]]
    once = table.remove_columns("selection_prob").add_column("selection_prob", asked_once)
    for orders, candidates in (("both orders", table), ("one order", once)):
        for match_scale in (False, True):
            sweep = padlab.alpha_sweep(candidates, "truth", match_scale=match_scale)
            print(f"\n{orders}, {'match_scale' if match_scale else 'as in the method'}")
            print(sweep)
            for metric in sweep.per_prompt:
                gains = ", ".join(f"over alpha {end:g}: {sweep.gain(metric, over=end)}" for end in (0.0, 1.0))
                print(f"{metric}: best at {sweep.best(metric):g}; chosen on other prompts, gain {gains}")
            if candidates is table:
                estimate, low, high, _ = zip(*sweep.intervals(), strict=True)
                figure = plot_alpha_curve(sweep.alphas, estimate, low, high)
                figure.savefig(folder / f"alpha{'-match_scale' if match_scale else ''}.png")


def print_lengths(table: Dataset) -> None:
    """Reward, p_sel and reference against length, and agreement within pairs of like length."""
    lengths = [[len(text) for text in row] for row in table["responses"]]
    if "full_length" in table.column_names:
        lengths = list(table["full_length"])
    scores = {"reward": table["teacher_reward"], "p_sel": table["selection_prob"], "reference": table["truth"]}
    for name, rows in scores.items():
        related = [spearmanr(r, n).statistic for r, n in zip(rows, lengths, strict=True) if len(set(r)) > 1]
        print(f"{name:10} rank correlation with length {mean_interval(related)}")
    scores = {"reward": scores["reward"], "p_sel": scores["p_sel"], "length": lengths}
    for ratio in (math.inf, 1.25):
        for name, rows in scores.items():
            triples = zip(rows, table["truth"], lengths, strict=True)
            shares = mean_interval([accuracy_of_like_length(*triple, ratio) for triple in triples])
            print(f"pairs in the reference's order by {name:7} (length ratio <= {ratio:g}): {shares}")


def accuracy_of_like_length(
    scores: Sequence[float], reference: Sequence[float], lengths: Sequence[int], ratio: float
) -> float:
    """Pairwise accuracy on one prompt's pairs whose lengths differ by at most this ratio; NaN where there is none.

    Args:
        scores, reference: n numbers each, higher is better.
        lengths: n lengths, > 0.
        ratio: of the longer to the shorter length, >= 1; infinity takes all pairs.
    """
    pairs = [(i, j) for i, j in combinations(range(len(lengths)), 2)
             if max(lengths[i], lengths[j]) <= ratio * min(lengths[i], lengths[j])]  # fmt: skip
    if not pairs:
        return math.nan
    scores, reference = ([[values[i], values[j]] for i, j in pairs] for values in (scores, reference))
    return float(pairwise_accuracy(scores, reference).nanmean())


def print_kinds(table: Dataset) -> None:
    """Mean reward and p_sel of each kind of response (p_sel 1/6 would be no preference)."""
    for kind in KINDS:
        position = [row.index(kind) for row in table["kind"]]
        reward, p_sel = (
            mean_interval([row[k] for row, k in zip(table[column], position, strict=True)])
            for column in ("teacher_reward", "selection_prob")
        )
        print(f"{kind:26} reward {reward}  p_sel {p_sel}")


def print_reliability(table: Dataset, folder: Path) -> None:
    """Of the pairwise choices made with confidence p, how many agree with the reference?"""
    confidence, correct = [], []
    for votes, truth in zip(table["selection_votes"], table["truth"], strict=True):
        log_odds = torch.logit(torch.tensor(votes, dtype=torch.float64), eps=SELECTION_FLOOR)
        beats = torch.sigmoid((log_odds - log_odds.T) / 2).tolist()  # both orders averaged
        for j, i in combinations(range(len(truth)), 2):
            if truth[i] != truth[j] and beats[i][j] != 0.5:  # 0.5: no choice
                confidence.append(max(beats[i][j], 1 - beats[i][j]))
                correct.append(float((beats[i][j] > 0.5) == (truth[i] > truth[j])))
    result, mean = reliability(confidence, correct), sum(confidence) / len(confidence)
    right = float(result.overall.estimate)
    print(f"expected calibration error of {len(correct)} pairwise choices: {result.calibration_error:.3f}; "
          f"right {right:.3f}, mean confidence {mean:.3f}")  # fmt: skip
    plot_reliability(confidence, correct).savefig(folder / "reliability.png")


def main() -> None:
    """Build the table, add both signals, sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="heldout", help="heldout or a file")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--cut", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(machine(options.threads))
    folder = options.folder or Path("bench-out") / f"alpha-{Path(options.source).name.split('.')[0]}"
    student, teacher = padlab.load_pair("pruned")
    if options.source == "heldout":
        rows = by_construction(student, teacher, options.prompts, folder)
    else:
        rows = judged_file(teacher, Path(options.source), options.prompts, options.cut)
    table = padlab.add_rewards(padlab.check_candidates(rows), teacher, folder=folder)
    table = padlab.add_selection_probs(table, teacher, votes=True, folder=folder, shard_size=4)
    for name in ("option_mass", "position_bias", "order_consistency", "confident"):
        print(f"{name:18} {mean_interval(table[name])}  {len(table)} prompts")
    if "kind" in table.column_names:
        print_kinds(table)
    print_lengths(table)
    print_reliability(table, folder)
    print_sweeps(table, folder)


if __name__ == "__main__":
    main()
