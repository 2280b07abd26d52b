"""The Hugging Face Hub: is it there? Asked once before a load, so that nobody waits a minute for retries."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from huggingface_hub import constants, file_exists, get_session, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import validate_repo_id

SECONDS = 5.0  # that the Hub has for its answer
HUB_OPTIONS = ("revision", "token", "cache_dir")  # of `from_pretrained`: which files, for whom, and where they are kept
WITHOUT = "Without a Hub use padlab.load_pair(), a local folder or a .gguf file."


def hub_answers() -> bool:
    """Whether the Hub, or the mirror in HF_ENDPOINT, answers in time; False at once if HF_HUB_OFFLINE is set."""
    answers: list[int] = []

    def ask() -> None:
        with suppress(Exception):  # whatever it is, there is no answer
            answers.append(get_session().head(constants.ENDPOINT, timeout=SECONDS).status_code)

    thread = Thread(target=ask, daemon=True)  # looking up a host name knows no time limit
    thread.start()
    thread.join(SECONDS)
    return bool(answers) and answers[0] < 500  # above, a proxy or a mirror says that it does not work


def no_answer() -> str:
    """Why the Hub was not asked, or did not answer, for messages."""
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    return f"{constants.ENDPOINT} did not answer within {SECONDS:g} s (HF_HUB_OFFLINE=1 skips the wait)"


def place_of(name: str, options: Mapping[str, Any]) -> str | Path:
    """Where a model of the Hub is loaded from: its name, or its folder in the local cache.

    The folder where the Hub does not answer, and for an adapter, whose files are few.

    Args:
        name: "org/name".
        options: of `from_pretrained`.

    Raises:
        RuntimeError: no name of a model, or neither the Hub nor the cache has it.

    >>> place_of("./models/typo", {})
    Traceback (most recent call last):
    RuntimeError: cannot load ./models/typo: there is no such folder, and a model of the Hub is called org/name
    """
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise RuntimeError(
            f"cannot load {name}: there is no such folder, and a model of the Hub is called org/name"
        ) from None
    chosen = {key: options[key] for key in HUB_OPTIONS if key in options}
    online = not options.get("local_files_only") and hub_answers()
    if online and not _is_adapter(name, chosen):
        return name
    try:
        return Path(snapshot_download(name, local_files_only=not online, **chosen))
    except LocalEntryNotFoundError:
        why = "local_files_only is set" if options.get("local_files_only") else no_answer()
        raise RuntimeError(
            f"cannot load {name}: it is neither a local folder nor in the local Hub cache, and {why}. {WITHOUT}"
        ) from None


def _is_adapter(name: str, chosen: Mapping[str, Any]) -> bool:
    with suppress(Exception):  # gated, say: transformers says it better
        chosen = {key: value for key, value in chosen.items() if key != "cache_dir"}
        return file_exists(name, "adapter_config.json", **chosen)
    return False
