"""Whatever transformers, peft and tokenizers raise about a model that they cannot read, as one error with a remedy."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import shorten

from safetensors import SafetensorError, safe_open

from padlab.lm.hub import WITHOUT

OBJECTS = (  # files that must hold a JSON object
    "adapter_config.json", "config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer.json",
    "tokenizer_config.json",
)  # fmt: skip


def refusal(where: str | Path, error: Exception) -> ValueError | RuntimeError:
    """The error to raise instead of the one that loading a model or an adapter ended with.

    Args:
        where: the folder, or the Hub id.
        error: whatever it was.

    >>> refusal("org/name", ImportError("this needs bitsandbytes: pip install bitsandbytes"))
    RuntimeError('org/name needs a package that is not installed: this needs bitsandbytes: pip install bitsandbytes')
    """
    reason = shorten(str(error), 400, placeholder=" ...") or type(error).__name__
    if isinstance(error, ImportError):
        return RuntimeError(f"{where} needs a package that is not installed: {reason}")
    if damaged := damaged_file(Path(where)):
        return RuntimeError(f"{damaged} is damaged ({reason}); download or save it again")
    remedy = (
        "A folder needs config.json of a causal language model, weights as safetensors (no pickle) that fit it, and a "
        "tokenizer; save_pretrained of model and tokenizer writes them."
        if Path(where).is_dir()
        else f"The Hub does not have it as it should be, or it is gated (hf auth login). {WITHOUT}"
    )
    if isinstance(error, ValueError):
        return ValueError(f"cannot load {where} as a causal language model with a tokenizer: {reason}\n{remedy}")
    kind = "" if isinstance(error, OSError | RuntimeError) else f"{type(error).__name__}: "
    return RuntimeError(f"cannot load {where}: {kind}{reason}\n{remedy}")


def damaged_file(folder: Path) -> Path | None:
    """The first file of a model's folder that cannot be opened as what its name says; None where all can."""
    for path in sorted(folder.glob("*")):
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, "pt"):
                    pass
            elif path.name in OBJECTS and not isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
                return path
        except (SafetensorError, OSError, ValueError, RecursionError):
            return path
    return None
