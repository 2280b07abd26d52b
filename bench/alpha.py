"""Does calibration bring the teacher's ranking nearer to a reference? Two sweeps over alpha, with intervals.

    python bench/alpha.py [heldout] [--prompts 96]
    python bench/alpha.py FILE.jsonl.gz [--prompts 64] [--cut 96]

"heldout": responses whose order is known by construction (teacher at T 0.3 > teacher at T 1.2 > student > student with
25 blocks > both of: a loop of the first words, the teacher's answer to another prompt), on padlab's held-out prompts.
A file: prompts with `responses` and `gpt4_preference` (a strong judge's probability that the response beats a fixed
baseline), e.g. AlpacaEval's outputs of several models; responses are cut to --cut tokens for scoring and asking alike.
Everything asked of the model is kept in --folder, so that a second run only computes.
"""

import argparse
import gzip
import json
import math
import random
from pathlib import Path

import torch
from scipy.stats import spearmanr

import padlab
from padlab.lm.chat import encode_text
from padlab.show.plots import plot_alpha_curve, plot_reliability
from padlab.study.agreement import estimate, pairs_in_order
from padlab.study.judge import SAMPLING
from padlab.study.alpha_sweep import calibration_error

PERIOD = 8  # tokens that the loop repeats
KINDS = ["teacher, T 0.3", "teacher, T 1.2", "student, T 0.8", "25 blocks, T 0.8", "loop", "answer to another prompt"]
ORDER = [5, 4, 3, 2, 0, 0]  # the two traps share the last place


def by_construction(teacher: padlab.LanguageModel, student: padlab.LanguageModel, count: int, folder: Path) -> list:
    """Rows with six responses and the reference order; the loop repeats the first words of the teacher's answer."""
    prompts = padlab.load_prompts("heldout", limit=count)
    deeper = padlab.prune_blocks(padlab.with_judge(teacher, None), 25)
    sources = {"cool": (teacher, 0.3), "hot": (teacher, 1.2), "student": (student, 0.8), "deeper": (deeper, 0.8)}
    texts = {
        name: padlab.sample_responses(
            m, prompts, n=2, seed=7, folder=folder / name, temperature=temperature, **SAMPLING
        )["responses"]
        for name, (m, temperature) in sources.items()
    }
    rows, tokenizer = [], teacher.tokenizer
    for k, prompt in enumerate(prompts["prompt"]):
        first = encode_text(tokenizer, texts["cool"][k][0])[:PERIOD]
        loop = tokenizer.decode((first * 48)[:48])
        other = texts["cool"][(k + 17) % count][0]
        rows.append(shuffled(prompt, [*(texts[n][k][0] for n in sources), loop, other], ORDER, kind=KINDS))
    return [r for r in rows if all(t.strip() for t in r["responses"])]


def shuffled(prompt: str, responses: list, truth: list, **more: list) -> dict:
    """A row in random order: listed best first, a judge that prefers the first option would look wise."""
    order = list(range(len(responses)))
    random.Random(prompt).shuffle(order)
    columns = {"responses": responses, "truth": truth, **more}
    return {"prompt": prompt, **{name: [values[k] for k in order] for name, values in columns.items()}}


def judged_file(teacher: padlab.LanguageModel, path: Path, count: int, cut: int) -> list:
    """Rows of a file, every response cut to the same number of tokens; prompts of at most 200 tokens."""
    rows, tokenizer = [], teacher.tokenizer
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            ids = [encode_text(tokenizer, text)[:cut] for text in entry["responses"]]
            texts = [tokenizer.decode(i) for i in ids]
            if len(encode_text(tokenizer, entry["prompt"])) <= 200 and all(t.strip() for t in texts):
                full = [len(text) for text in entry["responses"]]
                rows.append(shuffled(entry["prompt"], texts, entry["gpt4_preference"], full_length=full))
            if len(rows) == count:
                return rows
    return rows


def print_sweeps(table, out: Path) -> None:
    """Every variant's curve, and whether an inner alpha beats the ends."""
    for debias in (True, False):
        for match_scale in (False, True):
            sweep = padlab.alpha_sweep(table, "truth", debias=debias, match_scale=match_scale)
            print(
                f"\n{'both orders' if debias else 'one order'}, {'standardised' if match_scale else 'as in the method'}"
            )
            print(sweep)
            for metric in sweep.per_prompt:
                gains = ", ".join(f"over alpha {end:g}: {sweep.gain(metric, over=end)}" for end in (0.0, 1.0))
                print(f"{metric}: best at {sweep.best(metric):g}; chosen on other prompts, gain {gains}")
            if debias:
                middle = sweep.estimates()
                figure = plot_alpha_curve(
                    sweep.alphas, [e.value for e in middle], [e.low for e in middle], [e.high for e in middle]
                )
                figure.savefig(out / f"alpha{'-standardised' if match_scale else ''}.png")


def print_lengths(table) -> None:
    """Reward, p_sel and reference against length, and agreement within pairs of like length."""
    lengths = table["full_length"] if "full_length" in table.column_names else [
        [len(t) for t in row] for row in table["responses"]
    ]  # fmt: skip
    scores = {"reward": table["teacher_reward"], "p_sel": table["selection_prob"], "reference": table["truth"]}
    for name, rows in scores.items():
        related = [spearmanr(r, n).statistic for r, n in zip(rows, lengths, strict=True) if len(set(r)) > 1]
        print(f"{name:10} rank correlation with length {estimate(related)}")
    for most in (math.inf, 1.25):
        for name, rows in {**scores, "length": lengths}.items():
            if name != "reference":
                triples = zip(rows, table["truth"], lengths, strict=True)
                found = estimate([pairs_in_order(s, t, n, most) for s, t, n in triples])
                print(f"pairs in the reference's order by {name:7} (length ratio <= {most:g}): {found}")


def print_kinds(table) -> None:
    """Mean reward and p_sel of each kind of response (1/6 would be no preference)."""
    for kind in KINDS:
        at = [row.index(kind) for row in table["kind"]]
        pick = lambda column, at=at: estimate([row[k] for row, k in zip(table[column], at, strict=True)])  # noqa: E731
        print(f"{kind:26} reward {pick('teacher_reward')}  p_sel {pick('selection_prob')}")


def print_reliability(table, out: Path) -> None:
    """Of the pairwise choices made with confidence p, how many agree with the reference?"""
    sure, right = [], []
    for votes, truth in zip(table["selection_votes"], table["truth"], strict=True):
        for i in range(len(truth)):
            for j in range(i):
                if truth[i] != truth[j]:
                    first, second = (
                        torch.logit(torch.tensor(p).double(), eps=1e-9) for p in (votes[i][j], votes[j][i])
                    )
                    p = float(torch.sigmoid((first - second) / 2))
                    if p == 0.5:
                        continue  # no choice
                    sure.append(max(p, 1 - p))
                    right.append(float((p > 0.5) == (truth[i] > truth[j])))
    print(f"expected calibration error of {len(sure)} pairwise choices: {calibration_error(sure, right):.3f}; "
          f"right {sum(right) / len(right):.3f}, mean confidence {sum(sure) / len(sure):.3f}")  # fmt: skip
    plot_reliability(sure, right).savefig(out / "reliability.png")


def main() -> None:
    """Build the table, ask the teacher, sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="heldout", help="heldout or a file")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--cut", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = options.folder or Path("bench-out") / f"alpha-{Path(options.source).name.split('.')[0]}"
    student, teacher = padlab.load_pair("pruned")
    if options.source == "heldout":
        rows = by_construction(teacher, student, options.prompts, folder)
    else:
        rows = judged_file(teacher, Path(options.source), options.prompts, options.cut)
    table = padlab.add_rewards(padlab.check_candidates(rows), teacher, folder=folder)
    table = padlab.add_selection_probs(table, teacher, votes=True, folder=folder, shard_size=4)
    for name in ("option_mass", "position_bias", "order_consistency", "confident"):
        print(f"{name:18} {estimate(table[name])}  {len(table)} prompts")
    if "kind" in table.column_names:
        print_kinds(table)
    print_lengths(table)
    print_reliability(table, folder)
    print_sweeps(table, folder)


if __name__ == "__main__":
    main()
