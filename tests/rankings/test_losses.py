"""VPD and PPD: values, gradients, limits, ties, prompts with absent responses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from padlab.rankings.diagnostics import loss_diagnostics
from padlab.rankings.enumeration import ranking_log_probs
from padlab.rankings.losses import jensen_shannon, kl, ppd_loss, vpd_loss
from padlab.rankings.plackett_luce import PlackettLuce

F64 = torch.float64
values = st.floats(-8, 8, allow_nan=False, width=32)
pairs = st.integers(2, 5).flatmap(lambda n: st.tuples(*[st.lists(values, min_size=n, max_size=n)] * 2))
few = settings(max_examples=25, deadline=None)
ALL = ("vpd", "js", "forward_kl", "reverse_kl", "released")


def normal(*shape, scale=2.0, seed=0):
    return scale * torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def loss(name, student, teacher, **options):
    return vpd_loss(student, teacher, **options) if name == "vpd" else ppd_loss(student, teacher, name, **options)


@few
@given(pairs)
def test_losses_agree_with_the_oracle(oracle, pair):
    student, teacher = (torch.tensor([side], dtype=F64) for side in pair)
    order = sorted(range(len(pair[1])), key=lambda i: (-pair[1][i], i))
    expected = {
        "vpd": -math.log(oracle.probability(pair[0], order)),
        "js": oracle.jsd(*pair),
        "forward_kl": oracle.kl(pair[1], pair[0]),
        "reverse_kl": oracle.kl(pair[0], pair[1]),
        "released": oracle.released([pair[0]], [pair[1]]).item(),
    }
    for name, value in expected.items():
        assert loss(name, student, teacher).item() == pytest.approx(value, abs=1e-9)


@few
@given(pairs)
def test_the_formulas_agree_with_the_oracle_over_probabilities(oracle, pair):
    """From probabilities that NumPy computes, without PlackettLuce."""
    log_p, log_q = (torch.from_numpy(oracle.probabilities(side)).log() for side in pair)
    assert jensen_shannon(log_p, log_q).item() == pytest.approx(oracle.jsd(*pair), abs=1e-12)
    assert jensen_shannon(log_p, log_q).item() == pytest.approx(jensen_shannon(log_q, log_p).item(), abs=1e-15)
    assert kl(log_p, log_q).item() == pytest.approx(oracle.kl(*pair), abs=1e-12)


@few
@given(pairs, st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e6]), st.sampled_from([-3.0, 0.0, 1e-9]))
def test_values_stay_in_their_range_and_a_perfect_student_has_value_and_gradient_zero(pair, scale, shift):
    student, teacher = (scale * torch.tensor([side], dtype=F64) for side in pair)
    assert 0 <= ppd_loss(student, teacher).item() <= math.log(2) + 1e-15
    for name in ("forward_kl", "reverse_kl"):
        assert ppd_loss(student, teacher, name).item() >= 0
    perfect = (teacher + shift).requires_grad_()
    value = ppd_loss(perfect, teacher)
    assert 0 <= value.item() < 1e-12
    assert torch.autograd.grad(value, perfect)[0].abs().max() < 1e-12


@pytest.mark.parametrize("name", ["js", "forward_kl", "reverse_kl"])
def test_rounding_never_gives_a_negative_value_and_the_curvature_there_is_the_fisher_information(name):
    """At student = teacher the second derivative of a KL is the covariance of d log P; of the JSD, a quarter of it."""
    teacher = normal(300, 3)
    student = teacher.clone().requires_grad_()
    losses = loss(name, student, teacher, reduction="none")
    assert losses.min() >= 0
    curvature = jacobian(torch.autograd.grad(losses.sum(), student, create_graph=True)[0], student)
    log_probs = ranking_log_probs(student)
    slopes = jacobian(log_probs, student)
    fisher = torch.einsum("br,bri,brj->bij", log_probs.exp(), slopes, slopes)
    torch.testing.assert_close(curvature, fisher / 4 if name == "js" else fisher, rtol=1e-9, atol=1e-12)


def jacobian(values, scores):
    """Of rows of values in the scores of the same row: rows x values x items."""
    return torch.stack([torch.autograd.grad(v.sum(), scores, retain_graph=True)[0] for v in values.unbind(-1)], 1)


def test_two_responses_are_the_logistic_function():
    student, teacher = normal(20, 2), normal(20, 2, seed=1)
    margin = (student[:, 0] - student[:, 1]) * (teacher[:, 0] - teacher[:, 1]).sign()
    expected = torch.nn.functional.softplus(-margin)
    torch.testing.assert_close(vpd_loss(student, teacher, reduction="none"), expected)


def test_four_numbers_by_hand():
    """Student 50:50, teacher 75:25: the mixture is 62.5:37.5."""
    student, teacher = torch.zeros(1, 2, dtype=F64), torch.tensor([[math.log(3), 0.0]], dtype=F64)
    kl = [a * math.log(a / m) for a, m in ((0.5, 0.625), (0.5, 0.375), (0.75, 0.625), (0.25, 0.375))]
    assert ppd_loss(student, teacher).item() == pytest.approx(sum(kl) / 2)
    assert vpd_loss(student, teacher).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_student_equal_to_teacher_gives_ppd_zero_without_gradient_and_vpd_the_mode(shift):
    teacher = normal(4, 5)
    teacher[0] = 0.0  # all equal
    teacher[1] = 1e4 * torch.arange(5)  # certain: probabilities underflow to 0
    student = (teacher + shift).requires_grad_()
    for name in ("js", "forward_kl", "reverse_kl"):
        losses = ppd_loss(student, teacher, name, reduction="none")
        assert losses.abs().max() < 1e-9
        (gradient,) = torch.autograd.grad(losses.sum(), student)
        assert gradient.abs().max() < 1e-9
    expected = -PlackettLuce(teacher).log_prob(PlackettLuce(teacher).mode)
    torch.testing.assert_close(vpd_loss(student, teacher, reduction="none"), expected)


@pytest.mark.parametrize("name", ["vpd", "js", "forward_kl", "reverse_kl"])
def test_one_response_gives_loss_and_gradient_zero(name):
    student = normal(3, 1).requires_grad_()
    value = loss(name, student, normal(3, 1, seed=1))
    value.backward()
    assert value.item() == 0
    assert (student.grad == 0).all()
    mask = torch.tensor([[True, True, True], [False, True, False]])
    ragged = normal(2, 3).requires_grad_()
    losses = loss(name, ragged, normal(2, 3, seed=1), mask=mask, reduction="none")
    losses.sum().backward()
    assert losses[1].item() == 0
    assert ragged.grad[1].abs().max() < 1e-15
    assert (ragged.grad[0] != 0).all()


@pytest.mark.parametrize("name", ["vpd", "js", "forward_kl", "reverse_kl"])
def test_a_batch_is_as_many_prompts_alone_ragged_or_not(name):
    mask = torch.tensor([[True] * 4, [True, False, True, False], [False, True, True, True]])
    student, teacher = normal(3, 4), normal(3, 4, seed=1).masked_fill(~mask, math.nan)
    student.requires_grad_()
    together = loss(name, student, teacher, mask=mask, reduction="none")
    (gradient,) = torch.autograd.grad(together.mean(), student)
    for row, present in enumerate(mask):
        alone = student[row : row + 1, present].detach().requires_grad_()
        value = loss(name, alone, teacher[row : row + 1, present])
        torch.testing.assert_close(together[row], value)
        torch.testing.assert_close(gradient[row, present], torch.autograd.grad(value, alone)[0][0] / 3)
        assert (gradient[row, ~present] == 0).all()


@pytest.mark.parametrize("name", ALL)
def test_reductions(name):
    student, teacher = normal(3, 4), normal(3, 4, seed=1)
    losses = loss(name, student, teacher, reduction="none")
    assert losses.shape == (3,)
    torch.testing.assert_close(loss(name, student, teacher), losses.mean())
    torch.testing.assert_close(loss(name, student, teacher, reduction="sum"), losses.sum())
    with pytest.raises(ValueError, match="mean, sum, none"):
        loss(name, student, teacher, reduction="average")


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_right(name):
    mask = None if name == "released" else torch.tensor([[True] * 4, [True, False, True, True]])
    teacher = normal(2, 4, seed=1)
    assert gradcheck(lambda s: loss(name, s, teacher, mask=mask, reduction="none"), normal(2, 4).requires_grad_())


@pytest.mark.parametrize("name", ALL)
def test_a_step_against_the_gradient_lowers_the_loss(name):
    student, teacher = normal(8, 5, seed=2).requires_grad_(), normal(8, 5, seed=3)
    before = loss(name, student, teacher)
    (gradient,) = torch.autograd.grad(before, student)
    assert loss(name, student - 0.1 * gradient, teacher) < before


@pytest.mark.parametrize("name", ALL)
def test_the_dtype_follows_the_student(name):
    student, teacher = normal(2, 4), normal(2, 4, seed=1)
    single = loss(name, student.float(), teacher)
    assert single.dtype == torch.float32
    exact = loss(name, student.float().double(), teacher)
    torch.testing.assert_close(single.double(), exact, rtol=1e-6, atol=0)


def test_ties_of_the_teacher_rank_the_lower_number_first_and_are_counted():
    student = torch.tensor([[0.3, -0.2, 1.0]], dtype=F64)
    tied, broken = torch.tensor([[1.0, 0.0, 1.0]], dtype=F64), torch.tensor([[1.0, 0.0, 0.9]], dtype=F64)
    assert vpd_loss(student, tied) == vpd_loss(student, broken)
    assert loss_diagnostics(student, tied)["ties"].tolist() == [1]
    assert loss_diagnostics(student, torch.zeros_like(tied))["ties"].tolist() == [3]
    assert loss_diagnostics(student, broken)["ties"].tolist() == [0]


def test_only_the_order_of_the_teacher_counts_for_vpd_and_its_margins_for_ppd():
    student, teacher = normal(3, 4), normal(3, 4, seed=1)
    assert vpd_loss(student, teacher) == vpd_loss(student, 5 * teacher)
    assert abs(ppd_loss(student, teacher) - ppd_loss(student, 5 * teacher)) > 1e-3


@pytest.mark.parametrize("name", ALL)
def test_bad_scores_name_whose_row_and_item(name):
    student, teacher = torch.zeros(3, 2), torch.zeros(3, 2)
    teacher[1, 0] = -math.inf
    with pytest.raises(ValueError, match=r"teacher_scores: row 1 .*item 0 .*-inf.*mask"):
        loss(name, student, teacher)
    with pytest.raises(ValueError, match=r"student_scores: row 1 .*item 0"):
        loss(name, teacher, student)
    if name != "vpd":
        with pytest.raises(ValueError, match="forward_kl"):
            ppd_loss(student, student, "jsd")
