"""Tokens coloured by their log-probability, a prompt with its responses, and two lists of texts side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from padlab.show.arrays import array, probabilities, same_length
from padlab.show.html.safe import LINE, WRAP, Html, escape, letter, num, shorten, visible
from padlab.show.html.tables import table

_RAMP = ((255, 255, 255), (221, 150, 190), (82, 20, 62))  # likely, unlikely, very unlikely: lightness falls steadily
_DARK = 0.708  # of the ramp: from here on white text is read better than black


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
    share = min(max(logp / low, 0.0), 1.0)
    rgb = [round(np.interp(share, (0.0, 0.5, 1.0), channel)) for channel in zip(*_RAMP, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*rgb), "#000000" if share < _DARK else "#ffffff"


def error_box(error: Exception) -> str:
    """HTML of an error's message, marked as an alert; one that is no ValueError is named.

    >>> "KeyError" in error_box(KeyError("x")), "ValueError" in error_box(ValueError("give a text"))
    (True, False)
    """
    kind, message = type(error).__name__, str(error)
    expected = isinstance(error, ValueError) and message
    text = message if expected else f"{kind}: {message}" if message else kind
    style = f"border-left:4px solid #A03E7C;padding:4px 12px;max-width:46em;{WRAP}"
    return f'<div role="alert" class="tex2jax_ignore mathjax_ignore" style="{style}">{escape(text)}</div>'


def _coloured(text: str, logp: float | int, low: float | int, look: str, hint: str = "") -> str:
    """A text on its token's colour, with a hint under the mouse pointer."""
    back, ink = heat_colours(logp, low)
    title = f' title="{escape(hint, attribute=True)}"' if hint else ""
    return f'<span{title} style="background-color:{back};color:{ink};{look}">{escape(text)}</span>'


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
    tokens, logps = [str(token) for token in tokens], array(logps, "logps of the tokens", ndim=1)
    same_length(tokens=tokens, logps=logps)
    head = f"mean {num(logps.mean())} nats/token over {len(tokens)} tokens"
    head = f"{title}: {head}" if title else head
    spans, plain = [], []
    for token, logp in zip(tokens, logps, strict=True):
        shown = token.replace("\n", "⏎\n").replace("\t", "⇥\t") or "∅"
        spans.append(_coloured(shown, logp, low, "border-radius:2px", f"{num(logp, 3)} nats"))
        plain.append(f"{visible(token)}({num(logp)})")
    scale = [_coloured(num(value), value, low, "padding:1px 8px") for value in np.linspace(0, low, 5)]
    body = f'<div dir="auto" style="{WRAP};line-height:1.7">{"".join(spans)}</div>'
    legend = f'<div style="margin-top:6px;font-size:85%">{"".join(scale)} nats and below</div>'
    return Html(f"<div><b>{escape(head)}</b></div>{body}{legend}", f"{visible(head)}\n{''.join(plain)}")


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
    named = rewards if isinstance(rewards, Mapping) else {} if rewards is None else {"reward": rewards}
    named = {str(name): array(values, str(name), ndim=1) for name, values in named.items()}
    shares = {} if probs is None else {"probs": probabilities(probs, "probs")}
    same_length(**(named | shares | {"responses": responses}))
    html = [f'<div style="border-left:4px solid rgba(128,128,128,0.6);padding:4px 12px">{_block(prompt, limit)}</div>']
    plain = [visible(shorten(prompt, limit))]
    for index, response in enumerate(responses):
        facts = [f"{name} {num(values[index])} nats/token" for name, values in named.items()]
        bar = ""
        if shares:
            share = shares["probs"][index]
            facts.append(f"p {share:.2f}")
            length = f"linear-gradient(90deg,#808080 {share:.1%},rgba(128,128,128,0.25) 0)"
            bar = f'<div style="width:220px;height:6px;background:{length}"></div>'
        name, line = letter(index), " · ".join(facts)
        head = f'<div style="font-size:90%"><b>{name}</b> {escape(line)}{bar}</div>'
        html.append(f'<div style="border-top:{LINE};padding:6px 12px">{head}{_block(response, limit)}</div>')
        body = visible(shorten(response, limit)).replace("\n", "\n   ")
        plain.append(f"{name}  {visible(line)}".rstrip() + f"\n   {body}")
    return Html("".join(html), "\n".join(plain))


def _block(text: str, limit: int) -> str:
    return f'<div dir="auto" style="{WRAP}">{escape(shorten(text, limit))}</div>'


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
    same_length(prompts=prompts, texts_a=texts_a, texts_b=texts_b)
    rows, plain = [], []
    for prompt, a, b in zip(prompts, texts_a, texts_b, strict=True):
        rows.append({"prompt": prompt, "a": a, "b": b})
        prompt, a, b = (visible(shorten(text, limit)) for text in (prompt, a, b))
        plain.append(f"{prompt}\n  {visible(title_a)}: {a}\n  {visible(title_b)}: {b}")
    columns = {"prompt": "prompt", "a": title_a, "b": title_b}
    return Html(table(rows, columns, limit=limit).html, "\n".join(plain))
