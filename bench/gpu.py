"""The large presets on a GPU, at their real architecture and size with random weights: no hub is needed.

    python bench/gpu.py [--presets classroom classroom-qwen paper paper-llama]
                        [--tasks sampling scoring selection training rewards memory]
                        [--prompts 8] [--prompt 256] [--response 256] [--repeats 3]
    python bench/gpu.py --presets tiny          tries the script, on a CPU too

One table, in bfloat16: tokens per second, the share of the card's own rate of matrix products, and peak extra memory,
beside plain transformers in the same run. Training is a step of PPD on one prompt with four responses, optimizer and
its state included, by LoRA and of all weights (kept in float32, multiplied in bfloat16). "rewards": bfloat16 beside
float32. "memory": with half of the memory that a task took it goes on in parts; with none it says what to lower.
Everything is written to bench-out/gpu.json as well.

Random weights say nothing about preferences: all distributions are flat, and hardly a response ends by itself.
"""

import argparse
import gc
import itertools
import json
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import torch
import transformers
from _measure import forward_gflop, machine, matrix_rate, peak_extra_mib, side_by_side
from sampling import transformers_generate
from scoring import random_ids, score_plainly
from selection import plain_answers

import padlab
from padlab.lm.adapters import trainable_copy
from padlab.lm.chat import encode_chat
from padlab.lm.fast import memory
from padlab.lm.fast.packing import make_response_batch
from padlab.lm.fast.scoring import response_logprobs, score_ids
from padlab.lm.logprobs import mean_over_tokens, token_logprobs
from padlab.lm.tiny import tiny_tokenizer
from padlab.training.config import PADConfig
from padlab.training.trainer import PADTrainer

N, BETA = 4, 10.0
TASKS = ("sampling", "scoring", "selection", "training", "rewards", "memory")
HEAD = f"{'task':44}{'tokens/s':>10}{'of rate':>9}{'peak MiB':>10}   plain: {'x time':>7}{'peak MiB':>10}"


def llama(blocks: int, width: int, inner: int, heads: int, groups: int, words: int, tied: bool = True) -> dict:
    """Sizes of a Llama or Qwen2 under transformers' names."""
    return {"num_hidden_layers": blocks, "hidden_size": width, "intermediate_size": inner, "num_attention_heads": heads,
            "num_key_value_heads": groups, "vocab_size": words, "tie_word_embeddings": tied,
            "max_position_embeddings": 8192}  # fmt: skip


def gemma(blocks: int, width: int, inner: int, heads: int, groups: int) -> dict:
    """Sizes of a Gemma-2 under transformers' names."""
    return {**llama(blocks, width, inner, heads, groups, 256_000), "head_dim": 256}


SIZES = {  # preset -> class of the configuration, student, teacher
    "tiny": ("LlamaConfig", llama(2, 64, 128, 4, 2, 512), llama(3, 64, 128, 4, 2, 512)),
    "classroom": ("LlamaConfig", llama(32, 960, 2560, 15, 5, 49_152), llama(24, 2048, 8192, 32, 32, 49_152)),
    "classroom-qwen": ("Qwen2Config", llama(24, 896, 4864, 14, 2, 151_936), llama(28, 1536, 8960, 12, 2, 151_936)),
    "paper": ("Gemma2Config", gemma(26, 2304, 9216, 8, 4), gemma(42, 3584, 14336, 16, 8)),
    "paper-llama": ("LlamaConfig", llama(16, 2048, 8192, 32, 8, 128_256),
                    llama(32, 4096, 14336, 32, 8, 128_256, tied=False)),
}  # fmt: skip


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
        size = 256 if options.device == "cpu" else 4096
        self.rate = matrix_rate(torch.bfloat16, size, size, options.device)
        print(f"  matrix products, {size} rows: {self.rate / 1000:.2f} TFLOP/s\n  {HEAD}", flush=True)

    def measure(self, task: str, tokens: int, gflop: float, own, plain) -> None:
        """Time padlab's way and the plain one side by side, if the task was asked for."""
        if task.split()[0] not in self.options.tasks:
            return
        functions = {"padlab": own, "plain": plain}
        row = {"preset": self.preset, "task": task}
        self.rows.append(row)
        try:
            peak = {name: peak_extra_mib(run) for name, run in functions.items()}
            seconds = side_by_side(functions, self.options.repeats)
        except torch.OutOfMemoryError as error:
            row["error"] = str(error)
            print(f"  {task:44}{str(error).splitlines()[0]}", flush=True)
            return
        taken, times = seconds["padlab"], seconds["plain"] / seconds["padlab"]
        row |= {"tokens_per_s": tokens / taken, "of_rate": gflop / self.rate / taken or None}
        row |= {"peak_mib": peak["padlab"], "plain_times": times, "plain_peak_mib": peak["plain"]}
        share = f"{row['of_rate']:.1%}" if gflop else "-"
        print(f"  {task:44}{tokens / taken:10,.0f}{share:>9}{peak['padlab']:10,.0f}{times:18.2f}"
              f"{peak['plain']:10,.0f}", flush=True)  # fmt: skip

    def note(self, task: str, text: str, **numbers) -> None:
        """A line that is no measurement of speed."""
        self.rows.append({"preset": self.preset, "task": task, "text": text, **numbers})
        print(f"  {task:44}{text}", flush=True)


def measure_models(report: Report, student, teacher):
    """Sampling by the student, scoring by both, selection by the teacher; returns two rows with its rewards."""
    options, n_new = report.options, N * report.options.response
    prompts = [f"{k}: " + "tell me more of it " * (options.prompt // 8) for k in range(options.prompts)]
    ids = [encode_chat(student.tokenizer, text) for text in prompts]
    length, new = max(map(len, ids)), options.response
    sample = partial(padlab.sample_responses, student, n=N, max_new_tokens=new, shard_size=len(prompts))
    table = sample(prompts[: None if "sampling" in options.tasks else 2])
    tokens = sum(len(r) for row in table["response_ids"] for r in row)
    report.measure("sampling (student)", tokens, 0, lambda: sample(prompts),
                   lambda: transformers_generate(student, ids, N, new, len(ids)))  # fmt: skip
    for name, model in (("student", student), ("teacher", teacher)):
        rows = random_ids(options.prompts, N, length, new, model.model.config.vocab_size - 200)
        gflop = options.prompts * forward_gflop(model.model, length + n_new, n_new)
        report.measure(f"scoring ({name})", options.prompts * n_new, gflop,
                       lambda model=model, rows=rows: score_ids(model.model, *rows),
                       lambda model=model, rows=rows: score_plainly(model.model, *rows))  # fmt: skip
    asked = padlab.add_rewards(table.select(range(min(2, len(table)))), teacher)
    select, questions = partial(padlab.add_selection_probs, asked, teacher, reply="letter"), N * (N - 1) * len(asked)
    report.measure(f"selection (teacher), {questions} questions", questions * (length + 2 * new), 0,
                   select,
                   lambda: plain_answers(teacher, list(asked), 1))  # fmt: skip
    if "memory" in options.tasks:
        measure_shortage(report, "sampling", student.model, lambda: sample(prompts))
        measure_shortage(report, "scoring", teacher.model, lambda: padlab.add_rewards(table, teacher))
        measure_shortage(report, "selection", teacher.model, select)
    return asked


def measure_training(report: Report, student, lora: bool) -> None:
    """A step of PPD on one prompt with four responses."""
    options, network = report.options, student.model
    if "training" not in options.tasks:
        return
    model = trainable_copy(network, "auto" if lora else None).train()
    for weight in model.parameters():  # as PADTrainer keeps them
        weight.data = weight.data.float() if weight.requires_grad else weight.data
    (prompt,), (responses,) = random_ids(1, N, options.prompt, options.response, network.config.vocab_size - 200)
    batch, scores = make_response_batch([prompt], [responses], pack=True), torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-6)

    def step(logprobs) -> None:
        with torch.autocast(torch.device(options.device).type, torch.bfloat16, enabled=not lora):
            rewards = mean_over_tokens(logprobs(), batch.mask)
        padlab.ppd_loss(BETA * rewards[None], scores.to(rewards.device)).backward()
        optimizer.step()
        optimizer.zero_grad()

    size = N * options.response
    gflop = forward_gflop(network, options.prompt + size, size) * (2 if lora else 3)
    report.measure(f"training (student, {'LoRA' if lora else 'all weights'})", size, gflop,
                   lambda: step(lambda: response_logprobs(model, batch)),
                   lambda: step(lambda: token_logprobs(model, prompt, responses)))  # fmt: skip


@contextmanager
def little_memory(mib: float, network):
    """Inside, so much GPU memory beside what is in use now. On a CPU the first pass is refused, or with 0 MiB each."""
    if network.device.type == "cpu":
        refusals = itertools.repeat(1) if mib == 0 else iter([1])

        def refuse(*_) -> None:
            if next(refusals, 0):
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory (no real shortage: this is no GPU)")

        hook = network.get_decoder().register_forward_pre_hook(refuse)
        put_back = hook.remove
    else:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(network.device).total_memory
        allowed = torch.cuda.memory_reserved() + mib * 2**20
        torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total))
        put_back = partial(torch.cuda.set_per_process_memory_fraction, 1.0)
    try:
        yield
    finally:
        put_back()


def measure_shortage(report: Report, task: str, network, run) -> None:
    """What happens to a task with half of the memory that it took, and with hardly any."""
    peak = peak_extra_mib(run)
    asked = mock.patch.object(memory, "ran_out_of_memory", side_effect=memory.ran_out_of_memory)
    for name, share in (("half of the", 0.5), ("no", 0.0)):
        start = time.perf_counter()
        try:
            with asked as refusals, little_memory(share * peak, network):
                run()
            how = f"in parts (refused {refusals.call_count} times)" if refusals.call_count else "at once"
            outcome = f"done {how}, {time.perf_counter() - start:.2f} s"
        except torch.OutOfMemoryError as error:
            outcome = str(error)
        report.note(f"memory: {task}, {name} memory", outcome, peak_mib=peak)


def training_shortage(report: Report, student, table) -> None:
    """The same for a pass of the trainer over two prompts (LoRA)."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = PADConfig(folder, max_steps=1, per_device_train_batch_size=2, gradient_accumulation_steps=1)
        trainer = PADTrainer(student, arguments, table, peft_config="auto")
        trainer.remove_callback(transformers.PrinterCallback)
        measure_shortage(report, "training, LoRA", trainer.model, trainer.train)


def reward_error(report: Report, student) -> None:
    """Difference of rewards in bfloat16 and float32, times beta."""
    options = report.options
    rows = random_ids(options.prompts, N, options.prompt, options.response, student.model.config.vocab_size - 200)
    rewards = {}
    for dtype in (torch.bfloat16, torch.float32):
        rewards[dtype] = torch.tensor(score_ids(student.model.to(dtype), *rows)).mean(-1)
    student.model.to(torch.bfloat16)
    error = BETA * (rewards[torch.bfloat16] - rewards[torch.float32]).abs()
    spread = BETA * float(rewards[torch.float32].std(-1).mean())
    text = f"{error.mean():.4f} apart on average, {error.max():.4f} at most; within a prompt {spread:.4f} (std)"
    report.note("rewards: beta x (bfloat16 - float32)", text, beta_times_error=float(error.max()), spread=spread)


def run_preset(preset: str, options: argparse.Namespace) -> list[dict]:
    """All tasks of one preset."""
    kind, *sizes = SIZES[preset]
    student, teacher = (
        random_model(kind, size, f"{preset} {role}", options.device)
        for size, role in zip(sizes, ("student", "teacher"), strict=True)
    )
    weights = [sum(p.numel() for p in m.model.parameters()) / 1e9 for m in (student, teacher)]
    print(f"{preset}: student {weights[0]:.2f}, teacher {weights[1]:.2f} billion weights, bfloat16; "
          f"{options.prompts} prompts, {options.prompt} + {N} x {options.response} tokens", flush=True)  # fmt: skip
    report = Report(options, preset)
    table = measure_models(report, student, teacher)
    del teacher
    for lora in (True, False):
        gc.collect()
        measure_training(report, student, lora)
    gc.collect()
    if "rewards" in options.tasks:
        reward_error(report, student)
    if "memory" in options.tasks:
        training_shortage(report, student, table)
    return report.rows


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
    large = [preset for preset in options.presets if preset != "tiny"]
    if large and not (options.device.startswith("cuda") and torch.cuda.is_available()):
        parser.error(f"{', '.join(large)}: these models are too large for a CPU, and there is no GPU here (or --device "
                     "names none). Try the script with --presets tiny")  # fmt: skip
    print(machine(options.threads))
    rows = []
    for preset in options.presets:
        rows += run_preset(preset, options)
        gc.collect()
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"machine": machine(options.threads), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
