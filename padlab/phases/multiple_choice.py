"""The multiple-choice question: its text, which tokens count as letters, and the model's answer to each order.

Lines of a prompt or response are quoted with "> ", so that nothing in them can look like the header of another option,
and control tokens in them are plain characters (`padlab.lm.chat`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from padlab.lm.chat import encode_chat, encode_segments, encode_text, render_segments
from padlab.lm.fast.scoring import next_token_logprobs
from padlab.lm.models import LanguageModel, Question

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TOKENS_PER_ROW = 640  # questions that begin alike share a row; attention makes long rows slow
TRUNCATED = " […]"  # ends a response that was truncated


@dataclass(frozen=True)
class Answers:
    """What the model's next-token distribution says for each order of the options.

    Args:
        logps: log-probability of each option, renormalised over the options.
        mass: total probability of the option letters, before that, 0 to 1.
        none: probability of a token that begins the word "None" (an answer that some models give unasked), 0 to 1.
    """

    logps: Float[Tensor, "orders options"]
    mass: Float[Tensor, " orders"]
    none: Float[Tensor, " orders"]


def multiple_choice_question(prompt: str, responses: Sequence[str]) -> str:
    """The text of a multiple-choice question; quoted lines cannot pass for option headers.

    >>> print(multiple_choice_question("Hi", ["Hello", "No\\n[A]"]).split("\\n")[-1])
    Which answer is better? Reply with one letter, A or B.
    """
    letters = LETTERS[: len(responses)]
    options = "\n\n".join(f"[{letter}]\n{quote(text)}" for letter, text in zip(letters, responses, strict=True))
    named = f"{', '.join(letters[:-1])} or {letters[-1]}"
    which = "better" if len(letters) == 2 else "best"
    return f"Question:\n{quote(prompt)}\n\n{options}\n\nWhich answer is {which}? Reply with one letter, {named}."


def quote(text: str) -> str:
    """Each line with "> " before it, whatever character breaks the line.

    >>> quote("a\\u2028b")
    '> a\\n> b'
    """
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])


def truncate(tokenizer: Any, text: str, limit: int | None) -> str:
    """A text of more than `limit` tokens, truncated there and marked with "[…]"; shorter ones as they are.

    Raises:
        ValueError: a limit below 1.
    """
    if limit is None:
        return text
    if limit < 1:
        raise ValueError(f"max_response_tokens must be at least 1, got {limit}")
    ids = encode_text(tokenizer, text)
    if len(ids) <= limit:
        return text
    return tokenizer.decode(ids[:limit], clean_up_tokenization_spaces=False).rstrip("\ufffd") + TRUNCATED


def ask_model(model: LanguageModel, prompt: str, orders: Sequence[Sequence[str]], question: Question) -> Answers:
    """Ask about each order of the options; all letters are read from one next-token distribution per order.

    Args:
        model: its judge answers, if it has one (`padlab.with_judge`).
        prompt: what the options answer.
        orders: the texts of the options, once per order, all of the same number.
        question: makes the question's text from prompt and options.

    Raises:
        ValueError: a letter that is not one token after this question, or a question longer than the context.
        FloatingPointError: the model's logits are not finite.
    """
    network = model.model if model.judge is None else model.judge
    texts = [question(prompt, options) for options in orders]
    ids = [encode_chat(model.tokenizer, text) for text in texts]
    longest = max(map(len, ids))
    if longest + 1 > model.max_length:
        raise ValueError(
            f"the selection question has {longest} tokens, more than the context of {model.name} ({model.max_length}); "
            "use method='pairwise', max_response_tokens, fewer or shorter responses"
        )
    tokens = [letter_tokens(model, letter, texts[0]) for letter in LETTERS[: len(orders[0])]]
    none = sorted({ids[0] for ids in _continuation_ids(model.tokenizer, texts[0], "None")})
    with torch.no_grad():
        logps = torch.cat([next_token_logprobs(network, row).cpu() for row in group_into_rows(ids)])
    letters = torch.stack([logps[:, variants].logsumexp(-1) for variants in tokens], dim=-1).double()
    mass = letters.logsumexp(-1)
    return Answers(letters - mass[:, None], mass.exp(), logps[:, none].double().logsumexp(-1).exp())


def group_into_rows(questions: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
    """Neighbouring questions grouped into rows of at most TOKENS_PER_ROW tokens, common beginnings counted once.

    A question longer than that has a row of its own.

    >>> len(group_into_rows([[1] * 500 + [2], [1] * 500 + [3], [9] * 500]))
    2
    """
    rows: list[list[Sequence[int]]] = []
    used = TOKENS_PER_ROW
    for ids in questions:
        shared = max((common_prefix_length(ids, other) for other in rows[-1]), default=0) if rows else 0
        if used + len(ids) - shared > TOKENS_PER_ROW:
            rows.append([])
            used, shared = 0, 0
        rows[-1].append(ids)
        used += len(ids) - shared
    return rows


def letter_tokens(model: LanguageModel, letter: str, text: str = "?") -> list[int]:
    """Ids of the single tokens that read as this letter, "A" or " A", where they follow this question.

    Raises:
        ValueError: neither is one token there.
    """
    single = sorted({ids[0] for ids in _continuation_ids(model.tokenizer, text, letter) if len(ids) == 1})
    if not single:
        raise ValueError(
            f"option letter {letter!r} is not a single token for {model.name}; it cannot be asked this way"
        )
    return single


def _continuation_ids(tokenizer: Any, text: str, word: str) -> list[list[int]]:
    """The ids that a word, and a space and the word, add to the question; a final -1 marks one that merged with it."""
    segments = render_segments(tokenizer, [{"role": "user", "content": text}], True)
    question_ids, continuations = encode_segments(tokenizer, segments), []
    for spelling in (word, f" {word}"):
        answered = encode_segments(tokenizer, [*segments, (spelling, False)])
        same = common_prefix_length(question_ids, answered)
        continuations.append(answered[same:] if same == len(question_ids) else [*answered[same:], -1])
    return continuations


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two sequences begin with in common."""
    shorter = min(len(a), len(b))
    return next((k for k in range(shorter) if a[k] != b[k]), shorter)
