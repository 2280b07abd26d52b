"""Listwise preference baselines: LiPO-lambda, PRO and RRHF (losses.py: VPD, PPD, and the pairwise DPO and SimPO).

All three read the teacher's preferences over all n responses of a prompt. Differences of pairs are written as matrices
prompts x n x n, with i in the rows and j in the columns.
"""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from padlab.rankings.checks import Numbers, as_numbers, check_same_shape, check_scores, working_scores
from padlab.rankings.losses import reduce_losses


def win_labels(
    teacher_scores: Float[Tensor, "*prompts items"] | Numbers, mask: Shaped[Tensor, "..."] | None = None
) -> Float[Tensor, "*prompts items"]:
    """Labels for LiPO: psi_i = 1/n sum_j P(i is ranked before j), with P = 1/2 for j = i (Liu et al. 2024, section 5).

    P(i before j) = sigmoid(t_i - t_j) under the Plackett-Luce distribution with the teacher's scores t.

    Args:
        teacher_scores: prompts x n, beta * calibrated teacher reward (nats).
        mask: True where the response exists; None means that all do.
    Returns:
        prompts x n, each in [0, 1], 1/2 on average; 0 for an absent response.
    Raises:
        ValueError: a score that is not finite (row and item are named).

    >>> win_labels(torch.tensor([0.0, 1000.0, 0.0]))
    tensor([0.3333, 0.8333, 0.3333])
    """
    teacher, exists = _checked(mask, teacher_scores=teacher_scores)
    wins = torch.sigmoid(_differences(teacher)) * exists.unsqueeze(-2)
    return exists * wins.sum(-1) / exists.sum(-1, keepdim=True)


def lipo_loss(
    policy: Float[Tensor, "*prompts items"] | Numbers,
    reference: Float[Tensor, "*prompts items"] | Numbers,
    labels: Float[Tensor, "*prompts items"] | Numbers,
    beta: float = 0.05,
    mask: Shaped[Tensor, "..."] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*out"]:
    """LiPO-lambda (Liu et al. 2024, eq. 8): L = sum over psi_i > psi_j of Delta_ij * log(1 + exp(-(s_i - s_j))).

    s = beta * (policy - reference), Delta_ij = |G_i - G_j| * |1/D_i - 1/D_j| with gain G_i = 2^psi_i - 1 and discount
    D_i = log(1 + rank of i by s, 1 = highest). No gradient flows through Delta.

    Args:
        policy: prompts x n, *sum* of the response's token log-probabilities (nats) under the model in training.
        reference: the same under the model before training; no gradient.
        labels: psi in [0, 1], higher = better, see `win_labels`; equal labels form no pair.
        beta: strength of the tie to the reference, > 0; paper: 0.05.
        mask: True where the response exists; None means that all do.
        reduction: "mean" over the prompts, "sum", or "none" for one loss per prompt.
    Returns:
        At least 0; 0 for one response. Of equal s, the lower index is ranked first: where policy = reference, the
        weights depend on that choice if n > 2.
    Raises:
        ValueError: a value that is not finite, a label outside [0, 1], shapes that differ, unknown reduction.

    >>> lipo_loss([[-9.0, -9.0]], [[-9.0, -9.0]], [[1.0, 0.0]])  # (1/ln 2 - 1/ln 3) * ln 2: s is 0 for both
    tensor(0.3691)
    """
    if not 0 < beta < float("inf"):
        raise ValueError(f"beta must be a positive number, got {beta}")
    policy, reference, labels, exists = _checked(mask, policy=policy, reference=reference, labels=labels)
    if ((labels < 0) | (labels > 1)).any():
        found = f"{labels.min().item():g} to {labels.max().item():g}"
        raise ValueError(f"labels are {found}: they must lie in [0, 1], as those of win_labels(teacher_scores) do")
    scores = beta * (policy - reference)
    better = _pairs(exists) & (_differences(labels) > 0)
    losses = -_lambda_weights(scores, labels, exists) * logsigmoid(_differences(scores))
    return reduce_losses((better * losses).sum((-1, -2)), reduction)


def pro_loss(
    rewards: Float[Tensor, "*prompts items"] | Numbers,
    teacher_rewards: Float[Tensor, "*prompts items"] | Numbers,
    lengths: Shaped[Tensor, "*prompts items"] | Numbers,
    sft: float = 0.05,
    mask: Shaped[Tensor, "..."] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*out"]:
    """PRO (Song et al. 2023): every response against all that the teacher ranks lower, plus imitation of the best.

    L = -sum_{k<n} log [exp(r_k/T_k^k) / sum_{i>=k} exp(r_i/T_k^i)] - sft * (n-1)^2 * (sum of y_1's log-probabilities).
    y_1, ..., y_n is the teacher's order, R its rewards, T_k^i = 1/(R_k - R_i) for i > k, T_k^k = min_{i>k} T_k^i. We
    multiply by R_k - R_i, so ties (lower index first) divide nothing by 0. With all T equal to 1 and sft = 0 it is VPD.

    Args:
        rewards: prompts x n, r: *mean* token log-probability of the response (nats/token).
        teacher_rewards: prompts x n, R: a reward model's in the paper, i.e. log-odds of preference; no gradient.
        lengths: tokens per response.
        sft: weight of the imitation, >= 0; paper: 0.05 * (n-1)^2; here 0.05 for n = 1.
        mask: True where the response exists; None means that all do.
        reduction: "mean" over the prompts, "sum", or "none" for one loss per prompt.
    Returns:
        At least 0 for log-probabilities; one response gives the imitation only.
    Raises:
        ValueError: a value that is not finite, shapes that differ, unknown reduction.

    >>> pro_loss([[-1.0, -1.0]], [[1.0, 0.0]], [[4, 4]], sft=0.0)  # ln 2: the student has no preference
    tensor(0.6931)
    """
    if not 0 <= sft < float("inf"):
        raise ValueError(f"sft must be 0 or a positive number, got {sft}")
    *grids, exists = _checked(mask, rewards=rewards, teacher_rewards=teacher_rewards, lengths=lengths)
    order = _order(grids[1], exists)
    rewards, teacher, lengths, exists = (grid.gather(-1, order) for grid in (*grids, exists))
    later = _pairs(exists).triu(1)
    gaps = _differences(teacher) * later  # 1/T, row k, column i
    gaps = gaps + torch.diag_embed(gaps.amax(-1))
    logits = rewards.unsqueeze(-2) * gaps
    own = logits.diagonal(dim1=-2, dim2=-1)
    contrast = logits.masked_fill(~(later | torch.eye(later.shape[-1], device=later.device).bool()), -torch.inf)
    imitation = -sft * (rewards * lengths)[..., 0] * (exists.sum(-1) - 1).clamp(min=1) ** 2
    return reduce_losses((contrast.logsumexp(-1) - own).sum(-1) + imitation, reduction)


def rrhf_loss(
    rewards: Float[Tensor, "*prompts items"] | Numbers,
    teacher_rewards: Float[Tensor, "*prompts items"] | Numbers,
    mask: Shaped[Tensor, "..."] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*out"]:
    """RRHF (Yuan et al. 2023): L = sum over R_i > R_j of max(0, p_j - p_i) - p_best: a hinge, and imitating the best.

    The paper writes the imitation as a sum over tokens; the authors' code takes the mean, as here, both at weight 1.

    Args:
        rewards: prompts x n, p: *mean* token log-probability of the response (nats/token).
        teacher_rewards: prompts x n, R; only their order counts. Equal ones form no pair, the first of the best is
            imitated.
        mask: True where the response exists; None means that all do.
        reduction: "mean" over the prompts, "sum", or "none" for one loss per prompt.
    Returns:
        At least 0 for log-probabilities; one response gives -p, the loss of supervised fine-tuning.
    Raises:
        ValueError: a value that is not finite, shapes that differ, unknown reduction.

    >>> rrhf_loss([[-2.0, -1.5]], [[1.0, 0.0]])  # 0.5 for the wrong order, 2 for imitation
    tensor(2.5000)
    """
    rewards, teacher, exists = _checked(mask, rewards=rewards, teacher_rewards=teacher_rewards)
    better = _pairs(exists) & (_differences(teacher) > 0)
    best = teacher.masked_fill(~exists, -torch.inf).argmax(-1, keepdim=True)
    hinge = (better * relu(-_differences(rewards))).sum((-1, -2))
    return reduce_losses(hinge - rewards.gather(-1, best).squeeze(-1), reduction)


@torch.no_grad()
def _lambda_weights(scores: Tensor, labels: Tensor, exists: Tensor) -> Tensor:
    """Delta_ij, prompts x n x n: by how much DCG changes if i and j swap their ranks."""
    ranks = _order(scores, exists).argsort(-1) + 1
    gains, discounts = 2**labels - 1, torch.log1p(ranks.to(labels.dtype))
    return (_differences(gains) * _differences(1 / discounts)).abs()


def _order(scores: Tensor, exists: Tensor) -> Shaped[Tensor, "*prompts items"]:
    """Items by descending score; of equal ones the lower index first, absent ones last."""
    return working_scores(scores, exists).argsort(dim=-1, descending=True, stable=True)


def _differences(values: Tensor) -> Float[Tensor, "*prompts items items"]:
    return values.unsqueeze(-1) - values.unsqueeze(-2)


def _pairs(exists: Bool[Tensor, "*prompts items"]) -> Bool[Tensor, "*prompts items items"]:
    return exists.unsqueeze(-1) & exists.unsqueeze(-2)


def _checked(mask: Tensor | None, **given: Tensor | Numbers) -> list[Tensor]:
    """The grids, 0 for absent responses, and where responses exist."""
    given = {name: as_numbers(values) for name, values in given.items()}
    check_same_shape(**given)
    grids = []
    for name, values in given.items():
        try:
            values, exists = check_scores(values, mask)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        grids.append(values)
    return [*grids, torch.ones_like(values, dtype=torch.bool) if exists is None else exists]
