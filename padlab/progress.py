"""Progress that is readable in terminals and in saved notebooks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any


def progress(items: Sequence[Any], label: str) -> Iterator[Any]:
    """Iterate with a progress bar: tqdm in a terminal, one line updated in place in a notebook, silent when short."""
    if in_notebook():
        yield from _notebook_progress(items, label)
    else:
        from tqdm import tqdm

        quiet = not is_main_process()
        yield from tqdm(items, desc=label, leave=False, delay=2, mininterval=1, dynamic_ncols=True, disable=quiet)


def is_main_process() -> bool:
    """Whether this process is alone, or the first of those that `accelerate launch` or `torchrun` started.

    >>> is_main_process()
    True
    """
    return os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1"


def in_notebook() -> bool:
    """Whether a Jupyter kernel shows the output."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return bool(shell) and hasattr(shell, "kernel")


def _notebook_progress(items: Sequence[Any], label: str) -> Iterator[Any]:
    from IPython.display import display

    began = shown = time.monotonic()
    handle = None
    for number, item in enumerate(items):
        now = time.monotonic()
        if now - began > 2 and (handle is None or now - shown > 1):
            left = (now - began) / max(number, 1) * (len(items) - number)
            line = {"text/plain": f"{label}: {number} of {len(items)}, about {left:.0f} s left"}
            handle = handle or display(line, raw=True, display_id=True)
            handle.update(line, raw=True)
            shown = now
        yield item
    if handle:
        took = time.monotonic() - began
        handle.update({"text/plain": f"{label}: {len(items)} of {len(items)} in {took:.0f} s"}, raw=True)
