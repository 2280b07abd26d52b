"""Settings of a distillation, on top of `transformers.TrainingArguments`."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from padlab.rankings.losses import DIVERGENCES
from padlab.training.per_prompt_losses import LOSSES


@dataclass
class PADConfig(TrainingArguments):
    """Settings of a distillation; every field of `transformers.TrainingArguments` is there too.

    Args:
        loss: "ppd" (divergence between the distributions) or "vpd" (likelihood of the teacher's ranking); the baselines
            are "sft", "token_kd", "dpo", "simpo", "lipo", "pro", "rrhf" (`padlab.training.per_prompt_losses`).
        divergence: for ppd: "js" (paper), "forward_kl" = KL(teacher || student), "reverse_kl", "released".
        alpha: weight of the selection probability in the teacher's calibrated reward, 0 to 1.
        match_scale: give log p_sel the scale of its prompt's rewards before mixing, see `padlab.calibrate`.
        beta: scale from nats/token to scores, > 0 (paper: 10).
        length_normalize: the student's reward for ppd and vpd is the mean of its token log-probabilities (True, the
            method) or their sum (False); the table needs the teacher's in the same form, see `padlab.add_rewards`.
        token_kd: weight of token-level distillation, KL(teacher || student) in nats/token, beside the loss; >= 0.
        dpo_beta: of DPO (paper: 0.1).
        simpo_beta: of SimPO (paper: 2).
        simpo_gamma: margin of SimPO (paper: 1).
        lipo_beta: of LiPO (paper: 0.05).
        pro_sft: of PRO, weight of imitating the best response (paper: 0.05).
        learning_rate: 2e-4 suits LoRA (paper, full fine-tuning: 8e-7).
        per_device_train_batch_size, gradient_accumulation_steps: prompts per pass x passes per step (paper: 128
            prompts a step).

    Raises:
        ValueError: an unknown loss or divergence, or a number out of its range; names the setting.

    >>> PADConfig(alpha=0.5).beta
    10.0
    """

    loss: str = field(default="ppd", metadata={"help": ", ".join(LOSSES)})
    divergence: str = field(default="js", metadata={"help": "for ppd: " + ", ".join(DIVERGENCES)})
    alpha: float = field(default=0.0, metadata={"help": "weight of the selection probability, 0 to 1"})
    match_scale: bool = field(default=False, metadata={"help": "log p_sel on the scale of the rewards"})
    beta: float = field(default=10.0, metadata={"help": "nats/token to scores, > 0"})
    length_normalize: bool = field(default=True, metadata={"help": "mean (not sum) of token log-probabilities"})
    token_kd: float = field(default=0.0, metadata={"help": "weight of token-level distillation, >= 0"})
    dpo_beta: float = field(default=0.1, metadata={"help": "for dpo"})
    simpo_beta: float = field(default=2.0, metadata={"help": "for simpo"})
    simpo_gamma: float = field(default=1.0, metadata={"help": "for simpo"})
    lipo_beta: float = field(default=0.05, metadata={"help": "for lipo"})
    pro_sft: float = field(default=0.05, metadata={"help": "for pro: weight of imitating the best response"})
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
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1] (0 = likelihood alone), got {self.alpha}")
        if not 0 < self.beta < float("inf"):
            raise ValueError(f"beta must be a positive number, got {self.beta}")
        if not 0 <= self.token_kd < float("inf"):
            raise ValueError(f"token_kd must be 0 or a positive number, got {self.token_kd}")
        for name in ("num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be 0 or a positive number, got {self.learning_rate}")
        self.use_cpu = self.use_cpu or not torch.cuda.is_available()
        super().__post_init__()

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """Steps of warm-up; less than one is none (rounded up, the first of a few steps would be at rate 0)."""
        if self.warmup_steps * num_training_steps < 1:
            return 0
        return super().get_warmup_steps(num_training_steps)
