"""Callbacks of a training run: one progress line, and a marker in every checkpoint that was written completely."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from transformers import TrainerCallback

from padlab.progress import progress

MARKER = "complete"  # written into a checkpoint when everything in it is on disk


def last_complete(folder: str | Path | None) -> str | None:
    """The newest checkpoint in a folder whose writing was finished, or None."""
    checkpoints = Path(folder).glob("checkpoint-*") if folder else []
    complete = [path for path in checkpoints if (path / MARKER).exists()]
    return str(max(complete, key=lambda path: int(path.name.rpartition("-")[2]))) if complete else None


class Progress(TrainerCallback):
    """One progress line over all steps.

    Args:
        label: what the line begins with.
    """

    def __init__(self, label: str) -> None:
        self.label = label

    def on_train_begin(self, args, state, control, **others):
        """Start at the step that was resumed from."""
        steps = range(state.global_step, state.max_steps)
        self.bar: Iterator[int] = iter(progress(steps, self.label))
        next(self.bar, None)

    def on_step_end(self, args, state, control, **others):
        """One step further."""
        next(self.bar, None)


class MarkComplete(TrainerCallback):
    """Mark a checkpoint when the Trainer has written all of it."""

    def on_save(self, args, state, control, **others):
        """Called by the Trainer after the last file."""
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / MARKER).touch()
