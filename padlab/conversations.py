"""Conversations: the last user message is a row's `prompt`, what was said before it is its `previous_messages`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, str]  # role ("system", "user", "assistant") and content
PREVIOUS = "previous_messages"
INSTRUCTIONS = ("system", "developer")
DIALOGUE_START, DIALOGUE_TURN = "\n\nHuman:", r"\n\n(Human|Assistant):"  # hh-rlhf's and Nectar's form of a conversation
ROLES = {"Human": "user", "User": "user", "Assistant": "assistant"}


def split_conversation(value: Any, where: str) -> tuple[list[dict[str, str]], str]:
    """What was said before the question, and the question.

    Args:
        value: the question's text, taken as it is, or messages as {"role", "content"} whose last user
            message is the question. An answer behind it is left out. A developer message counts as a system message.
        where: names the row in errors.

    Raises:
        ValueError: no user message, a role other than system, developer, user, assistant, something behind the question
            that would be lost, or content that is not text.

    >>> split_conversation([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "row 0")
    ([{'role': 'system', 'content': 'Be brief.'}], 'Hi')
    """
    if isinstance(value, str):
        return [], value
    messages = checked_messages(value, where)
    roles = [m["role"] for m in messages]
    if "user" not in roles:
        raise ValueError(f"{where}: there is no user message; drop the row")
    asked = len(roles) - 1 - roles[::-1].index("user")
    if lost := [role for role in roles[asked + 1 :] if role != "assistant"]:
        raise ValueError(f"{where}: a message of role {lost[0]!r} after the last user message would be lost; drop it")
    return messages[:asked], messages[asked]["content"]


def prompt_columns(value: Any, where: str) -> dict[str, Any]:
    """The columns `prompt` and, if something was said before, `previous_messages`; for the arguments see above."""
    previous, prompt = split_conversation(value, where)
    return {"prompt": prompt, **({PREVIOUS: previous} if previous else {})}


def check_previous(value: Any, where: str) -> None:
    """ValueError unless it is None or a list of messages with role and content."""
    if value is not None:
        checked_messages(value, where)


def answer_text(value: Any, asked: Sequence[Message], where: str) -> str:
    """An answer's text: a str, or the last message, of the assistant, of the conversation that was asked.

    Args:
        value: str, or messages: the answer alone, or with what was asked in front of it.
        asked: the messages that were asked (`conversation`).
        where: names the row in errors.

    Raises:
        ValueError: the last message is not the assistant's, others are not those asked, or content is not text.

    >>> answer_text([{"role": "assistant", "content": "Hello"}], [{"role": "user", "content": "Hi"}], "row 0")
    'Hello'
    """
    if isinstance(value, str):
        return value
    *before, answer = checked_messages(value, where) or [{"role": "nobody"}]
    if answer["role"] != "assistant":
        raise ValueError(f"{where}: expected messages that end with an assistant message; drop the row")
    if before and before != list(asked)[-len(before) :]:
        raise ValueError(f"{where}: the messages before the answer are not those of the prompt; drop the row")
    return answer["content"]


def conversation(entry: Mapping[str, Any]) -> list[Message]:
    """The messages of a table's row: what was said before, then its prompt as the user's message."""
    return [*(entry.get(PREVIOUS) or []), {"role": "user", "content": entry["prompt"]}]


def is_dialogue(value: Any) -> bool:
    """Whether it is one text that begins with a turn of hh-rlhf's form, two newlines and "Human:"."""
    return isinstance(value, str) and value.startswith(DIALOGUE_START)


def dialogue_messages(text: str, turn: str = DIALOGUE_TURN) -> list[dict[str, str]]:
    r"""The messages of a dialogue in one text; white space around a turn belongs to the form and is left out.

    Args:
        text: begins with a turn. An empty last turn asks for the answer and stays as an empty message.
        turn: regular expression of a turn's beginning, with one group that names the role as in `ROLES`.

    >>> dialogue_messages("\n\nHuman: Hi\n\nAssistant: Hello")
    [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello'}]
    """
    _, *pieces = re.split(turn, text)
    turns = zip(pieces[::2], pieces[1::2], strict=True)
    return [{"role": ROLES[name], "content": content.strip()} for name, content in turns]


def turns(value: Any) -> Any:
    """A dialogue in one text of a data set as messages; anything else as it is."""
    return dialogue_messages(value) if is_dialogue(value) else value


def transcript(entry: Mapping[str, Any]) -> str:
    r"""A row's conversation as one text, for selection questions; the prompt alone where nothing was said before.

    >>> transcript({"prompt": "And 3 + 3?", "previous_messages": [{"role": "user", "content": "2 + 2?"}]})
    'User: 2 + 2?\n\nUser: And 3 + 3?'
    """
    if not entry.get(PREVIOUS):
        return entry["prompt"]
    return "\n\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in conversation(entry))


def checked_messages(value: Any, where: str) -> list[dict[str, str]]:
    """The messages, each with role and content and nothing else; ValueError where one is not such a message."""
    if not isinstance(value, Sequence) or not all(isinstance(m, Mapping) for m in value):
        raise ValueError(f"{where}: expected text or a list of messages, found {type(value).__name__}; drop the row")
    if not all(m.get("role") for m in value):
        keys = sorted({key for m in value for key in m})
        raise ValueError(f"{where}: messages need the keys role and content, found {', '.join(keys)}; rename them")
    if others := [m["role"] for m in value if m["role"] not in (*INSTRUCTIONS, "user", "assistant")]:
        raise ValueError(f"{where}: a message of role {others[0]!r} is not supported; drop the row")
    if not all(isinstance(m.get("content"), str) for m in value):
        raise ValueError(f"{where}: message content must be text (no images, no tool calls); drop the row")
    roles = ["system" if m["role"] in INSTRUCTIONS else m["role"] for m in value]
    return [{"role": role, "content": m["content"]} for role, m in zip(roles, value, strict=True)]
