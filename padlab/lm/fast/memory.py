"""Running out of memory: work is tried again in halves; what cannot be halved is an error that says what to lower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

WORDS = ("out of memory", "can't allocate memory")  # of a GPU (not always as OutOfMemoryError), of the CPU


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that the memory of a GPU or of the machine did not suffice.

    >>> ran_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    True
    """
    return isinstance(error, MemoryError) or any(words in str(error) for words in WORDS)


def attempt(work: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """(what `work` returns, ""), or (None, the first line of the error) where memory ran out.

    The error is forgotten before this returns: its traceback would keep the tensors alive.

    >>> attempt(max, 2, 3)
    (3, '')
    """
    try:
        return work(*arguments), ""
    except (RuntimeError, MemoryError) as error:
        if not ran_out_of_memory(error):
            raise
        line = (str(error) or type(error).__name__).splitlines()[0]
    torch.cuda.empty_cache()
    return None, line


def in_halves(work: Callable[[Sequence[Any]], list], items: Sequence[Any], describe: Callable[[Any], str]) -> list:
    """One result per item: work(items), or where memory does not suffice that of halves, quarters, ... one by one.

    Args:
        work: of some neighbouring items, one result each.
        items: at least one.
        describe: of one item: what does not fit (with numbers), and what to lower.

    Raises:
        torch.OutOfMemoryError: one item alone does not fit.

    >>> in_halves(lambda numbers: [-n for n in numbers], [1, 2, 3], str)
    [-1, -2, -3]
    """
    done, size = [], len(items)
    while len(done) < len(items):
        piece = items[len(done) : len(done) + size]
        results, refusal = attempt(work, piece)
        if refusal and len(piece) == 1:
            raise torch.OutOfMemoryError(f"{describe(piece[0])} ({refusal})")
        size = len(piece) // 2 if refusal else size
        done += results or []
    return done
