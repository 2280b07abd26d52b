"""Which model an adapter was made for: a few numbers of every weight, stored beside it and compared on loading.

Numbers and not a hash, so that the same model loaded in another type (bfloat16 for float32) is known again.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

FILE = "base_weights.json"
PLACES = 3  # numbers per tensor: first, middle, last
ROUNDING = 2.0**-7  # relative; of 16-bit weights, with some room
ADAPTER = re.compile("lora_|ia3_|vera_|modules_to_save|trainable_tokens_|hada_|lokr_|oft_|poly_|ln_tuning_|adaption_")


def save_base(network: Any, folder: Path) -> None:
    """Write the numbers of the model that a peft model stands on."""
    weights = {}
    for name, value in network.get_base_model().state_dict().items():
        if not ADAPTER.search(name):
            weights[re.sub(r"\.(base_layer|original_module|token_adapter)\b", "", name)] = _numbers(value)
    (folder / FILE).write_text(json.dumps(weights), encoding="utf-8")


def check_base(model: Any, folder: Path) -> None:
    """ValueError if the adapter in this folder was made for another model; nothing if it does not say for which.

    Raises:
        RuntimeError: the file that says so is damaged.
    """
    if not (folder / FILE).exists():
        return
    try:
        read = json.loads((folder / FILE).read_text(encoding="utf-8")).items()
        recorded = {name: torch.tensor(values, dtype=torch.float32) for name, values in read}
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise RuntimeError(f"{folder / FILE} is damaged ({error}); download or save the adapter again") from None
    weights = model.state_dict()
    for name in sorted(recorded.keys() & weights.keys()):
        expected, found = recorded[name], torch.tensor(_numbers(weights[name]))
        if expected.shape != found.shape or not torch.allclose(found, expected, rtol=ROUNDING, atol=1e-6):
            raise ValueError(
                f"the adapter in {folder} was made for another model of the same shape: {name} begins and ends with "
                f"{found.tolist()}, and with {expected.tolist()} in the model it was made for. Load that model"
            )


def _numbers(weight: torch.Tensor) -> list[float]:
    flat = weight.detach().flatten()
    places = [k * (len(flat) - 1) // (PLACES - 1) for k in range(PLACES)] if len(flat) else []
    return [float(f"{float(flat[k]):.6g}") for k in places]
