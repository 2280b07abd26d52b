"""`padlab benchmark NAME`: answers to a benchmark's questions in its official file, or figures from its judgements."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import padlab
from padlab.run_models import load_student, model_choice, positive, trained_student
from padlab.safe_files import as_folder

NAMES = ("alpaca_eval", "arena_hard", "mt_bench", "gsm8k")


def add_parser(commands) -> None:
    """The grammar of `padlab benchmark`."""
    parser = commands.add_parser("benchmark", help="AlpacaEval 2, Arena-Hard, MT-Bench, GSM8K: answers, results")
    parser.add_argument("benchmark", choices=NAMES)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--model", help="a Hub id, a folder, a .gguf file or 'embedded'")
    who.add_argument("--run", type=as_folder, help="run folder: its trained student")
    who.add_argument("--read", type=Path, metavar="FILE", help="print the results of an official file of judgements")
    parser.add_argument("--before", action="store_true", help="with --run: the student before training")
    parser.add_argument("--name", dest="name_in_file", help="the model's name in the answer file (default: its own)")
    parser.add_argument("--questions", type=Path, help="the official file (default: from the Hub)")
    parser.add_argument("--limit", type=positive, help="so many questions (default: all)")
    parser.add_argument("--shots", type=int, default=0, help="gsm8k: worked examples before each question, 0 to 8")
    parser.add_argument("--max-new-tokens", type=positive, help="per answer (default: the official number)")
    parser.add_argument("--batch-size", type=positive, default=8, help="questions answered together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder for answers (default: benchmarks)")
    parser.add_argument("--threads", type=positive, help="CPU threads (default: torch's)")
    parser.set_defaults(run_command=benchmark)


def benchmark(options: argparse.Namespace) -> None:
    """Answer the questions, or read the judgements; print what there is and what comes next."""
    from padlab.study.benchmarks.run import get_benchmark, read_judgements, run_benchmark

    if options.read:
        print(read_judgements(options.benchmark, options.read))
        return
    model, name = _model(options)
    chosen = ("questions", "limit", "shots", "max_new_tokens", "batch_size", "seed")
    settings = {key: getattr(options, key) for key in chosen}
    path, results = run_benchmark(options.benchmark, model, options.out, model_name=name, **settings)
    print(f"answers -> {path}\n")
    if results:
        print(f"{results}\n")
    official = get_benchmark(options.benchmark)
    if options.limit or (options.max_new_tokens or math.inf) < official.SETTINGS["max_new_tokens"]:
        print("with --limit or fewer --max-new-tokens the figures are not comparable with published ones\n")
    print(f"to judge: {official.judging_command(path, path.stem)}")


def _model(options: argparse.Namespace) -> tuple[padlab.LanguageModel, str | None]:
    """The model to ask, and its name in the answer file (None: its own)."""
    if options.model:
        return padlab.load_model(options.model), options.name_in_file
    student = load_student(model_choice(options.run))
    name = options.name_in_file or options.run.resolve().name
    if options.before:
        return student, f"{name}-before"
    return trained_student(options.run, student), name
