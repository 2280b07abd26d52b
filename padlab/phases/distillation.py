"""Phase 3 in one call: train a copy of the student on a candidates table; checkpoints, resuming, interruption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback

from padlab.candidates import check_candidates
from padlab.conversations import PREVIOUS
from padlab.lm.adapters import trainable_copy
from padlab.lm.models import LanguageModel
from padlab.lm.probe import check_language_model
from padlab.lm.quiet import no_transformers_bars
from padlab.runs import made_under
from padlab.safe_files import fingerprint
from padlab.training.callbacks import CallOnLog, CallOnStep, Progress
from padlab.training.checkpoints import KEPT, SealCheckpoints, newest_whole
from padlab.training.config import PADConfig
from padlab.training.several_processes import shared_stage_folder
from padlab.training.trainer import PADTrainer

if TYPE_CHECKING:
    from datasets import Dataset


NOT_DECIDING = ("save_total_limit", "logging_steps", "disable_tqdm", "report_to")  # may differ in a resumed training


def distill(
    student: LanguageModel,
    candidates: Dataset,
    *,
    teacher: LanguageModel | None = None,
    eval_candidates: Dataset | None = None,
    folder: str | Path | None = None,
    save_steps: int = 20,
    keep_interrupted: bool = True,
    on_log: Callable[[list[dict[str, float]]], None] | None = None,
    on_step: Callable[[int, LanguageModel], None] | None = None,
    **settings: Any,
) -> LanguageModel:
    """Train a copy of the student on candidates that carry the teacher's rewards.

    A setting that is not given is the one of the student's preset (`student.training`; `PRESETS[...].training()`),
    else the default named here.

    Args:
        student: not modified; if it already has a LoRA adapter, a copy of that adapter is trained further.
        candidates: table with `responses`, `teacher_reward`, and `selection_prob` if alpha > 0.
        teacher: read only for token-level distillation (loss or weight `token_kd`), with the student's tokenizer.
        eval_candidates: a table on which the loss is reported after each epoch.
        folder: run folder, for checkpoints every `save_steps` steps; the same call again resumes from the last one.
        save_steps: optimizer steps between checkpoints, >= 1.
        keep_interrupted: without a folder, Ctrl-C ends the training and what was learnt so far is returned; False, or
            a folder, passes the interruption on.
        on_log: called with the log so far after each logged step, e.g. `padlab.show.plots.LiveTraining()`.
        on_step: called with the step's number, from 1, and the student as it is then, after each optimizer step. It
            may score or sample with this student, but not keep it: its weights change with the next step.
        settings: any field of `PADConfig`, and `peft_config`:
            loss: "ppd" (default) or "vpd"; "sft", "token_kd", "dpo", "simpo", "lipo", "pro", "rrhf" are baselines.
            alpha: weight of the selection probability, 0 (needs no `selection_prob`) to 1; the preset's, else 0.
            beta: nats/token to scores, > 0; the preset's, else 10 as in the paper.
            learning_rate, num_train_epochs, gradient_accumulation_steps (prompts per step), seed, ...
            peft_config: "auto" (default: LoRA r 16 on all linear layers), a peft config, or None for full
                fine-tuning (then lower the learning rate; paper: 8e-7).

    Returns:
        a new `LanguageModel`; its `history` holds loss, jsd, kendall_tau, rewards/... per step.

    Raises:
        ValueError: missing column, non-finite number (row named), alpha or beta out of range, token_kd above 0 without
            `teacher`, or a folder with checkpoints of other settings (the difference is named).
        FloatingPointError: loss or logits became NaN or infinite.
    """
    settings = {"loss": "ppd", "alpha": 0.0, "beta": 10.0, "peft_config": "auto", **student.training, **settings}
    peft_config = settings.pop("peft_config")
    check_language_model(student.model)
    candidates = check_candidates(candidates)
    if folder is not None and "output_dir" in settings:
        raise ValueError("give either folder or output_dir: checkpoints lie in the folder's sub-folder checkpoints")
    decisive = {name: value for name, value in settings.items() if name not in NOT_DECIDING}
    recorded = {**decisive, **_inputs(student, candidates, peft_config, teacher)}
    sealing = SealCheckpoints(made_under(recorded), settings.pop("save_total_limit", None) or KEPT)
    if folder is not None:
        settings = {"save_strategy": "steps", "save_steps": save_steps, **settings}
    if eval_candidates is not None:
        settings.setdefault("eval_strategy", "epoch")
    note = "{loss} alpha={alpha:g} beta={beta:g}".format(**settings)
    with shared_stage_folder(folder, "checkpoints", recorded) as place:
        args = PADConfig(**{"output_dir": str(place), "use_cpu": student.device.type == "cpu", **settings})
        network = trainable_copy(student.model, peft_config, args.seed)
        copy = student.with_weights(network, note)
        callbacks = [Progress(f"distill ({args.loss})"), sealing, *([CallOnLog(on_log)] if on_log else [])]
        if on_step:
            callbacks.append(CallOnStep(lambda step, model: on_step(step, copy.with_weights(model, f"step {step}"))))
        trainer = PADTrainer(copy, args, candidates, eval_candidates, teacher=teacher, callbacks=callbacks)
        trainer.remove_callback(PrinterCallback)
        try:
            with no_transformers_bars():
                trainer.train(resume_from_checkpoint=newest_whole(place, sealing.made_under))
        except KeyboardInterrupt:
            if folder is not None or not keep_interrupted:
                raise
            print(f"interrupted after {trainer.state.global_step} of {trainer.state.max_steps} steps: keeping these")
    return copy.with_weights(trainer.model.eval(), "", history=tuple(trainer.state.log_history))


def _inputs(student: LanguageModel, candidates: Dataset, peft_config: Any, teacher: Any) -> dict[str, Any]:
    """What, besides the settings, decides the result: for the manifest."""
    columns = ("prompt", PREVIOUS, "responses", "response_ids", "finished", "teacher_reward", "selection_prob")
    used = [list(candidates[c]) for c in columns if c in candidates.column_names]
    peft = peft_config.to_dict() if hasattr(peft_config, "to_dict") else {"": peft_config}
    peft = {k: sorted(v) if isinstance(v, set) else v for k, v in peft.items()}
    inputs = {"student": student.describe(), "candidates": fingerprint(used), "peft": peft}
    return inputs if teacher is None else {**inputs, "teacher": teacher.describe()}
