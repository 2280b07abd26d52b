"""Run a benchmark: questions, answers, the official answer file and the command that judges it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

from padlab.lm.models import LanguageModel
from padlab.runs import WAIT
from padlab.safe_files import as_folder, lock, write_json
from padlab.study.benchmarks import alpaca_eval, arena_hard, gsm8k, mt_bench
from padlab.study.benchmarks.answers import generate_answers
from padlab.study.benchmarks.results import Results

BENCHMARKS = {"alpaca_eval": alpaca_eval, "arena_hard": arena_hard, "mt_bench": mt_bench, "gsm8k": gsm8k}


def run_benchmark(
    name: str,
    model: LanguageModel,
    folder: str | Path,
    *,
    questions: Any = None,
    limit: int | None = None,
    shots: int = 0,
    max_new_tokens: int | None = None,
    model_name: str | None = None,
    seed: int = 0,
    batch_size: int = 8,
) -> tuple[Path, Results | None]:
    """Answer a benchmark's questions with the official settings, and write the official answer file.

    Args:
        name: "alpaca_eval", "arena_hard", "mt_bench" or "gsm8k".
        model: the model that answers.
        folder: for the answer file, and for the answers so far: the same call again goes on where it stopped.
        questions: the official file; None: from the Hub.
        limit: the first so many questions.
        shots: gsm8k: worked examples in front of each question, 0 to 8.
        max_new_tokens: fewer than the official number make figures that are not comparable with published ones.
        model_name: in the answer file; default: the model's name.
        seed, batch_size: see `generate_answers`.

    Returns:
        (path of the answer file, results): gsm8k is scored here; the others wait for their judge (None).

    Raises:
        ValueError: an unknown name, no questions, a question too long for the model (named), or a folder with answers
            under this name of another model, with other settings, or to more questions.
    """
    benchmark, folder = get_benchmark(name), as_folder(folder)
    if shots and name != "gsm8k":
        raise ValueError(f"shots belong to gsm8k; {name} has none")
    asked = benchmark.load_questions(questions, limit, **({"shots": shots} if shots else {}))
    settings = {**benchmark.SETTINGS, **({} if max_new_tokens is None else {"max_new_tokens": max_new_tokens})}
    name_in_file = _file_name(model_name or model.name)
    recorded = {"weights": model.weights_hash(), "questions": len(asked), **settings, "shots": shots, "seed": seed}
    _record_answers(folder, f"{name}/{name_in_file}", recorded)
    answers = generate_answers(model, asked, **settings, seed=seed, batch_size=batch_size, folder=folder / "answers")
    path = benchmark.write_answers(folder, name_in_file, asked, answers)
    return path, benchmark.read_judgements(path) if name == "gsm8k" else None


def read_judgements(name: str, path: str | Path) -> Results:
    """One table of results from an official file of judgements (gsm8k: from an answer file).

    Args:
        name: a benchmark's name, as in `padlab benchmark`.
        path: the file.

    Raises:
        ValueError: an unknown name, or not such a file.
    """
    return get_benchmark(name).read_judgements(path)


def get_benchmark(name: str) -> ModuleType:
    """The adapter of that name; ValueError lists the names there are."""
    if name not in BENCHMARKS:
        raise ValueError(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def _record_answers(folder: Path, name: str, now: dict[str, Any]) -> None:
    """Record what an answer file is made of, so that nothing else is written over it; more questions may be."""
    record = folder / "answer_files.json"
    with lock(folder, wait=WAIT):
        known = _read_record(record)
        before = known.get(name, now)
        differ = [key for key in now if key != "questions" and before.get(key) != now[key]]
        if differ or before["questions"] > now["questions"]:
            what = f"other {', '.join(differ)}" if differ else f"{before['questions']} questions"
            raise ValueError(f"{folder} holds answers as {name} with {what}; give another name or folder")
        write_json(record, {**known, name: now}, locked=True)


def _read_record(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if all(isinstance(entry["questions"], int) for entry in known.values()):
            return known
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise ValueError(f"{path} is damaged; delete that file: the answers beside it are kept, and not computed again")


def _file_name(name: str) -> str:
    """A model's name without characters that a path could misread."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name[:100]).strip(". ") or "model"
