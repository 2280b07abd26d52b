"""`padlab import FILE RUN`: data that people have ranked, as the candidates table of a run folder."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import padlab
from padlab.lm.presets import get_preset
from padlab.run_models import add_model_options, named_models
from padlab.runs import WAIT, has_candidates, load_candidates, record_stage, same_columns, save_candidates
from padlab.safe_files import as_folder, lock


def add_parser(commands) -> None:
    """The grammar of `padlab import`."""
    parser = commands.add_parser(
        "import", help="ranked responses (scores, ranks, preferences) instead of phases 1 and 2"
    )
    parser.add_argument("file", type=Path, help=".jsonl, .json, .csv, .tsv or .parquet (also .gz)")
    parser.add_argument("run", type=as_folder, help="run folder; `padlab distill` trains on it without a teacher")
    add_model_options(parser)
    for name, what in (("prompt", "the questions"), ("responses", "the responses"), ("score", "the scores")):
        parser.add_argument(f"--{name}", metavar="COLUMN", help=f"column of {what} (default: recognised)")
    parser.add_argument("--rank", metavar="COLUMN", help="column of the ranks, 1 = best (instead of --score)")
    parser.add_argument("--scale", choices=("standardised", "rank", "raw"), default="standardised")
    parser.add_argument("--spread", type=float, help="nats/token, see padlab.from_ranked (default: 1)")
    parser.add_argument("--skip-faulty", action="store_true", help="leave out rows that cannot be read, and say which")
    parser.set_defaults(run_command=import_ranked)


def import_ranked(options: argparse.Namespace) -> None:
    """Read the file, write the table, and say what was understood."""
    from padlab.data_files import read_rows

    columns = {name: getattr(options, name) for name in ("prompt", "responses", "score", "rank")}
    spread = {} if options.spread is None else {"spread": options.spread}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings = {**columns, "scale": options.scale, "skip_faulty": options.skip_faulty, **spread}
        table = padlab.from_ranked(read_rows(options.file), **settings)
    for warning in caught:
        print(f"note: {warning.message}")
    choice = named_models(options)
    get_preset(options.preset)
    path = options.run / "candidates.jsonl"
    with lock(options.run, wait=WAIT):
        if has_candidates(options.run) and not same_columns(load_candidates(options.run), table, table.column_names):
            raise ValueError(f"{path} holds other data already; use another folder, or delete that file first")
        record_stage(options.run, "models", choice)
        record_stage(options.run, "import", {"file": options.file.name, **columns, "scale": options.scale, **spread})
        save_candidates(options.run, table)
    _print_table(table, path)
    student = options.student or f"the student of the preset {options.preset}"
    print(f"`padlab distill {options.run}` trains {student}")


def _print_table(table, path: Path) -> None:
    """Counts, and the first prompt with its responses, best first."""
    counts = [len(responses) for responses in table["responses"]]
    ties = sum(len(set(row)) < len(row) for row in table["teacher_reward"])
    print(f"{len(table)} prompts with {min(counts)} to {max(counts)} responses, {ties} with ties -> {path}")
    first = table[0]
    print(f"the first: {first['prompt'][:70]!r}, {len(first['responses'])} responses")
    for reward, text in sorted(zip(first["teacher_reward"], first["responses"], strict=True), reverse=True):
        print(f"  {reward:+.2f} nats/token  {text[:70]!r}")
