"""From a conversation to token ids: the model's template, at most one BOS, and text that can never act as control.

The template is rendered twice: with marks in the place of what people wrote, where its control tokens are found, and
with the texts, to see that it inserts them as they are. Between control tokens, the template's text and people's text
are encoded together, as the model saw them in training, by a copy of the tokenizer that knows no control tokens
(`padlab.lm.plain_text`). So the template's control tokens are the same whatever was written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from padlab.lm.plain_text import Piece, plain_text
from padlab.lm.template import MARK, QUESTION, check_text, filled, first_difference, marked, render, render_both

_spaces: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # PlainText -> what `answer_space` found


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
    return _ids(tokenizer, _pieces(tokenizer, *render_both(tokenizer, messages, add_generation_prompt)))


def encode_answers(
    tokenizer: Any, messages: str | list[dict[str, str]], texts: Sequence[str], *, space: str | None = None
) -> tuple[list[int], list[list[int]]]:
    r"""Token ids of a conversation up to the assistant's answer, and of each text as that answer, without its end.

    Args:
        tokenizer, messages: as in `encode_chat`.
        texts: the answers.
        space: what stands between the generation prompt and an answer; None: what the template writes there.

    Returns:
        (prompt ids, one list of ids per text): the ids that the texts have in the rendered conversation.

    Raises:
        ValueError: as in `encode_chat`; a template that does not continue its generation prompt with the answer.

    >>> asked, (answer,) = encode_answers(tiny_tokenizer, "hi", ["you"])
    >>> tiny_tokenizer.decode([*asked, *answer])[-13:]
    'assistant\nyou'
    """
    pieces = _pieces(tokenizer, *render_both(tokenizer, messages, True))
    before, plain = pieces[-1], plain_text(tokenizer)
    space = answer_space(tokenizer) if space is None else space
    answers = []
    for number, text in enumerate(texts):
        check_text(text, f"response {number}")
        answers.append(plain.continuation(before, space, text) if text else [])
    return _ids(tokenizer, pieces), answers


def merges_with_prompt(tokenizer: Any, messages: str | list[dict[str, str]], text: str) -> bool:
    """Whether an answer's first characters share a token with the prompt's last ones in the rendered conversation."""
    return plain_text(tokenizer).merges(_pieces(tokenizer, *render_both(tokenizer, messages, True))[-1], text)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of plain text by itself, without BOS; strings that look like control tokens stay plain characters.

    >>> len(encode_text(tiny_tokenizer, "<|im_end|>")) > 1
    True
    """
    check_text(text, "text")
    return plain_text(tokenizer).encode(Piece(text, True))


def answer_space(tokenizer: Any) -> str:
    """The white space that the template writes between the generation prompt and an answer; mostly none.

    Raises:
        ValueError: the template writes something else there, or does not continue the generation prompt.
    """
    plain = plain_text(tokenizer)
    if plain not in _spaces:
        _spaces[plain] = _find_answer_space(tokenizer)
    return _spaces[plain]


def end_of_turn_id(tokenizer: Any) -> int:
    """The id that ends an assistant's answer: what the template writes after it, else the tokenizer's EOS.

    Raises:
        ValueError: when neither exists.
    """
    after = render(tokenizer, marked([*QUESTION, {"role": "assistant", "content": "a"}]), False)
    after = after.rpartition(MARK.format(1))[2]
    spans = plain_text(tokenizer).template_control(after)
    if spans and not after[: spans[0][0]].strip():
        return spans[0][2]
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"{tokenizer.name_or_path or 'this tokenizer'} has no end-of-turn and no EOS token, so a response can "
            "never finish. Set tokenizer.eos_token."
        )
    return tokenizer.eos_token_id


def stop_ids(model: Any, tokenizer: Any) -> set[int]:
    """Ids that end a response: the template's end of turn, the tokenizer's EOS, the generation config's EOS."""
    more = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    more = more if isinstance(more, list) else [more]
    return {i for i in (end_of_turn_id(tokenizer), tokenizer.eos_token_id, *more) if i is not None}


def decode_answer(tokenizer: Any, prompt_ids: Sequence[int], ids: Sequence[int], stops: set[int]) -> str:
    """The text of an answer's ids as it reads behind the prompt, without the id that ended it.

    Args:
        prompt_ids: what stands before; some tokenizers write a space only between tokens.
        ids: the answer's ids.
        stops: the ids that end an answer (`stop_ids`).
    """
    control = plain_text(tokenizer).ids
    body = [i for i in (ids[:-1] if ids and ids[-1] in stops else ids) if i not in control]
    before = list(prompt_ids[-8:])
    read = lambda i: tokenizer.decode(i, clean_up_tokenization_spaces=False)  # noqa: E731
    opening, whole = read(before), read([*before, *body])
    text = whole[len(opening) :] if whole.startswith(opening) else read(body)
    return text.removeprefix(answer_space(tokenizer))


def _pieces(tokenizer: Any, skeleton: str, texts: Sequence[str]) -> list[Piece | int]:
    """The conversation as plain text and control tokens in turn; plain text, perhaps empty, comes first and last."""
    pieces: list[Piece | int] = []
    begin = 0
    for start, stop, control in plain_text(tokenizer).template_control(skeleton):
        pieces += [Piece(filled(skeleton[begin:start], texts), begin == 0), control]
        begin = stop
    return [*pieces, Piece(filled(skeleton[begin:], texts), begin == 0)]


def _ids(tokenizer: Any, pieces: Sequence[Piece | int]) -> list[int]:
    plain = plain_text(tokenizer)
    ids = [i for piece in pieces for i in ([piece] if isinstance(piece, int) else plain.encode(piece))]
    return _with_one_bos(tokenizer, ids)


def _find_answer_space(tokenizer: Any) -> str:
    prompt = render(tokenizer, marked(QUESTION), True)
    try:
        answered = render(tokenizer, marked([*QUESTION, {"role": "assistant", "content": ""}]), False)
    except ValueError:  # a template for single questions
        return ""
    before = answered.partition(MARK.format(1))[0]
    if prompt.startswith(before) and not _opens_thinking(prompt[len(before) :]):
        return ""
    if before.startswith(prompt) and not before[len(prompt) :].strip():
        return before[len(prompt) :]
    at, expected, rendered = first_difference(filled(prompt, ["q"]), filled(before, ["q"]))
    raise ValueError(
        f"the chat template of {tokenizer.name_or_path or 'this tokenizer'} does not put an answer behind its "
        f"generation prompt: from character {at} on the prompt has {expected!r}, the answered conversation has "
        f"{rendered!r}. Set tokenizer.chat_template to one in which the answer follows the prompt (without an open "
        "<think>, for thinking models)."
    )


def _opens_thinking(text: str) -> bool:
    """Whether the generation prompt ends inside a thinking part."""
    return bool(text.strip()) and not re.search(r"</\w+>\s*$", text)


def _with_one_bos(tokenizer: Any, ids: list[int]) -> list[int]:
    if tokenizer.chat_template is None and _adds_bos(tokenizer):
        ids = [tokenizer.bos_token_id, *ids]
    if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
        raise ValueError("the chat template writes BOS twice; remove one from tokenizer.chat_template")
    return list(ids)


def _adds_bos(tokenizer: Any) -> bool:
    ids = tokenizer("x")["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
