"""One training step on a prompt with four responses: padlab, plain transformers, and trl's DPO step, in one run.

    python bench/training.py [--threads 2] [--repeats 5] [--prompt 256] [--response 64]
    python bench/training.py --shape llama-3.2-1b --device cuda

LoRA r 16 on all linear layers of the embedded model, float32; forward and backward pass, without the optimizer's step.
"plain": one row per response, full logits, the same PPD loss. "trl": the loss of `DPOTrainer` on the same four rows as
two pairs; it needs a forward pass of its reference model (the model without adapter), unless that is given.
"""

import tempfile

import torch
from _measure import forward_gflop, matrix_rate, network_of, peak_extra_mib, save_ratio, side_by_side, speed_options
from scoring import random_ids

import padlab
from padlab.lm.adapters import trainable_copy
from padlab.lm.fast.packing import make_response_batch
from padlab.lm.fast.scoring import response_logprobs
from padlab.lm.logprobs import mean_over_tokens
from padlab.lm.tiny import tiny_tokenizer

N, BETA = 4, 10.0


def gradient(model, loss) -> torch.Tensor:
    """Backward pass; the gradient of the trained weights as one vector, which is then cleared."""
    loss.backward()
    flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    model.zero_grad(set_to_none=True)
    return flat


def padlab_step(model, prompt, responses, teacher_scores):
    """As `PADTrainer` does it."""
    batch = make_response_batch([prompt], [responses], pack=True)
    rewards = mean_over_tokens(response_logprobs(model, batch), batch.mask)
    return gradient(model, padlab.ppd_loss(BETA * rewards[None], teacher_scores.to(rewards.device)))


def plain_step(model, prompt, responses, teacher_scores):
    """One row per response, full logits."""
    rows = torch.tensor([prompt + r for r in responses], device=model.device)
    logps = model(input_ids=rows, use_cache=False).logits.log_softmax(-1)
    logps = logps[:, len(prompt) - 1 : -1].gather(-1, rows[:, len(prompt) :, None]).squeeze(-1)
    return gradient(model, padlab.ppd_loss(BETA * logps.float().mean(-1)[None], teacher_scores.to(logps.device)))


def trl_steps(network, prompt, responses, folder):
    """Functions: loss and backward pass of trl's DPO trainer on two pairs, with and without the reference's pass."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    texts = Dataset.from_list([{"prompt": "Hi", "chosen": " there", "rejected": " no"}] * 2)
    args = DPOConfig(folder, use_cpu=network.device.type == "cpu", report_to=[], gradient_checkpointing=False,
                     bf16=False, max_length=None, per_device_train_batch_size=2)  # fmt: skip
    trainer = DPOTrainer(
        network,
        args=args,
        train_dataset=texts,
        processing_class=tiny_tokenizer("teacher"),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    pairs = [
        {"prompt_ids": prompt, "chosen_ids": responses[k], "rejected_ids": responses[k + 1]} for k in range(0, N, 2)
    ]
    trainer.model.train()
    batch = {name: tensor.to(network.device) for name, tensor in trainer.data_collator(pairs).items()}
    reference = {k: torch.zeros(N // 2, device=network.device) for k in ("ref_chosen_logps", "ref_rejected_logps")}

    def step(reference_is_given: bool):
        trainer.precompute_ref_logps = reference_is_given
        inputs = {**batch, **reference} if reference_is_given else dict(batch)
        return gradient(trainer.model, trainer.compute_loss(trainer.model, inputs))

    return {"trl": lambda: step(False), "trl, reference given": lambda: step(True)}


def main() -> None:
    """Speed, gradients, memory."""
    options = speed_options(__doc__, repeats=5, prompt=256, response=64)
    network = network_of(options.shape, options.device)
    model = trainable_copy(network, "auto", 0).train()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
        if "lora_B" in name:
            weight.data.normal_(std=0.01)  # B starts at 0, and then A would have no gradient to compare
    vocabulary = network.config.vocab_size - 200
    (prompt,), (responses,) = random_ids(1, N, options.prompt, options.response, vocabulary)
    teacher_scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    with tempfile.TemporaryDirectory() as folder:
        trl = trl_steps(network_of(options.shape, options.device), prompt, responses, folder)
    functions = {
        "padlab": lambda: padlab_step(model, prompt, responses, teacher_scores),
        "plain": lambda: plain_step(model, prompt, responses, teacher_scores),
        **trl,
    }
    a, b = functions["padlab"](), functions["plain"]()
    print(f"gradients: relative difference of padlab and plain {float((a - b).norm() / b.norm()):.1e}")
    seconds = side_by_side(functions, options.repeats)
    memory = {name: peak_extra_mib(run) for name, run in functions.items()}
    for name, taken in seconds.items():
        print(f"  {name:20} {taken / N:6.3f} s per response  {taken / seconds['padlab']:5.2f} x padlab's time  "
              f"peak extra memory {memory[name]:6.0f} MiB")  # fmt: skip
    if options.device == "cpu" and options.shape == "embedded":
        name = f"training step, LoRA r 16, {options.prompt} + {N} x {options.response} tokens"
        save_ratio(name, seconds["plain"] / seconds["padlab"], seconds["trl"] / seconds["padlab"])
    rate = matrix_rate(network.dtype, inner=network.config.hidden_size, device=options.device)
    predicted = N * options.response
    gflop = forward_gflop(network, options.prompt + predicted, predicted) * 2
    print(f"  floor ({rate:.0f} GFLOP/s; forward, and backward to the activations): "
          f"padlab reaches {gflop / rate / seconds['padlab']:.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
