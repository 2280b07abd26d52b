"""What the small widgets show: one question each, answered by a table and bars as HTML and as plain text.

Functions of numbers without a widget; `padlab.show.explore` puts sliders above them. In a saved notebook and on a page
their result stands alone. Responses are lettered A, B, ... in the order in which they are given. Views of a model's
tokens and of the losses are in explore_model_views.py.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from padlab.rankings.calibration import calibrate, log_selection
from padlab.rankings.checks import Numbers
from padlab.rankings.large_n import js_divergence
from padlab.rankings.plackett_luce import PlackettLuce
from padlab.show import html
from padlab.show.arrays import array, probabilities, same_length
from padlab.show.explore_model_views import letters_of, line, number, page, pull_view, temperature_view, token_gap_view
from padlab.show.html import Html, shorten
from padlab.show.html.safe import num
from padlab.show.plots.style import DATA, STUDENT, TEACHER

__all__ = ["alpha_view", "beta_view", "pull_view", "ranking_view", "temperature_view", "token_gap_view"]

SHOWN, MOST_ITEMS, MOST_LETTERS = 8, 7, 26  # rankings drawn; n up to which all n! are enumerated; A to Z
SAME = 1e-5  # nats: rewards of equal texts differ by rounding errors


def alpha_view(table: Any, alpha: float, row: int = 0, beta: float = 10.0) -> Html:
    """Which response is the best at this alpha? calibrated = (1 - alpha) * reward + alpha * log p_sel.

    Args:
        table: candidates (a `datasets.Dataset` or a list of rows) with prompt, responses, teacher_reward (nats/token),
            selection_prob.
        alpha: weight of the selection probability, 0 to 1.
        row: the prompt, from 0.
        beta: factor on the calibrated reward in P(best) = softmax(beta * calibrated), 0 or more.

    Raises:
        ValueError: a row or column that is not there, columns of different lengths, alpha or beta out of range.

    >>> row = {"prompt": "2+2?", "responses": ["4", "5"], "teacher_reward": [-2, -1], "selection_prob": [0.9, 0.1]}
    >>> print(alpha_view([row], 0.5).text.splitlines()[0])
    Best at alpha = 0.50: A. The first place changes at alpha = 0.313 (B to A).
    """
    entry, rewards, selection = _row(table, row)
    beta, log_p, letters = number(beta, "beta", 0), log_selection(selection), letters_of(len(rewards))
    calibrated = calibrate(rewards, selection, alpha)
    columns = {"reward": rewards, "log p_sel": log_p, "calibrated": calibrated}
    lines = [
        {"": letter, "response": text, **{name: float(values[k]) for name, values in columns.items()}}
        for k, (letter, text) in enumerate(zip(letters, entry["responses"], strict=True))
    ]
    chance, raw = (PlackettLuce(beta * scores).top_choice() for scores in (calibrated, rewards))
    name = f"P(best) at beta = {beta:g}; outline: alpha = 0"
    return page(
        line(_winners(alpha, rewards, log_p, calibrated), bold=True),
        line(shorten(entry["prompt"], 300)),
        html.table(lines, limit=160),
        html.bars({name: chance}, letters, {name: DATA}, ghost={name: raw}, longest=1.0),
    )


def winner_changes(rewards: Float[Tensor, " items"], log_p: Float[Tensor, " items"]) -> list[tuple[float, int, int]]:
    """Where the best response changes between alpha 0 and 1: (alpha, best below, best above), rising in alpha.

    Args:
        rewards, log_p: n each, nats: the ends of n straight lines over alpha.

    >>> winner_changes(torch.tensor([-1.0, -2.0]), torch.tensor([-4.0, -1.0]))
    [(0.25, 0, 1)]
    """
    start, slope = rewards.tolist(), (log_p - rewards).tolist()
    best, changes = max(range(len(start)), key=lambda k: (start[k], slope[k])), []
    while True:
        steeper = [k for k in range(len(start)) if slope[k] > slope[best] + SAME]
        crossings = [((start[best] - start[k]) / (slope[k] - slope[best]), -slope[k], k) for k in steeper]
        alpha, _, after = min(crossings, default=(1.0, 0.0, best))
        if alpha >= 1:
            return changes
        changes.append((alpha, best, after))
        best = after


def _winners(alpha: float, rewards: Tensor, log_p: Tensor, calibrated: Tensor) -> str:
    letters = letters_of(len(rewards))
    best = [letters[k] for k in (calibrated > calibrated.max() - SAME).nonzero()[:, 0].tolist()]
    now = f"Best at alpha = {num(alpha)}: {', '.join(best)}{' (equal)' if len(best) > 1 else ''}."
    changes = [f"{num(at, 3)} ({letters[i]} to {letters[j]})" for at, i, j in winner_changes(rewards, log_p)]
    if not changes:
        return f"{now} The first place is the same at every alpha."
    return f"{now} The first place changes at alpha = {', then at '.join(changes)}."


def _row(table: Any, row: int) -> tuple[Mapping[str, Any], Float[Tensor, " items"], Float[Tensor, " items"]]:
    """A row of a candidates table with its rewards and selection probabilities, checked."""
    if not 0 <= row < len(table):
        raise ValueError(f"row {row}: the table has {len(table)} rows; give a row from 0 to {len(table) - 1}")
    entry, needed = table[row], ("prompt", "responses", "teacher_reward", "selection_prob")
    if missing := [name for name in needed if entry.get(name) is None]:
        remedy = "run padlab.add_rewards(table, teacher) and padlab.add_selection_probs(table, teacher)"
        raise ValueError(f"row {row} has no {', '.join(missing)}: {remedy}")
    rewards = array(entry["teacher_reward"], f"row {row}, teacher_reward", ndim=1)
    selection = probabilities(entry["selection_prob"], f"row {row}, selection_prob")
    same_length(responses=entry["responses"], teacher_reward=rewards, selection_prob=selection)
    if abs(selection.sum() - 1) > 1e-4:
        raise ValueError(f"row {row}, selection_prob: the sum is {selection.sum():g}; it must be 1")
    return entry, torch.as_tensor(rewards), torch.as_tensor(selection)


def beta_view(
    rewards: Shaped[Tensor, " items"] | Numbers,
    beta: float,
    other: Shaped[Tensor, " items"] | Numbers | None = None,
    labels: Sequence[str] | None = None,
) -> Html:
    """How sharp is the distribution over rankings at this beta? The most probable rankings and the entropy.

    Args:
        rewards: n rewards, nats/token (2 to 7 responses); of the student where `other` is given.
        beta: the factor that makes scores of rewards, 0 (all rankings alike) or more.
        other: the teacher's n rewards; then both are shown, with their Jensen-Shannon divergence in nats.
        labels: n texts of the responses, for the key; None: letters alone.

    Raises:
        ValueError: fewer than 2 or more than 7 rewards, lists of different lengths, numbers that are not finite.

    >>> print(beta_view([1.0, 0.0], beta=0).text.splitlines()[0])
    Entropy: 0.69 nats (100 %); the largest is ln 2! = 0.69.
    """
    values = {"probability": rewards} if other is None else {"student": rewards, "teacher": other}
    values = {name: array(given, f"rewards of the {name}", ndim=1) for name, given in values.items()}
    items = same_length(**values, **({} if labels is None else {"labels": labels}))
    if not 2 <= items <= MOST_ITEMS:
        raise ValueError(f"{items} rewards: give 2 to {MOST_ITEMS}, for all n! rankings are enumerated")
    beta = number(beta, "beta", 0)
    models = {name: PlackettLuce(torch.as_tensor(beta * given)) for name, given in values.items()}
    rows, shares = top_rankings(list(models.values()))
    colours = {"probability": DATA, "student": STUDENT, "teacher": TEACHER}
    series = dict(zip(models, shares, strict=True))
    key = [] if labels is None else [f"{a}: {shorten(b, 80)}" for a, b in zip(letters_of(items), labels, strict=True)]
    return page(
        line(_entropy_text(models), bold=True),
        html.bars(series, rows, {name: colours[name] for name in series}, digits=3, title=f"beta = {beta:g}"),
        *map(line, key),
    )


def top_rankings(models: list[PlackettLuce], shown: int = SHOWN) -> tuple[list[str], Float[Tensor, "models rows"]]:
    """The most probable rankings as "B > A > C", by the mean over the models, then all the others as one row.

    Args:
        models: distributions over the same n items, n up to 10.
        shown: how many rankings at most, at least 1.
    Returns:
        The rows' names, and each model's probability of each row; these sum to 1.

    >>> top_rankings([PlackettLuce([1.0, 0.0])])[0]
    ['A > B', 'B > A']
    """
    rankings = models[0].enumerate()[0]
    probs = torch.stack([model.all_log_probs().exp() for model in models])
    top = probs.mean(0).sort(descending=True, stable=True).indices[:shown]
    letters = letters_of(rankings.shape[1])
    names = [" > ".join(letters[k] for k in ranking) for ranking in rankings[top].tolist()]
    shares = probs[:, top]
    if (others := len(rankings) - len(top)) > 0:
        names.append(f"the other {others:,}")
        shares = torch.cat([shares, (1 - shares.sum(1, keepdim=True)).clamp(min=0)], 1)
    return names, shares


def _entropy_text(models: Mapping[str, PlackettLuce]) -> str:
    items, parts = next(iter(models.values())).items, []
    largest = math.log(math.factorial(items))
    for name, model in models.items():
        entropy, whose = float(model.entropy()), "" if name == "probability" else f"{name} "
        parts.append(f"{whose}{num(entropy)} nats ({100 * entropy / largest:.0f} %)")
    text = f"Entropy: {', '.join(parts)}; the largest is ln {items}! = {num(largest)}."
    if len(models) == 2:
        text += f" Jensen-Shannon divergence: {num(float(js_divergence(*models.values()).value), 3)} nats."
    return text


def ranking_view(
    scores: Shaped[Tensor, " items"] | Numbers, ranking: str | Sequence[int] | Shaped[Tensor, " items"]
) -> Html:
    """How probable is this ranking? Stage by stage, one item is picked from those that remain: the product of n steps.

    Args:
        scores: n scores, beta * reward (nats), 1 to 26 of them.
        ranking: the items best first, as indices from 0 or as letters, such as "BAC" or "B > A > C".

    Raises:
        ValueError: no ranking of these items, or scores that are not finite or differ by more than 700.

    >>> print(ranking_view([1.0, 0.0], "AB").text.splitlines()[0])
    P(A > B) = 0.731 × 1.000 = 0.7311
    """
    scores = array(scores, "scores", ndim=1)
    if len(scores) > MOST_LETTERS or np.ptp(scores) > 700:
        raise ValueError(f"scores: give at most {MOST_LETTERS} that differ by at most 700; use a smaller beta")
    order, letters = _parse_ranking(ranking, len(scores)), letters_of(len(scores))
    steps = stage_probs(scores, order)
    shift = scores.max() if np.abs(scores).max() > 5 else 0.0  # numbers that can be read; their ratios stay
    weight = "exp(score − largest score)" if shift else "exp(score)"
    weights = [f"{value:.3g}" for value in np.exp(scores - shift)]
    stages, names = [], []
    for k, (item, step) in enumerate(zip(order, steps, strict=True)):
        left = sorted(order[k:])
        names.append(f"{letters[item]} from {', '.join(letters[i] for i in left)}")
        fraction = f"{weights[item]} / ({' + '.join(weights[i] for i in left)})"
        stages.append({"picked": names[-1], f"{weight} / sum over the remaining": fraction, "probability": step})
    product, picked = " × ".join(num(step, 3) for step in steps), " > ".join(letters[i] for i in order)
    return page(
        line(f"P({picked}) = {product} = {math.prod(steps):.4g}", bold=True),
        html.table(stages),
        html.bars({"probability of the stage": steps}, names, {"probability of the stage": DATA}, longest=1.0),
    )


def stage_probs(scores: np.ndarray, order: Sequence[int]) -> list[float]:
    """The factors of P(ranking): at each stage exp(s) of the picked item / sum of exp(s) over those that remain.

    Args:
        scores: n scores, nats.
        order: the items, best first.

    >>> stage_probs(np.array([0.0, 0.0]), [1, 0])
    [0.5, 1.0]
    """
    ordered = scores[list(order)]
    return [math.exp(ordered[k] - np.logaddexp.reduce(ordered[k:])) for k in range(len(ordered))]


def _parse_ranking(ranking: Any, items: int) -> list[int]:
    letters = letters_of(items)
    if isinstance(ranking, str):
        order = [letters.index(c) if c in letters else -1 for c in ranking.upper() if c not in " >,"]
    else:
        order = [int(item) for item in ranking]
    if sorted(order) != list(range(items)):
        wanted = f"each of {', '.join(letters)} once, best first, such as {''.join(letters[::-1])!r}"
        raise ValueError(f"ranking {ranking!r}: give {wanted}")
    return order
