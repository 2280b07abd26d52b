"""The hardware limits of this machine: rate of matrix products and of memory reads, per type of number.

python bench/floor.py [--threads 2]
"""

import argparse

import torch
from _measure import bandwidth, machine, matrix_rate

import padlab


def main() -> None:
    """Rates, and the least time of a decoding step of SmolLM2-135M that follows from them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    print(machine(parser.parse_args().threads))
    weights = sum(p.numel() for p in padlab.load_model("embedded").model.parameters())
    for dtype in (torch.float32, torch.bfloat16):
        rates = {rows: matrix_rate(dtype, rows) for rows in (1, 16, 128, 512, 2048)}
        reads = bandwidth(dtype)
        step = 1e-9 * weights * dtype.itemsize / reads
        products = ", ".join(f"{rows} rows {rate:.0f}" for rows, rate in rates.items())
        print(f"{str(dtype)[6:]:9} products (GFLOP/s): {products}; reading {reads:.1f} GB/s: "
              f"a decoding step of {weights / 1e6:.0f} M weights takes at least {1e3 * step:.0f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
