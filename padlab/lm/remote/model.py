"""`load_model("openai:http://host:port/v1#model")`: a model on a server as a `LanguageModel`."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from padlab.lm.embedded import embedded_path
from padlab.lm.models import LanguageModel
from padlab.lm.remote.client import PREFIX, TRIES, Client, NotAllowed, RemoteError, split_address, without_key
from padlab.lm.remote.dialects import TextServer, TokenServer
from padlab.lm.remote.server import Server


@dataclass(frozen=True)
class RemoteModel(LanguageModel):
    """A `LanguageModel` whose `model` is a `Server`: it writes, scores and selects; it has no weights here.

    Args:
        version: what the server says of itself, "" if nothing.
    """

    version: str = ""

    @property
    def max_length(self) -> int:
        """Tokens of prompt and response together; 2^30 where the server does not say."""
        return self.model.max_length

    def describe(self) -> dict[str, str]:
        """What a manifest records: name, address and version; which weights the server holds is not known here."""
        own = {"name": self.name, "source": self.source, "server": self.version}
        return {**own, "tokenizer": self.tokenizer_hash(), "template": self.template_hash()}


def connect(spec: str, *, tokenizer: Any = None, timeout: float = 300.0) -> RemoteModel:
    """The model that a server names, after a first question to see what the server gives.

    Args:
        spec: "openai:http://host:port/v1#model"; without #model, the only one there is.
        tokenizer: of the same model, with its chat template: a folder, a Hub id, a .gguf file, "embedded", or a
            transformers tokenizer; None tries the model's name.
        timeout: seconds without a reply after which a request counts as failed.

    Raises:
        ValueError: an address that is none or holds a key, or a timeout that is no time.
        RemoteError: nothing answers, the server does not know the model, or gives no log-probabilities of a prompt.
        RuntimeError: no tokenizer can be loaded.
    """
    address, name = split_address(spec)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < float("inf"):
        raise ValueError(f"timeout must be a number of seconds above 0, got {timeout!r}")
    client = Client(address, timeout, tries=1)
    entry = _served(client, name)
    name = entry["id"]
    tokenizer = _tokenizer(tokenizer, [name, entry.get("root")])
    length = entry.get("max_model_len")
    longest = length - 1 if isinstance(length, int) and length > 1 else 1 << 30  # to score, it must write one token
    network = _checked(client, name, tokenizer, longest)
    return RemoteModel(network, tokenizer, Path(name).name, f"{PREFIX}{address}#{name}", version=_version(client))


def _served(client: Client, name: str) -> dict[str, Any]:
    """What the server's list of models says of this one."""
    served = [entry for entry in client.get("/models").get("data") or [] if isinstance(entry, dict) and "id" in entry]
    chosen = [entry for entry in served if name in (entry["id"], "")]
    if len(chosen) != 1:
        names = ", ".join(str(entry["id"]) for entry in served) or "none"
        raise RemoteError(f"{client.address} has no model {name!r}; write one of these behind the #: {names}")
    return chosen[0]


def _checked(client: Client, name: str, tokenizer: Any, max_length: int) -> Server:
    """The server in the way in which it gives log-probabilities."""
    reasons = []
    for kind, asked in ((TokenServer, "with token ids, as vLLM"), (TextServer, "with text, as llama-cpp-python")):
        server = kind(client, name, tokenizer, max_length)
        try:
            server.check()
        except NotAllowed:
            raise
        except RemoteError as error:
            reasons.append(f"  asked {asked} is: {error}")
        else:
            server.client = replace(client, tries=TRIES)
            return server
    raise RemoteError(
        f"{client.address} gives no usable log-probabilities of a prompt, which rewards are made of.\n"
        + "\n".join(reasons)
        + "\nvLLM gives them, and llama-cpp-python's server started with --logits_all true; llama.cpp's own server and "
        "chat services do not. If this server should, see that tokenizer= is its model's own."
    )


def _tokenizer(given: Any, names: list[str | None]) -> Any:
    if given is not None and not isinstance(given, str | os.PathLike):
        return given
    tried = []
    for name in [given] if given is not None else filter(None, names):
        path = Path(embedded_path() if name == "embedded" else name).expanduser()
        try:
            if path.suffix == ".gguf":
                return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            return AutoTokenizer.from_pretrained(path if path.is_dir() else str(name))
        except (OSError, ValueError) as error:
            tried.append(f"{name}: {str(error).strip().splitlines()[0]}")
    raise RuntimeError(
        "no tokenizer for this model; pass tokenizer= (--tokenizer) with the folder, Hub id or .gguf file of the model "
        "that the server runs: conversations are rendered and encoded here. Tried " + "; ".join(tried)
    )


def _version(client: Client) -> str:
    root = replace(client, address=client.address.removesuffix("/v1"))
    with suppress(RemoteError, KeyError, TypeError):  # vLLM
        return without_key(str(root.get("/version")["version"]))
    with suppress(RemoteError, KeyError, TypeError):  # llama-cpp-python
        return without_key(str(root.get("/openapi.json")["info"]["version"]))
    return ""
