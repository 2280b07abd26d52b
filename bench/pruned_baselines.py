"""What does each method teach the pruned student, at equal budget? PPD, VPD, SFT, token-level KD and DPO compared.

    python bench/pruned_baselines.py [--seeds 0 1 2] [--methods ppd vpd sft token_kd dpo ...] [--train 64]
        [--heldout 64] [--blocks 28] [--aside] [--judged FILE.jsonl.gz]
        [--folder bench-out/pruned_baselines]

Budget: the same prompts, and as many response tokens seen as PPD sees in its epochs. Measured on held-out prompts (with
--aside on training prompts 386 to 449 instead, for choosing settings): agreement with the teacher on the untrained
student's samples; the teacher's reward of fresh samples; win rate of fresh samples against the untrained student's
(teacher with judge, both orders); with --judged the agreement of the student's own reward with a strong judge's order
(AlpacaEval: prompts, `responses`, `gpt4_preference`), tau per prompt. One rate for all methods, so a method may be
behind for its rate alone. Everything is kept; the same command goes on.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _measure import machine
from _toy_report import interval
from alpha import judged_file

import padlab
from padlab.runs import write_json
from padlab.study.agreement import estimate, kendall_tau
from padlab.study.baselines import best_and_worst, response_tokens

PRESET = padlab.PRESETS["pruned"]
SAMPLING = {"temperature": PRESET.temperature, "top_p": PRESET.top_p, "max_new_tokens": PRESET.max_new_tokens}
WIN_RATE = "win rate"
JUDGED, CUT = 64, 96  # prompts of the judged file, tokens of its responses
METHODS = {  # name -> (table it reads, settings)
    "ppd": ("student", {"loss": "ppd"}),
    "ppd alpha 0.5": ("asked", {"loss": "ppd", "alpha": 0.5}),
    "ppd alpha 1": ("asked", {"loss": "ppd", "alpha": 1.0}),
    "vpd": ("student", {"loss": "vpd"}),
    "sft": ("teacher", {"loss": "sft"}),
    "token_kd": ("student", {"loss": "token_kd"}),
    "ppd + token_kd": ("student", {"loss": "ppd", "token_kd": 1.0}),
    "dpo": ("pair", {"loss": "dpo"}),
}


def tables_of(teacher, student, methods, prompts, seed: int, folder: Path) -> dict:
    """Training tables by name, only those that the methods read."""
    tables = {}
    needed = {METHODS[m][0] for m in methods}
    for name, writer in (("student", student), ("teacher", teacher)):
        if name in needed or name == "student":
            drawn = padlab.sample_responses(writer, prompts, PRESET.n, seed=seed, folder=folder / name, **SAMPLING)
            tables[name] = padlab.add_rewards(drawn, teacher, folder=folder / name)
    if "asked" in needed:  # of its own, so that the others do not depend on whether the teacher was asked
        tables["asked"] = padlab.add_selection_probs(tables["student"], teacher, folder=folder / "student")
    if "pair" in needed:
        tables["pair"] = best_and_worst(tables["student"])
    return tables


def measure(student, teacher, before, seed: int, folder: Path) -> dict[str, np.ndarray]:
    """Name -> one number per prompt. `before` holds the untrained student's samples."""
    prompts = before["prompt"]
    ranked = padlab.rank_agreement(student, teacher, before, beta=PRESET.beta)
    fresh = padlab.evaluate_samples(student, teacher, prompts, PRESET.n, seed=5000 + seed, folder=folder, **SAMPLING)
    found = {**ranked.per_prompt, **{f"fresh {k}": v for k, v in fresh.per_prompt.items()}}
    rows = [{"prompt": p, "responses": [new[0], old[0]]}
            for p, new, old in zip(prompts, fresh.table["responses"], before["responses"], strict=True)]  # fmt: skip
    known = [k for k, row in enumerate(rows) if all(text.strip() for text in row["responses"])]
    asked = padlab.add_selection_probs([rows[k] for k in known], teacher)
    found[WIN_RATE] = np.full(len(rows), np.nan)
    found[WIN_RATE][known] = [p[0] for p in asked["selection_prob"]]
    return found


def agreement_with_judge(student, judged) -> dict[str, np.ndarray]:
    """Kendall tau of the student's own reward with the strong judge's order, per prompt."""
    ours = padlab.add_rewards(judged, student, "student_reward")
    pairs = zip(ours["student_reward"], ours["truth"], strict=True)
    return {"tau with judge": np.array([kendall_tau(a, b) for a, b in pairs])}


def read_or_measure(path: Path, run: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Measures from their file, or measured now and written there."""
    if not path.exists():
        write_json(path, {k: np.asarray(v, float).tolist() for k, v in run().items()})
    return {k: np.array(v, float) for k, v in json.loads(path.read_text(encoding="utf-8")).items()}


def one_seed(seed: int, options: argparse.Namespace) -> dict[str, dict[str, np.ndarray]]:
    """Every method's measures for one seed, those of earlier calls read from the folder."""
    _, teacher = padlab.load_pair("pruned")
    student = padlab.prune_blocks(padlab.with_judge(teacher, None), options.blocks)
    folder = options.folder / f"seed-{seed}"
    train = padlab.load_prompts("train", limit=options.train)
    asked = padlab.load_prompts("train").select(range(386, 450)) if options.aside else padlab.load_prompts("heldout")
    asked = asked.select(range(min(options.heldout, len(asked))))
    tables = tables_of(teacher, student, options.methods, train, seed, folder)
    where = f"{'aside' if options.aside else 'heldout'}-{len(asked)}"
    before = padlab.sample_responses(
        student, asked, PRESET.n, seed=1000 + seed, folder=folder / f"before-{where}", **SAMPLING
    )
    judged = options.judged and padlab.check_candidates(judged_file(teacher, options.judged, JUDGED, CUT))
    budget, found = options.epochs * response_tokens(tables["student"]), {}
    for method in ("untrained", *options.methods):
        start, trained = time.monotonic(), student
        if method != "untrained":  # a folder with other settings is refused
            table, settings = tables[METHODS[method][0]], METHODS[method][1]
            trained = padlab.distill(
                student, table, beta=PRESET.beta, learning_rate=options.rate, seed=seed, teacher=teacher,
                num_train_epochs=budget / response_tokens(table), gradient_accumulation_steps=4,
                folder=folder / method, **settings,
            )  # fmt: skip
        place = folder / method / where
        found[method] = read_or_measure(
            place / "measures.json", partial(measure, trained, teacher, before, seed, place)
        )
        if judged is not None:
            kept = folder / method / f"{options.judged.stem}-{JUDGED}-{CUT}.json"
            found[method] |= read_or_measure(kept, partial(agreement_with_judge, trained, judged))
        print(f"seed {seed} {method}: {time.monotonic() - start:.0f} s", flush=True)
    return found


def report(title: str, found: dict[str, dict[str, np.ndarray]], methods: list[str]) -> None:
    """Per measure the untrained student's value and every method's paired change; PPD against each other method."""
    print(f"\n{title}: untrained, then changes (win rate: against the untrained student's, 0.5 = none)")
    for name, values in found["untrained"].items():
        print(f"  {name:22} untrained {estimate(values)}")
        for method in methods:
            after = found[method][name]
            line = f"    {method:18} {estimate(after if name == WIN_RATE else after - values)}"
            if method != "ppd" and "ppd" in methods:
                line += f"   ppd minus this {estimate(found['ppd'][name] - after)}"
            print(line, flush=True)


def over_seeds(found: list[dict[str, dict[str, np.ndarray]]], methods: list[str]) -> None:
    """Per measure and method the change of every training, and mean and 95 % t interval over the trainings."""
    print(f"\n{len(found)} seeds: change per seed, mean +- half of the t interval over seeds")
    for name in found[0]["untrained"]:
        print(f"  {name}")
        for method in methods:
            before = [0.0 if name == WIN_RATE else f["untrained"][name] for f in found]
            changes = [float(np.nanmean(f[method][name] - b)) for f, b in zip(found, before, strict=True)]
            mean, half = interval(changes)
            print(f"    {method:18} {', '.join(f'{c:+.3f}' for c in changes)}   {mean:+.3f} +- {half:.3f}", flush=True)


def main() -> None:
    """Per seed the paired changes since before training, with 95 % intervals over prompts; then over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    parser.add_argument("--train", type=int, default=64)
    parser.add_argument("--heldout", type=int, default=64)
    parser.add_argument("--epochs", type=float, default=PRESET.epochs)
    parser.add_argument("--rate", type=float, default=PRESET.learning_rate)
    parser.add_argument("--blocks", type=int, default=PRESET.keep_blocks, help="how many of its 30 the student keeps")
    parser.add_argument("--aside", action="store_true", help="measure on training prompts that are not trained on")
    parser.add_argument("--judged", type=Path, help="file of responses with a strong judge's preference")
    parser.add_argument("--folder", type=Path, default=Path("bench-out/pruned_baselines"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.aside and options.train > 386:
        parser.error("--aside measures on training prompts 386 to 449: --train must be at most 386")
    print(machine(options.threads))
    torch.set_num_threads(options.threads)
    found = []
    for seed in options.seeds:
        found.append(one_seed(seed, options))
        report(f"seed {seed}", found[-1], options.methods)
    if len(found) > 1:
        over_seeds(found, options.methods)


if __name__ == "__main__":
    main()
