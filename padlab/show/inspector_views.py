"""One prompt's view as safe HTML and as plain text: responses, rankings, measures, remarks, pairs, tokens.

`moving_view` is what alpha and beta change; `fixed_view` is what only the models and the texts decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from padlab.rankings.calibration import log_selection
from padlab.rankings.intervals import Interval
from padlab.show.badges import badges
from padlab.show.html import Html, bars, escape, legend, shorten, table, token_heatmap, visible
from padlab.show.html.safe import LINE, WRAP, letter, num
from padlab.show.plots.style import NEUTRAL, STUDENT, TEACHER
from padlab.show.snapshot import Preferences, Snapshot, first_place_interval, ranking_name

COLOURS = {"before": NEUTRAL, "student": STUDENT, "teacher": TEACHER}
NAMES = {"before": "student before training", "student": "student", "teacher": "teacher"}
TEXT_LIMIT = 2000
VISIBLE = 0.005  # a ranking of less than that under every model is counted among the others


def stacked(parts: Sequence[Html]) -> Html:
    """Views below each other."""
    html = "".join(f'<div style="margin:10px 0;line-height:1.4">{part.html}</div>' for part in parts)
    return Html(html, "\n\n".join(part.text for part in parts))


def prompt_view(snapshot: Snapshot) -> Html:
    """The prompt as it was asked."""
    look = f"border-left:4px solid rgba(128,128,128,0.6);padding:4px 12px;{WRAP}"
    return Html(f'<div dir="auto" style="{look}">{escape(snapshot.prompt)}</div>', visible(snapshot.prompt))


def moving_view(snapshot: Snapshot, found: Preferences, earlier: Preferences | None = None) -> Html:
    """Responses with their numbers, the distribution over rankings, measures and remarks.

    Args:
        snapshot, found: what the models said, and what alpha and beta make of it.
        earlier: the preferences before an edit or of a pinned state, of as many responses; drawn as outlines.
    """
    return stacked([responses_view(snapshot, found, earlier), summary_view(snapshot, found, earlier)])


def summary_view(snapshot: Snapshot, found: Preferences, earlier: Preferences | None = None) -> Html:
    """The distribution over rankings, measures and remarks, without the texts."""
    parts = [rankings_view(found, earlier), measures_view(snapshot, found, earlier), badges_view(snapshot, found)]
    return stacked(parts)


def fixed_view(snapshot: Snapshot) -> Html:
    """The teacher's answers to each pair, and every token with its log-probability."""
    return stacked([*([answers_view(snapshot)] if snapshot.votes is not None else []), tokens_view(snapshot)])


def tokens_view(snapshot: Snapshot) -> Html:
    """Every token of every response, with its log-probability under each model."""
    parts = []
    for index in range(len(snapshot.responses)):
        for role, scored in snapshot.tokens.items():
            parts.append(token_heatmap(*scored[index], f"{letter(index)} under the {NAMES[role]}"))
    return stacked(parts)


def responses_view(snapshot: Snapshot, found: Preferences, earlier: Preferences | None = None) -> Html:
    """Each response with its numbers per model: reward (nats/token), P(first) with its interval, log p_sel."""
    html, plain = "", []
    for k, (text, facts) in enumerate(zip(snapshot.responses, facts_views(snapshot, found, earlier), strict=True)):
        body = f'<div dir="auto" style="{WRAP}">{escape(shorten(text, TEXT_LIMIT))}</div>'
        html += f'<div style="border-top:{LINE};padding:5px 0"><b>{letter(k)}</b>{body}{facts.html}</div>'
        plain += [f"{letter(k)}  {visible(shorten(text, TEXT_LIMIT))}", facts.text]
    return Html(f'<div style="max-width:46em">{html}</div>', "\n".join(plain))


def facts_views(snapshot: Snapshot, found: Preferences, earlier: Preferences | None = None) -> list[Html]:
    """The numbers of each response, one line per model, without its text."""
    intervals = {role: first_place_interval(snapshot, role, found.alpha, found.beta) for role in found.scores}
    views = []
    for k in range(len(snapshot.responses)):
        facts = [(role, _facts(snapshot, found, earlier, role, k, intervals[role])) for role in found.scores]
        lines = "".join(f"<div>{mark(role)}{escape(fact)}</div>" for role, fact in facts)
        html = f'<div style="font-size:90%;line-height:1.35">{lines}</div>'
        views.append(Html(html, "\n".join(f"   {NAMES[role]}: {fact}" for role, fact in facts)))
    return views


def _facts(
    snapshot: Snapshot, found: Preferences, earlier: Preferences | None, role: str, k: int, interval: Interval | None
) -> str:
    first = num(found.top_choice[role][k])
    if interval is not None:
        first += f" [{num(float(interval.low[k]))}, {num(float(interval.high[k]))}]"
    if earlier is not None and role in earlier.top_choice:
        change = found.top_choice[role][k] - earlier.top_choice[role][k]
        first += f", change {'+' if change > 0 else ''}{num(change)}"
    fact = f"reward {num(snapshot.rewards[role][k])} nats/token, P(first) {first}"
    if role == "teacher" and snapshot.selection_prob is not None:
        fact += f", log p_sel {num(_log_selection(snapshot)[k])}"
    return fact


def mark(role: str) -> str:
    """HTML: a square in the model's colour, and its name."""
    return legend({NAMES[role]: COLOURS[role]}, [NAMES[role]]).rstrip() + ": "


def rankings_view(found: Preferences, earlier: Preferences | None = None) -> Html:
    """The distribution over rankings: the most probable ones as bars, the others as one."""
    roles = list(found.scores)
    if found.rankings:
        kept = [k for k in range(len(found.rankings)) if any(found.shares[r][k] >= VISIBLE for r in roles)]
        labels = [ranking_name(found.rankings[k]) for k in kept]
        values = {role: [*found.shares[role][kept]] for role in roles}
        ghost = _same_rankings([found.rankings[k] for k in kept], earlier, roles) if earlier else None
        if rest := math.factorial(len(found.rankings[0])) - len(kept):
            labels.append(f"{rest:,} other" + ("s" if rest > 1 else ""))
            values, ghost = (
                {r: [*p, max(0.0, 1 - sum(p))] for r, p in v.items()} if v else None for v in (values, ghost)
            )
        title = "probability of each ranking, best response first"
    else:
        labels = [letter(k) for k in range(len(next(iter(found.scores.values()))))]
        values, ghost = ({r: p.top_choice[r] for r in roles} if p else None for p in (found, earlier))
        title = "probability of standing first"
    named = {NAMES[role]: values[role] for role in roles}
    ghosts = {NAMES[role]: ghost[role] for role in roles} if ghost else None
    colours = {NAMES[role]: COLOURS[role] for role in roles}
    return bars(named, labels, colours, ghost=ghosts, title=f"{title} (alpha {found.alpha:g}, beta {found.beta:g})")


def measures_view(snapshot: Snapshot, found: Preferences, earlier: Preferences | None = None) -> Html:
    """Agreement with the teacher, entropies, and whether any distribution over rankings fits the teacher's answers."""
    most = num(math.lgamma(len(snapshot.responses) + 1))
    html, plain = "", []
    for role in found.scores:
        after, was = (" before" if role == "before" else ""), earlier.agreement if earlier else {}
        parts = []
        if role != "teacher" and f"jsd{after}" in found.agreement:
            jsd, tau = (_now(found.agreement[n + after], was.get(n + after)) for n in ("jsd", "tau"))
            parts += [f"Jensen-Shannon divergence to the teacher {jsd} nats (0 to 0.69), Kendall's tau {tau} (-1 to 1)"]
        entropy = _now(found.entropy[role], earlier.entropy.get(role) if earlier else None)
        parts += [f"entropy of its rankings {entropy} nats (0 to {most})"]
        if role == "teacher" and snapshot.fit is not None:
            parts += [f"its answers are up to {num(float(snapshot.fit.largest_gap))} off a Plackett-Luce distribution"]
        html += f"<div>{mark(role)}{escape('; '.join(parts))}</div>"
        plain.append(f"{NAMES[role]}: {'; '.join(parts)}")
    return Html(html, "\n".join(plain))


def _now(value: float, was: float | None) -> str:
    """A value, and what it was; a dash where it is undefined."""
    shown = num(value) if value == value else "–"
    return shown if was is None or num(was) == num(value) else f"{shown}, before {num(was)}"


def badges_view(snapshot: Snapshot, found: Preferences) -> Html:
    """Remarks in words; a line that nothing stands out, or that there are no tokens to look at."""
    remarks, end = badges(snapshot, found), "nothing stands out"
    if not snapshot.tokens:
        end = "not checked without tokens: lengths, few tokens, wide intervals, tokenizers (the inspector does)"
    ends = [] if remarks and snapshot.tokens else [end]
    look = f"display:inline-block;border:{LINE};border-radius:4px;padding:1px 6px;margin-right:6px;font-weight:bold"
    html = "".join(f'<div><span style="{look}">{escape(b.name)}</span> {escape(b.reason)}</div>' for b in remarks)
    html += "".join(f"<div>{end}</div>" for end in ends)
    return Html(html, "\n".join([*(f"{b.name}: {visible(b.reason)}" for b in remarks), *ends]))


def answers_view(snapshot: Snapshot) -> Html:
    """The teacher's answers: P(the row's response is chosen), when it stands first and when it stands last."""
    n, votes = len(snapshot.responses), snapshot.votes
    rows = []
    for i in range(n):
        row = {"": letter(i)}
        for j in range(n):
            row[f"against {letter(j)}"] = "" if i == j else f"{num(votes[i, j])} / {num(1 - votes[j, i])}"
        rows.append(row)
    return table(rows, caption="P(the row's response is chosen), listed first / listed second")


def pairs_view(found: Preferences) -> Html:
    """P(row before column) of student and teacher, and the rank at which each response is expected."""
    parts = []
    for role, matrix in found.pairwise.items():
        rows = []
        for i, values in enumerate(matrix):
            before = {f"before {letter(j)}": "" if i == j else num(v) for j, v in enumerate(values)}
            ranks = {f"rank {k + 1}": num(p) for k, p in enumerate(found.marginals[role][i])}
            rows.append({"": letter(i), **before, **ranks, "expected rank": num(found.expected_rank[role][i])})
        parts.append(table(rows, caption=f"{NAMES[role]}: P(row before column), P(row at rank)"))
    return stacked(parts)


def as_numbers(snapshot: Snapshot, found: Preferences) -> dict[str, Any]:
    """Everything that is shown, as plain JSON values."""
    plain = lambda value: value.tolist() if isinstance(value, np.ndarray) else value  # noqa: E731
    per_role = ("scores", "top_choice", "expected_rank", "shares", "rest", "pairwise", "marginals", "entropy")
    result = {
        "prompt": snapshot.prompt,
        "responses": list(snapshot.responses),
        "alpha": found.alpha,
        "beta": found.beta,
        "rewards": {role: values.tolist() for role, values in snapshot.rewards.items()},
        "rankings": [ranking_name(ranking) for ranking in found.rankings],
        **{name: {role: plain(v) for role, v in getattr(found, name).items()} for name in per_role},
        "agreement": {name: value if value == value else None for name, value in found.agreement.items()},
        "remarks": [badge._asdict() for badge in badges(snapshot, found)],
        "tokens": {role: [list(map(list, scored)) for scored in rows] for role, rows in snapshot.tokens.items()},
    }
    if snapshot.selection_prob is not None:
        result |= {"selection_prob": snapshot.selection_prob.tolist(), "log_selection": _log_selection(snapshot)}
    if snapshot.votes is not None:
        result["selection_votes"] = snapshot.votes.tolist()
    for name in ("option_mass", "position_bias", "order_consistency"):
        if (value := getattr(snapshot, name)) == value:  # not NaN
            result[name] = value
    return result


def _log_selection(snapshot: Snapshot) -> list[float]:
    return log_selection(torch.as_tensor(snapshot.selection_prob)).tolist()


def _same_rankings(rankings: Sequence[tuple], earlier: Preferences, roles: Sequence[str]) -> dict | None:
    """The earlier probabilities of these rankings; None where some are not known."""
    place = {ranking: k for k, ranking in enumerate(earlier.rankings)}
    if not set(rankings) <= set(place) or not set(roles) <= set(earlier.shares):
        return None
    return {role: [float(earlier.shares[role][place[r]]) for r in rankings] for role in roles}
