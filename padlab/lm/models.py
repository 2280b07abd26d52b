"""A language model with its tokenizer and name; loading by preset, Hub id, folder or GGUF file."""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from padlab.bundled import bundled
from padlab.lm.adapters import with_adapter
from padlab.lm.embedded import embedded_path, load_gguf
from padlab.lm.presets import PRESETS, Preset
from padlab.lm.pruning import prune_depth
from padlab.lm.tiny import tiny_pair


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
    """

    model: Any
    tokenizer: Any
    name: str
    source: str = ""
    history: tuple[dict[str, float], ...] = ()
    judge: Any = None

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.model.parameters()).device

    @property
    def max_length(self) -> int:
        """The context length in tokens."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", 0) or 1 << 30)

    def shares_vocabulary(self, other: LanguageModel) -> bool:
        """Whether tokens of both can be compared one by one: one tokenizer, output heads of one size."""
        sizes = {m.model.get_output_embeddings().weight.shape[0] for m in (self, other)}
        return self.tokenizer_hash() == other.tokenizer_hash() and len(sizes) == 1

    def tokenizer_hash(self) -> str:
        """Sixteen hex digits that say whose token ids these are."""
        vocabulary = json.dumps(sorted(self.tokenizer.get_vocab().items())).encode()
        return hashlib.sha256(vocabulary).hexdigest()[:16]

    def template_hash(self) -> str:
        """Sixteen hex digits of the chat template."""
        return hashlib.sha256(str(self.tokenizer.chat_template).encode()).hexdigest()[:16]

    def weights_hash(self) -> str:
        """Sixteen hex digits of the weights (name, shape, first and last values, sum of every tensor)."""
        return _hash_of(self.model.state_dict(), _scales(self.model))

    def judge_hash(self) -> str:
        """Sixteen hex digits of the judge adapter, "none" without one."""
        if self.judge is None:
            return "none"
        own = {k: v for k, v in self.judge.state_dict().items() if "lora_" in k or "modules_to_save" in k}
        return _hash_of(own, _scales(self.judge))

    def describe(self) -> dict[str, str]:
        """What a manifest records of this model."""
        return {
            "name": self.name,
            "source": self.source,
            "weights": self.weights_hash(),
            "tokenizer": self.tokenizer_hash(),
            "template": self.template_hash(),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    def with_weights(self, model: Any, note: str, history: tuple[dict[str, float], ...] = ()) -> LanguageModel:
        """The same tokenizer and name around other weights, without judge; the note is added to the source."""
        source = "; ".join(filter(None, (self.source, note)))
        return replace(self, model=model, source=source, history=history, judge=None)

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors; the adapter alone for a peft model) and tokenizer to a folder."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def load_model(
    spec: str | os.PathLike, *, dtype: str | torch.dtype | None = None, device: str | None = None, **options: Any
) -> LanguageModel:
    """Load a language model.

    Args:
        spec: "embedded", a Hub id ("org/name", "org/name@revision"), a local folder (also one written by
            `LanguageModel.save`, adapters included), or a .gguf file.
        dtype: weights' type; default float32 on a CPU and bfloat16 on a GPU. Log-probabilities are float32 anyway.
        device: default "cuda" when there is one, else "cpu".
        options: passed on to transformers' `from_pretrained`.

    Raises:
        RuntimeError: nothing can be loaded from there; the message says what was tried.
        ValueError: the model is not a causal language model.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    wanted = wanted or (torch.bfloat16 if device.startswith("cuda") else torch.float32)
    spec = str(spec)
    if spec == "embedded":
        found = _load(embedded_path(), wanted, {})
        return LanguageModel(found[0].to(device).eval(), found[1], "SmolLM2-135M-Instruct", "embedded")
    path = Path(spec).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise RuntimeError(f"no such GGUF file: {path}")
        found = load_gguf(path, wanted)
    elif path.is_dir():
        found = _load(path, wanted, options)
    else:
        name, _, revision = spec.partition("@")
        found = _load(name, wanted, {**options, **({"revision": revision} if revision else {})})
    name = path.stem if path.suffix == ".gguf" else path.name  # names such as Qwen2.5-0.5B keep their dots
    return LanguageModel(found[0].to(device).eval(), found[1], name, spec)


def load_pair(
    preset: str = "pruned", *, dtype: str | None = None, device: str | None = None
) -> tuple[LanguageModel, LanguageModel]:
    """(teacher, student) of a preset: a name in `padlab.PRESETS`, such as "tiny", "embedded", "classroom".

    Args:
        preset: see `padlab.PRESETS` for models, settings and where the settings come from. The teacher of "embedded"
            has padlab's judge adapter, which answers selection questions and nothing else. "toy" and "toy-aligned" are
            small models of a closed world with a known truth (`padlab.worlds.toy`).
        dtype, device: as in `load_model`.

    >>> student, teacher = load_pair("tiny")
    >>> teacher.tokenizer_hash() == student.tokenizer_hash()
    False
    """
    chosen = get_preset(preset)
    if chosen.name == "tiny":
        built = tiny_pair()
        return LanguageModel(*built[0], "tiny teacher", "tiny"), LanguageModel(*built[1], "tiny student", "tiny")
    if chosen.name.startswith("toy"):
        places = [bundled(f"toy/{name}") for name in (chosen.teacher, chosen.student)]
        loaded = [load_model(place, dtype=dtype or "float32", device=device) for place in places]
        return tuple(replace(m, source=m.name) for m in loaded)  # the folder differs from machine to machine
    teacher = load_model(chosen.teacher, dtype=dtype, device=device)
    if chosen.keep_blocks:
        return with_judge(teacher, bundled("judge")), prune_blocks(teacher, chosen.keep_blocks)
    return teacher, load_model(chosen.student, dtype=dtype, device=device)


def with_judge(model: LanguageModel, folder: str | os.PathLike | None) -> LanguageModel:
    """The same model with an adapter that answers its selection questions; rewards and samples stay the model's own.

    Args:
        model: the teacher.
        folder: a peft adapter made for this model (e.g. by `padlab.prepare_judge`); None takes a judge away.

    Raises:
        ValueError: the adapter was made for another model.

    >>> with_judge(load_pair("tiny").teacher, None).judge_hash()
    'none'
    """
    return replace(model, judge=None if folder is None else with_adapter(model.model, folder))


def get_preset(name: str) -> Preset:
    """The preset of that name; ValueError lists the names there are."""
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}. For other models use padlab.load_model")
    return PRESETS[name]


def prune_blocks(teacher: LanguageModel, keep_blocks: int) -> LanguageModel:
    """A student made of the teacher by leaving out the blocks of lowest measured influence."""
    model, removed = prune_depth(teacher.model, teacher.tokenizer, keep_blocks)
    total = keep_blocks + len(removed)
    return LanguageModel(
        model,
        teacher.tokenizer,
        f"{teacher.name}, {keep_blocks} of {total} blocks",
        f"{teacher.source} without blocks {removed}",
    )


def free_memory() -> None:
    """Give memory back: drop the last traceback (it keeps tensors alive in notebooks) and empty the GPU cache."""
    import sys

    for name in ("last_traceback", "last_value", "last_exc"):
        if hasattr(sys, name):
            setattr(sys, name, None)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _scales(model: Any) -> str:
    """How strongly adapters act, which their weights do not say; empty without one."""
    configs = getattr(model, "peft_config", {})
    return "".join(f"{n} {c.r} {c.lora_alpha} {c.use_rslora}" for n, c in configs.items() if hasattr(c, "lora_alpha"))


def _hash_of(weights: dict[str, torch.Tensor], more: str = "") -> str:
    digest = hashlib.sha256(more.encode())
    for key, value in sorted(weights.items()):
        flat = value.detach().flatten()
        sample = [float(flat[0]), float(flat[-1]), float(flat.double().sum())] if flat.numel() else []
        digest.update(repr((key, tuple(value.shape), sample)).encode())
    return digest.hexdigest()[:16]


@contextmanager
def quiet() -> Iterator[None]:
    """No bars while weights load: they would litter notebooks, and a second needs no bar."""
    was = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if was:
            transformers.utils.logging.enable_progress_bar()


@quiet()
def _load(where: str | Path, dtype: torch.dtype, options: dict[str, Any]) -> tuple[Any, Any]:
    options = {"trust_remote_code": False, "use_safetensors": True, **options}
    revision = {k: v for k, v in options.items() if k in ("revision", "trust_remote_code")}
    try:
        if (Path(where) / "adapter_config.json").exists():
            model = with_adapter(_base_of(Path(where), dtype, options), where)
        else:
            found = AutoModelForCausalLM.from_pretrained(where, dtype=dtype, output_loading_info=True, **options)
            model = _whole(*found)
        tokenizer = AutoTokenizer.from_pretrained(where, **revision)
    except SafetensorError as error:
        raise RuntimeError(f"a weights file of {where} is damaged ({error}); download or save it again") from error
    except ValueError as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"{where} is no causal language model with tokenizer that can be loaded: {first}") from error
    except OSError as error:
        first = str(error).strip().splitlines()[0]
        if Path(where).is_dir():
            raise RuntimeError(
                f"cannot load the folder {where}: {first}\nIt needs config.json, weights as safetensors (no pickle) "
                "and a tokenizer; save_pretrained of model and tokenizer writes them."
            ) from error
        raise RuntimeError(
            f"cannot load {where}: {first}\nIt is neither a local folder nor in the local Hub cache, and the Hub could "
            "not be reached or does not have it (or it is gated: huggingface-cli login). Without a Hub use "
            "padlab.load_pair('pruned'), a local folder or a .gguf file."
        ) from error
    return model, tokenizer


def _base_of(adapter: Path, dtype: torch.dtype, options: dict[str, Any]) -> Any:
    """The model that an adapter's configuration names."""
    base = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise RuntimeError(
            f"the adapter in {adapter} does not say which model it belongs to (one made in memory, e.g. by pruning). "
            "Make that model again and put the adapter on it: padlab.lm.adapters.with_adapter(base.model, folder)"
        )
    return _load(base, dtype, options)[0]


def _whole(model: Any, report: dict[str, Any]) -> Any:
    """The model, if its weights were all there and it is one that writes text."""
    kind = (getattr(model.config, "architectures", None) or [""])[0]
    if kind.endswith(("ForSequenceClassification", "ForTokenClassification")):
        raise ValueError(f"it holds a {kind}, which does not write text")
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{len(missing)} of its weights are missing ({', '.join(missing[:3])}, ...)")
    return model
