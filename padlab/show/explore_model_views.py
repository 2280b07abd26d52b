"""What the small widgets show of a model's tokens and of the losses, as HTML and as plain text (explore_views.py)."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from padlab.lm.models import LanguageModel
from padlab.phases.rewards import score_tokens
from padlab.rankings.checks import Numbers
from padlab.rankings.losses import ppd_loss, vpd_loss
from padlab.show import html
from padlab.show.arrays import array, same_length
from padlab.show.html import Html, escape, shorten, visible
from padlab.show.html.safe import CELL, letter, num
from padlab.show.plots.style import DATA, STUDENT, TEACHER

MOST_TOKENS, COSTLIEST = 12, 8  # bars of tokens; rows in the table of the costliest tokens
COLDEST = 0.01  # the lowest temperature
NO_PULL = 5e-4  # smaller pulls have no direction worth naming
LOSSES = {
    "VPD": vpd_loss,
    "PPD (JSD)": ppd_loss,
    "KL(teacher || student)": partial(ppd_loss, divergence="forward_kl"),
    "KL(student || teacher)": partial(ppd_loss, divergence="reverse_kl"),
}


def temperature_view(
    logits: Shaped[Tensor, " tokens"] | Numbers, temperature: float, tokens: Sequence[str] | None = None
) -> Html:
    """How does the temperature change the choice of the next token? softmax(logits / T), with T = 1 as an outline.

    Args:
        logits: one finite number per token, nats up to a constant; 12 tokens with the highest are drawn.
        temperature: T, at least 0.01.
        tokens: the tokens' texts, one per logit; None: "token 0", "token 1", ...

    Raises:
        ValueError: another number of tokens than logits, logits that are not finite, a temperature below 0.01.

    >>> print(temperature_view([2.0, 0.0], 2.0, ["yes", "no"]))
    T = 2: entropy 0.58 nats (at T = 1: 0.37), most probable: yes with 0.731
         probability at T = 2; outline: T = 1
    yes  0.731
    no   0.269
    """
    logits = array(logits, "logits", ndim=1)
    temperature = number(temperature, "temperature", COLDEST)
    names = [f"token {k}" for k in range(len(logits))] if tokens is None else [token_name(text) for text in tokens]
    same_length(tokens=names, logits=logits)
    chosen, plain = (torch.as_tensor(logits / divisor).softmax(-1).numpy() for divisor in (temperature, 1.0))
    order = np.argsort(-logits, kind="stable")
    top, rest = order[:MOST_TOKENS], order[MOST_TOKENS:]
    rows = [names[k] for k in top] + ([f"the other {len(rest):,}"] if len(rest) else [])
    now, before = ([*p[top], *([p[rest].sum()] if len(rest) else [])] for p in (chosen, plain))
    nats, nats_plain = (float(torch.special.entr(torch.as_tensor(p)).sum()) for p in (chosen, plain))
    entropy = f"entropy {num(nats)} nats (at T = 1: {num(nats_plain)})"
    name = f"probability at T = {temperature:g}; outline: T = 1"
    return page(
        line(
            f"T = {temperature:g}: {entropy}, most probable: {names[top[0]]} with {num(chosen[top[0]], 3)}", bold=True
        ),
        html.bars({name: now}, rows, {name: DATA}, ghost={name: before}, longest=1.0, digits=3),
    )


def token_name(text: Any) -> str:
    """A token's text with its white space made visible.

    >>> token_name(" egg")
    '␣egg'
    """
    shown = str(text).replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣")
    return visible(shown) or "∅"


def pull_view(student_gap: float, teacher_gap: float) -> Html:
    """Where does each loss pull the student? Two responses A and B; a step of gradient descent changes the gap.

    Args:
        student_gap, teacher_gap: s_A - s_B, scores s = beta * reward, nats, finite; P(A first) = sigmoid(gap).

    Raises:
        ValueError: a gap that is not finite.

    >>> print(pull_view(0.0, 0.0).text.splitlines()[0])
    P(A first): student 0.50, teacher 0.50
    """
    gaps = {"student": student_gap, "teacher": teacher_gap}
    gaps = {name: number(gap, f"{name}_gap", -math.inf) for name, gap in gaps.items()}
    first = {name: float(torch.sigmoid(torch.tensor(gap, dtype=torch.float64))) for name, gap in gaps.items()}
    series = {name: [p, 1 - p] for name, p in first.items()}
    colours = {"student": STUDENT, "teacher": TEACHER}
    tie = [line("The teacher ranks neither first; VPD needs an order and takes A before B.")] if not teacher_gap else []
    return page(
        line(f"P(A first): {', '.join(f'{name} {num(p)}' for name, p in first.items())}", bold=True),
        html.bars(series, ["A first", "B first"], colours, longest=1.0),
        _pull_table(pulls(*gaps.values())),
        *tie,
    )


def pulls(student_gap: float, teacher_gap: float) -> dict[str, tuple[float, float]]:
    """Each loss of two responses, and its pull on the student's gap s_A - s_B, by autograd in float64.

    Returns:
        name of the loss -> (value in nats, pull: minus the derivative by the gap); a pull above 0 raises A.

    >>> pulls(0.0, 1.0)["VPD"][1]
    0.5
    """
    results = {}
    for name, loss in LOSSES.items():
        gap = torch.tensor(float(student_gap), dtype=torch.float64, requires_grad=True)
        teacher = torch.tensor([float(teacher_gap), 0.0], dtype=torch.float64)
        value = loss(torch.stack([gap, torch.zeros_like(gap)]), teacher)
        results[name] = float(value.detach()), -float(torch.autograd.grad(value, gap)[0])
    return results


def _pull_table(found: Mapping[str, tuple[float, float]]) -> Html:
    longest = max(1.0, *(abs(pull) for _, pull in found.values()))
    rows, lines = [], []
    for name, (value, pull) in found.items():
        words = "← towards B" if pull < 0 else "towards A →"
        words = words if abs(pull) > NO_PULL else f"below {NO_PULL:g}"
        cells = {"loss": name, "value (nats)": num(value, 3), "pull on the gap": num(pull, 3)}
        rows.append(cells | {"← towards B | towards A →": words})
        look = f"{CELL}width:16em;text-align:{'right' if pull > 0 else 'left'}"
        drawn = f'<td style="{look}">{_arrow(pull / longest)}{escape(words)}</td>'
        lines.append("".join(f'<td style="{CELL}">{escape(text)}</td>' for text in cells.values()) + drawn)
    head = "".join(f'<th scope="col" style="{CELL}text-align:left">{escape(text)}</th>' for text in rows[0])
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    table = f'<table style="border-collapse:collapse;color:inherit;width:100%"><thead><tr>{head}</tr></thead>'
    return Html(f"{table}<tbody>{body}</tbody></table>", html.table(rows).text)


def _arrow(share: float) -> str:
    """A bar from the middle to the right (above 0: towards A) or to the left, `share` of the half width long."""
    side = "left" if share > 0 else "right"
    return (
        '<div style="position:relative;height:0.8em;background:linear-gradient(90deg,transparent 49.7%,'
        f'rgba(128,128,128,0.8) 0 50.3%,transparent 0)"><div style="position:absolute;{side}:50%;top:0;bottom:0;'
        f'width:{50 * abs(share):.2f}%;background:{DATA}"></div></div>'
    )


def token_gap_view(model: LanguageModel, prompt: str | Sequence[Mapping[str, Any]], a: str, b: str) -> Html:
    """Which tokens make one response cost more than the other? The model scores both, token by token.

    Both have one colour scale: the darkest is the lowest log-probability of the two, rounded down to whole nats.

    Args:
        model: any `LanguageModel`.
        prompt: the user's text, or messages of which the last is the user's.
        a, b: the two responses' texts.

    Raises:
        ValueError: an empty response or prompt, or one longer than the model's context.

    >>> print(token_gap_view(load_pair("tiny").teacher, "Hi", "ab", "c").text.splitlines()[1])
    Hi
    """
    if empty := [name for name, text in (("A", a), ("B", b)) if not text.strip()]:
        raise ValueError(f"response {' and '.join(empty)} is empty: type a text to score")
    scored = dict(zip("AB", score_tokens(model, prompt, [a, b]), strict=True))
    shares = {name: contributions(logps) for name, (_, logps) in scored.items()}
    reward = {name: float(share.sum()) for name, share in shares.items()}
    gap = reward["A"] - reward["B"]
    more = f"{'B' if gap >= 0 else 'A'} costs {num(abs(gap), 3)} more than {'A' if gap >= 0 else 'B'}"
    text = f"Reward A {num(reward['A'], 3)}, reward B {num(reward['B'], 3)} nats/token: {more}"
    asked = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    low = min(-1, math.floor(min(min(logps) for _, logps in scored.values())))  # below 0, also if all are certain
    return page(
        line(text, bold=True),
        line(shorten(asked, 300)),
        *(html.token_heatmap(*scored[name], title=name, low=low) for name in "AB"),
        _costliest(scored, shares),
        line(
            "A token's share is its log-probability / number of tokens; the shares of a response add up to its reward."
        ),
    )


def contributions(logps: Sequence[float]) -> np.ndarray:
    """What each of T tokens adds to the reward, the mean log-probability: log p_t / T, nats/token.

    >>> contributions([-1.0, -3.0])
    array([-0.5, -1.5])
    """
    return np.asarray(logps, dtype=np.float64) / len(logps)


def _costliest(scored: Mapping[str, tuple[list[str], list[float]]], shares: Mapping[str, np.ndarray]) -> Html:
    rows = [
        {"response": name, "place": k + 1, "token": token_name(token), "log p (nats)": logp, "share": shares[name][k]}
        for name, (tokens, logps) in scored.items()
        for k, (token, logp) in enumerate(zip(tokens, logps, strict=True))
    ]
    columns = {name: name for name in rows[0]} | {"share": "share of the reward (nats/token)"}
    return html.table(sorted(rows, key=lambda row: row["share"])[:COSTLIEST], columns, caption="The costliest tokens")


def number(value: float, name: str, lowest: float) -> float:
    """A finite number of at least `lowest`, as float.

    Raises:
        ValueError: it is not.

    >>> number(2, "beta", 0)
    2.0
    """
    if not math.isfinite(value) or value < lowest:
        least = f" of at least {lowest:g}" if math.isfinite(lowest) else ""
        raise ValueError(f"{name} is {value}: give a finite number{least}")
    return float(value)


def line(text: Any, bold: bool = False) -> Html:
    """A line of text; bold for the answer to the view's question.

    >>> line("1 < 2")
    1 < 2
    """
    return Html(
        f'<div style="{"font-weight:bold;" if bold else ""}overflow-wrap:anywhere">{escape(text)}</div>', visible(text)
    )


def page(*parts: Html) -> Html:
    """The parts of a view below each other, at most 46 em wide.

    >>> page(line("a"), line("b"))
    a
    b
    """
    body = "".join(f'<div style="margin:0 0 8px">{part.html}</div>' for part in parts)
    return Html(f'<div style="max-width:46em">{body}</div>', "\n".join(part.text for part in parts))


def letters_of(items: int) -> list[str]:
    """Names of n responses: A, B, ...

    >>> letters_of(2)
    ['A', 'B']
    """
    return [letter(k) for k in range(items)]
