"""Would bfloat16 weights score faster, and near enough? Measured on a sample, never assumed."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from padlab.lm.fast.packing import TokenIds
from padlab.lm.fast.scoring import score_ids

SAMPLE = 4  # prompts
WORTH = 1.1  # times as fast, at least
ERROR = 0.1  # in scores (beta x nats/token), less than this


@dataclass(frozen=True)
class Probe:
    """What was measured, and which type it speaks for.

    Args:
        dtype: "float32" or "bfloat16".
        speedup: seconds in float32 over seconds in bfloat16.
        error: largest beta x |difference of a reward| on the sample.
    """

    dtype: str
    speedup: float
    error: float

    def __str__(self) -> str:
        return f"bfloat16 is {self.speedup:.2f} x as fast, largest error of a score {self.error:.3f}: {self.dtype}"


def probe_bfloat16(
    model: Any, prompts: Sequence[TokenIds], responses: Sequence[Sequence[TokenIds]], beta: float = 10.0
) -> Probe:
    """Score the first four prompts with the weights as they are and with a bfloat16 copy.

    Args:
        model: a causal LM in float32.
        prompts, responses: token ids, as in `padlab.lm.fast.scoring.score_ids`.
        beta: scale from nats/token to scores.

    Returns:
        "bfloat16" where it is at least 1.1 times as fast and no score is off by 0.1 or more, else "float32".
    """
    batch, found, seconds = (prompts[:SAMPLE], responses[:SAMPLE]), {}, {}
    for name, network in (("float32", model), ("bfloat16", in_dtype(model, "bfloat16"))):
        score_ids(network, *batch)  # warm-up
        start = time.perf_counter()
        scored = score_ids(network, *batch)
        seconds[name] = time.perf_counter() - start
        found[name] = torch.tensor([sum(logps) / len(logps) for group in scored for logps in group])
    error = beta * float((found["float32"] - found["bfloat16"]).abs().max())
    speedup = seconds["float32"] / seconds["bfloat16"]
    return Probe("bfloat16" if speedup >= WORTH and error < ERROR else "float32", speedup, error)


def in_dtype(model: Any, dtype: str) -> Any:
    """The model with weights of this type: itself, or a copy. Buffers (the rotary frequencies) stay as they are."""
    wanted = getattr(torch, dtype)
    if model.dtype == wanted:
        return model
    recast = copy.deepcopy(model)
    for weight in recast.parameters():
        weight.data = weight.data.to(wanted)
    return recast
