"""Rankings: time and peak memory of the exact sums, against the plain [batch, n!, n] enumeration, in one run.

    python bench/rankings.py                  all tables, about four minutes on one core
    python bench/rankings.py --quick          the rows that the claims rest on
    python bench/rankings.py --plot subsets.png

Times are the best of several runs, in milliseconds. Memory is the growth of the process's peak in a child process.
"library" is padlab. "plain" follows the definition: for each rank, mask the items already chosen in an array
[batch, n!, n] and take its logsumexp. "sliced" and "cumulative" are two faster simple implementations: shrinking
slices, and one reversed logcumsumexp.
"""

import argparse
import os
import platform
import time
from math import factorial

import torch
from torch.distributions import kl_divergence

from padlab.rankings.enumeration import all_rankings
from padlab.rankings.large_n import js_divergence
from padlab.rankings.plackett_luce import PlackettLuce

PLAIN_BYTES = 2.5e9  # "plain" is left out where it would need more memory than this for the backward pass
BATCHES = {3: (1, 16, 256), 4: (1, 16, 256), 5: (1, 16, 256), 6: (1, 16, 256)}
BATCHES |= {7: (1, 16, 64, 256), 8: (1, 8, 32, 256), 9: (1, 4), 10: (1, 4)}
JSD = [(4, 256, "exact"), (6, 64, "exact"), (8, 1, "exact"), (8, 32, "exact"), (9, 4, "exact"), (10, 1, "exact")]
JSD += [(12, 1, "sampled"), (12, 8, "sampled"), (20, 1, "sampled"), (64, 1, "sampled")]
QUICK = {7: (16, 64), 8: (8, 32)}


def plain(scores, rankings):
    ordered, positions = scores[:, rankings], torch.arange(scores.shape[-1])
    total = 0
    for k in range(scores.shape[-1]):
        remaining = ordered.masked_fill(positions < k, -torch.inf)
        total = total + ordered[..., k] - remaining.logsumexp(-1)
    return total


def sliced(scores, rankings):
    ordered = scores[:, rankings]
    return sum(ordered[..., k] - ordered[..., k:].logsumexp(-1) for k in range(scores.shape[-1]))


def cumulative(scores, rankings):
    ordered = scores[:, rankings]
    return (ordered - ordered.flip(-1).logcumsumexp(-1).flip(-1)).sum(-1)


def library(scores, rankings):
    return PlackettLuce(scores).enumerate()[1]


def random_scores(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def forward(function, *scores):
    def run():
        with torch.no_grad():
            function(*scores)

    return run


def forward_backward(function, *scores):
    weights = []

    def run():
        leaf = scores[0].clone().requires_grad_()
        value = function(leaf, *scores[1:])
        if not weights:
            weights.append(random_scores(*value.shape, seed=9, dtype=value.dtype))
        value.backward(weights[0])

    return run


def milliseconds(run, budget=0.4, at_least=2):
    best, start, runs = float("inf"), time.perf_counter(), 0
    while runs < at_least or (time.perf_counter() - start < budget and runs < 200):
        run_start = time.perf_counter()
        run()
        best, runs = min(best, time.perf_counter() - run_start), runs + 1
    return 1e3 * best


def peak_mib(run, warm_up):
    """Growth of the peak resident memory while `run` works, in a forked child; None where /proc does not tell.

    To be called before the timings: a child inherits the heap, and what is free there costs nothing.
    """
    if not os.path.exists("/proc/self/clear_refs"):
        return None
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        warm_up()
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = resident("VmRSS")
        run()
        os.write(send, str((resident("VmHWM") - before) / 1024).encode())
        os._exit(0)
    os.close(send)
    os.waitpid(child, 0)
    with os.fdopen(receive) as file:
        text = file.read()
    return float(text) if text else float("nan")


def resident(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))


def print_row(*cells):
    texts = [c if isinstance(c, str) else "-" if c is None else f"{c:.3g}" if c < 100 else f"{c:.0f}" for c in cells]
    print("| " + " | ".join(f"{t:>10}" for t in texts) + " |", flush=True)


def with_rankings(implementation, n):
    rankings = all_rankings(n)
    return lambda scores: implementation(scores, rankings)


def fits_in_memory(n, batch, dtype):
    return batch * factorial(n) * n * n * dtype.itemsize < PLAIN_BYTES


def enumeration_peaks(shapes, dtype):
    peaks = {}
    for n, batch in shapes:
        for implementation in (library, plain) if fits_in_memory(n, batch, dtype) else (library,):
            small = forward_backward(with_rankings(implementation, 3), random_scores(2, 3, dtype=dtype))
            peaks[n, batch, implementation] = peak_mib(
                forward_backward(with_rankings(implementation, n), random_scores(batch, n, dtype=dtype)), small
            )
    return peaks


def enumeration_table(shapes, dtype, peaks):
    print(f"\n## All log-probabilities, {dtype}, milliseconds: ratio = plain / library\n")
    ways = ("plain", "sliced", "cumulative")
    print_row("n", "batch", "library fwd", *ways, "ratio", "library f+b", *ways, "ratio", "library MiB", "plain MiB")
    print_row(*["---"] * 13)
    return {(n, batch): enumeration_row(n, batch, dtype, peaks) for n, batch in shapes}


def enumeration_row(n, batch, dtype, peaks):
    scores, others = (
        random_scores(batch, n, dtype=dtype),
        (plain, sliced, cumulative) if fits_in_memory(n, batch, dtype) else (),
    )
    if others:
        torch.testing.assert_close(
            with_rankings(library, n)(scores), with_rankings(plain, n)(scores), rtol=1e-4, atol=1e-4
        )
    fwd, both = (
        {
            implementation: milliseconds(kind(with_rankings(implementation, n), scores))
            for implementation in (library, *others)
        }
        for kind in (forward, forward_backward)
    )
    memory = [peaks[n, batch, library], peaks.get((n, batch, plain))]
    ratios = [times[plain] / times[library] if others else None for times in (fwd, both)]
    cells = [[times[library], *(times.get(w) for w in (plain, sliced, cumulative))] for times in (fwd, both)]
    print_row(str(n), str(batch), *cells[0], ratios[0], *cells[1], ratios[1], *memory)
    return (*ratios, *memory)


def subset_runs(n, batch):
    scores, others = random_scores(batch, n), PlackettLuce(random_scores(batch, n, seed=1))
    kl = lambda s: kl_divergence(PlackettLuce(s), others)  # noqa: E731
    return [
        forward(lambda s: PlackettLuce(s).entropy(), scores),
        forward(kl, scores),
        forward(lambda s: PlackettLuce(s).rank_marginals(), scores),
        forward_backward(kl, scores),
    ]


def subset_table(shapes, peaks):
    print("\n## Exact by subsets, float64: milliseconds, and nanoseconds per n 2^n (and row)\n")
    names = ("entropy", "KL", "marginals", "KL f+b")
    print_row("n", "batch", *names, *(f"ns {name}" for name in names), "MiB f+b")
    print_row(*["---"] * 11)
    results = {}
    for n, batch in shapes:
        times = [milliseconds(run, budget=1, at_least=4) for run in subset_runs(n, batch)]
        per_draw = [1e6 * t / (batch * n * 2**n) for t in times]
        print_row(str(n), str(batch), *times, *per_draw, peaks[n, batch])
        results[n, batch] = (times, per_draw)
    return results


def jsd_runs(n, batch, method):
    p, q = random_scores(batch, n), random_scores(batch, n, seed=1)
    value = lambda s: js_divergence(s, q, method).value  # noqa: E731
    return forward(value, p), forward_backward(value, p)


def jsd_table(shapes, peaks):
    print("\n## Jensen-Shannon divergence, float64, milliseconds; 4,000 draws where sampled\n")
    print_row("n", "batch", "method", "fwd", "f+b", "MiB f+b")
    print_row(*["---"] * 6)
    for n, batch, method in shapes:
        print_row(str(n), str(batch), method, *map(milliseconds, jsd_runs(n, batch, method)), peaks[n, batch, method])


def claims(enumeration, subsets):
    print("\n## Claims\n")
    for n in (7, 8):
        rows = {b: v for (m, b), v in enumeration.items() if m == n and v[0] is not None}
        text = ", ".join(f"batch {b}: {v[0]:.0f} and {v[1]:.0f} times" for b, v in rows.items())
        memory = all(v[2] <= v[3] for v in rows.values() if v[2] is not None)
        print(f"- n = {n}, forward and forward + backward, wanted 60 and 30: {text}; no more memory: {memory}")
    for (n, batch), limit in (((16, 8), 2), ((20, 1), 15)):
        worst = max(subsets[n, batch][0][:3]) / 1e3
        print(f"- entropy, KL, rank marginals at n = {n}, batch {batch}, wanted {limit} s each: {worst:.2f} s at most")
    for k, name in enumerate(("entropy", "KL", "rank marginals")):
        per_draw = [subsets[n, 1][1][k] for n in range(14, 21)]
        print(f"- {name}: ns per n 2^n from n = 14 to 20, wanted within 2: factor {max(per_draw) / min(per_draw):.2f}")


def plot(subsets, path):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    sizes = range(14, 21)
    for k, name in enumerate(("entropy", "KL", "rank marginals", "KL with gradient")):
        axes.plot(sizes, [subsets[n, 1][1][k] for n in sizes], marker="os^D"[k], label=name)
    axes.set(xlabel="items n", ylabel="nanoseconds per n 2$^n$", ylim=(0, None))
    axes.set_title("Exact sums over subsets: cost per draw, n = 14 to 20")
    axes.legend()
    figure.savefig(path, dpi=150)
    print(f"\nfigure in {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="of the enumeration table")
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"# bench/rankings.py: torch {torch.__version__}, {platform.machine()}, {options.threads} thread(s)")
    dtype = getattr(torch, options.dtype)
    ranked = [(n, batch) for n, sizes in (QUICK if options.quick else BATCHES).items() for batch in sizes]
    summed = ([] if options.quick else [(10, 1), (10, 256), (12, 1), (12, 64)]) + [(n, 1) for n in range(14, 21)]
    summed += [(16, 8)]
    peaks = enumeration_peaks(ranked, dtype)
    peaks |= {shape: peak_mib(subset_runs(*shape)[-1], subset_runs(3, 2)[-1]) for shape in summed}
    peaks |= {shape: peak_mib(jsd_runs(*shape)[-1], jsd_runs(3, 2, shape[2])[-1]) for shape in JSD}
    enumeration = enumeration_table(ranked, dtype, peaks)
    subsets = subset_table(summed, peaks)
    if not options.quick:
        jsd_table(JSD, peaks)
    claims(enumeration, subsets)
    if options.plot:
        plot(subsets, options.plot)


if __name__ == "__main__":
    main()
