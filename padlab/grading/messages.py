"""Messages between the grading process and a student's: JSON lines over a socket, never pickles."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

LIMIT = 1_000_000  # bytes of one message
NUMBERS = 10_000  # of one tensor
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float64, torch.int64, torch.bool)}


class Channel:
    """One end of a socket that carries a JSON object per line.

    Args:
        end: a connected stream socket.

    >>> left, right = map(Channel, socket.socketpair())
    >>> left.send({"a": [1.5, None]}); right.receive()
    {'a': [1.5, None]}
    """

    def __init__(self, end: socket.socket):
        self._end, self._unread = end, b""

    def send(self, message: dict[str, Any], deadline: float | None = None) -> None:
        """Send a message of plain JSON values.

        Raises:
            TimeoutError: the other side did not take it before the deadline (of `time.monotonic()`).
        """
        self._wait_until(deadline)
        self._end.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, deadline: float | None = None) -> dict[str, Any]:
        """The next message; after a TimeoutError, what has come so far is kept for the next call.

        Raises:
            TimeoutError: the message was not complete before the deadline (of `time.monotonic()`).
            EOFError: the other side has ended.
            ValueError: more than a megabyte, or no JSON object.
        """
        while b"\n" not in self._unread:
            if len(self._unread) > LIMIT:
                raise ValueError(f"sent more than {LIMIT:,} bytes")
            self._wait_until(deadline)
            part = self._end.recv(65536)
            if not part:
                raise EOFError
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise ValueError("sent something that is no answer")
        return message

    def close(self) -> None:
        """Close this end."""
        self._end.close()

    def _wait_until(self, deadline: float | None) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self._end.settimeout(left)


def encode(value: Any) -> Any:
    """An argument or an answer as plain JSON values: numbers, texts, None, lists, tuples, dicts, tensors, arrays.

    Args:
        value: what of it has another type than these comes back as a float64 tensor, if NumPy takes it for numbers.

    Raises:
        TypeError: NumPy does not.
        ValueError: a tensor of more than 10,000 numbers.

    >>> decode(encode([torch.tensor([1.0]), {"A": (1, "x")}]))
    [tensor([1.]), {'A': (1, 'x')}]
    """
    if isinstance(value, dict):
        return {"pairs": [[encode(key), encode(entry)] for key, entry in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [encode(entry) for entry in value]}
    if isinstance(value, list):
        return [encode(entry) for entry in value]
    if value is None or isinstance(value, str | int | float):
        return value
    tensor = value.detach().cpu().to_dense() if isinstance(value, Tensor) else _as_tensor(value)
    if tensor.numel() > NUMBERS:
        raise ValueError(f"a tensor of {tensor.numel():,} numbers is larger than any answer")
    if tensor.is_complex():
        raise TypeError("complex numbers cannot be sent")
    if tensor.dtype not in DTYPES.values():
        tensor = tensor.double()
    kind = str(tensor.dtype).removeprefix("torch.")
    return {"tensor": tensor.flatten().tolist(), "shape": list(tensor.shape), "dtype": kind}


def decode(data: Any) -> Any:
    """What `encode` wrote; of anything else it raises some error, and never does more than build these values."""
    if isinstance(data, list):
        return [decode(entry) for entry in data]
    if not isinstance(data, dict):
        return data
    if "tensor" in data:
        return torch.tensor(data["tensor"], dtype=DTYPES[data["dtype"]]).reshape(data["shape"])
    if "tuple" in data:
        return tuple(decode(entry) for entry in data["tuple"])
    return {decode(key): decode(entry) for key, entry in data["pairs"]}


def _as_tensor(value: Any) -> Tensor:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"a {type(value).__name__} cannot be sent")
    return torch.from_numpy(np.array(array, dtype=np.float64, order="C"))
