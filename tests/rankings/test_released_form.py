"""divergence="released": the published code's form, with what makes it no Jensen-Shannon divergence."""

import math

import numpy as np
import pytest
import torch

from padlab.rankings.losses import ppd_loss

F64 = torch.float64


def normal(*shape, scale=2.0, seed=0):
    return scale * torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def test_released_form_agrees_with_its_definition_on_a_batch(oracle):
    student, teacher = normal(3, 4), normal(3, 4, seed=1)
    expected = oracle.released(student.tolist(), teacher.tolist())
    np.testing.assert_allclose(ppd_loss(student, teacher, "released", reduction="none"), expected, rtol=1e-10)


def test_released_form_exceeds_ln_2_where_a_jensen_shannon_divergence_cannot():
    student, teacher = torch.tensor([[20.0, 10.0, 0.0]], dtype=F64), torch.tensor([[0.0, 10.0, 20.0]], dtype=F64)
    assert ppd_loss(student, teacher).item() <= math.log(2)
    assert ppd_loss(student, teacher, "released").item() > 5
    assert ppd_loss(2 * student, 2 * teacher, "released") > 1.9 * ppd_loss(student, teacher, "released")  # no bound


def test_released_form_couples_the_prompts_of_a_batch():
    student, teacher = normal(2, 3), normal(2, 3, seed=1)
    alone = torch.cat([ppd_loss(student[i : i + 1], teacher[i : i + 1], "released", reduction="none") for i in (0, 1)])
    together = ppd_loss(student, teacher, "released", reduction="none")
    assert ((together - alone).abs() > 0.1).all()
    student.requires_grad_()
    first = ppd_loss(student, teacher, "released", reduction="none")[0]
    assert (torch.autograd.grad(first, student)[0][1] != 0).any()  # the first prompt's loss pulls on the second
    own = ppd_loss(student, teacher, "js", reduction="none")[0]
    assert (torch.autograd.grad(own, student)[0][1] == 0).all()


def test_released_form_is_not_zero_for_a_perfect_student_in_a_batch():
    teacher = normal(2, 3)
    assert ppd_loss(teacher[:1], teacher[:1], "released").item() == pytest.approx(0, abs=1e-12)
    assert ppd_loss(teacher, teacher, "released").item() > 0.5


def test_released_form_refuses_what_it_cannot_mix():
    with pytest.raises(ValueError, match="same n"):
        ppd_loss(normal(2, 3), normal(2, 3), "released", mask=torch.tensor([[True] * 3, [True, True, False]]))
    with pytest.raises(ValueError, match="enumeration stops"):
        ppd_loss(normal(2, 11), normal(2, 11), "released")
