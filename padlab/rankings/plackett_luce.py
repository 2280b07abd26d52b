"""The Plackett-Luce distribution over all n! rankings of n items, exact and differentiable."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from padlab.rankings.checks import (
    FILLER,
    Numbers,
    broadcast_batches,
    check_rankings,
    check_scores,
    row_name,
    working_scores,
)
from padlab.rankings.enumeration import all_rankings, ranking_log_probs
from padlab.rankings.subsets import subset_entropy, subset_kl, subset_rank_marginals


class PlackettLuce(Distribution):
    """Distribution over rankings: the best item is drawn by softmax(scores), then the next from the rest, ...

    P(r) = prod_k exp(s[r_k]) / sum_{j >= k} exp(s[r_j])   (Plackett 1975, Luce 1959; PAD phase 3). A ranking is a
    LongTensor of item indices, best first; ranks start at 1. n = 2 is Bradley-Terry. Adding a constant to all
    scores changes nothing. A factor on them (beta) makes the distribution sharper (large) or flatter (0: uniform).

    Args:
        scores: batch shape x n, beta * reward (nats); the caller applies beta. The arithmetic runs in float64;
            results have the dtype of the scores.
        mask: True where the item exists, broadcast to the scores; None means that all do. Absent items come last in
            every ranking, in ascending order, with probability 1; in pairwise(), top_choice() and the like they are 0.
    Raises:
        ValueError: a score that is not finite (row and item are named), a mask of another shape, or a row without
            items.

    >>> PlackettLuce(torch.tensor([2.0, 0.0])).log_prob(torch.tensor([0, 1])).exp()  # 1 / (1 + exp(-2))
    tensor(0.8808)
    """

    has_enumerate_support = True
    arg_constraints = {"scores": constraints.real_vector}  # noqa: RUF012  (torch requires a class attribute)

    def __init__(self, scores: Float[Tensor, "*batch items"] | Numbers, mask: Shaped[Tensor, "..."] | None = None):
        self.scores, self.mask = check_scores(scores, mask)
        super().__init__(self.scores.shape[:-1], self.scores.shape[-1:], validate_args=False)  # checked just now

    @property
    def items(self) -> int:
        """The number n of items, absent ones included."""
        return self.scores.shape[-1]

    @property
    def mode(self) -> Int[Tensor, "*batch items"]:
        """The most probable ranking: scores in descending order; of equal scores, the lower item index first."""
        return working_scores(self.scores, self.mask).sort(dim=-1, descending=True, stable=True).indices

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: None = None) -> "PlackettLuce":
        """The same distribution for a larger batch shape, without copying the scores."""
        shape = (*batch_shape, self.items)
        return PlackettLuce(self.scores.expand(shape), None if self.mask is None else self.mask.expand(shape))

    def sample(
        self, sample_shape: torch.Size | tuple[int, ...] = (), generator: torch.Generator | None = None
    ) -> Int[Tensor, "*samples items"]:
        """Draw rankings: sort scores plus Gumbel noise, which is exact (Yellott 1977).

        Args:
            sample_shape: shape of the draws; the result is sample shape x batch shape x n.
            generator: random number generator on the scores' device; None uses torch's default.
        """
        with torch.no_grad():
            scores = working_scores(self.scores, self.mask)
            shape = self._extended_shape(torch.Size(sample_shape))
            noise = torch.empty(shape, dtype=scores.dtype, device=scores.device).exponential_(generator=generator)
            return (scores - noise.log()).sort(dim=-1, descending=True, stable=True).indices

    def log_prob(self, value: Shaped[Tensor, "... items"]) -> Float[Tensor, "..."]:
        """Log-probability in nats of rankings.

        Args:
            value: ... x n item indices, best first; the leading shape broadcasts with the batch shape. A ranking that
                puts an absent item before a present one, or the absent ones in another order, has -inf.
        Raises:
            ValueError: repeated items or indices outside 0 .. n-1, or a leading shape that does not broadcast with the
                batch shape.
        """
        check_rankings(value, self.items)
        value = value.expand(*broadcast_batches(value.shape[:-1], self.batch_shape), self.items)
        ordered = working_scores(self.scores, self.mask).expand(value.shape).gather(-1, value)
        steps = ordered - ordered.flip(-1).logcumsumexp(-1).flip(-1)  # s[r_k] - log sum_{j >= k} exp(s[r_j])
        total = steps[..., :-1].sum(-1)  # the last item is certain
        return self._impossible_as_inf(total).to(self.scores.dtype)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Entropy in nats, between 0 and ln n!, exact in O(n 2^n).

        Raises:
            ValueError: n above 20.
        """
        return self._unflatten(subset_entropy(self.rows()))

    def enumerate(self) -> tuple[Int[Tensor, "rankings items"], Float[Tensor, "*batch rankings"]]:
        """All n! rankings (n! x n, lexicographic) and their log-probabilities (batch shape x n!).

        Rankings outside the support (an absent item before a present one) have log-probability -inf.

        Raises:
            ValueError: n above 10, or a batch too large for one tensor.
        """
        log_probs = self._impossible_as_inf(ranking_log_probs(self.rows(), dtype=self.scores.dtype))
        return all_rankings(self.items, self.scores.device), self._unflatten(log_probs)

    def all_log_probs(self) -> Float[Tensor, "*batch rankings"]:
        """Log-probabilities of all n! rankings in lexicographic order, batch shape x n!, in float64 for the losses.

        As in `enumerate`, but rankings outside the support have -1e30 or less in place of -inf: exp(-1e30) * -1e30 = 0
        has a value and a gradient, 0 * -inf has none.

        Raises:
            ValueError: n above 10, or a batch too large for one tensor.
        """
        rows = ranking_log_probs(self.rows())
        return rows.reshape(*self.batch_shape, rows.shape[-1])

    def enumerate_support(self, expand: bool = True) -> Int[Tensor, "rankings *batch items"]:
        """All n! rankings in torch's layout: n! x batch shape x n (with expand=False batch sizes are 1)."""
        rankings = all_rankings(self.items, self.scores.device)
        rankings = rankings.view(-1, *(1,) * len(self.batch_shape), self.items)
        return rankings.expand(-1, *self.batch_shape, -1) if expand else rankings

    def pairwise(self) -> Float[Tensor, "*batch items items"]:
        """P(item i is ranked before item j) = sigmoid(s_i - s_j), any n; 1/2 on the diagonal."""
        scores = working_scores(self.scores, self.mask)
        before = torch.sigmoid(scores[..., :, None] - scores[..., None, :])
        if self.mask is not None:
            before = before * (self.mask[..., :, None] & self.mask[..., None, :])
        return before.to(self.scores.dtype)

    def rank_marginals(self) -> Float[Tensor, "*batch items ranks"]:
        """P(item i has rank k), column 0 for rank 1, exact in O(n 2^n); rows and columns of present items sum to 1.

        Raises:
            ValueError: n above 20.
        """
        marginals = self._unflatten(subset_rank_marginals(self.rows()))
        return marginals if self.mask is None else marginals * self.mask[..., None]

    def top_choice(self) -> Float[Tensor, "*batch items"]:
        """P(item i has rank 1) = softmax(scores), any n."""
        scores = working_scores(self.scores, self.mask)
        return scores.softmax(-1).to(self.scores.dtype)

    def expected_rank(self) -> Float[Tensor, "*batch items"]:
        """Mean rank of item i = 1 + sum over j != i of P(j before i), between 1 and n, any n."""
        rank = self.pairwise().sum(-2) + 0.5  # the diagonal of pairwise() adds the other 1/2
        return rank if self.mask is None else rank * self.mask

    def rows(self) -> Float[Tensor, "rows items"]:
        """The scores as `working_scores` gives them, with the batch shape flattened."""
        return working_scores(self.scores, self.mask).reshape(-1, self.items)

    def _impossible_as_inf(self, log_probs: Tensor) -> Tensor:
        return log_probs if self.mask is None else log_probs.masked_fill(log_probs < FILLER / 2, -torch.inf)

    def _unflatten(self, rows: Tensor) -> Tensor:
        return rows.reshape((*self.batch_shape, *rows.shape[1:])).to(self.scores.dtype)


@register_kl(PlackettLuce, PlackettLuce)
def kl_divergence(p: PlackettLuce, q: PlackettLuce) -> Float[Tensor, "..."]:
    """KL(P || Q) in nats, exact in O(n 2^n); torch.distributions.kl_divergence calls this.

    Raises:
        ValueError: n above 20, or different items.

    >>> kl_divergence(PlackettLuce([1.0, 0.0]), PlackettLuce([1.0, 0.0]))
    tensor(0.)
    """
    p, q = expand_pair(p, q)
    value = subset_kl(p.rows(), q.rows()).reshape(p.batch_shape)
    return value.to(torch.promote_types(p.scores.dtype, q.scores.dtype))


def expand_pair(
    p: PlackettLuce | Float[Tensor, "..."] | Numbers, q: PlackettLuce | Float[Tensor, "..."] | Numbers
) -> tuple[PlackettLuce, PlackettLuce]:
    """Two distributions over the same items, expanded to one batch shape.

    Raises:
        ValueError: they rank different items, or the batch shapes do not broadcast.
    """
    p, q = (d if isinstance(d, PlackettLuce) else PlackettLuce(d) for d in (p, q))
    if p.items != q.items:
        raise ValueError(f"one distribution ranks {p.items} items, the other {q.items}: they must rank the same items")
    batch = broadcast_batches(p.batch_shape, q.batch_shape)
    p, q = p.expand(batch), q.expand(batch)
    first, second = (torch.ones_like(d.scores, dtype=torch.bool) if d.mask is None else d.mask for d in (p, q))
    different = (first != second).any(-1)
    if different.any():
        row = row_name(different.nonzero()[0].tolist())
        raise ValueError(f"{row}: the two distributions rank different items; give both the same mask")
    return p, q
