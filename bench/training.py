"""One training step on a prompt with four responses: padlab, the plain way, and trl's DPO step, in one run.

    python bench/training.py [--threads 2] [--repeats 5] [--prompt 256] [--response 64]
    python bench/training.py --shape llama-3.2-1b --device cuda

LoRA r 16 on all linear layers of the embedded model, float32, forward and backward (the optimizer's step, the same for
all, is left out). "plain": one row per response, full logits, the same PPD loss. "trl": `DPOTrainer`'s own loss on the
same four rows as two pairs; it also runs a forward pass without adapter for its reference.
"""

import tempfile

import torch
from _measure import forward_gflop, keep_row, matrix_rate, network_of, peak_extra_mib, side_by_side, speed_options
from scoring import tokens

import padlab
from padlab.lm.adapters import trainable_copy
from padlab.lm.fast.packing import make_response_batch
from padlab.lm.fast.scoring import response_logprobs
from padlab.lm.logprobs import mean_over_tokens
from padlab.lm.tiny import tiny_tokenizer

N, BETA = 4, 10.0


def gradient(model, loss) -> torch.Tensor:
    """Backward; the adapter's gradient as one vector, which is then cleared."""
    loss.backward()
    found = [p.grad for p in model.parameters() if p.requires_grad]
    flat = torch.cat([g.flatten() for g in found])
    model.zero_grad(set_to_none=True)
    return flat


def ours(model, prompt, responses, teacher):
    """As `PADTrainer` does it."""
    batch = make_response_batch([prompt], [responses], True)
    rewards = mean_over_tokens(response_logprobs(model, batch), batch.mask)
    return gradient(model, padlab.ppd_loss(BETA * rewards[None], teacher.to(rewards.device)))


def plain(model, prompt, responses, teacher):
    """One row per response, full logits."""
    rows = torch.tensor([prompt + r for r in responses], device=model.device)
    logps = model(input_ids=rows, use_cache=False).logits.log_softmax(-1)
    picked = logps[:, len(prompt) - 1 : -1].gather(-1, rows[:, len(prompt) :, None]).squeeze(-1)
    return gradient(model, padlab.ppd_loss(BETA * picked.float().mean(-1)[None], teacher.to(picked.device)))


def trl_step(network, prompt, responses, folder):
    """Functions: loss and backward pass of trl's DPO trainer on two pairs, with and without the reference's pass."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    texts = Dataset.from_list([{"prompt": "Hi", "chosen": " there", "rejected": " no"}] * 2)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    args = DPOConfig(folder, use_cpu=network.device.type == "cpu", report_to=[], gradient_checkpointing=False,
                     bf16=False, max_length=None, per_device_train_batch_size=2)  # fmt: skip
    trainer = DPOTrainer(
        network,
        args=args,
        train_dataset=texts,
        processing_class=tiny_tokenizer("teacher"),
        peft_config=lora,
    )
    pairs = [
        {"prompt_ids": prompt, "chosen_ids": responses[k], "rejected_ids": responses[k + 1]} for k in range(0, N, 2)
    ]
    batch = trainer.data_collator(pairs)
    trainer.model.train()
    batch = {k: v.to(network.device) for k, v in batch.items()}
    known = {k: torch.zeros(N // 2, device=network.device) for k in ("ref_chosen_logps", "ref_rejected_logps")}

    def step(reference_known: bool):
        trainer.precompute_ref_logps = reference_known
        inputs = {**batch, **known} if reference_known else dict(batch)
        return gradient(trainer.model, trainer.compute_loss(trainer.model, inputs))

    return {"trl": lambda: step(False), "trl, reference known": lambda: step(True)}


def main() -> None:
    """Speed, gradients, memory."""
    options = speed_options(__doc__, repeats=5, prompt=256, response=64)
    bare = network_of(options.shape, options.device)
    model = trainable_copy(bare, "auto", 0).train()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
        if "lora_B" in name:
            weight.data.normal_(std=0.01)  # at its start B is 0, and A would have no gradient to compare
    (prompt,), (responses,) = tokens(1, N, options.prompt, options.response, bare.config.vocab_size - 200)
    wanted = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    with tempfile.TemporaryDirectory() as folder:
        trl = trl_step(network_of(options.shape, options.device), prompt, responses, folder)
    ways = {
        "padlab": lambda: ours(model, prompt, responses, wanted),
        "plain": lambda: plain(model, prompt, responses, wanted),
        **trl,
    }
    a, b = ways["padlab"](), ways["plain"]()
    print(f"gradients: relative difference of padlab and plain {float((a - b).norm() / b.norm()):.1e}")
    seconds = side_by_side(ways, options.repeats)
    memory = {name: peak_extra_mib(run) for name, run in ways.items()}
    for name, taken in seconds.items():
        print(f"  {name:20} {taken / N:6.3f} s per response  {taken / seconds['padlab']:5.2f} x padlab's time  "
              f"peak extra memory {memory[name]:6.0f} MiB")  # fmt: skip
    if options.device == "cpu" and options.shape == "embedded":
        what = f"training step, LoRA r 16, {options.prompt} + {N} x {options.response} tokens"
        keep_row(what, seconds["plain"] / seconds["padlab"], seconds["trl"] / seconds["padlab"])
    length, answered = options.prompt + N * options.response, N * options.response
    rate = matrix_rate(bare.dtype, inner=bare.config.hidden_size, device=options.device)
    gflop = forward_gflop(bare, length, answered) * 2
    print(f"  floor ({rate:.0f} GFLOP/s; forward, and backward to the activations): "
          f"padlab reaches {gflop / rate / seconds['padlab']:.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
