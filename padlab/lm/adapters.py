"""Copies that can be trained without touching the original: LoRA by peft, or all weights."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import torch

from padlab.lm.adapter_base import check_base, save_base
from padlab.lm.fast.memory import ran_out_of_memory
from padlab.lm.probe import ordinary_ids
from padlab.lm.refusals import damaged_file, refusal
from padlab.safe_files import check_seal

WEIGHTS = "adapter_model.safetensors"


def trainable_copy(model: Any, peft_config: Any, seed: int = 0) -> Any:
    """A copy of a model, ready for training.

    Args:
        model: a causal LM, or a peft model around one.
        peft_config: "auto" for LoRA r 16 on all linear layers; a peft config; None to train all weights (an existing
            adapter is merged first). A model that already has an adapter continues a copy of that one.
        seed: decides the adapter's random start.

    Returns:
        the copy; with an adapter it shares the storage of the frozen weights with the original.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    if peft_config is None:
        full = copy.deepcopy(model)
        full = _merged(full) if isinstance(full, PeftModel) else full
        return full.requires_grad_(True)
    if isinstance(model, PeftModel):
        return _continue(model)
    if peft_config == "auto":
        peft_config = LoraConfig(
            r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        torch.manual_seed(seed)
        return get_peft_model(_sharing_copy(model, ()), peft_config)


def with_adapter(model: Any, folder: Any) -> Any:
    """A copy of a model (sharing its weights) with a saved adapter on it, in eval mode.

    An adapter that the model has already is left out: a saved adapter is whole, also where it continued another one.

    Args:
        model: a transformers model, with or without an adapter.
        folder: holds adapter_config.json and adapter_model.safetensors.

    Raises:
        ValueError: the adapter was made for another model.
        RuntimeError: it is not there, or damaged; the file is named.
    """
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    folder, base = Path(folder).expanduser(), _without_adapter(model)
    check_seal(folder)
    if gone := [name for name in ("adapter_config.json", WEIGHTS) if not (folder / name).is_file()]:
        raise RuntimeError(f"there is no adapter in {folder}: it has no {' and no '.join(gone)} (no pickle)")
    check_base(base, folder)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            virtual = PeftConfig.from_pretrained(str(folder)).is_prompt_learning
            adapted = None if virtual else PeftModel.from_pretrained(base, str(folder)).eval()
    except Exception as error:  # of many types, down to KeyError, where the configuration holds something unexpected
        if ran_out_of_memory(error):
            raise
        if isinstance(error, ImportError) or damaged_file(folder):
            raise refusal(folder, error) from error
        raise ValueError(
            f"the adapter in {folder} was made for another model, or its adapter_config.json is wrong: "
            f"{type(error).__name__}: {str(error)[:200]}"
        ) from error
    if adapted is None:
        raise ValueError(f"the adapter in {folder} puts virtual tokens before the prompt; padlab does not support that")
    with safe_open(folder / WEIGHTS, "pt") as file:
        saved = set(file.keys())
    unknown = saved - set(get_peft_model_state_dict(adapted, save_embedding_layers=True))
    if unknown:  # e.g. blocks that this model does not have
        raise ValueError(
            f"the adapter in {folder} was made for another model: {len(unknown)} of {len(saved)} tensors "
            f"have no place in it ({min(unknown)}, ...)"
        )
    return adapted


def save_adapter(network: Any, base_name: str, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a peft model's adapter, and nothing of the model it stands on.

    Args:
        network: a peft model.
        base_name: recorded as the model the adapter belongs to.
        folder: made if need be.
        dtype: of the stored weights; None keeps theirs.
    """
    from safetensors.torch import load_file, save_file

    folder = Path(folder).expanduser()
    for config in network.peft_config.values():
        config.base_model_name_or_path = base_name  # not this machine's path
    network.save_pretrained(folder, save_embedding_layers=False)
    save_base(network, folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty form
    if dtype is not None:
        path = folder / WEIGHTS
        save_file({k: v.to(dtype) for k, v in load_file(path).items()}, path, metadata={"format": "pt"})


def without_dropout(model: Any) -> None:
    """Put a model into eval mode, in place, but for layers that compute activations again in the backward pass.

    Those (gradient checkpointing) work in training mode only; their own dropout rates are set to 0. So the scores that
    are compared hold no dropout, and equal models have equal scores.
    """
    model.eval()
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True
            for name, value in list(vars(module).items()):
                if "drop" in name and isinstance(value, float):
                    setattr(module, name, 0.0)


def _without_adapter(model: Any) -> Any:
    from peft import PeftModel

    fresh = _sharing_copy(model, ())
    return fresh.unload() if isinstance(fresh, PeftModel) else fresh


def _continue(model: Any) -> Any:
    """A copy whose adapters are its own, and are trained; of whatever kind they are."""
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    active = model.active_adapters
    if len(active) != 1:
        raise ValueError(f"this student has {len(active)} active adapters ({', '.join(active)}); activate one of them")
    model.set_adapter(active[0])  # peft makes an active adapter trainable
    adapter = [name for name, p in model.named_parameters() if p.requires_grad]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(before[name])
    if not adapter:
        kind = type(model.peft_config[active[0]]).__name__
        raise ValueError(f"this student's adapter ({kind}) cannot be trained further; merge it with peft_config=None")
    fresh = _sharing_copy(model, set(adapter))
    for name, parameter in fresh.named_parameters():
        parameter.requires_grad_(name in adapter)
    return fresh


@torch.no_grad()
def _merged(model: Any) -> Any:
    """The model with its adapter added to its weights, if that gives the same logits."""
    ids = torch.tensor([ordinary_ids(model, *range(8))], device=model.device)
    before = model.eval()(input_ids=ids, use_cache=False).logits.float()
    kind = type(next(iter(model.peft_config.values()))).__name__
    advice = "train the adapter further instead (peft_config='auto')"
    try:
        merged = model.merge_and_unload()
    except (AttributeError, NotImplementedError, ValueError) as error:
        raise ValueError(f"this student's adapter ({kind}) cannot be merged: {error}; {advice}") from error
    after = merged(input_ids=ids, use_cache=False).logits.float()
    if (before - after).abs().max() > (1e-3 if model.dtype == torch.float32 else 0.3) * before.std():
        raise ValueError(
            f"merging this student's adapter ({kind}) changes the model, e.g. because it adapts embeddings that the "
            f"output head shares; {advice}"
        )
    return merged


def _sharing_copy(model: Any, own: Any) -> Any:
    """A copy whose parameters share their storage with the original's, but for those named in `own`."""
    shared = {
        id(p): torch.nn.Parameter(p.data, requires_grad=False) for n, p in model.named_parameters() if n not in own
    }
    return copy.deepcopy(model, shared)
