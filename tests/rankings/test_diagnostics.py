"""What is logged beside the loss: each value against its definition, prompts with absent responses, ties."""

import math

import numpy as np
import torch
from scipy.stats import kendalltau

from padlab.rankings.diagnostics import loss_diagnostics
from padlab.rankings.losses import ppd_loss

F64 = torch.float64


def normal(*shape, scale=2.0, seed=0):
    return scale * torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def test_diagnostics_agree_with_scipy_and_the_loss_and_carry_no_gradient():
    student, teacher = normal(20, 5).round().requires_grad_(), normal(20, 5, seed=1).round()
    student.data[0], teacher[1] = 1.0, 2.0  # undefined tau
    result = loss_diagnostics(student, teacher)
    expected = [kendalltau(s, t).statistic for s, t in zip(student.detach(), teacher, strict=True)]
    np.testing.assert_allclose(result["kendall_tau"], expected, atol=1e-12, equal_nan=True)
    assert np.isnan(expected).sum() == 2
    torch.testing.assert_close(result["jsd"], ppd_loss(student, teacher, reduction="none").detach())
    assert not any(v.requires_grad for v in result.values())
    assert {tuple(v.shape) for v in result.values()} == {(20,)}


def test_top1_shares_ties_of_the_student_and_is_undefined_without_a_best_response_of_the_teacher():
    teacher = torch.tensor([[3.0, 2.0, 1.0]] * 3 + [[1.0, 1.0, 1.0]])
    student = torch.tensor([[9.0, 0.0, 1.0], [0.0, 9.0, 1.0], [9.0, 9.0, 1.0], [1.0, 2.0, 3.0]])
    top1 = loss_diagnostics(student, teacher)["top1"]
    assert top1[:3].tolist() == [1, 0, 0.5]
    assert top1[3].isnan()
    assert loss_diagnostics(student[:, :1], teacher[:, :1])["top1"].isnan().all()


def test_diagnostics_of_prompts_with_absent_responses_are_those_of_each_alone():
    mask = torch.tensor([[True] * 4, [True, False, True, False], [False, True, True, True]])
    student, teacher = normal(3, 4).masked_fill(~mask, math.nan), normal(3, 4, seed=1)
    together = loss_diagnostics(student, teacher, mask)
    for row, present in enumerate(mask):
        alone = loss_diagnostics(student[row : row + 1, present], teacher[row : row + 1, present])
        for key, value in alone.items():
            torch.testing.assert_close(together[key][row], value[0], equal_nan=True)


def test_the_dtype_follows_the_student():
    result = loss_diagnostics(normal(3, 4).float(), normal(3, 4, seed=1))
    assert {value.dtype for value in result.values()} == {torch.float32}
