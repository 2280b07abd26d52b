"""Exercises of notebook 01: the reward of a response, the nucleus, and responses far apart."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from padlab.checks.verdict import Verdict, check, shares
from padlab.lm.logprobs import mean_over_tokens, response_mask, token_logprobs


def mean_log_probability(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(logits, ids, prompt_length, length)`: the reward of a response, its mean token log-probability.

    Write: the mean over the response's tokens of log p(token | all before it), a number in nats/token.

    - logits: [T, V], the model's output for the whole row; softmax gives probabilities.
    - ids: [T] int64, the prompt, then the response, then padding.
    - prompt_length: number of the prompt's tokens, at least 1.
    - length: number of real tokens, prompt and response together; the rest is padding.

    >>> padlab.checks.mean_log_probability(lambda logits, ids, prompt_length, length: ...).state
    'not attempted'
    """
    return check(function, _mean_log_probability, REWARD_MISTAKES, _draw_row, "mean_log_probability", seed)


def _mean_log_probability(logits: Tensor, ids: Tensor, prompt_length: int, length: int) -> Tensor:
    def model(input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(logits=logits[None, : input_ids.shape[1]])

    model.device = "cpu"
    response = [ids[prompt_length:length].tolist()]
    logps = token_logprobs(model, ids[:prompt_length].tolist(), response)
    return mean_over_tokens(logps, response_mask(response))[0]


def _mean_at(logits: Tensor, ids: Tensor, positions: Tensor, shift: int = 1) -> Tensor:
    """Mean over the positions t of log softmax(logits[t - shift])[ids[t]]."""
    return logits.log_softmax(-1)[positions - shift, ids[positions]].mean()


def unshifted(logits, ids, start, length):
    """You read the log-probability of token t from the logits at position t. The logits at position t predict the next
    token, at t + 1."""
    return _mean_at(logits, ids, torch.arange(start, length), shift=0)


def prompt(logits, ids, start, length):
    """You counted the prompt's tokens too. The reward is the mean over the response's tokens only."""
    return _mean_at(logits, ids, torch.arange(1, length))


def padding(logits, ids, start, length):
    """You counted the padding too. The response ends where the real tokens end, at `length`."""
    return _mean_at(logits, ids, torch.arange(start, len(ids)))


def padding_by_id(logits, ids, start, length):
    """You took every id 0 for padding, but 0 is also a token of the response. Use `length`."""
    positions = torch.arange(start, len(ids))
    return _mean_at(logits, ids, positions[ids[positions] != 0])


def vocabulary(logits, ids, start, length):
    """You averaged over the whole vocabulary. Pick the log-probability of the token that stands there, one per
    position."""
    return logits.log_softmax(-1)[start - 1 : length - 1].mean()


def first_token_missing(logits, ids, start, length):
    """You left out the response's first token. It is predicted by the logits at the prompt's last position."""
    return _mean_at(logits, ids, torch.arange(start + 1, length))


def summed(logits, ids, start, length):
    """You summed the log-probabilities. Divide by the number of the response's tokens."""
    return _mean_log_probability(logits, ids, start, length) * (length - start)


def no_softmax(logits, ids, start, length):
    """You averaged logits. They become log-probabilities by a log-softmax over the vocabulary."""
    positions = torch.arange(start, length)
    return logits[positions - 1, ids[positions]].mean()


REWARD_MISTAKES = (unshifted, prompt, padding, padding_by_id, vocabulary, first_token_missing, summed, no_softmax)


def _draw_row(rng: np.random.Generator, size: int) -> tuple:
    start, response, rest = int(rng.integers(2, 4)), int(rng.integers(2, size)), int(rng.integers(1, 3))
    ids = torch.tensor(rng.integers(1, size, start + response + rest))
    ids[start + int(rng.integers(response))] = 0  # a real token, with the id of the padding
    ids[start + response :] = 0
    logits = torch.tensor(rng.integers(-30, 31, (len(ids), size)) / 10, dtype=torch.float32)
    return logits, ids, start, start + response


def top_p(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(probs, p)`: probabilities after nucleus sampling's cut.

    Write: keep the smallest set of most likely tokens whose probabilities sum to at least p, set the others to 0, and
    let the kept ones sum to 1 again; [V] probabilities, in the order given.

    - probs: [V], sum 1, no two equal.
    - p: between 0 and 1.

    >>> padlab.checks.top_p(lambda probs, p: ...).state
    'not attempted'
    """
    return check(function, _top_p, TOP_P_MISTAKES, _draw_probs, "top_p", seed)


def _top_p(probs: Tensor, p: float) -> Tensor:
    return _renormalised(_nucleus(probs, lambda mass, own: mass - own < p))


def _nucleus(probs: Tensor, keep: Any, descending: bool = True) -> Tensor:
    """The probabilities that `keep` selects from cumulative and own probability in sorted order; 0 elsewhere."""
    ordered, order = probs.sort(descending=descending)
    kept = torch.where(keep(ordered.double().cumsum(0), ordered), ordered, 0.0)
    return torch.zeros_like(probs).scatter(0, order, kept)


def _renormalised(probs: Tensor) -> Tensor:
    return probs / probs.sum()


def crossing_dropped(probs, p):
    """You dropped the token with which the sum crosses p, so the kept ones have less than p. It belongs to the set."""
    return _renormalised(_nucleus(probs, lambda mass, own: mass <= p))


def not_renormalised(probs, p):
    """You kept the right tokens, but their probabilities no longer sum to 1. Divide by what is left."""
    return _nucleus(probs, lambda mass, own: mass - own < p)


def sorted_order(probs, p):
    """You returned the probabilities sorted. Put each back in its token's place."""
    return _top_p(probs, p).sort(descending=True).values


def least_likely(probs, p):
    """You started with the least likely token. Sort in descending order."""
    return _renormalised(_nucleus(probs, lambda mass, own: mass - own < p, descending=False))


TOP_P_MISTAKES = (crossing_dropped, not_renormalised, sorted_order, least_likely)


def _draw_probs(rng: np.random.Generator, size: int) -> tuple:
    percent = shares(rng, size + 1)
    possible = sorted(set(range(40, 96)) - set(np.cumsum(np.sort(percent)[::-1]).tolist()))  # never equal to a sum
    return torch.tensor(percent / 100, dtype=torch.float32), float(rng.choice(possible)) / 100


def max_min_selection(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(distances, n)`: a choice of n responses far apart.

    Write: start with item 0; add the item whose smallest distance to the kept ones is largest (of equal ones, that
    with the lower index) until n are kept. Return the n indices in ascending order.

    - distances: [items, items], symmetric, 0 on the diagonal and above 0 elsewhere.
    - n: how many to keep, at most the number of items.

    >>> padlab.checks.max_min_selection(lambda distances, n: ...).state
    'not attempted'
    """
    return check(function, _max_min, SELECTION_MISTAKES, _draw_distances, "max_min_selection", seed)


def _max_min(distances: Tensor, n: int) -> list[int]:
    return sorted(_greedy(distances, n, min))


def _greedy(distances: Tensor, n: int, gap: Any) -> list[int]:
    """The kept items in the order of selection; `gap` makes one number of an item's distances to the kept ones."""
    kept, rows = [0], distances.tolist()
    while len(kept) < n:
        left = [i for i in range(len(rows)) if i not in kept]
        kept.append(max(left, key=lambda i: gap([rows[i][k] for k in kept])))  # the first of equal ones
    return kept


def max_mean(distances, n):
    """You took the item with the largest mean distance to the kept ones. It may be close to one of them: compare the
    smallest distances."""
    return sorted(_greedy(distances, n, sum))


def last_only(distances, n):
    """You took the item furthest from the last one kept. Consider the distances to all that are kept."""
    return sorted(_greedy(distances, n, lambda gaps: gaps[-1]))


def first_only(distances, n):
    """You took the items furthest from item 0. Consider the distances to all that are kept."""
    return sorted(_greedy(distances, n, lambda gaps: gaps[0]))


def nearest(distances, n):
    """You took the item nearest to the kept ones. Take the one whose smallest distance is largest."""
    return sorted(_greedy(distances, n, lambda gaps: -min(gaps)))


def unsorted(distances, n):
    """You kept the right items. Return their indices in ascending order, not in the order of selection."""
    return _greedy(distances, n, min)


SELECTION_MISTAKES = (max_mean, last_only, first_only, nearest, unsorted)


def _draw_distances(rng: np.random.Generator, size: int) -> tuple:
    upper = np.triu(rng.integers(1, 9, (size + 1, size + 1)), 1) / 8  # eighths: sums are exact, ties occur
    return torch.tensor(upper + upper.T, dtype=torch.float32), max(3, (size + 2) // 2)
