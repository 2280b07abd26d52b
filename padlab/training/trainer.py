"""Phase 3: train the student until its distribution over rankings matches the teacher's.

`PADTrainer` is a `transformers.Trainer`: checkpoints, schedules and accumulation behave as users know them. The loss is
the mean over the prompts of the *optimizer* batch, so 1 x 8 and 8 x 1 accumulation give the same gradient.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from padlab.lm.adapters import trainable_copy
from padlab.lm.fast.scoring import can_share, mean_logprobs, token_logprobs
from padlab.lm.models import LanguageModel, load_model
from padlab.lm.fast.token_kl import token_kl
from padlab.training.collator import collate, to_grid, training_examples
from padlab.training.per_prompt_losses import LOSSES, Scored, best_and_worst, prompt_losses, student_scores
from padlab.phases.rewards import REDUCTIONS
from padlab.rankings.losses import DIVERGENCES, loss_diagnostics

TOO_LARGE = "(one prompt with its responses: use gradient_checkpointing=True, fewer or shorter responses, or LoRA)"
GRIDS = ("teacher_scores", "reference")


@dataclass
class PADConfig(TrainingArguments):
    """Settings of a distillation; every field of `transformers.TrainingArguments` is there too.

    Args:
        loss: "ppd" (divergence between the distributions) or "vpd" (likelihood of the teacher's ranking); baselines:
            "sft", "token_kd", "dpo", "simpo" (`padlab.training.per_prompt_losses`).
        divergence: for ppd: "js" (paper), "forward_kl" = KL(teacher || student), "reverse_kl", "released".
        alpha: weight of the selection probability in the teacher's calibrated reward, 0 to 1.
        match_scale: give log p_sel the scale of its prompt's rewards before mixing, see `padlab.calibrate`.
        beta: scale from nats/token to scores, > 0 (paper: 10).
        reward_reduction: "mean" (method) or "sum" of the student's token log-probabilities for ppd and vpd; the table
            needs the teacher's in the same form (`add_rewards(..., reduction=...)`).
        token_kd: weight of token-level distillation, KL(teacher || student) in nats/token, beside the loss; >= 0.
        dpo_beta, simpo_beta, simpo_gamma: of the baselines (papers: 0.1; 2; 1).
        learning_rate: 2e-4 suits LoRA (paper, full fine-tuning: 8e-7).
        per_device_train_batch_size, gradient_accumulation_steps: prompts per pass x passes per step (paper: 128
            prompts a step).
    """

    loss: str = field(default="ppd", metadata={"help": ", ".join(LOSSES)})
    divergence: str = field(default="js", metadata={"help": "for ppd: js, forward_kl, reverse_kl, released"})
    alpha: float = field(default=0.0, metadata={"help": "weight of the selection probability, 0 to 1"})
    match_scale: bool = field(default=False, metadata={"help": "log p_sel on the scale of the rewards"})
    beta: float = field(default=10.0, metadata={"help": "nats/token to scores, > 0"})
    reward_reduction: str = field(default="mean", metadata={"help": "mean or sum of token log-probabilities"})
    token_kd: float = field(default=0.0, metadata={"help": "weight of token-level distillation, >= 0"})
    dpo_beta: float = field(default=0.1, metadata={"help": "for dpo"})
    simpo_beta: float = field(default=2.0, metadata={"help": "for simpo"})
    simpo_gamma: float = field(default=1.0, metadata={"help": "for simpo"})
    learning_rate: float = 2e-4
    num_train_epochs: float = 2
    per_device_train_batch_size: int = 1
    per_device_eval_batch_size: int = 1
    gradient_accumulation_steps: int = 4
    lr_scheduler_type: str = "cosine"
    warmup_steps: float = 0.1
    weight_decay: float = 0.0
    logging_steps: float = 1
    save_strategy: str = "no"
    report_to: str = "none"
    remove_unused_columns: bool = False
    disable_tqdm: bool = True

    def __post_init__(self):
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")
        if self.divergence not in DIVERGENCES:
            raise ValueError(f"divergence must be one of {', '.join(DIVERGENCES)}, got {self.divergence!r}")
        if self.reward_reduction not in REDUCTIONS:
            raise ValueError(f"reward_reduction must be one of {', '.join(REDUCTIONS)}, got {self.reward_reduction!r}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1] (0 = likelihood alone), got {self.alpha}")
        if not 0 < self.beta < float("inf"):
            raise ValueError(f"beta must be a positive number, got {self.beta}")
        if not 0 <= self.token_kd < float("inf"):
            raise ValueError(f"token_kd must be 0 or a positive number, got {self.token_kd}")
        self.use_cpu = self.use_cpu or not torch.cuda.is_available()
        super().__post_init__()

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """Steps of warm-up; less than one is none (rounded up, the first of a few steps would be at rate 0)."""
        if self.warmup_steps * num_training_steps < 1:
            return 0
        return super().get_warmup_steps(num_training_steps)


class PADTrainer(Trainer):
    """A `transformers.Trainer` over a candidates table.

    Args:
        model: a `LanguageModel`, or what `padlab.load_model` takes; trained in place (`distill` works on a copy).
        args: a `PADConfig`.
        train_dataset, eval_dataset: candidates with `teacher_reward` (and `selection_prob` if alpha > 0).
        processing_class: the tokenizer, if `model` is a bare transformers model.
        peft_config: "auto" (LoRA r 16 on all linear layers), a peft config, or None for full fine-tuning.
        teacher: a `LanguageModel` with the student's tokenizer; asked only for token-level distillation.
        others: passed on to `transformers.Trainer`.

    Raises:
        ValueError: the table lacks a column or holds a number that is not finite (row named).
    """

    def __init__(
        self, model, args=None, train_dataset=None, eval_dataset=None, processing_class=None, peft_config=None,
        teacher=None, **others
    ):  # fmt: skip
        if isinstance(model, str | Path):
            model = load_model(model)
        if not isinstance(model, LanguageModel):
            model = LanguageModel(model, processing_class, type(model).__name__)
        args = args or PADConfig()
        network = trainable_copy(model.model, peft_config, args.seed) if peft_config is not None else model.model
        for weight in network.parameters():  # Adam's steps vanish in 16 bits: what is trained is kept in float32
            if weight.requires_grad and weight.dtype in (torch.bfloat16, torch.float16):
                weight.data = weight.data.float()
        if args.world_size > 1 or args.n_gpu > 1:
            raise ValueError(
                f"PADTrainer works in one process on one GPU, not {args.world_size} x {args.n_gpu}: gradients would "
                "not be shared. Start it without torchrun and with CUDA_VISIBLE_DEVICES=0"
            )
        self._pad = args
        self._teacher = _token_teacher(model, teacher) if args.token_kd or args.loss == "token_kd" else None
        self._seen: dict[bool, dict[str, list[float]]] = {True: {}, False: {}}  # while training, while evaluating
        examples = [None if d is None else training_examples(model, d, args) for d in (train_dataset, eval_dataset)]
        asked = [network] if self._teacher is None else [network, self._teacher.model]
        self._share = any(examples) and all(can_share(m, *_ids(examples)) for m in asked)
        super().__init__(
            model=network,
            args=args,
            train_dataset=examples[0],
            eval_dataset=examples[1],
            processing_class=model.tokenizer,
            data_collator=partial(collate, share=self._share),
            **others,
        )
        self.model_accepts_loss_kwargs = True  # we divide by the prompts of the whole optimizer batch ourselves

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Sum of the prompts' losses over the number of prompts in the optimizer batch."""
        tokens, exists, kl = inputs["tokens"], inputs["exists"], None
        with self.accelerator.autocast():
            network = self.accelerator.unwrap_model(model)
            if self._teacher is None:
                logps = token_logprobs(network, tokens)
            else:
                logps, kl = token_kl(network, self._teacher.model, tokens)
                kl = to_grid(mean_logprobs(kl, tokens.mask), exists)
        teacher, reference = (x if x is None else x.to(logps.device) for x in map(inputs.get, GRIDS))
        rewards, lengths = mean_logprobs(logps, tokens.mask), tokens.mask.sum(-1).to(logps)
        grids = to_grid(rewards, exists), teacher, exists.to(logps.device), to_grid(lengths, exists)
        scored = Scored(*grids, reference, kl)
        losses = prompt_losses(scored, self._pad)
        self._remember(losses, scored, self._seen[model.training])
        total = losses.sum() / (num_items_in_batch or len(losses))
        return (total, {"scores": student_scores(scored, self._pad)}) if return_outputs else total

    def training_step(self, model, inputs, num_items_in_batch=None):
        """Forward and backward; a batch that does not fit into memory is done in halves, with the same gradient.

        (Not for "released", whose mixture is over the batch.)
        """
        if len(inputs["examples"]) == 1 or self._pad.divergence == "released":
            try:
                return super().training_step(model, inputs, num_items_in_batch)
            except torch.OutOfMemoryError as error:
                raise torch.OutOfMemoryError(f"{error} {TOO_LARGE}") from error
        weights = [p for p in model.parameters() if p.requires_grad]
        before, seen = [p.grad for p in weights], {k: len(v) for k, v in self._seen[True].items()}
        for p in weights:  # a backward pass that runs out of memory leaves part of a gradient behind
            p.grad = None
        try:
            loss = super().training_step(model, inputs, num_items_in_batch)
        except torch.OutOfMemoryError:
            loss = None
        if loss is None:
            for p in weights:
                p.grad = None
            for name, values in self._seen[True].items():
                del values[seen.get(name, 0) :]
            torch.cuda.empty_cache()
            examples, total = inputs["examples"], num_items_in_batch or len(inputs["examples"])
            halves = examples[: len(examples) // 2], examples[len(examples) // 2 :]
            loss = sum(self.training_step(model, collate(half, self._share), total) for half in halves)
        for p, old in zip(weights, before, strict=True):
            if old is not None:
                p.grad = old if p.grad is None else p.grad.add_(old)
        return loss

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """The optimizer batch and the number of prompts in it."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, sum(len(batch["exists"]) for batch in batches)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Evaluation: the loss of a batch; the metrics are logged with it."""
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)), None, None

    def log(self, logs, start_time=None):
        """Add the means of what was seen since the last log (to the caller's dict: `evaluate` returns it)."""
        prefix = next((k.removesuffix("loss") for k in logs if k.endswith("_loss") and k != "train_loss"), "")
        if "loss" in logs or prefix:
            known = {k: [x for x in v if x == x] for k, v in self._seen[not prefix].items()}  # tau may be undefined
            logs.update({prefix + k: statistics.fmean(v) for k, v in known.items() if v})
            self._seen[not prefix] = {}
        super().log(logs, start_time)

    def floating_point_ops(self, inputs):
        """Not counted: our batches are not the model's keyword arguments."""
        return 0

    def _remember(self, losses: Tensor, scored: Scored, seen: dict) -> None:
        if not bool(torch.isfinite(losses).all()):
            raise FloatingPointError(
                f"the loss is not finite at step {self.state.global_step}; the last checkpoint is unharmed. Lower "
                "learning_rate or beta, or train in float32"
            )
        rewards = scored.rewards.detach()
        found = loss_diagnostics(student_scores(scored, self._pad).detach(), scored.teacher, scored.exists)
        rows, (best, worst) = torch.arange(len(rewards), device=rewards.device), best_and_worst(scored)
        found |= {"rewards/chosen": rewards[rows, best], "rewards/rejected": rewards[rows, worst]}
        found["rewards/margins"] = found["rewards/chosen"] - found["rewards/rejected"]
        found["rewards/accuracies"] = (found["rewards/margins"] > 0).float()
        for name, values in found.items():
            seen.setdefault(name, []).extend(values.tolist())


def _token_teacher(student: LanguageModel, teacher: LanguageModel | None) -> LanguageModel:
    if teacher is None:
        raise ValueError("token_kd asks the teacher about every token: pass teacher=...")
    if teacher.device != student.device:
        raise ValueError(f"token_kd needs both models on one device; {teacher.device} and {student.device}")
    if teacher.tokenizer_hash() != student.tokenizer_hash():
        raise ValueError(
            f"token_kd needs one tokenizer for both; {teacher.name} and {student.name} have two. Use 'sft' on "
            "the teacher's responses, or 'ppd'"
        )
    if not teacher.shares_vocabulary(student):
        raise ValueError(
            f"token_kd needs output heads of one size; those of {teacher.name} and {student.name} differ, though the "
            "tokenizer is the same. Use token_kd=0, 'ppd', or 'sft' on the teacher's responses"
        )
    return teacher


def _ids(examples: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    known = [e for group in examples if group for e in group]
    return [e["prompt_ids"] for e in known], [e["response_ids"] for e in known]
