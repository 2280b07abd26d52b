"""A language model with its tokenizer, its name, and the fingerprints that manifests record of it."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

from padlab.lm.adapter_base import ADAPTER
from padlab.lm.adapters import save_adapter
from padlab.lm.quiet import no_transformers_bars
from padlab.lm.weights import adapter_settings, hash_of_weights, state_of

Question = Callable[[str, Sequence[str]], str]  # (prompt, options) -> text of a selection question

_tokenizer_hashes: WeakKeyDictionary[Any, tuple[int, str]] = WeakKeyDictionary()  # tokenizer -> (size, hash)
_hashes: WeakKeyDictionary[Any, tuple[Any, str]] = WeakKeyDictionary()  # model -> (state of its weights, their hash)
NOT_DECIDING = ("transformers_version", "torch_dtype", "dtype", "use_cache", "architectures", "name_or_path")


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model, its tokenizer and a name for figures and manifests.

    Args:
        model: a transformers causal LM (or a peft model around one), in eval mode unless being trained.
        tokenizer: its tokenizer.
        name: short, for figures.
        source: what `load_model` was given, plus what was done to it; goes into manifests.
        history: the training log, if this model came out of `padlab.distill`.
        judge: the same model with an adapter that answers selection questions, and nothing else (`with_judge`).
        question: the text of a selection question as this model was trained to read it; None takes
            `padlab.phases.multiple_choice.multiple_choice_question`.
        reply: how this model answers such a question: "letter", or "text" (`padlab.add_selection_probs`).
        training: settings of `padlab.distill` for this student where the caller gives none (from its preset).
    """

    model: Any
    tokenizer: Any
    name: str
    source: str = ""
    history: tuple[dict[str, float], ...] = ()
    judge: Any = None
    question: Question | None = None
    reply: str = "letter"
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device

    @property
    def max_length(self) -> int:
        """The context length in tokens; 2^30 where the config does not say."""
        length = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 0
        return int(length) if length > 0 else 1 << 30

    def shares_vocabulary(self, other: LanguageModel) -> bool:
        """Whether tokens of both can be compared one by one: one tokenizer, output heads of one size."""
        sizes = {m.model.get_output_embeddings().weight.shape[0] for m in (self, other)}
        return self.tokenizer_hash() == other.tokenizer_hash() and len(sizes) == 1

    def tokenizer_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the vocabulary: tables record whose token ids they hold."""
        known = _tokenizer_hashes.get(self.tokenizer)
        if known is None or known[0] != len(self.tokenizer):
            vocabulary = json.dumps(sorted(self.tokenizer.get_vocab().items())).encode()
            known = (len(self.tokenizer), hashlib.sha256(vocabulary).hexdigest()[:16])
            _tokenizer_hashes[self.tokenizer] = known
        return known[1]

    def template_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the chat template."""
        return hashlib.sha256(str(self.tokenizer.chat_template).encode()).hexdigest()[:16]

    def weights_hash(self) -> str:
        """16 hex digits that change with any weight, or with a setting of an adapter; kept until a weight changes."""
        weights = self.model.state_dict()
        state = [state_of(value) for value in weights.values()]
        known = _hashes.get(self.model)
        if known is None or known[0] != state:
            known = _hashes[self.model] = (state, hash_of_weights(weights, adapter_settings(self.model)))
        return known[1]

    def configuration_hash(self) -> str:
        """16 hex digits of what decides numbers besides the weights: rotary base, norm epsilon, ..., EOS ids."""
        config = self.model.config.to_dict()
        kept = {k: v for k, v in config.items() if k not in NOT_DECIDING and not k.startswith("_")}
        ends = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        kept |= {"generation_eos": ends, "eos_token": self.tokenizer.eos_token_id}
        return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def judge_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the judge adapter, "none" without one."""
        if self.judge is None:
            return "none"
        own = {k: v for k, v in self.judge.state_dict().items() if ADAPTER.search(k)}
        return hash_of_weights(own, adapter_settings(self.judge))

    def describe(self) -> dict[str, str]:
        """What a manifest records of this model."""
        return {
            "name": self.name,
            "source": self.source,
            "weights": self.weights_hash(),
            "tokenizer": self.tokenizer_hash(),
            "template": self.template_hash(),
            "configuration": self.configuration_hash(),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    def with_weights(self, model: Any, note: str, history: tuple[dict[str, float], ...] = ()) -> LanguageModel:
        """The same tokenizer, name and settings with other weights, without judge; the note is added to the source."""
        source = "; ".join(filter(None, (self.source, note)))
        return replace(self, model=model, source=source, history=history, judge=None)

    @no_transformers_bars()
    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors; the adapter alone for a peft model) and tokenizer to a folder."""
        folder = Path(folder).expanduser()
        if hasattr(self.model, "peft_config"):
            base = next(iter(self.model.peft_config.values())).base_model_name_or_path or ""
            save_adapter(self.model, str(Path(base).resolve()) if base and Path(base).exists() else base, folder)
        else:
            self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def free_memory() -> None:
    """Release memory: drop the last traceback (it keeps tensors alive in notebooks) and empty the GPU cache."""
    for name in ("last_traceback", "last_value", "last_exc"):
        if hasattr(sys, name):
            setattr(sys, name, None)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
