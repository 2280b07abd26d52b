"""Phase 3: train the student so that its distribution over rankings approaches the teacher's.

`PADTrainer` is a `transformers.Trainer`: checkpoints, schedules and accumulation behave as users know them. The loss is
the mean over the prompts of the *optimizer* batch, so 1 x 8 and 8 x 1 accumulation give the same gradient
(not with `divergence="released"`, whose mixture is over the batch of one pass).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from padlab.lm.adapter_base import ADAPTER
from padlab.lm.adapters import trainable_copy, without_dropout
from padlab.lm.fast.memory import attempt
from padlab.lm.fast.scoring import can_pack, response_logprobs
from padlab.lm.fast.token_kl import token_kl
from padlab.lm.loading import load_model
from padlab.lm.logprobs import mean_over_tokens
from padlab.lm.models import LanguageModel
from padlab.lm.probe import check_language_model
from padlab.rankings.diagnostics import loss_diagnostics
from padlab.training.callbacks import WarnFalling
from padlab.training.checkpoints import StopAtInfiniteGradient, not_finite
from padlab.training.collator import NEEDS_REFERENCE, collate, to_grid, training_examples
from padlab.training.config import PADConfig
from padlab.training.per_prompt_losses import Scored, chosen_and_rejected, prompt_losses, student_scores
from padlab.training.several_processes import SharingTrainer


class PADTrainer(SharingTrainer):
    """A `transformers.Trainer` over a candidates table.

    Args:
        model: a `LanguageModel`, or what `padlab.load_model` takes; trained in place (`distill` works on a copy).
        args: a `PADConfig`.
        train_dataset, eval_dataset: candidates with `teacher_reward` (and `selection_prob` if alpha > 0).
        processing_class: the tokenizer, if `model` is a bare transformers model.
        peft_config: "auto" (LoRA r 16 on all linear layers), a peft config, or None (default) for full fine-tuning.
        teacher: a `LanguageModel` with the student's tokenizer; read only for token-level distillation.
        others: passed on to `transformers.Trainer`.

    Raises:
        ValueError: the table lacks a column or holds a number that is not finite (row named), or token_kd is above 0
            without a teacher.
    """

    def __init__(
        self, model, args=None, train_dataset=None, eval_dataset=None, processing_class=None, peft_config=None,
        teacher=None, **others
    ):  # fmt: skip
        args = args or PADConfig()
        _check_divergence(args)
        self._student = _as_language_model(model, processing_class)
        network = self._student.model
        if peft_config is not None:
            network = trainable_copy(network, peft_config, args.seed)
        check_language_model(network)
        _train_in_float32(network)
        self._teacher = None
        if args.token_kd or args.loss == "token_kd":
            self._teacher = _check_token_teacher(self._student, teacher)
        self._network, self._pack, self.args = network, True, args
        self._metrics: dict[bool, dict[str, list[float]]] = {True: {}, False: {}}  # while training, while evaluating
        super().__init__(
            model=network,
            args=args,
            train_dataset=self._examples(train_dataset),
            eval_dataset=self._examples(eval_dataset),
            processing_class=self._student.tokenizer,
            data_collator=self._collate,
            **others,
        )
        self.add_callback(WarnFalling())
        self.add_callback(StopAtInfiniteGradient())
        self.model_accepts_loss_kwargs = True  # we divide by the prompts of the whole optimizer batch ourselves

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Sum of the prompts' losses over the number of prompts in the optimizer batch."""
        training = model.training
        without_dropout(model)
        try:
            with self.accelerator.autocast():
                scored = self._score(self.accelerator.unwrap_model(model), inputs)
        except FloatingPointError as error:
            raise FloatingPointError(self._not_finite("the logits")) from error
        losses = prompt_losses(scored, self.args)
        self._record_metrics(losses, scored, inputs["examples"], training)
        total = losses.sum() / (num_items_in_batch or len(losses))
        return (total, {"scores": student_scores(scored, self.args)}) if return_outputs else total

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Mean loss and metrics on a candidates table; None uses the constructor's `eval_dataset`."""
        self._metrics[False] = {}
        return super().evaluate(self._examples(eval_dataset), ignore_keys, metric_key_prefix)

    def predict(self, test_dataset, ignore_keys=None, metric_key_prefix="test"):
        """Scores on a candidates table: `predictions` holds the student's, `label_ids` the teacher's, prompts x n.

        Rows with fewer responses than others end in -100.
        """
        self._metrics[False] = {}
        predicted = super().predict(self._examples(test_dataset), ignore_keys, metric_key_prefix)
        self._add_means(predicted.metrics, f"{metric_key_prefix}_", training=False)
        return predicted

    def forward_backward(self, model, inputs, num_items_in_batch):
        """Forward and backward pass; a batch that does not fit into memory is split in halves, with the same gradient.

        (Not for "released", whose mixture is over the batch.)
        """
        step, whole = super().forward_backward, (model, inputs, num_items_in_batch)
        if len(inputs["examples"]) == 1 or self.args.divergence == "released":
            loss, refusal = attempt(step, *whole)
            if refusal:
                raise torch.OutOfMemoryError(f"{_does_not_fit(inputs)} ({refusal})")
            return loss
        weights = [p for p in model.parameters() if p.requires_grad]
        gradients, recorded = [p.grad for p in weights], {k: len(v) for k, v in self._metrics[True].items()}
        for p in weights:  # a backward pass that runs out of memory leaves part of a gradient behind
            p.grad = None
        loss, refusal = attempt(step, *whole)
        if refusal:
            for p in weights:
                p.grad = None
            for name, values in self._metrics[True].items():
                del values[recorded.get(name, 0) :]
            loss = self._step_in_halves(model, inputs["examples"], num_items_in_batch)
        for p, before in zip(weights, gradients, strict=True):
            if before is not None:
                p.grad = before if p.grad is None else p.grad.add_(before)
        return loss

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Evaluation: the loss of a batch, and both models' scores if wanted; the metrics are logged with it."""
        with torch.no_grad():
            loss, outputs = self.compute_loss(model, self._prepare_inputs(inputs), return_outputs=True)
        if prediction_loss_only:
            return loss, None, None
        absent = ~inputs["exists"]
        student = outputs["scores"].masked_fill(absent.to(outputs["scores"].device), -100)
        return loss, student, inputs["teacher_scores"].to(student).masked_fill(absent.to(student.device), -100)

    def log(self, logs, start_time=None):
        """Add the means of what was recorded since the last log (to the caller's dict: `evaluate` returns it)."""
        prefix = next((k.removesuffix("loss") for k in logs if k.endswith("_loss") and k != "train_loss"), "")
        if "loss" in logs or prefix:
            self._add_means(logs, prefix, training=not prefix)
        super().log(logs, start_time)

    def _add_means(self, logs: dict[str, float], prefix: str, training: bool) -> None:
        """Add the means of what was recorded; in evaluation the loss too, which the Trainer takes of filled batches."""
        recorded = self.of_all_processes(self._metrics[training], unique=not training)
        defined = {k: [x for x in v if x == x] for k, v in recorded.items()}  # tau may be NaN
        logs.update({prefix + k: statistics.fmean(v) for k, v in defined.items() if v})
        self._metrics[training] = {}

    def _examples(self, table):
        """A candidates table (or several by name) as the trainer's examples; None and examples stay as they are."""
        if table is None or isinstance(table, str) or (isinstance(table, list) and "prompt_ids" in table[0]):
            return table
        if isinstance(table, Mapping):
            return {name: self._examples(part) for name, part in table.items()}
        if self.args.loss in NEEDS_REFERENCE and getattr(self, "state", None) and self.state.global_step:
            raise ValueError(
                f"loss {self.args.loss!r} compares with the student before training: pass eval_dataset to the trainer"
            )
        examples = training_examples(self._student, table, self.args)
        networks = [self._network] if self._teacher is None else [self._network, self._teacher.model]
        ids = [e["prompt_ids"] for e in examples], [e["response_ids"] for e in examples]
        self._pack = self._pack and all(can_pack(m, *ids) for m in networks)
        return examples

    def _collate(self, examples):
        return collate(examples, self._pack)

    def _step_in_halves(self, model, examples, num_items_in_batch):
        total, middle = num_items_in_batch or len(examples), len(examples) // 2
        halves = (examples[:middle], examples[middle:])
        return sum(self.forward_backward(model, self._collate(half), total) for half in halves)

    def _score(self, network: Any, inputs: dict[str, Any]) -> Scored:
        """One forward pass over the batch: the student's rewards beside what the collator knows."""
        tokens, exists, kl = inputs["tokens"], inputs["exists"], None
        if self._teacher is None:
            logps = response_logprobs(network, tokens)
        else:
            logps, token_kls = token_kl(network, self._teacher.model, tokens)
            kl = to_grid(mean_over_tokens(token_kls, tokens.mask), exists)
        reference = inputs.get("reference")
        return Scored(
            rewards=to_grid(mean_over_tokens(logps, tokens.mask), exists),
            teacher_scores=inputs["teacher_scores"].to(logps.device),
            exists=exists.to(logps.device),
            lengths=to_grid(tokens.mask.sum(-1).to(logps), exists),
            reference=None if reference is None else reference.to(logps.device),
            kl=kl,
        )

    def _not_finite(self, what: str) -> str:
        return not_finite(what, self.args, self.state.global_step + 1, self.model)

    def _record_metrics(self, losses: Tensor, scored: Scored, examples: list[dict[str, Any]], training: bool) -> None:
        if not bool(torch.isfinite(losses).all()):
            raise FloatingPointError(self._not_finite("the loss"))
        rewards = scored.rewards.detach()
        scores = student_scores(scored, self.args).detach()
        chosen, rejected = chosen_and_rejected(scored, rewards)
        margins = chosen - rejected
        metrics = loss_diagnostics(scores, scored.teacher_scores, scored.exists) | {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": margins,
            "rewards/accuracies": (margins > 0).float(),
        }
        metrics |= {} if training else {"loss": losses.detach()}
        for name, values in metrics.items():
            self._metrics[training].setdefault(name, []).extend(values.tolist())
        self._metrics[training].setdefault("row", []).extend(example["row"] for example in examples)


def _does_not_fit(inputs: dict[str, Any]) -> str:
    prompts, responses, tokens = len(inputs["exists"]), int(inputs["exists"].sum()), inputs["tokens"].input_ids.numel()
    return (
        f"a training step on {prompts} prompt(s) with {responses} responses, {tokens} tokens with padding, does not "
        "fit into memory. Use gradient_checkpointing=True, fewer or shorter responses (n, max_new_tokens), LoRA, or "
        "with divergence='released' a lower per_device_train_batch_size"
    )


def _as_language_model(model: Any, tokenizer: Any) -> LanguageModel:
    if isinstance(model, str | Path):
        return load_model(model)
    if isinstance(model, LanguageModel):
        return model
    if tokenizer is None:
        raise ValueError("a bare transformers model needs its tokenizer: pass processing_class=tokenizer")
    return LanguageModel(model, tokenizer, type(model).__name__)


def _train_in_float32(network: Any) -> None:
    """16-bit weights would round small updates away: trainable weights are kept in float32.

    An adapter's own weights convert what they are given. A module that is trained whole beside frozen 16-bit ones does
    not, so there the whole network is converted.
    """
    trained = [(name, weight.dtype) for name, weight in network.named_parameters() if weight.requires_grad]
    coarse = [name for name, dtype in trained if dtype in (torch.bfloat16, torch.float16)]
    if whole := [name for name in coarse if "modules_to_save" in name or not ADAPTER.search(name)]:
        if not all(weight.requires_grad for weight in network.parameters()):
            print(f"padlab: training in float32, as {whole[0]} is trained whole")
        network.float()
        return
    for name in coarse:
        weight = network.get_parameter(name)
        weight.data = weight.data.float()


def _check_divergence(args: PADConfig) -> None:
    if args.divergence == "released" and args.world_size > 1:
        raise ValueError("divergence='released' mixes over the whole batch, which several processes cannot: use one")


def _check_token_teacher(student: LanguageModel, teacher: LanguageModel | None) -> LanguageModel:
    if teacher is None:
        raise ValueError(
            "token-level distillation reads the teacher's probability of every token: pass teacher=..., or use "
            "token_kd=0 with another loss than 'token_kd'"
        )
    if teacher.device != student.device:
        raise ValueError(f"token_kd needs both models on one device; {student.device} and {teacher.device}")
    if not teacher.shares_vocabulary(student):
        raise ValueError(
            f"token_kd needs one tokenizer for both models and output heads of one size; those of {student.name} and "
            f"{teacher.name} differ. Use token_kd=0 with another loss: 'ppd', or 'sft' on the teacher's responses"
        )
    return teacher
