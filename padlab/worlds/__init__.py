"""Small worlds in which the true quality of every response is known; they import nothing of padlab.

Each has `prompts(count, seed, heldout)`, `quality(prompt, response)` in [0, 1], and `SIDES`: the names under which the
command line offers its prompts for training and held out.
"""

from importlib import import_module
from types import ModuleType


def world(name: str) -> ModuleType:
    """The module of a world.

    Args:
        name: "reading" or "toy".

    Raises:
        ModuleNotFoundError: there is no world of that name.

    >>> world("toy").quality("sort : fox bee", "bee fox")
    1.0
    """
    return import_module(f"padlab.worlds.{name}")
