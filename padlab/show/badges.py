"""What to be careful of in one view: short remarks on a snapshot, each with its reason in numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padlab.show.html.safe import letter
from padlab.show.snapshot import Preferences, Snapshot, first_place_interval

BIAS, MASS, CONSISTENCY = 0.1, 0.5, 2 / 3  # position bias; option mass and share of orders that agree, as `confident`
FEW = 4  # tokens
LENGTHS = 3.0  # times as long
WIDE = 0.9  # width of an interval of P(first)
GAP = 0.1  # largest difference between a pairwise answer and the fitted distribution


class Badge(NamedTuple):
    """A remark: what it is called, and why it is there."""

    name: str
    reason: str


def badges(snapshot: Snapshot, found: Preferences) -> list[Badge]:
    """Remarks on what makes these numbers hard to trust; empty where nothing stands out.

    Args:
        snapshot: texts, rewards, tokens and answers of one prompt.
        found: the distributions made of them (`padlab.show.snapshot.preferences`).

    >>> from padlab.show.snapshot import preferences
    >>> twins = Snapshot("?", ("a", "a"), {"teacher": np.array([-1.0, -1.0])})
    >>> [badge.name for badge in badges(twins, preferences(twins, 0.0, 1.0))]
    ['ties']
    """
    return [*_of_responses(snapshot, found), *_of_tokens(snapshot, found), *_of_answers(snapshot)]


def _of_responses(snapshot: Snapshot, found: Preferences) -> list[Badge]:
    result = []
    for role, scores in found.scores.items():
        equal = [k for k in range(len(scores)) if (np.abs(scores - scores[k]) < 1e-6).sum() > 1]
        if equal:
            result.append(Badge("ties", f"{', '.join(map(letter, equal))} have the same score under the {role}"))
    ended = snapshot.finished.count(True)
    if open_ends := [letter(k) for k, f in enumerate(snapshot.finished) if f is False or (f is None and ended)]:
        reason = "the end of the turn is not counted in its reward" + (", as it is in the others'" if ended else "")
        result.append(Badge("unfinished", f"{', '.join(open_ends)}: {reason}"))
    return result


def _of_tokens(snapshot: Snapshot, found: Preferences) -> list[Badge]:
    result = []
    texts = {role: tuple(tuple(texts) for texts, _ in tokens) for role, tokens in snapshot.tokens.items()}
    if len(set(texts.values())) > 1:
        reason = "the models cut the same texts into different tokens, so their rewards are in different units"
        result.append(Badge("different tokenizers", reason))
    for of_role, role in {v: k for k, v in reversed(texts.items())}.items():
        lengths = [len(texts) for texts in of_role]
        if few := [letter(k) for k, length in enumerate(lengths) if length < FEW]:
            reason = f"{', '.join(few)}: fewer than {FEW} tokens, too few to resample; the brackets are no guide"
            result.append(Badge("few tokens", reason))
        if max(lengths) > LENGTHS * min(lengths):
            longest, shortest = (letter(f(range(len(lengths)), key=lengths.__getitem__)) for f in (max, min))
            whose = f" with the {role}'s tokenizer" if len(set(texts.values())) > 1 else ""
            reason = f"{longest} has {max(lengths)} tokens, {shortest} {min(lengths)}{whose}; a mean hides that"
            result.append(Badge("unequal length", reason))
    for role in found.scores:
        interval = first_place_interval(snapshot, role, found.alpha, found.beta)
        wide = [] if interval is None else (interval.high - interval.low > WIDE).nonzero().flatten().tolist()
        if wide:
            reason = f"{', '.join(map(letter, wide))} under the {role}: P(first) can be nearly anything from 0 to 1"
            result.append(Badge("wide interval", f"{reason}; one prompt with so few tokens does not settle it"))
    return result


def _of_answers(snapshot: Snapshot) -> list[Badge]:
    """NaN, where something is not known, compares as False."""
    result = []
    if abs(snapshot.position_bias) > BIAS:
        which = "first" if snapshot.position_bias > 0 else "last"
        reason = f"the {which} option is preferred by {abs(snapshot.position_bias):.2f}, averaged over the orders"
        result.append(Badge("position bias", reason))
    if snapshot.option_mass < MASS:
        result.append(Badge("option mass", f"only {snapshot.option_mass:.2f} of the answers are options at all"))
    if snapshot.order_consistency < CONSISTENCY:
        reason = f"{1 - snapshot.order_consistency:.0%} of the choices change with the order of the options"
        result.append(Badge("depends on the order", reason))
    if snapshot.fit is not None and float(snapshot.fit.largest_gap) > GAP:
        reason = f"an answer is {float(snapshot.fit.largest_gap):.2f} off every distribution over rankings"
        result.append(Badge("no ranking fits", reason))
    return result
