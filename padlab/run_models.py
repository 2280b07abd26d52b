"""The models of a run folder: which were named, and the student that was trained there."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import padlab
from padlab.lm.presets import get_preset
from padlab.lm.remote.client import PREFIX
from padlab.runs import WAIT, read_manifest
from padlab.safe_files import as_folder, fault_of, lock, remove_sealed, seal, write_json, writing

TARGET = "trained_with.json"  # beside the student's weights


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return int(text)


def add_model_options(stage: argparse.ArgumentParser) -> None:
    """--preset, --student, --teacher and --tokenizer."""
    stage.add_argument("--preset", default="reading", help=f"{', '.join(padlab.PRESETS)} (default: reading)")
    stage.add_argument("--student", help="a Hub id, folder, .gguf file or openai:http://host:port/v1#model")
    stage.add_argument("--teacher", help="likewise")
    stage.add_argument("--tokenizer", help="of a model on a server: a Hub id, folder or .gguf file")


def named_models(options: argparse.Namespace) -> dict[str, str | None]:
    """What `add_model_options` was given, as the manifest records it."""
    named = {name: getattr(options, name) for name in ("student", "teacher", "tokenizer")}
    local = {name: str(as_folder(spec)) for name, spec in named.items() if spec and Path(spec).expanduser().exists()}
    return {"preset": options.preset, **named, **local}


def model_choice(run: Path) -> dict[str, str | None]:
    """Preset, student and teacher as `padlab sample` was told; ValueError where nothing was sampled yet."""
    stages = read_manifest(run)["stages"]
    if "models" not in stages:
        raise ValueError(f"{run} is no run folder yet: start with `padlab sample {run}`")
    return stages["models"]


def load_models(choice: dict[str, str | None]) -> padlab.Pair:
    """Student and teacher: those named, the others from the preset."""
    named = {role: _load(choice, role) for role in ("student", "teacher") if choice[role]}
    if len(named) == 2:
        return padlab.Pair(**named)
    return padlab.load_pair(choice["preset"])._replace(**named)


def load_student(choice: dict[str, str | None]) -> padlab.LanguageModel:
    """The student alone: named, or the preset's, without its teacher where the two are separate models."""
    preset = get_preset(choice["preset"])
    if choice["student"]:
        return _load(choice, "student")
    if preset.world or preset.keep_blocks or preset.name == "tiny":
        return padlab.load_pair(preset.name).student
    return replace(padlab.load_model(preset.student), training=preset.training())


def _load(choice: dict[str, str | None], role: str) -> padlab.LanguageModel:
    spec, tokenizer = choice[role], choice.get("tokenizer")
    on_server = spec.startswith(PREFIX) and tokenizer
    return padlab.load_model(spec, **({"tokenizer": tokenizer} if on_server else {}))


def trained_student(run: Path, student: padlab.LanguageModel) -> padlab.LanguageModel:
    """The student after `padlab distill`; ValueError where that has not been run."""
    folder = run / "student"
    if not folder.exists():
        raise ValueError(f"{folder} is not there: run `padlab distill {run}` first")
    if fault := fault_of(folder):
        raise ValueError(
            f"{folder} is damaged: {fault}. Delete that folder and give the `padlab distill` command again: it is "
            "written anew from the last checkpoint"
        )
    if not (folder / "adapter_config.json").exists():
        return padlab.load_model(folder, dtype="float32")  # as it was trained; 16 bits would undo small steps
    from padlab.lm.adapters import with_adapter

    return student.with_weights(with_adapter(student.model, folder), f"adapter {folder.name}")


def replace_student(run: Path, trained: padlab.LanguageModel, settings: Mapping[str, Any]) -> None:
    """Write the trained student beside the old one and swap, so that no mixture of two is ever there.

    Args:
        run: the folder.
        trained: the student.
        settings: alpha, beta and the method of selection it was trained with, kept beside it.
    """
    scratch, place = run / ".student", run / "student"
    with lock(run, ".student.lock", wait=WAIT):
        shutil.rmtree(scratch, ignore_errors=True)
        with writing(place):
            trained.save(scratch)
            write_json(scratch / TARGET, {name: settings[name] for name in ("alpha", "beta", "selection")})
            seal(scratch)
        with lock(run, wait=WAIT):
            if place.exists():
                remove_sealed(place)
            os.replace(scratch, place)


def training_target(run: Path) -> dict[str, Any]:
    """What the run's student was trained towards: alpha, beta, selection (the method of asking)."""
    return json.loads((run / "student" / TARGET).read_text(encoding="utf-8"))
