"""Shared by the speed scripts: times side by side, peak memory, operations of a forward pass, the machine's rates."""

import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn


def machine(threads: int) -> str:
    """One line that says where the figures come from; sets the number of threads."""
    torch.set_num_threads(threads)
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
        name = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), "")
    return f"{name or platform.machine()}, {threads} threads, torch {torch.__version__}"


def side_by_side(ways: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Median seconds of each way, taken in turns after one warm-up each."""
    for run in ways.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


def peak_extra_mib(run: Callable[[], object]) -> float:
    """How far the process's resident memory rises while `run` runs, MiB (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # forget the peak so far
    run()
    return (_status("VmHWM") - before) / 1024


def block_weights(model: nn.Module) -> int:
    """Weights of the linear layers of all blocks: each token costs two operations per weight."""
    return sum(m.weight.numel() for n, m in model.named_modules() if isinstance(m, nn.Linear) and "lm_head" not in n)


def forward_gflop(model: nn.Module, tokens: int, headed: int) -> float:
    """Matrix products of a forward pass over `tokens`, `headed` of them through the output head; attention left out."""
    return 2e-9 * (block_weights(model) * tokens + model.get_output_embeddings().weight.numel() * headed)


def matrix_rate(dtype: torch.dtype = torch.float32, rows: int = 512) -> float:
    """GFLOP/s of products like those of the embedded model's blocks (rows x 576 x 1536), best of several."""
    a, b = torch.randn(rows, 576).to(dtype), torch.randn(1536, 576).to(dtype)
    return 2e-9 * rows * 576 * 1536 / _best(lambda: nn.functional.linear(a, b))


def bandwidth(dtype: torch.dtype = torch.float32) -> float:
    """GB/s at which a vector times a large matrix reads the matrix, best of several."""
    matrix = torch.randn(16384, 8192).to(dtype)
    vector = torch.randn(1, 8192).to(dtype)
    return 1e-9 * matrix.numel() * matrix.element_size() / _best(lambda: nn.functional.linear(vector, matrix))


def _best(run: Callable[[], object]) -> float:
    times = []
    for _ in range(12):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _status(field: str) -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field))
