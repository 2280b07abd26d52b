"""The grammar of `padlab inspect`: what two models prefer among responses, without a notebook."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import padlab
from padlab.run_models import positive


def add_parser(commands: Any) -> None:
    """Add `inspect` to the command line's grammar."""
    parser = commands.add_parser("inspect", help="what do two models prefer among responses? a page and JSON")
    parser.add_argument("--preset", help=f"the models: {', '.join(padlab.PRESETS)} (default: reading)")
    parser.add_argument("--student", help="a Hub id, folder or .gguf file instead of the preset's")
    parser.add_argument("--teacher", help="likewise")
    asked = parser.add_argument_group("what is inspected")
    asked.add_argument("--prompt", help="the prompt's text")
    asked.add_argument("--responses", type=Path, help="a file: one response a line, or a JSON list")
    asked.add_argument("--draw", type=int, help="so many responses, written by the student")
    asked.add_argument("--table", type=Path, help='a run folder, or a .jsonl file with one {"prompt": ...} a line')
    asked.add_argument("--row", type=int, default=0, help="of the table (default: 0)")
    asked.add_argument("--most-disagreeing", type=int, metavar="K", help="all rows of the table, K of them in full")
    parser.add_argument(
        "--alpha", type=float, help="weight of the selection probability (default: of the run, else of the preset)"
    )
    parser.add_argument("--beta", type=float, help="scale of the scores (default: likewise, else 10)")
    parser.add_argument("--judge", action=argparse.BooleanOptionalAction, help="ask the teacher which is better")
    parser.add_argument("--seed", type=int, default=0, help="of --draw")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of page and JSON (default: the current one)")
    parser.add_argument("--threads", type=positive, help="CPU threads (default: torch's)")
    parser.set_defaults(run_command=run)


def run(options: argparse.Namespace) -> None:
    """What `padlab.show.command` does; torch is imported only here."""
    from padlab.show import command

    command.run(options)
