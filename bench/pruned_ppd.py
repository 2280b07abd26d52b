"""Does PPD move the pruned student towards its teacher on held-out prompts? Three seeds, paired intervals.

    python bench/pruned_ppd.py [--seeds 0 1 2] [--train 96] [--heldout 96] [--epochs 2] [--rate 1e-3] [--token-kd 1]
        [--blocks 28] [--folder bench-out/pruned_ppd]

Each seed draws its own training responses, its own adapter start and its own held-out responses. Settings not given
are the `embedded` preset's; all were chosen on training prompts only (LOG.md). `--token-kd 0` is PPD alone.
Interrupted, the same command goes on; a folder that holds other settings is refused.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from _measure import machine

import padlab
from padlab.runs import write_json


def one_seed(seed: int, options: argparse.Namespace, folder: Path) -> dict:
    """Sample, score, train and evaluate once; everything is kept in the folder."""
    settings = padlab.PRESETS["pruned"]
    sampling = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_new_tokens": settings.max_new_tokens,
    }
    teacher = padlab.load_model("embedded")
    student = padlab.prune_blocks(teacher, options.blocks)
    clock, seconds = time.monotonic(), {}

    def lap(name: str) -> None:
        nonlocal clock
        seconds[name], clock = time.monotonic() - clock, time.monotonic()

    train = padlab.load_prompts("train", limit=options.train)
    train = padlab.sample_responses(student, train, settings.n, seed=seed, folder=folder / "train", **sampling)
    lap("sample")
    train = padlab.add_rewards(train, teacher, folder=folder / "train")
    lap("score")
    trained = padlab.distill(
        student,
        train,
        loss="ppd",
        alpha=settings.alpha,
        beta=settings.beta,
        learning_rate=options.rate,
        num_train_epochs=options.epochs,
        token_kd=options.token_kd,
        teacher=teacher,
        gradient_accumulation_steps=settings.prompts_per_step,
        seed=seed,
        folder=folder / "distill",
    )
    lap("train")
    heldout = padlab.load_prompts("heldout", limit=options.heldout)
    fresh = [
        padlab.evaluate_samples(
            m, teacher, heldout, settings.n, seed=1000 + seed, folder=folder / f"fresh-{k}", **sampling
        )
        for k, m in enumerate((student, trained))
    ]
    ranked = [padlab.rank_agreement(m, teacher, fresh[0].table, beta=settings.beta) for m in (student, trained)]
    lap("evaluate")
    result = {}
    for pair in (ranked, fresh):
        for name, change in padlab.paired_differences(*pair).items():
            before, after = (report.estimates()[name].value for report in pair)
            result[name] = {"before": before, "after": after, **asdict(change)}
    return {"seed": seed, "seconds": seconds, "measures": result}


def main() -> None:
    """Run all seeds and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train", type=int, default=96)
    parser.add_argument("--heldout", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("bench-out/pruned_ppd"))
    preset = padlab.PRESETS["pruned"]
    parser.add_argument("--epochs", type=float, default=preset.epochs)
    parser.add_argument("--rate", type=float, default=preset.learning_rate)
    parser.add_argument("--blocks", type=int, default=preset.keep_blocks, help="how many of its 30 the student keeps")
    parser.add_argument("--token-kd", type=float, default=preset.token_kd, help="weight of token-level distillation")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    asked = {k: v for k, v in vars(options).items() if k not in ("seeds", "folder", "threads")}
    print(machine(options.threads))
    print(", ".join(f"{k} {v:g}" for k, v in asked.items()), preset, sep="\n")
    for seed in options.seeds:
        done = options.folder / f"seed-{seed}" / "result.json"
        if not done.exists():
            write_json(done, {"asked": asked, **one_seed(seed, options, done.parent)})
        result = json.loads(done.read_text(encoding="utf-8"))
        if result["asked"] != asked:
            raise SystemExit(f"{done} was made with {result['asked']}; give another --folder")
        print(f"\nseed {seed}  " + "  ".join(f"{k} {v:.0f} s" for k, v in result["seconds"].items()))
        for name, m in result["measures"].items():
            share = f"{(m['after'] / m['before'] - 1):+.0%}" if name == "jsd" else ""
            change = f"{m['value']:+.3f} [{m['low']:+.3f}, {m['high']:+.3f}]"
            print(f"  {name:18} {m['before']:7.3f} -> {m['after']:7.3f}   {change} {share}", flush=True)


if __name__ == "__main__":
    main()
