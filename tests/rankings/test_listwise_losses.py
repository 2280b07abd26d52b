"""LiPO-lambda, PRO and RRHF against loops over pairs in NumPy, and what each of them must do."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from padlab.rankings.listwise_losses import lipo_loss, pro_loss, rrhf_loss, win_labels
from padlab.rankings.losses import dpo_loss, sft_loss, vpd_loss

EXAMPLES = settings(max_examples=60, deadline=None)
NAMES = ("lipo", "pro", "rrhf")


def compute(name, student, teacher, lengths, mask=None, reduction="none"):
    """The loss from mean token log-probabilities; the reference is -1 nat per token."""
    if name == "lipo":
        labels = win_labels(teacher, mask)
        return lipo_loss(student * lengths, -lengths, labels, beta=0.5, mask=mask, reduction=reduction)
    if name == "pro":
        return pro_loss(student, teacher, lengths, sft=0.05, mask=mask, reduction=reduction)
    return rrhf_loss(student, teacher, mask=mask, reduction=reduction)


# --- the oracle: one prompt, loops, straight from the papers


def order_of(values):
    return sorted(range(len(values)), key=lambda i: -values[i])  # stable: of equal ones the lower index first


def slow_labels(teacher):
    n = len(teacher)
    return [sum(1 / (1 + math.exp(teacher[j] - teacher[i])) for j in range(n)) / n for i in range(n)]


def slow_lipo(student, teacher, lengths):
    psi, s = slow_labels(teacher), [0.5 * (r + 1) * t for r, t in zip(student, lengths, strict=True)]
    rank = {i: place + 1 for place, i in enumerate(order_of(s))}
    total = 0.0
    for i in range(len(s)):
        for j in range(len(s)):
            if psi[i] > psi[j]:
                gain = abs((2 ** psi[i] - 1) - (2 ** psi[j] - 1))
                discount = abs(1 / math.log(1 + rank[i]) - 1 / math.log(1 + rank[j]))
                total += gain * discount * np.logaddexp(0, -(s[i] - s[j]))
    return total


def slow_pro(student, teacher, lengths, temperatures=True, sft=0.05):
    order = order_of(teacher)
    r, big_r = [student[i] for i in order], [teacher[i] for i in order]
    n, total = len(r), 0.0
    for k in range(n - 1):
        inverse = {i: big_r[k] - big_r[i] if temperatures else 1.0 for i in range(k + 1, n)}  # 1/T_k^i
        inverse[k] = max(inverse.values())
        numerator = r[k] * inverse[k]
        total -= numerator - np.logaddexp.reduce([r[i] * inverse[i] for i in range(k, n)])
    return total - sft * max(n - 1, 1) ** 2 * r[0] * lengths[order[0]]


def slow_rrhf(student, teacher, lengths):
    n = len(student)
    hinge = sum(max(0.0, student[i] - student[j]) for i in range(n) for j in range(n) if teacher[i] < teacher[j])
    return hinge - student[order_of(teacher)[0]]


SLOW = {"lipo": slow_lipo, "pro": slow_pro, "rrhf": slow_rrhf}


@st.composite
def prompts(draw, least=1, ties=True):
    """One prompt: student's mean log-probabilities, teacher's scores, lengths; coarse values make ties."""
    n = draw(st.integers(least, 5))
    grid = st.integers(-12, 0).map(lambda x: x / 4)
    student = draw(st.lists(grid, min_size=n, max_size=n, unique=not ties))
    teacher = draw(st.lists(grid, min_size=n, max_size=n, unique=not ties))
    lengths = draw(st.lists(st.sampled_from([1.0, 2.0, 4.0]), min_size=n, max_size=n))
    return [torch.tensor(values, dtype=torch.float64) for values in (student, teacher, lengths)]


@pytest.mark.parametrize("name", NAMES)
@given(prompt=prompts())
@EXAMPLES
def test_agrees_with_loops_over_pairs(name, prompt):
    expected = SLOW[name](*(values.tolist() for values in prompt))
    assert compute(name, *prompt).item() == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(win_labels(prompt[1]), slow_labels(prompt[1].tolist()), atol=1e-12)


# --- invariances


@pytest.mark.parametrize("name", NAMES)
@given(prompt=prompts(ties=False), seed=st.integers(0, 99))
@EXAMPLES
def test_the_order_in_which_responses_are_given_does_not_matter(name, prompt, seed):
    prompt = [*prompt[:2], torch.full_like(prompt[0], 3.0)]  # equal lengths: no ties in s
    shuffled = np.random.default_rng(seed).permutation(len(prompt[0]))
    other = compute(name, *(values[shuffled] for values in prompt))
    assert other.item() == pytest.approx(compute(name, *prompt).item(), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@given(prompt=prompts(), absent=st.integers(1, 3), seed=st.integers(0, 99))
@EXAMPLES
def test_absent_responses_change_nothing(name, prompt, absent, seed):
    """Absent responses between the others, NaN inside: the loss and the gradient of the shorter prompt."""
    n = len(prompt[0])
    places = np.sort(np.random.default_rng(seed).permutation(n + absent)[:n])
    mask = torch.zeros(n + absent, dtype=torch.bool)
    mask[places] = True
    fill = zip((math.nan, math.nan, 7.0), prompt, strict=True)  # lengths are numbers: `compute` multiplies by them
    padded = [torch.full((n + absent,), x, dtype=torch.float64).masked_scatter(mask, v) for x, v in fill]
    for student in (prompt[0], padded[0]):
        student.requires_grad_()
    short, long = compute(name, *prompt), compute(name, *padded, mask=mask)
    assert long.item() == pytest.approx(short.item(), abs=1e-12)
    (wanted,), (found,) = torch.autograd.grad(short, prompt[0]), torch.autograd.grad(long, padded[0])
    torch.testing.assert_close(found[mask], wanted)
    assert (found[~mask] == 0).all()


@given(prompt=prompts(), shift=st.integers(-8, 8))
@EXAMPLES
def test_shifts(prompt, shift):
    """The teacher's scores may be shifted in all; LiPO's s too; RRHF changes by the shift of the imitated response."""
    student, teacher, lengths = prompt
    for name in NAMES:
        moved = compute(name, student, teacher + shift, lengths)
        assert moved.item() == pytest.approx(compute(name, *prompt).item(), abs=1e-12)
    labels, policy = win_labels(teacher), student * lengths
    plain, moved = (lipo_loss(p, -lengths, labels, reduction="none") for p in (policy, policy + shift))
    assert moved.item() == pytest.approx(plain.item(), abs=1e-9)
    moved = rrhf_loss(student + shift, teacher)
    assert moved.item() == pytest.approx(rrhf_loss(student, teacher).item() - shift, abs=1e-12)


# --- what they want


@pytest.mark.parametrize("name", NAMES)
@given(prompt=prompts(least=2, ties=False))
@EXAMPLES
def test_the_gradient_raises_the_best_and_lowers_the_worst(name, prompt):
    student, teacher, lengths = prompt[0].requires_grad_(), prompt[1], torch.ones_like(prompt[0])
    (gradient,) = torch.autograd.grad(compute(name, student, teacher, lengths).sum(), student)
    assert torch.isfinite(gradient).all()
    assert gradient[teacher.argmax()] < 0
    if name == "rrhf" and student.argmin() == teacher.argmin():
        assert gradient[teacher.argmin()] == 0  # in the right place already
    else:
        assert gradient[teacher.argmin()] > 0


def test_the_losses_fall_to_their_bounds():
    teacher = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    lengths = torch.ones(3, dtype=torch.float64)
    agrees, disagrees = torch.tensor([0.0, -40.0, -90.0]).double(), torch.tensor([-90.0, -40.0, 0.0]).double()
    for name in NAMES:
        assert compute(name, agrees, teacher, lengths).item() == pytest.approx(0, abs=1e-6)
        assert compute(name, disagrees, teacher, lengths).item() > 5
    assert rrhf_loss(disagrees, teacher).item() == 90 + 50 + 40 + 90


def test_one_response_is_imitated_or_ignored():
    one, teacher, lengths = torch.tensor([[-2.0], [-4.0]]), torch.tensor([[1.0], [5.0]]), torch.tensor([[3.0], [5.0]])
    assert compute("lipo", one, teacher, lengths).tolist() == [0, 0]
    assert compute("rrhf", one, teacher, lengths).tolist() == sft_loss(one[:, 0], "none").tolist()
    assert pro_loss(one, teacher, lengths, sft=0.5, reduction="none").tolist() == [3.0, 10.0]


def test_ties():
    """Equal labels form no pair; the first of the best is imitated; PRO stays finite where 1/(R_k - R_i) is not."""
    student, teacher, lengths = torch.tensor([-1.0, -2.0, -3.0]), torch.zeros(3), torch.ones(3)
    assert compute("lipo", student, teacher, lengths).item() == 0
    assert rrhf_loss(student, teacher).item() == 1
    assert pro_loss(student, teacher, lengths, sft=0.0).item() == pytest.approx(math.log(6))  # no preference


@pytest.mark.parametrize("name", NAMES)
def test_equal_students_have_a_finite_gradient(name):
    student = torch.full((2, 4), -1.5, requires_grad=True)
    teacher = torch.tensor([[3.0, 1.0, 2.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    compute(name, student, teacher, torch.full((2, 4), 5.0), reduction="sum").backward()
    assert torch.isfinite(student.grad).all()
    assert (student.grad[:, 0] < 0).all()


# --- relations to other losses


@given(prompt=prompts())
@EXAMPLES
def test_pro_without_temperatures_is_vpd(prompt):
    student, teacher, lengths = (values.tolist() for values in prompt)
    expected = slow_pro(student, teacher, lengths, temperatures=False, sft=0)
    assert vpd_loss(*prompt[:2]).item() == pytest.approx(expected, abs=1e-12)


def test_pro_with_equal_temperatures_is_vpd():
    """Two responses: both have the temperature 1/gap. One best among equals: 1 for all in the first term."""
    student = torch.tensor([-1.0, -2.5, -0.5, -2.0], dtype=torch.float64)
    lengths = torch.ones_like(student)
    pair = pro_loss(student[:2], torch.tensor([0.0, 3.0]).double(), lengths[:2], sft=0.0)
    assert pair.item() == pytest.approx(vpd_loss(3 * student[:2], torch.tensor([0.0, 1.0]).double()).item())
    best = pro_loss(student, torch.tensor([0.0, 1.0, 0.0, 0.0]).double(), lengths, sft=0.0)
    assert best.item() == pytest.approx(-student.log_softmax(-1)[1].item() + math.log(3) + math.log(2))


def test_lipo_on_two_responses_is_a_multiple_of_dpo():
    policy, reference = torch.tensor([-9.0, -7.0]).double(), torch.tensor([-8.0, -8.5]).double()
    found = lipo_loss(policy, reference, torch.tensor([0.9, 0.2]).double(), beta=0.3).item()
    dpo = dpo_loss(policy[:1], policy[1:], reference[:1], reference[1:], beta=0.3).item()
    assert found == pytest.approx((2**0.9 - 2**0.2) * (1 / math.log(2) - 1 / math.log(3)) * dpo)


def test_no_gradient_through_lipos_weights():
    policy = torch.tensor([-9.0, -7.0, -8.0], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0.9, 0.2, 0.5], dtype=torch.float64, requires_grad=True)
    lipo_loss(policy, torch.full((3,), -8.0).double(), labels).backward()
    assert labels.grad is None
    assert policy.grad is not None


# --- arguments


def test_reductions_and_lists():
    student, teacher, lengths = [[-1.0, -2.0], [-3.0, -1.0]], [[1.0, 0.0], [2.0, 0.0]], [[2, 3], [4, 5]]
    each = pro_loss(student, teacher, lengths, reduction="none")
    assert pro_loss(student, teacher, lengths, reduction="sum").item() == pytest.approx(each.sum().item())
    assert pro_loss(student, teacher, lengths).item() == pytest.approx(each.mean().item())
    assert rrhf_loss(np.array(student), np.array(teacher)).item() == pytest.approx(((0 + 1) + (2 + 3)) / 2)
    with pytest.raises(ValueError, match="reduction is 'median'"):
        rrhf_loss(student, teacher, reduction="median")


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"labels are -0.5 to 2: they must lie in \[0, 1\]"):
        lipo_loss([-1.0, -2.0], [-1.0, -2.0], [2.0, -0.5])
    with pytest.raises(ValueError, match=r"teacher_rewards: row 1 \(prompt\), item 0 has the score nan"):
        rrhf_loss([[-1.0, -2.0]] * 2, [[1.0, 0.0], [math.nan, 0.0]])
    with pytest.raises(ValueError, match=r"shapes differ: rewards \(2,\), teacher_rewards \(2,\), lengths \(3,\)"):
        pro_loss([-1.0, -2.0], [0.0, 1.0], [1, 2, 3])
    with pytest.raises(ValueError, match="no item at all"):
        win_labels([[0.0, 1.0]], torch.tensor([[False, False]]))
