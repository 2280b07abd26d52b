"""JSON over HTTP: time limits, retries with growing waits, and errors that say what to do. No key is kept or shown.

The standard library does it: no HTTP package is a dependency of padlab's dependencies in every version.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPException, HTTPResponse, IncompleteRead
from threading import Event
from time import monotonic, time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

KEY = "PADLAB_API_KEY"  # environment variable with the server's key; read at each request and kept nowhere
PREFIX = "openai:"
TRIES = 5
FIRST_WAIT, LONGEST_WAIT = 1.0, 120.0  # seconds between tries: doubled each time, or what the server asks for
PASSING = (408, 429, 500, 502, 503, 504)  # HTTP statuses that may be over at the next try
HINTS = {
    **dict.fromkeys((301, 302, 307, 308), "it redirects, and the key must not go elsewhere: give the final address"),
    401: f"set the environment variable {KEY} to the server's key",
    403: f"the key in {KEY} may not do this",
    404: "the address must end where /completions begins, mostly in /v1",
}


class RemoteError(RuntimeError):
    """A server cannot be reached, refuses, or replies something else than was asked for."""


class NotAllowed(RemoteError):
    """The server refuses the key or does not know the address; every further request would end in the same way."""


class _Passing(RemoteError):
    """A fault that may be over soon; `wait`: seconds after which the server wants to be asked again."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is an error: the key must not go to another address."""

    def redirect_request(self, *_: Any) -> None:
        return None


def split_address(spec: str) -> tuple[str, str]:
    """(address, name of the model or "") of "openai:http://host:port/v1#model".

    Raises:
        ValueError: no such address, or one that holds a password or a query, where keys could be.

    >>> split_address("openai:http://localhost:8000/v1/#Qwen/Qwen2.5-0.5B-Instruct")
    ('http://localhost:8000/v1', 'Qwen/Qwen2.5-0.5B-Instruct')
    """
    if "@" in spec.partition("#")[0] or "?" in spec:
        raise ValueError(
            f"the address of a server must hold no user, password or ?query: keys are read from the environment "
            f"variable {KEY} only"
        )
    try:
        parts = urlsplit(spec.removeprefix(PREFIX).strip())
    except ValueError as error:
        raise ValueError(f"no address of a server in {spec!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("a model on a server is written openai:http://host:port/v1#model")
    return f"{parts.scheme}://{parts.netloc}{quote(parts.path.rstrip('/'), safe='/%')}", parts.fragment.strip()


@dataclass(frozen=True)
class Client:
    """Requests to one server.

    Args:
        address: what stands before /completions, e.g. "http://localhost:8000/v1".
        timeout: seconds within which all of a reply must be there, or the request counts as failed.
        tries: how often a request is made before a passing fault is an error.
    """

    address: str
    timeout: float = 300.0
    tries: int = TRIES

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path behind the address."""
        return self.post(path, None)

    def post(self, path: str, body: Any, stop: Event | None = None) -> dict[str, Any]:
        """The JSON object that the server replies to a JSON body.

        Args:
            path: behind the address.
            body: JSON values; None asks with GET.
            stop: once it is set, there are no further tries.

        Raises:
            RemoteError: after all tries, or at once where another try would not help.
        """
        for number in range(1, self.tries + 1):
            try:
                return self._ask(path, body)
            except _Passing as fault:
                wait = max(FIRST_WAIT * 2 ** (number - 1), fault.wait)
                if wait > LONGEST_WAIT:
                    raise RemoteError(f"{fault}; it asks to wait {wait:.0f} s. Run again then: {KEPT}") from None
                if number == self.tries or (stop and stop.is_set()):
                    tried = f" ({number} tries). Run again when it is mended: {KEPT}" if number > 1 else ""
                    raise RemoteError(f"{fault}{tried}") from None
            pause(wait, stop)
        raise AssertionError("unreachable")

    def _ask(self, path: str, body: Any) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.address + path, data, {"Content-Type": "application/json", **_authorization()})
        try:
            with _opener().open(request, timeout=self.timeout) as reply:
                text = self._read(reply)
        except HTTPError as error:
            raise self._refusal(path, error) from None
        except (OSError, HTTPException) as error:  # URLError is an OSError
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, TimeoutError):
                late = f"{self.address}{path}: no reply within {self.timeout:g} s"
                raise _Passing(f"{late}; load_model(..., timeout=...) waits longer") from None
            raise _Passing(f"{self.address}{path} cannot be reached ({reason}); is the server running there?") from None
        try:
            if isinstance(found := json.loads(text), dict):
                return found
        except (ValueError, RecursionError):
            pass
        raise RemoteError(f"{self.address}{path}: the reply is no JSON object: {_excerpt(text)}")

    def _read(self, reply: HTTPResponse) -> bytes:
        """All of a reply; TimeoutError where it is still coming in when the time is over."""
        ends, pieces = monotonic() + self.timeout, []
        while piece := reply.read1():
            pieces.append(piece)
            if monotonic() > ends:
                raise TimeoutError
        if reply.length:
            raise IncompleteRead(b"", reply.length)
        return b"".join(pieces)

    def _refusal(self, path: str, error: HTTPError) -> RemoteError:
        text = b""
        with suppress(OSError, HTTPException):
            text = error.read(2000)
        hint = f"; {HINTS[error.code]}" if error.code in HINTS else ""
        message = f"{self.address}{path}: HTTP {error.code}{hint}. The server says: {_excerpt(text)}"
        if error.code in PASSING:
            return _Passing(message, _retry_after(error.headers))
        return (NotAllowed if error.code in HINTS else RemoteError)(message)


KEPT = "what is finished is kept where folder= or cache= was given"


def pause(seconds: float, stop: Event | None) -> None:
    """Wait, or until `stop` is set."""
    (stop or Event()).wait(seconds)


@cache
def _opener() -> OpenerDirector:
    return build_opener(_NoRedirect)


def _authorization() -> dict[str, str]:
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and (key.isprintable() or not key)):
        raise NotAllowed(f"the environment variable {KEY} holds characters that no key has; set it anew")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _excerpt(text: bytes) -> str:
    """The beginning of what a server replied, on one line, without the key that it may repeat."""
    return repr(without_key(" ".join(text.decode("utf-8", "replace").split()))[:300])


def without_key(text: str) -> str:
    """A server's words with *** in the place of the key."""
    key = os.environ.get(KEY, "").strip()
    return re.sub(re.escape(key), "***", text, flags=re.IGNORECASE) if key else text


def _retry_after(headers: Any) -> float:
    """Seconds to wait, from a number or a date; 0 where the server does not say."""
    value = headers.get("Retry-After", "")
    with suppress(ValueError):
        return float(value)
    with suppress(ValueError, TypeError):
        return parsedate_to_datetime(value).timestamp() - time()
    return 0.0
