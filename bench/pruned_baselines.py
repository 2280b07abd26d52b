"""What does each method teach the pruned student, at equal budget? PPD, VPD, SFT, token-level KD and DPO compared.

    python bench/pruned_baselines.py [--seeds 0 1 2] [--methods ppd vpd sft token_kd dpo ...] [--train 64]
        [--heldout 64] [--blocks 28] [--validation] [--judged FILE.jsonl.gz]
        [--folder bench-out/pruned_baselines]

Budget: the same prompts, and as many response tokens seen as PPD sees in its epochs. Measured on held-out prompts (with
--validation on training prompts 386 to 449 instead, for choosing settings): agreement with the teacher on the untrained
student's samples; the teacher's reward of fresh samples; win rate of fresh samples against the untrained student's
(teacher with judge, both orders); with --judged the agreement of the student's own reward with a strong judge's order
(AlpacaEval: prompts, `responses`, `gpt4_preference`), tau per prompt. One rate for all methods, so a method may be
behind for its rate alone. Everything is kept; the same command goes on.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from _measure import machine
from _toy_report import t_interval
from alpha import judged_file
from datasets import Dataset

import padlab
from padlab.rankings.intervals import mean_interval
from padlab.rankings.metrics import kendall_tau
from padlab.safe_files import write_json
from padlab.study.methods import keep_best_and_worst, response_tokens

PRESET = padlab.PRESETS["pruned"]
SAMPLING = PRESET.sampling()
WIN_RATE = "win rate"
JUDGED, CUT = 64, 96  # prompts of the judged file, tokens of its responses
METHODS = {  # name -> (table it reads, settings); token-level distillation only where it is named
    "ppd": ("student", {"loss": "ppd"}),
    "ppd alpha 0.5": ("selection", {"loss": "ppd", "alpha": 0.5}),
    "ppd alpha 1": ("selection", {"loss": "ppd", "alpha": 1.0}),
    "vpd": ("student", {"loss": "vpd"}),
    "sft": ("teacher", {"loss": "sft"}),
    "token_kd": ("student", {"loss": "token_kd"}),
    "ppd + token_kd": ("student", {"loss": "ppd", "token_kd": 1.0}),
    "dpo": ("pair", {"loss": "dpo"}),
}

Measures = dict[str, np.ndarray]  # name -> one number per prompt


def training_tables(
    student: padlab.LanguageModel,
    teacher: padlab.LanguageModel,
    methods: Sequence[str],
    prompts: Dataset,
    seed: int,
    folder: Path,
) -> dict[str, Dataset]:
    """Training tables by name, the student's and those that the methods read."""
    needed, tables = {METHODS[method][0] for method in methods}, {}
    for name, writer in (("student", student), ("teacher", teacher)):
        if name in needed or name == "student":
            samples = padlab.sample_responses(writer, prompts, seed=seed, folder=folder / name, **SAMPLING)
            tables[name] = padlab.add_rewards(samples, teacher, folder=folder / name)
    if "selection" in needed:  # a table of its own: the other trainings have the same inputs with and without it
        tables["selection"] = padlab.add_selection_probs(tables["student"], teacher, folder=folder / "student")
    if "pair" in needed:
        tables["pair"] = keep_best_and_worst(tables["student"])
    return tables


def measure(
    student: padlab.LanguageModel, teacher: padlab.LanguageModel, before: Dataset, seed: int, folder: Path
) -> Measures:
    """Agreement, fresh samples and win rate; `before` holds the untrained student's samples."""
    agreement = padlab.rank_agreement(student, teacher, before, beta=PRESET.beta)
    fresh = padlab.evaluate_samples(student, teacher, before["prompt"], seed=5000 + seed, folder=folder, **SAMPLING)
    measures = {**agreement.per_prompt, **{f"fresh {name}": values for name, values in fresh.per_prompt.items()}}
    return {**measures, WIN_RATE: win_rate(teacher, fresh.table, before)}


def win_rate(teacher: padlab.LanguageModel, after: Dataset, before: Dataset) -> np.ndarray:
    """Selection probability of the first sample after training against that before; NaN where one has no text."""
    rows = [
        {"prompt": prompt, "responses": [new[0], old[0]]}
        for prompt, new, old in zip(before["prompt"], after["responses"], before["responses"], strict=True)
    ]
    with_text = [k for k, row in enumerate(rows) if all(text.strip() for text in row["responses"])]
    selected = padlab.add_selection_probs([rows[k] for k in with_text], teacher)
    values = np.full(len(rows), np.nan)
    values[with_text] = [p_sel[0] for p_sel in selected["selection_prob"]]
    return values


def agreement_with_judge(student: padlab.LanguageModel, judged: Dataset) -> Measures:
    """Kendall tau of the student's own reward with the strong judge's order, per prompt."""
    table = padlab.add_rewards(judged, student, "student_reward")
    pairs = zip(table["student_reward"], table["truth"], strict=True)
    return {"tau with judge": np.array([float(kendall_tau(reward, truth)) for reward, truth in pairs])}


def read_or_measure(path: Path, run: Callable[[], Measures]) -> Measures:
    """Measures from their file, or measured now and written there."""
    if not path.exists():
        write_json(path, {name: np.asarray(values, float).tolist() for name, values in run().items()})
    return {name: np.array(values, float) for name, values in json.loads(path.read_text(encoding="utf-8")).items()}


def one_seed(seed: int, options: argparse.Namespace) -> dict[str, Measures]:
    """Every method's measures for one seed, those of earlier calls read from the folder."""
    _, teacher = padlab.load_pair("pruned")
    student = padlab.prune_blocks(padlab.with_judge(teacher, None), options.blocks)
    folder, prompts = options.folder / f"seed-{seed}", evaluation_prompts(options)
    train = padlab.load_prompts("train", limit=options.train)
    tables = training_tables(student, teacher, options.methods, train, seed, folder)
    name = f"{'validation' if options.validation else 'heldout'}-{len(prompts)}"
    before = padlab.sample_responses(student, prompts, seed=1000 + seed, folder=folder / f"before-{name}", **SAMPLING)
    judged = options.judged and padlab.check_candidates(judged_file(teacher, options.judged, JUDGED, CUT))
    budget, results = options.epochs * response_tokens(tables["student"]), {}
    for method in ("untrained", *options.methods):
        start, trained = time.monotonic(), student
        if method != "untrained":  # a folder with other settings is refused
            table, settings = tables[METHODS[method][0]], {**PRESET.training(), "token_kd": 0.0, **METHODS[method][1]}
            settings |= {"learning_rate": options.rate, "num_train_epochs": budget / response_tokens(table)}
            trained = padlab.distill(student, table, teacher=teacher, seed=seed, folder=folder / method, **settings)
        scratch = folder / method / name
        run = partial(measure, trained, teacher, before, seed, scratch)
        results[method] = read_or_measure(scratch / "measures.json", run)
        if judged is not None:
            path = folder / method / f"{options.judged.stem}-{JUDGED}-{CUT}.json"
            results[method] |= read_or_measure(path, partial(agreement_with_judge, trained, judged))
        print(f"seed {seed} {method}: {time.monotonic() - start:.0f} s", flush=True)
    return results


def evaluation_prompts(options: argparse.Namespace) -> Dataset:
    """Held-out prompts, or with --validation training prompts that no training uses."""
    prompts = padlab.load_prompts("train" if options.validation else "heldout")
    if options.validation:
        prompts = prompts.select(range(386, 450))
    return prompts.select(range(min(options.heldout, len(prompts))))


def report(title: str, results: dict[str, Measures], methods: Sequence[str]) -> None:
    """Per measure the untrained student's value and every method's paired change; PPD against each other method."""
    print(f"\n{title}: untrained, then changes (win rate: against the untrained student's, 0.5 = none)")
    for name, values in results["untrained"].items():
        print(f"  {name:22} untrained {mean_interval(values)}")
        for method in methods:
            after = results[method][name]
            line = f"    {method:18} {mean_interval(after if name == WIN_RATE else after - values)}"
            if method != "ppd" and "ppd" in methods:
                line += f"   ppd minus this {mean_interval(results['ppd'][name] - after)}"
            print(line, flush=True)


def report_over_seeds(results: Sequence[dict[str, Measures]], methods: Sequence[str]) -> None:
    """Per measure and method the change of every training, and mean and 95 % t interval over the trainings."""
    print(f"\n{len(results)} seeds: change per seed, mean +- half of the t interval over seeds")
    for name in results[0]["untrained"]:
        print(f"  {name}")
        for method in methods:
            before = [0.0 if name == WIN_RATE else seed["untrained"][name] for seed in results]
            changes = [float(np.nanmean(seed[method][name] - b)) for seed, b in zip(results, before, strict=True)]
            mean, half = t_interval(changes)
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
    parser.add_argument("--validation", action="store_true", help="measure on training prompts that are not trained on")
    parser.add_argument("--judged", type=Path, help="file of responses with a strong judge's preference")
    parser.add_argument("--folder", type=Path, default=Path("bench-out/pruned_baselines"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.validation and options.train > 386:
        parser.error("--validation measures on training prompts 386 to 449: --train must be at most 386")
    print(machine(options.threads))
    results = []
    for seed in options.seeds:
        results.append(one_seed(seed, options))
        report(f"seed {seed}", results[-1], options.methods)
    if len(results) > 1:
        report_over_seeds(results, options.methods)


if __name__ == "__main__":
    main()
