"""One optimizer batch shared among the processes that `accelerate launch` or `torchrun` started.

Every process walks through the same batches, computes every k-th prompt of an optimizer batch, and the gradients are
added up before the step. So the number of processes changes the time and nothing else: neither the number of prompts
per step, nor their order, nor (but for rounding) the weights; a checkpoint can be resumed by another number of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.data_loader import BatchSamplerShard
from accelerate.utils import DistributedType, gather_object

from padlab.progress import is_main_process
from padlab.runs import stage_folder
from padlab.safe_files import as_folder
from padlab.training.checkpoints import CleanTrainer

SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


class SharingTrainer(CleanTrainer):
    """A Trainer whose batches are dicts with the list `examples`, shared as this module says.

    Raises:
        ValueError: weights that are spread over processes (FSDP, DeepSpeed), or one process on several GPUs.
    """

    def __init__(self, model: Any, args: Any, **others: Any) -> None:
        if args.n_gpu > 1:
            raise ValueError(
                f"one process works on one GPU, and there are {args.n_gpu}: start one process per GPU with `accelerate "
                "launch`, or choose one with CUDA_VISIBLE_DEVICES=0"
            )
        self._passes_left = 0  # of the optimizer batch
        super().__init__(model=model, args=args, **others)
        if (kind := self.accelerator.distributed_type) in SHARDED:
            raise ValueError(
                f"weights spread over processes ({kind.value}) are not supported: every process holds the whole model. "
                "Use LoRA, 16-bit weights or gradient checkpointing, and MULTI_GPU in accelerate's configuration"
            )

    def get_train_dataloader(self):
        """All batches for every process."""
        loader = super().get_train_dataloader()
        if isinstance(loader.batch_sampler, BatchSamplerShard):
            loader.batch_sampler.num_processes, loader.batch_sampler.process_index = 1, 0
            loader.batch_sampler.even_batches = False
        return loader

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """This process's share of the optimizer batch, pass by pass, and the number of prompts in all of it."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._passes_left, count = len(batches), 0
        for k, batch in enumerate(batches):
            examples, first = batch["examples"], count
            count += len(examples)
            if self.args.world_size > 1:
                own = [
                    e for at, e in enumerate(examples, first) if at % self.args.world_size == self.args.process_index
                ]
                batches[k] = self.data_collator(own) if own else {"examples": []}
        return batches, count

    def training_step(self, model, inputs, num_items_in_batch=None):
        """One pass over this process's share; behind the last one the processes' gradients are added up."""
        loss = torch.zeros((), device=self.args.device)
        if inputs["examples"]:
            loss = self.forward_backward(model, inputs, num_items_in_batch)
        self._passes_left -= 1
        if self.args.world_size > 1 and not self._passes_left:
            for p in (p for p in model.parameters() if p.requires_grad):
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
                torch.distributed.all_reduce(p.grad)
        return loss * self.args.world_size  # the Trainer logs the processes' mean

    def forward_backward(self, model, inputs, num_items_in_batch):
        """Forward and backward pass; the detached loss."""
        return super().training_step(model, inputs, num_items_in_batch)

    def of_all_processes(self, recorded: dict[str, list[float]], unique: bool) -> dict[str, list[float]]:
        """What every process recorded, each row of the table once if `unique` (accelerate fills batches up)."""
        parts = gather_object([recorded]) if self.args.world_size > 1 else [recorded]
        names = {name for part in parts for name in part}  # a process without a prompt of its own recorded nothing
        merged = {name: [x for part in parts for x in part.get(name, [])] for name in sorted(names)}
        rows = merged.pop("row", [])
        kept = sorted({row: k for k, row in reversed(list(enumerate(rows)))}.values()) if unique else range(len(rows))
        return {name: [values[k] for k in kept] for name, values in merged.items()}


@contextmanager
def shared_stage_folder(folder: Any, stage: str, settings: dict[str, Any]) -> Iterator[Path]:
    """`padlab.runs.stage_folder` for processes that were started together: the first one holds the lock for all."""
    if folder is None or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        with stage_folder(folder, stage, settings) as place:
            yield place
    elif is_main_process():
        with stage_folder(folder, stage, settings) as place:
            PartialState().wait_for_everyone()
            yield place
            PartialState().wait_for_everyone()
    else:
        PartialState().wait_for_everyone()
        yield as_folder(folder) / stage
        PartialState().wait_for_everyone()
