"""Files that survive what happens to them: atomic writes, checksums of whole folders, locks, and no secrets."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout
from safetensors import SafetensorError

SEAL = "checksums.json"  # in a folder that was written completely: size and SHA-256 of every file
LOCK, HELD = ".lock", "-held"  # the second: behind a lock's name where the file system has no flock
NO_FLOCK = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # the file system has no flock
SMALL = 1 << 20  # bytes; with fewer left, a write that failed did so for want of room
ABANDONED = 3600  # seconds after which a scratch file belongs to nobody: writing one takes a moment
SECRET = re.compile(
    r"(^|_)(token|secret|passwd|password|authorization|bearer|(api|access|auth|private|secret)_?key)$", re.IGNORECASE
)
SECRET_TEXT = re.compile(
    r"\b(hf_|gh[pos]_)[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|(?<=://)[^/@\s]+:[^/@\s]+(?=@)"
    r"|(?<=Bearer )\S{8,}|(?<=[?&]token=)[^&\s]+|(?<=api_key=)[^&,\s]+"
)


class Busy(RuntimeError):
    """Another process, or another thread, holds the lock of a folder."""


def as_folder(folder: str | Path) -> Path:
    """One spelling of a path: absolute, with the home folder in the place of "~"."""
    return Path(folder).expanduser().resolve()


def fingerprint(*parts: Any) -> str:
    """Sixteen hex digits of plain values, for manifests.

    >>> fingerprint("a", [1, 2]) == fingerprint("a", [1, 2])
    True
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]], **options: Any) -> None:
    """Rows as JSON lines, atomically; options as in `write_text`."""
    write_text(path, as_jsonl(rows), **options)


def as_jsonl(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as text, one JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_json(path: Path, value: Any, **options: Any) -> None:
    """A value as indented JSON, atomically; options as in `write_text`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", **options)


def write_text(path: Path, text: str, *, locked: bool = False) -> None:
    """Write a file beside its place, flush it to the disk and move it there: at any time the old or the new one.

    Args:
        path: its folder is made if need be.
        text: written as UTF-8.
        locked: the caller holds the lock under which this file is written, so that scratch files of this name were
            left by a killed process; they are removed.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if locked:
        remove_scratch(path.parent, f".{escape(path.name)}.*.tmp", age=0)
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(scratch, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}. What was finished before is still there.") from error
    finally:
        scratch.unlink(missing_ok=True)  # there only if something went wrong, Ctrl-C too


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Around libraries that write weights: what they raise on a full or read-only disk becomes an OSError with words.

    Args:
        place: the file or folder that is written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):  # torch's way to say it
            raise
        folder = next(parent for parent in (place, *place.parents) if parent.exists())
        full = shutil.disk_usage(folder).free < SMALL
        reason = os.strerror(errno.ENOSPC) if full else getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OSError(f"cannot write {place}: {reason}. What was finished before is still there.") from error


def remove_scratch(folder: Path, pattern: str, age: float = ABANDONED) -> None:
    """Remove files and folders that a killed process left behind: those of a pattern, unchanged for `age` seconds."""
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):  # its writer has moved it into place
            if not age or time.time() - path.lstat().st_mtime >= age:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def seal(folder: Path, settings: str = "") -> None:
    """Record size and SHA-256 of every file in a folder that is now complete.

    Args:
        folder: with sub-folders.
        settings: fingerprint of the settings it was made under.
    """
    files = {}
    for name in _in(folder):
        with open(folder / name, "rb") as file:
            os.fsync(file.fileno())  # the seal vouches for what is on the disk
        files[name] = {"bytes": (folder / name).stat().st_size, "sha256": file_hash(folder / name)}
    write_json(folder / SEAL, {"settings": settings, "files": files}, locked=True)


def fault_of(folder: Path, settings: str | None = "") -> str:
    """What is wrong with a sealed folder, in words that name the file; empty if it is as it was sealed.

    Args:
        folder: see `seal`; hidden files that came later do not count.
        settings: what it must have been sealed with; None: with any.
    """
    if not (folder / SEAL).is_file():
        return "it was not written completely"
    try:
        sealed = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        recorded = {name: (entry["bytes"], entry["sha256"]) for name, entry in sealed["files"].items()}
        made_under = sealed["settings"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{SEAL} is damaged ({type(error).__name__})"
    if settings not in (None, made_under):
        return "it was made under other settings"
    for name, (size, sha256) in recorded.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if file_hash(path) != sha256:
            return f"{name} has changed since it was written"
    if unknown := sorted(set(_in(folder)) - set(recorded)):
        return f"{unknown[0]} does not belong there"
    return ""


def check_seal(folder: Path) -> None:
    """ValueError if a folder was sealed and has changed since; nothing where there is no seal."""
    if (folder / SEAL).exists() and (fault := fault_of(folder, None)):
        raise ValueError(f"{folder} is damaged: {fault}. Make it again, or copy it from where it is whole")


def remove_sealed(folder: Path) -> None:
    """Remove a sealed folder, its seal first: what a kill leaves of it is never taken for whole."""
    if folder.is_symlink() or not folder.is_dir():
        raise OSError(f"{folder} is a link or a file, not a folder that padlab wrote; move it away")
    (folder / SEAL).unlink(missing_ok=True)
    shutil.rmtree(folder)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def lock(folder: Path, name: str = LOCK, wait: float = 0) -> Iterator[None]:
    """Keep other processes and threads out of a folder; the same thread may lock it again inside.

    The lock ends with the process that holds it. A lock file that is a link is not followed, and nothing is written
    into it. Where the file system has no flock, the lock is a file that exists while it is held.

    Args:
        folder: made if need be.
        name: of the lock file.
        wait: seconds to wait for another holder.

    Raises:
        Busy: another process holds it.
        OSError: the lock file cannot be written.
    """
    folder = as_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = _acquire(folder / name, wait)
    except Timeout:
        held = folder / f"{name}{HELD}"
        gone = f". If none is left, its machine went down: delete {held}" if held.exists() else ""
        raise Busy(f"another process is working in {folder}; wait for it or use another folder{gone}") from None
    except OSError as error:
        if (folder / name).is_symlink():
            raise OSError(f"{folder / name} is a link, and padlab locks no file elsewhere; delete the link") from error
        raise OSError(f"cannot write in {folder}: {error.strerror}; use a folder you can write to") from error
    with held:
        yield


def _acquire(path: Path, wait: float) -> Any:
    for left in range(100)[::-1]:  # tries to open a file that other machines remove at that moment
        try:
            return FileLock(path, is_singleton=True, fallback_to_soft=False).acquire(timeout=wait)
        except OSError as error:
            if error.errno in NO_FLOCK:
                break
            if error.errno != errno.ESTALE or not left:
                raise
            time.sleep(0.05)
    return SoftFileLock(path.with_name(f"{path.name}{HELD}"), is_singleton=True).acquire(timeout=wait)


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those that hold a secret by their name (hub_token, api_key, ...), at any depth.

    >>> without_secrets({"n": 4, "hub_token": "x", "more": {"api_key": "y"}})
    {'n': 4, 'more': {}}
    """
    return {name: _clean(value) for name, value in settings.items() if not SECRET.search(str(name))}


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return hide_secrets(value) if isinstance(value, str) else value


def hide_secrets(text: str) -> str:
    """A message with "***" in the place of access tokens and of a user's password in an address.

    >>> hide_secrets("cannot reach https://me:pw@host/x")
    'cannot reach https://***@host/x'
    """
    names = [name for name in os.environ if name.upper().endswith(("TOKEN", "KEY", "PASSWORD", "SECRET"))]
    for value in (os.environ[name] for name in names):
        text = text.replace(value, "***") if len(value) >= 12 else text
    return SECRET_TEXT.sub("***", text)


def _in(folder: Path) -> list[str]:
    """The files of a folder and its sub-folders but the seal, by their path in it."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path != folder / SEAL)
    return sorted(path.relative_to(folder).as_posix() for path in paths if not path.name.startswith("."))
