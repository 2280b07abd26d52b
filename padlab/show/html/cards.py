"""Tokens coloured by their log-probability, a prompt with its responses, and two lists of texts side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from padlab.show.html.safe import CELL, LINE, WRAP, Html, escape, shorten, visible

_RAMP = ((255, 255, 255), (221, 150, 190), (82, 20, 62))  # likely, unlikely, very unlikely: lightness falls steadily


def heat_colours(logp: Any, low: float | int = -8.0) -> tuple[str, str]:
    """Background and text colour for one token log-probability; the pair always has a contrast above 4.5.

    Args:
        logp: log-probability in nats, at most 0; values above 0 count as 0.
        low: the log-probability in nats, below 0, from which on the darkest colour is used.

    Returns:
        two colours as "#rrggbb".

    >>> heat_colours(0.0)
    ('#ffffff', '#000000')
    """
    position = 2 * min(max(logp / low, 0.0), 1.0)
    start, end = (_RAMP[0], _RAMP[1]) if position < 1 else (_RAMP[1], _RAMP[2])
    share = position if position < 1 else position - 1
    rgb = [round(a + (b - a) * share) for a, b in zip(start, end, strict=True)]
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#{:02x}{:02x}{:02x}".format(*rgb), "#000000" if luminance > 0.179 else "#ffffff"


def _finite(values: Any, count: int, what: str, per: str) -> list[float]:
    """The values as floats; ValueError unless there is a finite one for each of the `count` texts."""
    numbers = [float(value) for value in values]
    if len(numbers) != count:
        raise ValueError(f"{what}: {len(numbers)} values for {count} {per}s; give one value per {per}")
    for index, number in enumerate(numbers):
        if not math.isfinite(number):
            raise ValueError(f"{what}: the value of {per} {index} is {number}; leave that {per} out or score it again")
    return numbers


def _nats(value: Any, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _legend(low: float | int) -> str:
    samples = []
    for step in range(5):
        back, ink = heat_colours(low * step / 4, low)
        text = ("≤ " if step == 4 else "") + f"{low * step / 4 + 0.0:g}".replace("-", "−")
        samples.append(f'<span style="background-color:{back};color:{ink};padding:1px 8px">{escape(text)}</span>')
    return f'<div style="margin-top:6px;font-size:85%">{"".join(samples)} nats</div>'


def _token(token: str, logp: float | int, low: float | int) -> str:
    back, ink = heat_colours(logp, low)
    shown = token.replace("\n", "⏎\n").replace("\t", "⇥\t") or "∅"
    title = escape(f"{_nats(logp, 3)} nats", attribute=True)
    return f'<span title="{title}" style="background-color:{back};color:{ink};border-radius:2px">{escape(shown)}</span>'


def token_heatmap(tokens: Sequence[str], logps: Any, title: str = "", low: float | int = -8.0) -> Html:
    """A response with each token's log-probability as its background colour, and their mean: the reward.

    Args:
        tokens: the T token texts, in order; joined they are the response.
        logps: T log-probabilities in nats, each at most 0.
        title: a line above, for example the model's name.
        low: the log-probability in nats, below 0, drawn darkest; the legend states it.

    Raises:
        ValueError: no tokens, another number of log-probabilities, or one that is not finite.

    >>> token_heatmap(["Hi", " you"], [-0.5, -1.5])
    mean −1.00 nats/token over 2 tokens
    Hi(−0.50) you(−1.50)
    """
    tokens = [str(token) for token in tokens]
    numbers = _finite(logps, len(tokens), "token_heatmap", "token")
    if not tokens:
        raise ValueError("token_heatmap: there are no tokens; give at least one")
    mean = f"mean {_nats(sum(numbers) / len(numbers))} nats/token over {len(tokens)} tokens"
    head = f"{title}: {mean}" if title else mean
    spans = "".join(_token(token, logp, low) for token, logp in zip(tokens, numbers, strict=True))
    body = f'<div dir="auto" style="{WRAP};line-height:1.7">{spans}</div>'
    text = "".join(f"{visible(token)}({_nats(logp)})" for token, logp in zip(tokens, numbers, strict=True))
    return Html(f"<div><b>{escape(head)}</b></div>{body}{_legend(low)}", f"{visible(head)}\n{text}")


def _columns(rewards: Any, count: int) -> dict[str, list[float]]:
    named = rewards if isinstance(rewards, Mapping) else {"reward": rewards} if rewards is not None else {}
    return {str(name): _finite(values, count, str(name), "response") for name, values in named.items()}


def _bar(share: float | int) -> str:
    """A horizontal bar as long as the probability, 0 to 1."""
    width = 100 * min(max(share, 0.0), 1.0)
    return (
        '<div style="width:220px;background-color:rgba(128,128,128,0.25)">'
        f'<div style="width:{width:.1f}%;height:6px;background-color:#808080"></div></div>'
    )


def _block(text: str, limit: int) -> str:
    return f'<div dir="auto" style="{WRAP}">{escape(shorten(text, limit))}</div>'


def responses(
    prompt: str,
    responses: Sequence[str],
    rewards: Any = None,
    probs: Any = None,
    limit: int = 2000,
) -> Html:
    """A prompt and its responses, lettered A, B, ..., with what is known of each.

    Args:
        prompt: the prompt's text.
        responses: n response texts.
        rewards: n rewards in nats/token, or a mapping from model name to n rewards each.
        probs: n probabilities, 0 to 1, of being chosen; drawn as bars.
        limit: characters shown of each text, at least 1; the rest is counted.

    Raises:
        ValueError: a column with another number of values than responses, or a value that is not finite.

    >>> responses("2+2?", ["4", "5"], rewards=[-0.1, -2.0], probs=[0.9, 0.1])
    2+2?
    A  reward −0.10 nats/token · p 0.90
       4
    B  reward −2.00 nats/token · p 0.10
       5
    """
    columns = _columns(rewards, len(responses))
    shares = None if probs is None else _finite(probs, len(responses), "probs", "response")
    html = [f'<div style="border-left:4px solid rgba(128,128,128,0.6);padding:4px 12px">{_block(prompt, limit)}</div>']
    plain = [visible(shorten(prompt, limit))]
    for index, response in enumerate(responses):
        facts = [f"{name} {_nats(values[index])} nats/token" for name, values in columns.items()]
        facts += [] if shares is None else [f"p {shares[index]:.2f}"]
        letter, line = chr(65 + index) if index < 26 else str(index + 1), " · ".join(facts)
        bar = "" if shares is None else _bar(shares[index])
        head = f'<div style="font-size:90%"><b>{letter}</b> {escape(line)}{bar}</div>'
        html.append(f'<div style="border-top:{LINE};padding:6px 12px">{head}{_block(response, limit)}</div>')
        body = visible(shorten(response, limit)).replace("\n", "\n   ")
        plain.append(f"{letter}  {visible(line)}".rstrip() + f"\n   {body}")
    return Html("".join(html), "\n".join(plain))


def side_by_side(
    title_a: str,
    texts_a: Sequence[str],
    title_b: str,
    texts_b: Sequence[str],
    prompts: Sequence[str],
    limit: int = 1200,
) -> Html:
    """Two models' answers to the same prompts, beside each other.

    Args:
        title_a, title_b: what the two columns are, for example "student before" and "student after".
        texts_a, texts_b: one text per prompt each.
        prompts: the prompts.
        limit: characters shown of each text, at least 1; the rest is counted.

    Raises:
        ValueError: the three lists differ in length.

    >>> side_by_side("before", ["No."], "after", ["Yes!"], ["Well?"])
    Well?
      before: No.
      after: Yes!
    """
    if not len(texts_a) == len(texts_b) == len(prompts):
        counts = f"{len(prompts)} prompts, {len(texts_a)} and {len(texts_b)} texts"
        raise ValueError(f"side_by_side: {counts}; give one text per prompt on each side")
    head = "".join(
        f'<th scope="col" style="{CELL}width:{width}%;text-align:left">{escape(title)}</th>'
        for title, width in (("prompt", 24), (title_a, 38), (title_b, 38))
    )
    rows, plain = [], []
    for prompt, a, b in zip(prompts, texts_a, texts_b, strict=True):
        texts = [shorten(text, limit) for text in (prompt, a, b)]
        cells = "".join(f'<td dir="auto" style="{CELL}text-align:left">{escape(text)}</td>' for text in texts)
        rows.append(f"<tr>{cells}</tr>")
        p, a, b = (visible(text) for text in texts)
        plain.append(f"{p}\n  {visible(title_a)}: {a}\n  {visible(title_b)}: {b}")
    table = f'<table style="border-collapse:collapse;width:100%;color:inherit"><thead><tr>{head}</tr></thead>'
    return Html(f"{table}<tbody>{''.join(rows)}</tbody></table>", "\n".join(plain))
