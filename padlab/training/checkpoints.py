"""Checkpoints that can be relied on: sealed when complete and finite, verified before they are read, without secrets.

A checkpoint is sealed (`padlab.safe_files.seal`) after the Trainer has written all of it, if its weights are finite and
give finite logits. Only then are older ones removed, so at any time the newest sealed one can be resumed.
"""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import Trainer, TrainerCallback

from padlab.lm.probe import ordinary_ids
from padlab.safe_files import SECRET, fault_of, remove_sealed, seal, writing

KEPT = 2  # sealed checkpoints that stay


def newest_whole(folder: Path, made_under: str = "") -> str | None:
    """The newest checkpoint in a folder that is as it was sealed, or None; prints those that were passed over.

    Args:
        folder: with checkpoint-1, checkpoint-2, ...
        made_under: fingerprint of the settings of this training.
    """
    for checkpoint in sorted(_checkpoints(folder), key=_step, reverse=True):
        fault = fault_of(checkpoint, made_under)
        if not fault:
            return str(checkpoint)
        print(f"padlab: {checkpoint} is passed over: {fault}")
    return None


class SealCheckpoints(TrainerCallback):
    """Seals a checkpoint when the Trainer has written all of it, then removes older ones.

    Args:
        made_under: fingerprint of the settings of this training.
        keep: number of sealed checkpoints that stay; the best one (`load_best_model_at_end`) stays besides. None: all.
    """

    def __init__(self, made_under: str = "", keep: int | None = KEPT) -> None:
        self.made_under, self.keep = made_under, keep

    def on_save(self, args, state, control, model=None, **others):
        """Called by the Trainer after the last file; FloatingPointError if the weights are of no use."""
        checkpoint, processes = Path(args.output_dir) / f"checkpoint-{state.global_step}", PartialState()
        if not _gives_finite_logits(model):
            shutil.rmtree(checkpoint, ignore_errors=True)
            raise FloatingPointError(not_finite("the weights or the logits", args, state.global_step, model))
        processes.wait_for_everyone()  # each has written a file of its own
        if processes.is_main_process:
            self._seal(checkpoint, state.best_model_checkpoint)
        processes.wait_for_everyone()

    def _seal(self, checkpoint: Path, best: str | None) -> None:
        with writing(checkpoint):
            seal(checkpoint, self.made_under)
        if self.keep is None:
            return
        others = sorted((c for c in _checkpoints(checkpoint.parent) if c != checkpoint), key=_step, reverse=True)
        later = [c for c in others if _step(c) > _step(checkpoint)]  # passed over when this training began
        for path in [*later, *others[len(later) :][max(self.keep, 1) - 1 :]]:
            if str(path) != best:
                remove_sealed(path)


class StopAtInfiniteGradient(TrainerCallback):
    """Ends the training before a gradient that is not finite reaches the weights."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **others):
        """Called by the Trainer when the gradient of the whole optimizer batch is there."""
        if args.fp16:  # its loss scaler looks for such gradients, and leaves out the step
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if not bool(torch.nn.utils.get_total_norm(gradients).isfinite()):
            raise FloatingPointError(not_finite("the gradient", args, state.global_step + 1, model))


class CleanTrainer(Trainer):
    """A Trainer whose checkpoints are sealed, verified before they are resumed, and hold no secrets."""

    def train(self, resume_from_checkpoint=None, *others, **named):
        """As in transformers; True resumes the newest checkpoint that is whole."""
        if not any(isinstance(callback, SealCheckpoints) for callback in self.callback_handler.callbacks):
            self.add_callback(SealCheckpoints(keep=None))
        if resume_from_checkpoint is True:
            resume_from_checkpoint = newest_whole(Path(self.args.output_dir))
            if resume_from_checkpoint is None:
                raise ValueError(f"{self.args.output_dir} holds no whole checkpoint to resume from")
        return super().train(resume_from_checkpoint, *others, **named)

    def _save_checkpoint(self, model, trial):
        with writing(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"):
            super()._save_checkpoint(model, trial)

    def _save(self, output_dir=None, state_dict=None):
        args, self.args = self.args, copy.copy(self.args)
        for name in filter(SECRET.search, list(vars(self.args))):
            setattr(self.args, name, None)
        try:
            super()._save(output_dir, state_dict)
        finally:
            self.args = args

    def floating_point_ops(self, inputs):
        """Not counted: padlab's batches are not the model's keyword arguments."""
        return 0


def not_finite(what: str, args: Any, step: int, model: Any) -> str:
    """The message for a number that is not finite: where, at which rate, and what to lower."""
    coarse = args.bf16 or args.fp16 or any(p.dtype in (torch.bfloat16, torch.float16) for p in model.parameters())
    beta = f" or beta (now {args.beta:g})" if hasattr(args, "beta") else ""
    return (
        f"{what} became NaN or infinite at step {step}. Lower learning_rate (now "
        f"{args.learning_rate:g}){beta}{', or train in float32' if coarse else ''}; earlier checkpoints are kept"
    )


@torch.no_grad()
def _gives_finite_logits(model: Any) -> bool:
    """Whether all trained weights are finite, and the logits of a few tokens."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if not all(bool(p.isfinite().all()) for p in trained):
        return False
    training = model.training
    ids = torch.tensor([ordinary_ids(model, *range(8))], device=trained[0].device)
    finite = bool(model.eval()(input_ids=ids, use_cache=False).logits.isfinite().all())
    model.train(training)
    return finite


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if path.is_dir() and path.name[11:].isdecimal()]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name[11:])
