"""The large presets on a GPU, at their real architecture and size with random weights: no hub is needed.

    python bench/gpu.py [--presets classroom paper] [--tasks sampling scoring selection training]
                        [--prompts 8] [--prompt 256] [--response 256] [--repeats 3]

Sampling, scoring, selection questions and a training step (LoRA, and all weights), in bfloat16: tokens per second, peak
extra memory, the share of the card's own rate of matrix products, and the same done by plain transformers in the same
run. Then the rewards in bfloat16 beside float32. Without a GPU the default is `--presets tiny`, which only tries the
script.

Random weights say nothing about preferences: all distributions are flat, and hardly a response ends by itself.
"""

import argparse
import gc
import json
from pathlib import Path

import torch
import transformers
from _measure import forward_gflop, machine, matrix_rate, peak_extra_mib, side_by_side
from sampling import transformers_generate
from scoring import random_ids, score_plainly
from selection import plain_answers
from training import padlab_step, plain_step

import padlab
from padlab.lm.adapters import trainable_copy
from padlab.lm.chat import encode_chat
from padlab.lm.fast.scoring import score_ids
from padlab.lm.logprobs import mean_over_tokens
from padlab.lm.tiny import tiny_tokenizer

N, BETA = 4, 10.0
TASKS = ("sampling", "scoring", "selection", "training")
LLAMA = {"tie_word_embeddings": True, "max_position_embeddings": 8192}
GEMMA = {"vocab_size": 256_000, "head_dim": 256, "max_position_embeddings": 8192}


def llama(blocks: int, width: int, inner: int, heads: int, groups: int, words: int = 49_152) -> dict:
    """Sizes of a Llama under transformers' names."""
    return {**LLAMA, "num_hidden_layers": blocks, "hidden_size": width, "intermediate_size": inner,
            "num_attention_heads": heads, "num_key_value_heads": groups, "vocab_size": words}  # fmt: skip


def gemma(blocks: int, width: int, inner: int, heads: int, groups: int, scalar: int) -> dict:
    """Sizes of a Gemma-2 under transformers' names."""
    return {**GEMMA, "num_hidden_layers": blocks, "hidden_size": width, "intermediate_size": inner,
            "num_attention_heads": heads, "num_key_value_heads": groups, "query_pre_attn_scalar": scalar}  # fmt: skip


SIZES = {  # preset -> class of the configuration, student, teacher
    "tiny": ("LlamaConfig", llama(2, 64, 128, 4, 2, 512), llama(3, 64, 128, 4, 2, 512)),
    "classroom": ("LlamaConfig", llama(32, 960, 2560, 15, 5), llama(24, 2048, 8192, 32, 32)),
    "paper": ("Gemma2Config", gemma(26, 2304, 9216, 8, 4, 256), gemma(42, 3584, 14336, 16, 8, 224)),
}


def random_model(kind: str, sizes: dict, name: str, device: str) -> padlab.LanguageModel:
    """A model with random weights in bfloat16, and a small tokenizer whose ids it knows."""
    tokenizer = tiny_tokenizer("teacher")
    torch.manual_seed(0)
    config = getattr(transformers, kind)(
        **sizes, eos_token_id=tokenizer.eos_token_id, bos_token_id=None, pad_token_id=tokenizer.pad_token_id
    )
    with torch.device(device):
        network = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    return padlab.LanguageModel(network, tokenizer, name, name)


class Report:
    """Measures one task after another; a task that fails (memory) is reported and the next one goes on."""

    def __init__(self, options: argparse.Namespace, preset: str):
        self.options, self.preset, self.rows = options, preset, []

    def measure(self, task: str, tokens: int, gflop: float, rate: float, functions: dict) -> None:
        """Time the functions side by side, if the task was asked for; the first is padlab's."""
        if task.split()[0] not in self.options.tasks:
            return
        try:
            memory = {name: peak_extra_mib(run) for name, run in functions.items()}
            seconds = side_by_side(functions, self.options.repeats)
        except torch.OutOfMemoryError as error:
            print(f"  {task}: {str(error).splitlines()[0]}", flush=True)
            return
        own = seconds["padlab"]
        row = {"preset": self.preset, "task": task, "tokens_per_s": round(tokens / own), "peak_mib": memory}
        row |= {"share_of_matrix_rate": round(gflop / rate / own, 3) if gflop else None}
        row |= {"times_padlab": {name: round(taken / own, 2) for name, taken in seconds.items()}}
        self.rows.append(row)
        share = f", {gflop / rate / own:.0%} of the card's rate" if gflop else ""
        print(f"  {task}: {tokens / own:,.0f} tokens/s{share}")
        for name, taken in seconds.items():
            print(f"    {name:24} {taken:8.3f} s  {taken / own:5.2f} x  peak extra {memory[name]:8.0f} MiB", flush=True)


def measure_models(report: Report, student, teacher) -> None:
    """Sampling by the student, scoring and selection by the teacher."""
    options = report.options
    rate = matrix_rate(torch.bfloat16, 4096, 4096, options.device)
    print(f"  the card's rate of matrix products, 4096 rows: {rate / 1000:.0f} TFLOP/s")
    prompts = [f"{k}: " + "tell me more of it " * (options.prompt // 8) for k in range(options.prompts)]
    ids = [encode_chat(student.tokenizer, text) for text in prompts]
    length, new = max(map(len, ids)), options.response
    sampling = {"max_new_tokens": new, "shard_size": len(prompts)}
    run = lambda count=None: padlab.sample_responses(student, prompts[:count], N, **sampling)  # noqa: E731
    table = run(None if "sampling" in options.tasks else 2)
    tokens = sum(len(r) for row in table["response_ids"] for r in row)
    report.measure("sampling (student)", tokens, 0, rate, {
        "padlab": run,
        "generate, all prompts": lambda: transformers_generate(student, ids, N, new, len(ids)),
    })  # fmt: skip
    rows = random_ids(options.prompts, N, length, new, teacher.model.config.vocab_size - 200)
    for name, model in (("student", student), ("teacher", teacher)):
        gflop = options.prompts * forward_gflop(model.model, length + N * new, N * new)
        report.measure(f"scoring ({name})", options.prompts * N * new, gflop, rate, {
            "padlab": lambda model=model: score_ids(model.model, *rows),
            "plain, a prompt's rows": lambda model=model: score_plainly(model.model, *rows),
        })  # fmt: skip
    asked, questions = table.select(range(min(2, len(table)))), N * (N - 1) * min(2, len(table))
    report.measure(f"selection (teacher), {questions} questions", questions * (length + 2 * new), 0, rate, {
        "padlab": lambda: padlab.add_selection_probs(asked, teacher),
        "plain, one at a time": lambda: plain_answers(teacher, list(asked), 1),
    })  # fmt: skip


def measure_training(report: Report, student, lora: bool) -> None:
    """Forward and backward pass of PPD on one prompt with four responses."""
    options, network = report.options, student.model
    rate = matrix_rate(torch.bfloat16, 4096, 4096, options.device)
    model = trainable_copy(network, "auto" if lora else None, 0).train()
    (prompt,), (responses,) = random_ids(1, N, options.prompt, options.response, network.config.vocab_size - 200)
    scores, size = torch.tensor([[4.0, 3.0, 2.0, 1.0]]), N * options.response
    gflop = forward_gflop(network, options.prompt + size, size) * (2 if lora else 3)
    report.measure(f"training step (student, {'LoRA' if lora else 'all weights'})", size, gflop, rate, {
        "padlab": lambda: padlab_step(model, prompt, responses, scores),
        "plain": lambda: plain_step(model, prompt, responses, scores),
    })  # fmt: skip


def reward_error(report: Report, student) -> None:
    """Largest difference of rewards in bfloat16 and float32, times beta."""
    options = report.options
    rows = random_ids(options.prompts, N, options.prompt, options.response, student.model.config.vocab_size - 200)
    rewards = {}
    for dtype in (torch.bfloat16, torch.float32):
        logps = torch.tensor(score_ids(student.model.to(dtype), *rows))
        rewards[dtype] = mean_over_tokens(logps, torch.ones_like(logps, dtype=torch.bool))
    student.model.to(torch.bfloat16)
    error = (rewards[torch.bfloat16] - rewards[torch.float32]).abs()
    spread = rewards[torch.float32].std(-1).mean()
    report.rows.append(
        {"preset": report.preset, "task": "bfloat16 rewards", "beta_times_error": BETA * float(error.max())}
    )
    mean, largest, width = (BETA * float(value) for value in (error.mean(), error.max(), spread))
    print(f"  rewards, bfloat16 beside float32, times beta: {mean:.4f} apart on average, {largest:.4f} at most; "
          f"standard deviation within a prompt {width:.4f}", flush=True)  # fmt: skip


def main() -> None:
    """All presets that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ["classroom", "paper"] if torch.cuda.is_available() else ["tiny"]
    parser.add_argument("--presets", nargs="+", default=default, choices=SIZES)
    for name, value in {"prompts": 8, "prompt": 256, "response": 256, "repeats": 3, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("bench-out/gpu.json"))
    options = parser.parse_args()
    print(machine(options.threads))
    rows = []
    for preset in options.presets:
        kind, *sizes = SIZES[preset]
        student, teacher = (
            random_model(kind, size, f"{preset} {role}", options.device)
            for size, role in zip(sizes, ("student", "teacher"), strict=True)
        )
        weights = [sum(p.numel() for p in m.model.parameters()) / 1e9 for m in (student, teacher)]
        print(f"{preset}: student {weights[0]:.2f}, teacher {weights[1]:.2f} billion weights, bfloat16; "
              f"{options.prompts} prompts, {options.prompt} + {N} x {options.response} tokens", flush=True)  # fmt: skip
        report = Report(options, preset)
        measure_models(report, student, teacher)
        del teacher
        gc.collect()
        for lora in (True, False):
            measure_training(report, student, lora)
        reward_error(report, student)
        rows += report.rows
        del student
        gc.collect()
        options.out.parent.mkdir(exist_ok=True)
        options.out.write_text(json.dumps({"machine": machine(options.threads), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
