"""The baselines by hand, and against the installed TRL's own loss methods."""

import math
from collections import defaultdict
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from padlab.rankings.losses import dpo_loss, sft_loss, simpo_loss


def logps(pairs=7):
    return [-10 * torch.rand(pairs, generator=torch.Generator().manual_seed(s)) for s in range(4)]


def test_baselines_by_hand():
    assert sft_loss(torch.tensor([-1.0, -3.0])).item() == 2
    assert sft_loss(torch.tensor([-1.0, -3.0]), "none").tolist() == [1, 3]
    same = torch.full((3,), -9.0)
    assert dpo_loss(same, same, same, same).item() == pytest.approx(math.log(2))
    # margin 0.5 * ((-1 + 2) - (-4 + 3)) = 1
    numbers = (torch.tensor([x]) for x in (-1.0, -4.0, -2.0, -3.0))
    assert dpo_loss(*numbers, beta=0.5).item() == pytest.approx(math.log(1 + math.exp(-1)))
    # margin 2 * (-0.5 + 1.5) - 1 = 1
    assert simpo_loss(torch.tensor([-0.5]), torch.tensor([-1.5])).item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_dpo_agrees_with_trl():
    """TRL's own loss method, on a stand-in for the trainer whose model returns these log-probabilities."""
    trl = pytest.importorskip("trl.trainer.dpo_trainer")
    numbers = logps()
    for beta in (0.1, 0.7):
        expected = trl.DPOTrainer._compute_loss(*trl_dpo_stand_in(numbers, beta), return_outputs=False)
        torch.testing.assert_close(dpo_loss(*numbers, beta=beta), expected)


def trl_dpo_stand_in(numbers, beta):
    chosen, rejected, reference_chosen, reference_rejected = numbers
    policy = torch.cat([chosen, rejected])[:, None]  # one token per response: its log-probability is the sum
    extra = torch.zeros_like(policy)
    outputs = SimpleNamespace(log_probs=policy, entropy=extra, mean_logits=extra, is_top1=extra.bool())
    accelerator = SimpleNamespace(device="cpu", gather=lambda t: t, gather_for_metrics=lambda t: t)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=False), accelerator=accelerator, aux_loss_enabled=False, ld_alpha=None,
        precompute_ref_logps=True, f_divergence_type="reverse_kl", loss_types=["sigmoid"], loss_weights=[1.0],
        beta=beta, label_smoothing=0.0, use_weighting=False, _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0, _tp_size=1, maybe_activation_offload_context=nullcontext(),
    )  # fmt: skip
    ids = torch.ones(2 * len(chosen), 2, dtype=torch.long)
    mask = torch.tensor([[0, 1]]).expand_as(ids)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask}
    inputs |= {"ref_chosen_logps": reference_chosen, "ref_rejected_logps": reference_rejected}
    return trainer, lambda **_: outputs, inputs


def trl_cpo_losses(loss_type, chosen, rejected, beta, gamma):
    trl = pytest.importorskip("trl.experimental.cpo.cpo_trainer")
    trainer = SimpleNamespace(
        loss_type=loss_type, beta=beta, simpo_gamma=gamma, label_smoothing=0.0, alpha=0.0,
        accelerator=SimpleNamespace(device="cpu"),
    )  # fmt: skip
    return trl.CPOTrainer.cpo_loss(trainer, chosen, rejected)[0]


def test_simpo_agrees_with_trl():
    chosen, rejected = logps()[:2]
    for beta, gamma in ((2.0, 1.0), (10.0, 3.0), (2.5, 0.25)):
        expected = trl_cpo_losses("simpo", chosen, rejected, beta, gamma)
        torch.testing.assert_close(simpo_loss(chosen, rejected, beta, gamma, reduction="none"), expected)
