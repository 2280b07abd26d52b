"""One seam between models on this machine and models on a server: the phases score and check token ids here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from padlab.lm import probe
from padlab.lm.fast import scoring
from padlab.lm.remote.server import Server

ROWS = 4  # prompts that are worked on before what is finished is kept: requests are slow and may fail


def score_ids(model: Any, prompts: Sequence[Any], responses: Sequence[Any], **options: Any) -> list[list[list[float]]]:
    """As `padlab.lm.fast.scoring.score_ids`, wherever the model is."""
    if isinstance(model, Server):
        return model.score_ids(prompts, responses, **options)
    return scoring.score_ids(model, prompts, responses, **options)


def check_known_ids(model: Any, ids: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    """As `padlab.lm.probe.check_known_ids`; a server checks ids itself."""
    if not isinstance(model, Server):
        probe.check_known_ids(model, ids, names)


def rows_per_shard(model: Any, shard_size: int) -> int:
    """How many prompts a phase works on at a time: few on a server, so that little is lost when it stops."""
    return min(shard_size, ROWS) if isinstance(model, Server) else shard_size
