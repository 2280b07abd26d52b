"""A model's chat template as text: rendered on a fixed date, and checked to insert what people wrote as it is."""

from __future__ import annotations

import datetime
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

FALLBACK_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].capitalize() + ': ' + message['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
DATE = datetime.datetime(2024, 7, 26)  # for templates that write today's date: the same ids every day
_TODAY = (  # in place of transformers' function of the same name, which gives today's date
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('%{letter}', '{DATE.strftime('%' + letter)}')" for letter in "YmdBbAayjHIMSp")
    + " }}{%- endmacro %}{{ '' }}"
)
MARK = "\ue000{}\ue001"  # private-use characters stand for people's text while the template is rendered
MARKS = re.compile("\ue000(\\d+)\ue001")
QUESTION = [{"role": "user", "content": "q"}]


def render(tokenizer: Any, messages: list[dict[str, str]], generation: bool) -> str:
    """What the template writes, on a fixed date and without a thinking part."""
    template = tokenizer.get_chat_template() if tokenizer.chat_template else FALLBACK_TEMPLATE
    if template is FALLBACK_TEMPLATE:
        _warn_once(f"{tokenizer.name_or_path or 'this tokenizer'} has no chat template; using 'User: ... Assistant:'")
    try:
        return tokenizer.apply_chat_template(
            messages,
            chat_template=_TODAY + template if "strftime_now" in template else template,
            tokenize=False,
            add_generation_prompt=generation,
            date_string=DATE.strftime("%d %b %Y"),
            enable_thinking=False,
        )
    except Exception as error:  # jinja2 raises its own family of errors
        roles = [m.get("role") for m in messages]
        raise ValueError(f"the chat template refuses the roles {roles}: {error}") from error


def render_both(tokenizer: Any, messages: str | list[dict[str, str]], generation: bool) -> tuple[str, list[str]]:
    """What the template writes with marks in the place of people's texts, and the texts as it inserts them."""
    messages = _as_messages(messages)
    for number, message in enumerate(messages):
        check_text(message.get("content"), f"message {number} ({message.get('role')})")
    if any(m.get("role") == "system" for m in messages) and not _takes_system_role(tokenizer):
        messages = _fold_system(messages)
    skeleton, actual = (render(tokenizer, m, generation) for m in (marked(messages), messages))
    texts = [m["content"] for m in messages]
    for clean in (str, str.strip):  # some templates trim what people wrote
        cleaned = [clean(text) for text in texts]
        if filled(skeleton, cleaned) == actual:
            return skeleton, cleaned
    at, expected, rendered = first_difference(filled(skeleton, texts), actual)
    raise ValueError(
        f"the chat template of {tokenizer.name_or_path or 'this tokenizer'} rewrites the text: first difference at "
        f"character {at}, expected {expected!r}, rendered {rendered!r}. "
        "Set tokenizer.chat_template to one that inserts the content as it is."
    )


def first_difference(first: str, second: str) -> tuple[int, str, str]:
    """Where two texts begin to differ, and up to 20 characters of each from there."""
    same = (k for k, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    at = next(same, min(len(first), len(second)))
    return at, first[at : at + 20], second[at : at + 20]


def marked(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages with a mark in the place of each text."""
    return [{**message, "content": MARK.format(k)} for k, message in enumerate(messages)]


def filled(skeleton: str, texts: Sequence[str]) -> str:
    """The texts put in the place of their marks."""
    return MARKS.sub(lambda mark: texts[int(mark[1])], skeleton)


def check_text(text: Any, what: str) -> None:
    """ValueError unless it is valid Unicode text; `what` names it."""
    if not isinstance(text, str):
        raise ValueError(f"{what}: content must be a string, got {type(text).__name__} (no tool calls or images here)")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what}: lone surrogate at character {error.start} is not valid Unicode; "
            "clean it with text.encode('utf-8', 'replace').decode()"
        ) from None


def _as_messages(messages: str | list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)


def _takes_system_role(tokenizer: Any) -> bool:
    trial = marked([{"role": "system", "content": ""}, *QUESTION])
    try:
        return trial[0]["content"] in render(tokenizer, trial, True)
    except ValueError:
        return False


def _fold_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    if len(messages) < 2 or messages[0].get("role") != "system":
        return messages
    _warn_once("this model's template has no system role; the system text is put in front of the first user turn")
    joined = f"{messages[0]['content']}\n\n{messages[1]['content']}"
    return [{**messages[1], "content": joined}, *messages[2:]]


@lru_cache(maxsize=64)
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=3)
