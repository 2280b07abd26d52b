"""Does PPD move the pruned student towards its teacher on held-out prompts? Three seeds, paired intervals.

    python bench/pruned_ppd.py [--seeds 0 1 2] [--train 96] [--heldout 96] [--epochs 2] [--rate 1e-3] [--token-kd 1]
        [--blocks 28] [--folder bench-out/pruned_ppd]

Each seed draws its own training responses, its own adapter start and its own held-out responses. Settings not given
are those of the preset `pruned`; all were chosen on training prompts only (docs/results.md). `--token-kd 0` is PPD
alone. Interrupted, the same command goes on; a folder that holds other settings is refused.
"""

import argparse
import json
import time
from pathlib import Path

from _measure import machine

import padlab
from padlab.safe_files import write_json

PRESET = padlab.PRESETS["pruned"]
SAMPLING = PRESET.sampling()


def one_seed(seed: int, options: argparse.Namespace, folder: Path) -> dict:
    """Sample, score, train and evaluate once; everything is kept in the folder."""
    teacher = padlab.load_model("embedded")
    student = padlab.prune_blocks(teacher, options.blocks)
    seconds, start = {}, time.monotonic()

    def lap(name: str) -> None:
        nonlocal start
        seconds[name], start = time.monotonic() - start, time.monotonic()

    train = padlab.load_prompts("train", limit=options.train)
    train = padlab.sample_responses(student, train, seed=seed, folder=folder / "train", **SAMPLING)
    lap("sample")
    train = padlab.add_rewards(train, teacher, folder=folder / "train")
    lap("score")
    settings = {**PRESET.training(), "learning_rate": options.rate, "num_train_epochs": options.epochs, "seed": seed}
    settings["token_kd"] = options.token_kd
    trained = padlab.distill(student, train, teacher=teacher, folder=folder / "distill", **settings)
    lap("train")
    heldout = padlab.load_prompts("heldout", limit=options.heldout)
    samples = [
        padlab.evaluate_samples(model, teacher, heldout, seed=1000 + seed, folder=folder / name, **SAMPLING)
        for name, model in (("before", student), ("after", trained))
    ]
    agreement = [
        padlab.rank_agreement(model, teacher, samples[0].table, beta=PRESET.beta) for model in (student, trained)
    ]
    lap("evaluate")
    measures = {}
    for pair in (agreement, samples):
        for name, difference in padlab.paired_differences(*pair).items():
            before, after = (report.intervals()[name].estimate for report in pair)
            measures[name] = {"before": before, "after": after, **difference._asdict()}
    return {"seed": seed, "seconds": seconds, "measures": measures}


def print_result(result: dict) -> None:
    """Means before and after, differences with their intervals."""
    seconds = "  ".join(f"{name} {value:.0f} s" for name, value in result["seconds"].items())
    print(f"\nseed {result['seed']}  {seconds}")
    for name, m in result["measures"].items():
        share = f"{(m['after'] / m['before'] - 1):+.0%}" if name == "jsd" else ""
        difference = f"{m['estimate']:+.3f} [{m['low']:+.3f}, {m['high']:+.3f}]"
        print(f"  {name:18} {m['before']:7.3f} -> {m['after']:7.3f}   {difference} {share}", flush=True)


def main() -> None:
    """Run all seeds, or read their results, and print one table each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train", type=int, default=96)
    parser.add_argument("--heldout", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("bench-out/pruned_ppd"))
    parser.add_argument("--epochs", type=float, default=PRESET.epochs)
    parser.add_argument("--rate", type=float, default=PRESET.learning_rate)
    parser.add_argument("--blocks", type=int, default=PRESET.keep_blocks, help="how many of its 30 the student keeps")
    parser.add_argument("--token-kd", type=float, default=PRESET.token_kd, help="weight of token-level distillation")
    options = parser.parse_args()
    settings = {name: value for name, value in vars(options).items() if name not in ("seeds", "folder", "threads")}
    print(machine(options.threads))
    print(", ".join(f"{name} {value:g}" for name, value in settings.items()), PRESET, sep="\n")
    for seed in options.seeds:
        path = options.folder / f"seed-{seed}" / "result.json"
        if not path.exists():
            write_json(path, {"settings": settings, **one_seed(seed, options, path.parent)})
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["settings"] != settings:
            raise SystemExit(f"{path} was made with {result['settings']}; give another --folder")
        print_result(result)


if __name__ == "__main__":
    main()
