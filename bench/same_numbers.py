"""The numbers of every public function on fixed inputs, to compare two versions of padlab.

    python bench/same_numbers.py [--out bench-out/numbers.json]     write the numbers of this version
    python bench/same_numbers.py --against OLD.json                  ... and list what differs from another version's

Run it in both checkouts on one machine with one thread. Models: the tiny pair, a tiny pair with one tokenizer, and the
toy world's models. Numbers differ where they are further apart than 1e-6 (relative, or absolute near
0); NaN equals NaN.
"""

import argparse
import json
import math
from pathlib import Path

import torch

import padlab
from padlab.rankings.diagnostics import loss_diagnostics
from padlab.worlds import toy

PROMPTS = ["Name a colour.", "Why is the sky blue?", "Say hello politely.", "Count to three."]
TRAINING = {"loss": "ppd", "alpha": 0.0, "beta": 10.0, "token_kd": 0.0, "learning_rate": 2e-4, "num_train_epochs": 1}
TRAINING |= {"gradient_accumulation_steps": 4, "seed": 3}
ALL = {**TRAINING, "peft_config": None, "learning_rate": 3e-4}


def scores(rows: int, items: int, seed: int) -> torch.Tensor:
    """Fixed scores in float64, rounded so that some tie."""
    return (torch.randn(rows, items, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3).round(
        decimals=1
    )


def ranking_numbers() -> dict:
    """Distributions, divergences, losses, calibration, uncertainty, goodness of fit."""
    numbers = {}
    for n in (2, 3, 5, 8, 9):
        student, teacher = scores(4, n, n), scores(4, n, 100 + n)
        p = padlab.PlackettLuce(student)
        numbers[f"distribution n={n}"] = {
            "log_prob": p.log_prob(padlab.PlackettLuce(teacher).mode),
            "entropy": p.entropy(),
            "pairwise": p.pairwise(),
            "rank_marginals": p.rank_marginals(),
            "top_choice": p.top_choice(),
            "expected_rank": p.expected_rank(),
        }
        leaf = student.clone().requires_grad_()
        for name in ("js", "forward_kl", "reverse_kl", "released"):
            if n <= 8:
                (gradient,) = torch.autograd.grad(padlab.ppd_loss(leaf, teacher, name), leaf)
                numbers[f"ppd {name} n={n}"] = {
                    "value": padlab.ppd_loss(student, teacher, name, reduction="none"),
                    "gradient": gradient,
                }
        numbers[f"vpd n={n}"] = padlab.vpd_loss(student, teacher, reduction="none")
        numbers[f"js_divergence n={n}"] = padlab.js_divergence(student, teacher, "exact" if n < 10 else "auto").value
        numbers[f"diagnostics n={n}"] = loss_diagnostics(student, teacher)
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    pair = scores(2, 4, 1), scores(2, 4, 2)
    numbers["ppd with absent items"] = padlab.ppd_loss(*pair, mask=mask, reduction="none")
    numbers["vpd with absent items"] = padlab.vpd_loss(*pair, mask=mask, reduction="none")
    chosen = -torch.rand(6, generator=torch.Generator().manual_seed(5)).double()
    numbers["sft"], numbers["simpo"] = padlab.sft_loss(chosen), padlab.simpo_loss(chosen, chosen.flip(0))
    numbers["dpo"] = padlab.dpo_loss(9 * chosen, 8 * chosen, 9 * chosen.flip(0), 8 * chosen.flip(0))
    reward, p_sel = -torch.rand(3, 4, generator=torch.Generator().manual_seed(6)), scores(3, 4, 7).softmax(-1).float()
    for alpha in (0.0, 0.3, 1.0):
        numbers[f"calibrate {alpha}"] = padlab.calibrate(reward, p_sel, alpha)
    numbers["calibrate p_sel 0"] = padlab.calibrate([-1.0, -1.0], [0.0, 1.0], 0.5)
    numbers["calibrate p_sel 1e-9"] = padlab.calibrate([-1.0, -1.0], [1e-9, 1 - 1e-9], 0.5)
    votes = torch.sigmoid(scores(4, 4, 8) / 3)
    intervals = padlab.bootstrap_preference(
        [[-1.0, -2.0, -0.5], [-1.5, -1.0], [-3.0, -0.1]], votes[:3, :3], alpha=0.4, num_resamples=200,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    numbers["bootstrap_preference"] = {k: [i.estimate, i.low, i.high] for k, i in intervals.items()}
    pairwise = torch.sigmoid(scores(4, 4, 8) - scores(4, 4, 8).T)
    numbers["fit_plackett_luce"] = padlab.fit_plackett_luce(pairwise)
    numbers["goodness_of_fit"] = padlab.goodness_of_fit(pairwise)._asdict()
    for name, pair in {"plain": ([3.0, 1.0, 2.0], [9.0, 1.0, 4.0]), "tied score": ([1.0, 1.0], [2.0, 1.0])}.items():
        numbers[f"ranking_metrics {name}"] = padlab.ranking_metrics(*pair)
    return numbers


def method_numbers(name: str, pair: padlab.Pair, prompts: list[str], training: dict, **sampling) -> dict:
    """All phases on one pair of models."""
    student, teacher = pair
    table = padlab.sample_responses(student, prompts, n=3, seed=1, **sampling)
    table = padlab.add_rewards(padlab.add_rewards(table, teacher, token_logps=True), student, "student_reward")
    table = padlab.add_selection_probs(table, teacher, votes=True)
    numbers = {f"table: {column}": table[column][:] for column in table.column_names if column != "response_tokenizer"}
    numbers["score"] = padlab.score(teacher, prompts[0], table["responses"][0])
    numbers["score_tokens"] = padlab.score_tokens(student, prompts[0], table["responses"][0])
    numbers["sums"] = padlab.add_rewards(table, teacher, length_normalize=False)["teacher_reward"][:]
    losses = ["ppd", "vpd", "sft", "dpo", "simpo"] + ["token_kd"] * teacher.shares_vocabulary(student)
    for loss in losses:
        asked = teacher if loss == "token_kd" else None
        trained = padlab.distill(student, table, teacher=asked, **{**training, "loss": loss, "alpha": 0.5})
        kept = ("loss", "jsd", "kendall_tau", "top1", "grad_norm", "rewards/chosen", "rewards/rejected")
        numbers[f"distill {loss}"] = [{k: e[k] for k in kept if k in e} for e in trained.history]
    report = padlab.rank_agreement(trained, teacher, table, alpha=0.5)
    numbers["rank_agreement"] = report.per_prompt
    before = padlab.rank_agreement(student, teacher, table, alpha=0.5)
    differences = padlab.paired_differences(before, report)
    numbers["paired_differences"] = {k: [i.estimate, i.low, i.high] for k, i in differences.items()}
    numbers["evaluate_samples"] = padlab.evaluate_samples(trained, teacher, prompts, n=2, seed=5, **sampling).per_prompt
    sweep = padlab.alpha_sweep(table, "student_reward", alphas=[0.0, 0.5, 1.0])
    numbers["alpha_sweep"] = sweep.per_prompt
    rounds = {**training, "alpha": 0.5}
    numbers["run_rounds"] = padlab.run_rounds(student, teacher, prompts, rounds=2, n=3, sampling=sampling, **rounds)[1]
    numbers["to_trl"] = padlab.to_trl(table)[:]
    return {f"{name}: {key}": value for key, value in numbers.items()}


def plain(value):
    """Tensors, arrays and tuples as lists and floats; NaN as a string, so that it can be compared."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def differences(old, new, path: str = "") -> list[str]:
    """Where two structures differ: path, old and new value."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        return [line for key in old for line in differences(old[key], new[key], f"{path} / {key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for k, (a, b) in pairs for line in differences(a, b, f"{path}[{k}]")]
    numeric = all(isinstance(v, int | float) for v in (old, new))
    same = math.isclose(old, new, rel_tol=1e-6, abs_tol=1e-6) if numeric else old == new
    return [] if same else [f"{path.removeprefix(' / ')}: {old} before, {new} now"]


def main() -> None:
    """Write the numbers; compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench-out/numbers.json"))
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)  # the Jensen-Shannon divergence of nine responses is estimated
    options.out.parent.mkdir(parents=True, exist_ok=True)
    tiny = padlab.load_pair("tiny")
    blocks = tiny.teacher.model.config.num_hidden_layers
    same_tokenizer = padlab.Pair(padlab.prune_blocks(tiny.teacher, blocks - 1), tiny.teacher)
    numbers = ranking_numbers()
    numbers |= method_numbers("tiny", tiny, PROMPTS, {**TRAINING, "peft_config": "auto"}, max_new_tokens=6)
    numbers |= method_numbers("one tokenizer", same_tokenizer, PROMPTS, ALL, max_new_tokens=6)
    for world in ("toy", "toy-aligned"):
        pair = padlab.load_pair(world)
        numbers |= method_numbers(world, pair, toy.prompts(8), ALL, max_new_tokens=12, top_p=1.0)
    numbers = plain(numbers)
    options.out.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    print(f"{len(numbers)} results -> {options.out}")
    if options.against:
        old = json.loads(options.against.read_text(encoding="utf-8"))
        lines = differences(old, numbers)
        print(f"{len(lines)} numbers differ from {options.against}")
        print("\n".join(lines))


if __name__ == "__main__":
    main()
