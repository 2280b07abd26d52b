"""Phase 3 in one call: train a copy of the student on a candidates table; checkpoints, resuming, interruption."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback

from padlab.candidates import check_candidates
from padlab.lm.adapters import trainable_copy
from padlab.lm.models import LanguageModel
from padlab.training.callbacks import MarkComplete, Progress, last_complete
from padlab.phases.rewards import fingerprint
from padlab.training.trainer import PADConfig, PADTrainer
from padlab.runs import stage_folder

if TYPE_CHECKING:
    from datasets import Dataset


def distill(
    student: LanguageModel,
    candidates: Dataset,
    *,
    loss: str = "ppd",
    divergence: str = "js",
    alpha: float = 0.0,
    beta: float = 10.0,
    peft_config: Any = "auto",
    teacher: LanguageModel | None = None,
    eval_candidates: Dataset | None = None,
    folder: str | Path | None = None,
    save_steps: int = 20,
    keep_interrupted: bool = True,
    **settings: Any,
) -> LanguageModel:
    """Train a copy of the student on candidates that carry the teacher's rewards.

    Args:
        student: left as it was; one that already has a LoRA adapter continues a copy of it.
        candidates: table with `responses`, `teacher_reward`, and `selection_prob` if alpha > 0.
        loss: "ppd" or "vpd"; "sft", "token_kd", "dpo", "simpo" are baselines (`padlab.training.per_prompt_losses`).
        divergence: for ppd: "js", "forward_kl", "reverse_kl" or "released".
        alpha: weight of the selection probability, 0 to 1; 0 needs no `selection_prob`.
        beta: nats/token to scores, > 0 (paper: 10).
        peft_config: "auto" (LoRA r 16 on all linear layers), a peft config, or None for full fine-tuning (then lower
            the learning rate; paper: 8e-7).
        teacher: only token-level distillation (loss or weight `token_kd`) needs it, with the student's tokenizer.
        eval_candidates: a table on which the loss is reported after each epoch.
        folder: run folder, for checkpoints every `save_steps` steps; the same call again resumes from the last one.
        keep_interrupted: without a folder, Ctrl-C ends the training and what was learnt so far is returned; False
            passes the interruption on.
        settings: any other field of `PADConfig`, e.g. learning_rate, num_train_epochs, seed.

    Returns:
        a new `LanguageModel`; its `history` holds loss, jsd, kendall_tau, rewards/... per step. Interrupted (Ctrl-C)
        without a folder, it holds what was learnt so far (see `keep_interrupted`); with one, the interruption is
        passed on.

    Raises:
        ValueError: missing column, non-finite number (row named), alpha or beta out of range, or a folder with
            checkpoints of other settings (the difference is named).
        FloatingPointError: loss or logits became NaN or infinite.
    """
    settings = {"loss": loss, "divergence": divergence, "alpha": alpha, "beta": beta, **settings}
    candidates = check_candidates(candidates)
    asked = {**settings, **_decided_by(student, candidates, peft_config, teacher)}
    if folder is not None:
        settings = {"save_strategy": "steps", "save_steps": save_steps, "save_total_limit": 2, **settings}
    if eval_candidates is not None:
        settings.setdefault("eval_strategy", "epoch")
    with stage_folder(folder, "checkpoints", asked) as place:
        args = PADConfig(**{"output_dir": str(place), **settings})
        network = trainable_copy(student.model, peft_config, args.seed)
        copy = student.with_weights(network, f"{loss} alpha={alpha:g} beta={beta:g}")
        callbacks = [Progress(f"distil ({loss})"), MarkComplete()]
        trainer = PADTrainer(copy, args, candidates, eval_candidates, teacher=teacher, callbacks=callbacks)
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train(resume_from_checkpoint=last_complete(folder and place))
        except KeyboardInterrupt:
            if folder is not None or not keep_interrupted:
                raise
            print(f"interrupted after {trainer.state.global_step} of {trainer.state.max_steps} steps: keeping these")
    return copy.with_weights(trainer.model.eval(), "", history=tuple(trainer.state.log_history))


def _decided_by(student: LanguageModel, candidates: Dataset, peft_config: Any, teacher: Any) -> dict[str, Any]:
    columns = ("prompt", "responses", "response_ids", "finished", "teacher_reward", "selection_prob")
    used = [list(candidates[c]) for c in columns if c in candidates.column_names]
    peft = peft_config.to_dict() if hasattr(peft_config, "to_dict") else {"": peft_config}
    peft = {k: sorted(v) if isinstance(v, set) else v for k, v in peft.items()}
    known = {"student": student.describe(), "candidates": fingerprint(used), "peft": peft}
    return known if teacher is None else {**known, "teacher": teacher.describe()}
