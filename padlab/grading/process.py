"""The grading process's side: start a process for a notebook, ask it, and kill it at the time limit."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import padlab
from padlab.grading.messages import Channel, decode, encode
from padlab.grading.used_code import UsedCode
from padlab.show.html.safe import shorten, visible

START = 300.0  # seconds a process may take to import torch
POLL = 0.5  # seconds between two looks at whether the grading was interrupted
TEXT = 400  # characters kept of a text that the student's process sends
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "PADLAB_CACHE")
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Stopped(Exception):
    """The student's process gave no answer; `state` is "timeout" or "error", the text says why."""

    def __init__(self, state: str, message: str):
        super().__init__(message)
        self.state = state


class StudentProcess:
    """A fresh process in an empty folder, for the functions of one notebook; started again after it was stopped.

    Args:
        cpu_seconds: the operating system ends the process after so much computing, should nobody else do it.
        interrupted: set when the grading is to end now.
    """

    def __init__(self, cpu_seconds: float, interrupted: threading.Event):
        self.cpu_seconds, self.interrupted = int(cpu_seconds) + 1, interrupted
        self._process: subprocess.Popen | None = None
        self._asked = 0

    def start(self) -> None:
        """Start the process, unless it runs.

        Raises:
            RuntimeError: it does not start, whatever the student's code is.
            KeyboardInterrupt: the grading was interrupted.
        """
        if self.interrupted.is_set():
            raise KeyboardInterrupt
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        self._folder = tempfile.TemporaryDirectory(prefix="padlab-grade-", ignore_cleanup_errors=True)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "padlab.grading.worker", str(theirs.fileno()), str(self.cpu_seconds)],
                **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL),
                cwd=self._folder.name,
                env=_environment(self._folder.name),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            self._receive(time.monotonic() + START)
        except (OSError, EOFError, ValueError) as error:
            self.stop()
            raise RuntimeError(
                f"the process for a student's code did not start ({type(error).__name__}); does "
                f"`{sys.executable} -c 'import padlab.grading.worker'` work?"
            ) from None

    def ask(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            Stopped: there is none; the process is then dead.
            KeyboardInterrupt: the grading was interrupted.
        """
        self._asked += 1
        try:
            self._channel.send({**request, "id": self._asked}, deadline)
            reply = self._receive(deadline)
            if reply.get("id") != self._asked:
                raise ValueError("sent an answer that nobody asked for")
            return reply
        except TimeoutError:
            reason = Stopped("timeout", "It was not finished at the time limit. Does a loop never end?")
        except (EOFError, OSError):
            reason = Stopped("error", "Its process ended: os._exit, a crash, or more memory than there is.")
        except ValueError as error:
            reason = Stopped("error", f"Its process {error}.")
        self.stop()
        raise reason

    def stop(self) -> None:
        """Kill the process with all that it started in its group; its folder is deleted."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
        self._process.wait()
        self._process = None
        self._channel.close()
        with suppress(OSError, RecursionError):
            self._folder.cleanup()

    def _receive(self, deadline: float) -> dict[str, Any]:
        while True:
            try:
                return self._channel.receive(min(deadline, time.monotonic() + POLL))
            except TimeoutError:
                if self.interrupted.is_set():
                    self.stop()
                    raise KeyboardInterrupt from None
                if time.monotonic() >= deadline:
                    raise


class StudentFunction:
    """Stands for a student's function where the check runs: it returns or raises what the function did, elsewhere.

    Args:
        process: runs the function.
        seconds: time for the definition and all calls together.

    Attributes:
        stopped: why there are no more answers, or None.
        raised: class of the exception that was raised last.
        failed: statements of the notebook that failed, with their messages.
    """

    def __init__(self, process: StudentProcess, seconds: float):
        self._process, self._deadline = process, time.monotonic() + seconds
        self.stopped: Stopped | None = None
        self.raised, self.failed = "", []

    def define(self, code: UsedCode, expression: str) -> bool:
        """Run the notebook's code for it; whether the expression is a function."""
        reply = self._ask({"statements": code.statements, "expression": expression})
        failed = reply.get("failed")
        self.failed = [text(line) for line in failed[:5]] if isinstance(failed, list) else []
        self._raise(reply)
        return reply.get("callable") is True

    def __call__(self, *arguments: Any) -> Any:
        """What the student's function returns, as numbers."""
        reply = self._ask({"arguments": [encode(value) for value in arguments]})
        self._raise(reply)
        if "unsuitable" in reply:
            return type(text(reply["unsuitable"]), (), {})()
        try:
            return decode(reply["value"])
        except Exception:  # whatever it sent
            raise ValueError("its process sent something else than numbers") from None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.stopped is None:
            try:
                return self._process.ask(request, self._deadline)
            except Stopped as reason:
                self.stopped = reason
        raise self.stopped

    def _raise(self, reply: dict[str, Any]) -> None:
        """Raise an exception of the same name and message as the student's."""
        match reply.get("raised"):
            case [str(name), str(message)]:
                self.raised = text(name)
                own = {"NotImplementedError": NotImplementedError, "RecursionError": RecursionError}
                raise own.get(name) or type(self.raised, (Exception,), {})(text(message))


def text(value: Any) -> str:
    """A text of the student's process on one line, shortened, with nothing hidden in it."""
    return visible(shorten(" ".join(str(value).split()), TEXT)) or "?"


def _environment(folder: str) -> dict[str, str]:
    """Of this process's variables, which may hold secrets, only what Python needs; one thread, no GPU, no windows."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    path = os.pathsep.join(filter(None, (str(Path(padlab.__file__).parent.parent), kept.get("PYTHONPATH"))))
    return {**kept, **THREADS, "PYTHONPATH": path, "TMPDIR": folder, "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg"}
