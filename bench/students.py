"""Every method in one table: `padlab.compare_students` on the reading pair, with truth, local judge, GSM8K and health.

    python bench/students.py [--preset reading] [--prompts 128] [--heldout 128] [--gsm8k FILE] [--ranked FILE]

The judge is the embedded model with the adapter data/judge; --ranked is a file of answers with GPT-4-turbo's
preferences, from which the judge's agreement is measured. Rates were chosen for each method on training names
(docs/results.md), but for LiPO, PRO and RRHF, which have the preset's. Table and figure go to --out.
"""

import argparse
import json
import time
from pathlib import Path

from _measure import machine

import padlab
from padlab.safe_files import write_json
from padlab.show.plots import plot_students
from padlab.study.benchmarks import gsm8k
from padlab.study.methods import LISTWISE, METHODS
from padlab.worlds import reading

RATES = {"sft": 1e-3, "token_kd": 1e-3, "vpd": 2e-4}  # the best of three on training names; others: the preset's 5e-4
SHOWN = ("right", "truth_tau", "kendall_tau", "teacher_reward", "kl_to_start", "length")


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="reading")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--heldout", type=int, default=128)
    parser.add_argument("--methods", nargs="+", default=[*METHODS, *LISTWISE])
    parser.add_argument("--gsm8k", type=Path, help="official test file; 20 of its questions, 160 tokens each")
    parser.add_argument("--ranked", type=Path, help="answers with GPT-4-turbo's preferences; 100 pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("bench-out/students"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(machine(options.threads))
    begin, preset = time.monotonic(), padlab.PRESETS[options.preset]
    student, teacher = padlab.load_pair(options.preset, dtype="float32")
    judge = padlab.with_judge(padlab.load_model("embedded", dtype="float32"), "data/judge")
    agreement = padlab.judge_agreement(judge, options.ranked, 100, max_response_tokens=400) if options.ranked else None
    compared = padlab.compare_students(
        student, teacher, reading.prompts(options.prompts, seed=100 + options.seed),
        reading.prompts(options.heldout, seed=7, heldout="names"), methods=options.methods, quality=reading.quality,
        judge=judge, agreement=agreement, sampling=preset.sampling(), seed=options.seed,
        gsm8k=gsm8k.load_questions(options.gsm8k, 20) if options.gsm8k else (), max_new_tokens=160,
        method_settings={m: {"learning_rate": rate} for m, rate in RATES.items()}, folder=options.out / "run",
    )  # fmt: skip
    print(compared)
    for example in compared.examples():
        print(json.dumps(example, ensure_ascii=False))
    print(f"{time.monotonic() - begin:.0f} s")
    rows = {s: {m: i._asdict() for m, i in values.items()} for s, values in compared.differences().items()}
    write_json(options.out / "students.json", {"before": compared.levels(), "differences": rows})
    figure = plot_students(compared.levels(), compared.differences(), SHOWN)
    (options.out / "students.png").write_bytes(figure.png())


if __name__ == "__main__":
    main()
