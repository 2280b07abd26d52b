"""What `padlab inspect` does: print the view, write a page and its content as JSON."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import padlab
from padlab.lm.presets import get_preset
from padlab.prompts import load_prompts
from padlab.run_models import load_models, model_choice, trained_student, training_target
from padlab.runs import load_candidates
from padlab.show.inspection import Inspection
from padlab.show.inspection_state import MOST, check_look, responses_of_row
from padlab.show.inspector_files import read_responses
from padlab.show.inspector_page import write_page
from padlab.show.inspector_views import moving_view
from padlab.show.snapshot import preferences

OF_MODELS = (  # columns that hold what models said
    "student_reward", "teacher_reward", "selection_prob", "option_mass", "none_mass", "position_bias",
    "order_consistency", "confident", "selection_votes", "token_logps",
)  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Print the view, write the page, and say where it is."""
    _check(options)
    if options.most_disagreeing is not None:
        page = _whole_table(options)
    else:
        inspection = _inspection(options).score(on_progress=_print_progress)
        snapshot, state = inspection.snapshot(), inspection.state
        print(moving_view(snapshot, preferences(snapshot, state.alpha, state.beta)).text)
        page = write_page(inspection, options.out / "inspection.html", "padlab " + shlex.join(sys.argv[1:]))
    print(f"\npage  {page.resolve()}\nJSON  {page.with_suffix('.json').resolve()}")


def _whole_table(options: argparse.Namespace) -> Path:
    """The page of all rows. What the table's models said is used, unless models are named: then those score it anew."""
    table, page = _table(options.table), options.out / "disagreements.html"
    if _models_are_named(options):
        table = table.remove_columns([name for name in OF_MODELS if name in table.column_names])
    student = teacher = None
    if not {"student_reward", "teacher_reward"} <= set(table.column_names):
        models = _models(options)
        student, teacher = models["student"], models["teacher"]
    look = _look(options, {"alpha": None} if student is None else student.training)  # None: as the table has answers
    most, note = options.most_disagreeing, options.table.resolve().name
    shown = padlab.inspect_table(table, student, teacher, most=most, **look, path=page, note=note)
    print("\n".join(shown.text.split("\n\n")[:2]))
    return page


def _look(options: argparse.Namespace, preset: Mapping[str, Any]) -> dict[str, float]:
    """alpha and beta: as given, else as the run was trained, else the preset's, else 0 and 10."""
    trained: Mapping[str, Any] = {}
    if options.table is not None and options.table.is_dir():
        trained = training_target(options.table) if (options.table / "student").exists() else {}
    known = {"alpha": 0.0, "beta": 10.0, **preset, **trained}
    given = {name: getattr(options, name) for name in ("alpha", "beta")}
    chosen = {name: known[name] if value is None else value for name, value in given.items()}
    look = {name: float(value) for name, value in chosen.items() if value is not None}
    check_look(**{"alpha": 0.0, **look})
    return look


def _check(options: argparse.Namespace) -> None:
    """ValueError where it is not clear what to inspect, before anything is loaded."""
    if (options.prompt is None) == (options.table is None):
        raise ValueError("give either --prompt TEXT or --table RUN_OR_FILE")
    if options.prompt is not None and not options.prompt.strip():
        raise ValueError("the prompt is empty; give a text with --prompt")
    if options.responses and options.draw is not None:
        raise ValueError("give either --responses FILE or --draw N")
    if options.draw is not None and not 2 <= options.draw <= MOST:
        raise ValueError(f"--draw takes 2 to {MOST}, got {options.draw}")
    if options.prompt is not None and not (options.responses or options.draw):
        raise ValueError("give the responses: --responses FILE, or --draw N to let the student write them")
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out takes a folder, and {options.out} is a file")
    if options.most_disagreeing is not None:
        if options.table is None or options.most_disagreeing < 1:
            raise ValueError("--most-disagreeing takes a number of at least 1, and needs --table RUN_OR_FILE")
        if options.responses or options.draw is not None or options.judge is not None or options.row:
            raise ValueError(
                "--most-disagreeing takes the table as it is: leave out --row, --responses, --draw, --judge"
            )


def _models_are_named(options: argparse.Namespace) -> bool:
    return bool(options.preset or options.student or options.teacher)


def _models(options: argparse.Namespace) -> dict[str, padlab.LanguageModel]:
    """The models that were named, the others of the run folder (its trained student, and the untrained one)."""
    named = {"student": options.student, "teacher": options.teacher}
    run = options.table
    if options.preset or run is None or not run.is_dir() or all(named.values()):
        return load_models({"preset": options.preset or "reading", **named})._asdict()
    choice = model_choice(run)
    student, teacher = load_models({**choice, **{role: spec for role, spec in named.items() if spec}})
    if options.student or not (run / "student").exists():
        return {"student": student, "teacher": teacher}
    return {"student": trained_student(run, student), "teacher": teacher, "before": student}


def _inspection(options: argparse.Namespace) -> Inspection:
    entry = {"prompt": options.prompt} if options.table is None else _row(_table(options.table), options.row)
    prompt = [*(entry.get("previous_messages") or []), {"role": "user", "content": entry["prompt"]}]
    texts = read_responses(options.responses) if options.responses else None
    if texts is None and not options.draw and not entry.get("responses"):
        raise ValueError(f"row {options.row} has no responses: add --draw N to let the student write them")
    models = _models(options)
    look = _look(options, models["student"].training)
    inspection = Inspection(prompt=prompt, **models, **look, judge=options.judge)
    if options.draw:
        own = options.student is None and (options.table is None or _models_are_named(options))
        sampling = get_preset(options.preset or "reading").sampling() if own else {"max_new_tokens": 48}
        return inspection.draw(options.draw, options.seed, **{k: v for k, v in sampling.items() if k != "n"})
    return inspection.put(responses_of_row(entry) if texts is None else texts)


def _table(path: Path) -> Any:
    """The candidates of a run folder, or the rows of a file."""
    if path.is_dir():
        return load_candidates(path)
    return load_prompts(path)


def _row(table: Any, row: int) -> dict[str, Any]:
    if not -len(table) <= row < len(table):
        raise ValueError(f"there is no row {row}: the table has rows 0 to {len(table) - 1}")
    return table[row]


def _print_progress(name: str, share: float) -> None:
    print(f"[{share:4.0%}] {name}", file=sys.stderr, flush=True)
