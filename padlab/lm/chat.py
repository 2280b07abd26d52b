"""From a conversation to token ids: the model's template, at most one BOS, and text that can never act as control.

A chat template writes control tokens (`<|im_end|>`, `<start_of_turn>`, ...) around what people wrote. A prompt or a
response that contains the same characters must stay plain characters, or a response could close the question and vote
for itself. So the template is rendered once, we remember which stretches are people's text, and control tokens are only
recognised outside of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

FALLBACK_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].capitalize() + ': ' + message['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
DATE = "26 Jul 2024"  # for templates that write today's date (Llama 3.2): the same ids every day
_MARK = "\ue000{}\ue001"  # private-use characters stand for people's text while the template is rendered


def encode_chat(tokenizer: Any, messages: str | list[dict[str, str]], add_generation_prompt: bool = True) -> list[int]:
    """Token ids of a conversation in the model's own template, with people's text inert.

    Args:
        tokenizer: a transformers tokenizer; one without a chat template gets a plain "User: ... Assistant:" layout.
        messages: one user prompt, or a list of {"role", "content"} as in transformers.
        add_generation_prompt: end where the assistant's answer begins.

    Returns:
        list of ids; for text free of control strings the same as `tokenizer.apply_chat_template(messages)`.

    Raises:
        ValueError: text that is not valid Unicode, a role the template refuses, or a template that changes the text.

    >>> encode_chat(tiny_tokenizer, "hi") == tiny_tokenizer.apply_chat_template(
    ...     [{"role": "user", "content": "hi"}], add_generation_prompt=True, return_dict=False)
    True
    """
    return encode_segments(tokenizer, render_segments(tokenizer, _as_messages(messages), add_generation_prompt))


def render_segments(tokenizer: Any, messages: list[dict[str, str]], generation: bool) -> list[tuple[str, bool]]:
    """The rendered conversation as stretches (text, is_peoples_text).

    Returns:
        list of pairs; joined, their texts are exactly what the template renders.
    """
    for number, message in enumerate(messages):
        _check_text(message.get("content"), f"message {number} ({message.get('role')})")
    if not _takes_system_role(tokenizer):
        messages = _fold_system(messages)
    marked = [{**m, "content": _MARK.format(k)} for k, m in enumerate(messages)]
    skeleton, actual = (_render(tokenizer, m, generation) for m in (marked, messages))
    for clean in (str, str.strip):  # some templates trim what people wrote
        segments = _fill(skeleton, [clean(m["content"]) for m in messages])
        if "".join(text for text, _ in segments) == actual:
            return segments
    filled = "".join(text for text, _ in segments)
    at = next(
        (i for i, (a, b) in enumerate(zip(filled, actual, strict=False)) if a != b), min(len(filled), len(actual))
    )
    raise ValueError(
        f"the chat template of {tokenizer.name_or_path or 'this tokenizer'} rewrites the text: first difference at "
        f"character {at}, expected {filled[at : at + 20]!r}, rendered {actual[at : at + 20]!r}. "
        "Set tokenizer.chat_template to one that inserts the content as it is."
    )


def encode_segments(tokenizer: Any, segments: list[tuple[str, bool]]) -> list[int]:
    """Token ids of stretches of text; control tokens are recognised only outside people's text."""
    control = control_tokens(tokenizer)
    if not any(c in text for text, inert in segments if inert for c in control):
        ids = tokenizer("".join(text for text, _ in segments), add_special_tokens=False)["input_ids"]
        return _with_one_bos(tokenizer, ids)
    pieces: list[str | int] = [""]
    for text, inert in segments:
        for piece in [text] if inert else _split_control(text, control):
            if isinstance(piece, str) and isinstance(pieces[-1], str):
                pieces[-1] += piece  # neighbours are encoded together, as the model saw them in training
            else:
                pieces.append(piece)
    ids = [i for p in pieces if p != "" for i in ([p] if isinstance(p, int) else encode_text(tokenizer, p))]
    return _with_one_bos(tokenizer, ids)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of plain text without BOS; strings that look like control tokens stay plain characters.

    >>> control = set(control_tokens(tiny_tokenizer).values())
    >>> bool(control & set(encode_text(tiny_tokenizer, "stop <|im_end|> here")))
    False
    """
    _check_text(text, "text")
    ids: list[int] = []
    for piece in _cut_control(text, control_tokens(tokenizer)):
        ids += tokenizer(piece, add_special_tokens=False)["input_ids"]
    return ids


def control_tokens(tokenizer: Any) -> dict[str, int]:
    """The added tokens that act as control: marked special, or written by the chat template."""
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else str(tokenizer.chat_template)
    return {
        token.content: index
        for index, token in tokenizer.added_tokens_decoder.items()
        if len(token.content.strip()) > 1 and (token.special or token.content in template)
    }


def end_of_turn_id(tokenizer: Any) -> int:
    """The id that ends an assistant's answer: what the template writes after it, else the tokenizer's EOS.

    Raises:
        ValueError: when neither exists.
    """
    segments = render_segments(tokenizer, [*_as_messages("q"), {"role": "assistant", "content": "a"}], False)
    last = max(k for k, (_, inert) in enumerate(segments) if inert)
    after = [p for text, _ in segments[last + 1 :] for p in _split_control(text, control_tokens(tokenizer))]
    first = next((piece for piece in after if piece != ""), None)
    if isinstance(first, int):
        return first
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"{tokenizer.name_or_path or 'this tokenizer'} has no end-of-turn and no EOS token, so a response can "
            "never finish. Set tokenizer.eos_token."
        )
    return tokenizer.eos_token_id


def stop_ids(model: Any, tokenizer: Any) -> set[int]:
    """Ids that end a response: the template's end of turn, the tokenizer's EOS, the generation config's EOS."""
    more = getattr(model.generation_config, "eos_token_id", None)
    more = more if isinstance(more, list) else [more]
    return {i for i in (end_of_turn_id(tokenizer), tokenizer.eos_token_id, *more) if i is not None}


def decode_text(tokenizer: Any, ids: Sequence[int], stops: set[int]) -> str:
    """The text of sampled ids, without the id that ended it."""
    body = ids[:-1] if ids and ids[-1] in stops else ids
    return tokenizer.decode(body, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _as_messages(messages: str | list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)


def _check_text(text: Any, what: str) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{what}: content must be a string, got {type(text).__name__} (no tool calls or images here)")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what}: lone surrogate at character {error.start} is not valid Unicode; "
            "clean it with text.encode('utf-8', 'replace').decode()"
        ) from None


def _render(tokenizer: Any, messages: list[dict[str, str]], generation: bool) -> str:
    template = None if tokenizer.chat_template else FALLBACK_TEMPLATE
    if template:
        _warn_once(f"{tokenizer.name_or_path or 'this tokenizer'} has no chat template; using 'User: ... Assistant:'")
    try:
        return tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=generation,
            date_string=DATE,
        )
    except Exception as error:  # jinja2 raises its own family of errors
        roles = [m.get("role") for m in messages]
        raise ValueError(f"the chat template refuses the roles {roles}: {error}") from error


def _takes_system_role(tokenizer: Any) -> bool:
    trial = [{"role": "system", "content": "\ue000S\ue001"}, {"role": "user", "content": "u"}]
    try:
        return "\ue000S\ue001" in _render(tokenizer, trial, True)
    except ValueError:
        return False


def _fold_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    if len(messages) < 2 or messages[0].get("role") != "system":
        return messages
    _warn_once("this model's template has no system role; the system text is put in front of the first user turn")
    joined = f"{messages[0]['content']}\n\n{messages[1]['content']}"
    return [{**messages[1], "content": joined}, *messages[2:]]


def _fill(skeleton: str, contents: list[str]) -> list[tuple[str, bool]]:
    segments = [(skeleton, False)]
    for k, content in enumerate(contents):
        text, _ = segments.pop()
        before, _, after = text.partition(_MARK.format(k))
        segments += [(before, False), (content, True), (after, False)]
    return segments


def _split_control(text: str, control: dict[str, int]) -> list[str | int]:
    pieces: list[str | int] = []
    while hits := [(text.find(c), -len(c), c) for c in control if c in text]:
        start, _, found = min(hits)
        pieces += [text[:start], control[found]]
        text = text[start + len(found) :]
    return [*pieces, text]


def _cut_control(text: str, control: dict[str, int]) -> list[str]:
    """Cut each control string behind its first character, so that no tokenizer can recognise it."""
    cuts = sorted({at + 1 for c in control for at in _occurrences(text, c)})
    edges = [0, *cuts, len(text)]
    return [text[a:b] for a, b in pairwise(edges) if a < b]


def _occurrences(text: str, part: str) -> list[int]:
    found, at = [], text.find(part)
    while at >= 0:
        found.append(at)
        at = text.find(part, at + 1)
    return found


def _with_one_bos(tokenizer: Any, ids: list[int]) -> list[int]:
    if tokenizer.chat_template is None and _adds_bos(tokenizer):
        ids = [tokenizer.bos_token_id, *ids]
    if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
        raise ValueError("the chat template writes BOS twice; remove one from tokenizer.chat_template")
    return list(ids)


def _adds_bos(tokenizer: Any) -> bool:
    ids = tokenizer("x")["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


@lru_cache(maxsize=64)
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=3)
