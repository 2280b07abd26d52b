"""What a training run shows and leaves: one progress line, and checkpoints that say when they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from transformers import TrainerCallback

from padlab.runs import progress

MARKER = "complete"  # written into a checkpoint when everything in it is on disk


def last_complete(folder: str | Path | None) -> str | None:
    """The newest checkpoint in a folder whose writing was finished, or None."""
    found = Path(folder).glob("checkpoint-*") if folder else []
    whole = [path for path in found if (path / MARKER).exists()]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


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
