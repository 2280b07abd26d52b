"""Shared by the speed scripts: times side by side, peak memory, operations of a forward pass, rates of the machine."""

import argparse
import ctypes
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from torch import nn

import padlab

SHAPES = {  # random weights of these sizes, for machines without access to a hub
    "llama-3.2-1b": ("LlamaConfig", {"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192,
                     "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8}),
    "gemma-2-2b": ("Gemma2Config", {}),  # the default of transformers, except for the number of blocks
}  # fmt: skip

SPEED_FILE = Path("bench-out/speed.json")


def speed_options(description: str, shapes: bool = True, **numbers: int) -> argparse.Namespace:
    """Command-line options: --threads, the script's own integers, and with `shapes` --shape and --device for a GPU."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"threads": 2, **numbers}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    if shapes:
        parser.add_argument("--shape", choices=("embedded", *SHAPES), default="embedded")
        parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    print(machine(options.threads), *([options.shape, options.device] if shapes else []))
    return options


def network_of(shape: str, device: str) -> nn.Module:
    """The model of the "pruned" teacher, or one with random weights of a known shape (bfloat16 on a GPU)."""
    if shape == "embedded":
        return padlab.load_pair("pruned").teacher.model.to(device)
    name, sizes = SHAPES[shape]
    torch.manual_seed(0)
    config = getattr(transformers, name)(**({"num_hidden_layers": 26} | sizes))
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def machine(threads: int) -> str:
    """Set the number of threads; returns one line that names the machine, for the output."""
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
        name = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), "")
    return f"{name or platform.machine()}, {threads} threads, torch {torch.__version__}"


def side_by_side(functions: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Median seconds of each function; they take turns, after one warm-up each."""
    for run in functions.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, run in functions.items():
            start = time.perf_counter()
            run()
            _wait()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def save_ratio(name: str, plain: float, trl: float | None = None) -> None:
    """Save how many times as long plain transformers and trl take, for the table of `bench/_speed_table.py`."""
    saved = json.loads(SPEED_FILE.read_text(encoding="utf-8")) if SPEED_FILE.exists() else {}
    SPEED_FILE.parent.mkdir(exist_ok=True)
    SPEED_FILE.write_text(json.dumps({**saved, name: [plain, trl]}, indent=1), encoding="utf-8")


def peak_extra_mib(run: Callable[[], object]) -> float:
    """Increase of the memory during `run`, MiB: of the GPU, or the resident memory of the process (Linux)."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # resets the peak
    run()
    return (_status("VmHWM") - before) / 1024


def block_weights(model: nn.Module) -> int:
    """Number of weights in the linear layers of all blocks; each token costs two operations per weight."""
    return sum(m.weight.numel() for n, m in model.named_modules() if isinstance(m, nn.Linear) and "lm_head" not in n)


def forward_gflop(model: nn.Module, tokens: int, predicted: int) -> float:
    """GFLOP of the matrix products of a forward pass (attention not counted); `predicted` of the tokens get logits."""
    return 2e-9 * (block_weights(model) * tokens + model.get_output_embeddings().weight.numel() * predicted)


def matrix_rate(dtype: torch.dtype = torch.float32, rows: int = 512, inner: int = 576, device: str = "cpu") -> float:
    """GFLOP/s of matrix products as in a model's blocks (rows x inner x 8/3 inner), best of several."""
    outer = 8 * inner // 3 // 64 * 64  # sizes that no kernel dislikes
    a, b = torch.randn(rows, inner, device=device).to(dtype), torch.randn(outer, inner, device=device).to(dtype)
    return 2e-9 * rows * inner * outer / _best(lambda: nn.functional.linear(a, b))


def bandwidth(dtype: torch.dtype = torch.float32) -> float:
    """GB/s at which the product of a vector and a large matrix reads the matrix, best of several."""
    matrix = torch.randn(16384, 8192).to(dtype)
    vector = torch.randn(1, 8192).to(dtype)
    return 1e-9 * matrix.numel() * matrix.element_size() / _best(lambda: nn.functional.linear(vector, matrix))


def _best(run: Callable[[], object]) -> float:
    times = []
    for _ in range(12):
        start = time.perf_counter()
        run()
        _wait()
        times.append(time.perf_counter() - start)
    return min(times)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _status(field: str) -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field))
