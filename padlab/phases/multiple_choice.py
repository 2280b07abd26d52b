"""The multiple-choice question: its text, which tokens count as letters, and the model's answer to each order.

The answer is a letter, or the text of an option (`reply="text"`): a cloze form of the same question, for models that
cannot bind a letter to what stands beside it.

Lines of a prompt or response are quoted with "> ", so that nothing in them can look like the header of another option,
and control tokens in them are plain characters (`padlab.lm.chat`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from padlab.lm.chat import encode_answers, encode_chat, encode_text, end_of_turn_id, merges_with_prompt
from padlab.lm.fast.common_beginning import common_prefix_length
from padlab.lm.fast.memory import in_halves
from padlab.lm.fast.scoring import next_token_logprobs
from padlab.lm.models import LanguageModel, Question
from padlab.lm.plain_text import plain_text
from padlab.lm.remote.dispatch import check_known_ids, score_ids
from padlab.lm.remote.server import Server

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TOKENS_PER_ROW = 640  # questions that begin alike share a row; attention makes long rows slow
TRUNCATED = " […]"  # ends a response that was truncated


@dataclass(frozen=True)
class Answers:
    """What the model answers for each order of the options.

    Args:
        logps: log-probability of each option, renormalised over the options.
        mass: total probability of the options as answers, before that, 0 to 1.
        none: probability of an answer "None" (letters: that begins so), which some models give unasked, 0 to 1.
    """

    logps: Float[Tensor, "orders options"]
    mass: Float[Tensor, " orders"]
    none: Float[Tensor, " orders"]

    def select(self, orders: Sequence[int]) -> Answers:
        """Some of the orders, repetitions allowed."""
        rows = list(orders)
        return Answers(self.logps[rows], self.mass[rows], self.none[rows])


def joined(answers: Sequence[Answers]) -> Answers:
    """Answers to several questions of as many options, one after the other."""
    return Answers(*(torch.cat([getattr(a, name) for a in answers]) for name in ("logps", "mass", "none")))


def multiple_choice_question(prompt: str, responses: Sequence[str], reply: str = "letter") -> str:
    """The text of a multiple-choice question; quoted lines cannot pass for option headers.

    Args:
        prompt, responses: what is asked about, and the options in their order.
        reply: "letter", or "text" to ask for the better answer itself.

    >>> print(multiple_choice_question("Hi", ["Hello", "No\\n[A]"]).split("\\n")[-1])
    Which answer is better? Reply with one letter, A or B.
    """
    letters = LETTERS[: len(responses)]
    options = "\n\n".join(f"[{letter}]\n{quote(text)}" for letter, text in zip(letters, responses, strict=True))
    named = f"one letter, {', '.join(letters[:-1])} or {letters[-1]}"
    which = "better" if len(letters) == 2 else "best"
    wanted = named if reply == "letter" else f"the {which} answer itself"
    return f"Question:\n{quote(prompt)}\n\n{options}\n\nWhich answer is {which}? Reply with {wanted}."


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
    if len(encode_text(tokenizer, text)) <= limit:
        return text
    return plain_text(tokenizer).prefix(text, limit) + TRUNCATED


def ask_for_letters(model: LanguageModel, prompt: str, orders: Sequence[Sequence[str]], question: Question) -> Answers:
    """Ask about each order of the options; all letters are read from one next-token distribution per order.

    Args:
        model: its judge answers, if it has one (`padlab.with_judge`).
        prompt: what the options answer.
        orders: the texts of the options, once per order, all of the same number.
        question: makes the question's text from prompt and options.

    Raises:
        ValueError: a letter that is not one token after this question, or a question longer than the context.
        FloatingPointError: the model's logits are not finite.
        torch.OutOfMemoryError: one question alone does not fit.
    """
    texts, ids = _encoded_questions(model, prompt, orders, question, 1)
    tokens = [letter_tokens(model, letter, texts[0]) for letter in LETTERS[: len(orders[0])]]
    none = sorted({ids[0] for ids in _spellings(model.tokenizer, texts[0], "None")} - {model.tokenizer.unk_token_id})
    if isinstance(model.model, Server):
        logps = model.model.next_token_logprobs(ids, sorted({*none, *chain(*tokens)}))
    else:
        logps = _next_token_logprobs(_judge_of(model), ids)
    letters = torch.stack([logps[:, variants].logsumexp(-1) for variants in tokens], dim=-1).double()
    mass = letters.logsumexp(-1)
    return Answers(letters - mass[:, None], mass.exp(), logps[:, none].double().logsumexp(-1).exp())


def ask_for_texts(model: LanguageModel, prompt: str, orders: Sequence[Sequence[str]], question: Question) -> Answers:
    """Ask about each order of the options, and compare the options' probabilities as replies: a cloze form.

    The log-probability of a reply is that of its whole text and the end of the turn. The mass is the probability that
    the reply is one of the options, word by word; that of "None" likewise.

    Args:
        model, prompt, orders, question: as in `ask_for_letters`.

    Raises:
        ValueError: question and reply longer than the context.
        FloatingPointError: the model's logits are not finite.
        torch.OutOfMemoryError: one question with one reply does not fit.
    """
    end = end_of_turn_id(model.tokenizer)
    options = list(dict.fromkeys([*(text for order in orders for text in order), "None"]))
    _, answers = encode_answers(model.tokenizer, question(prompt, orders[0]), options)
    replies = {text: [*ids, end] for text, ids in zip(options, answers, strict=True)}
    _, ids = _encoded_questions(model, prompt, orders, question, max(map(len, replies.values())))
    asked = [[replies[text] for text in (*order, "None")] for order in orders]
    scored = score_ids(_judge_of(model), ids, asked, name="selection question")
    logps = torch.tensor([[sum(reply) for reply in row] for row in scored], dtype=torch.float64)
    of_options, none = logps[:, :-1], logps[:, -1]
    again = torch.tensor([[text in order[:k] for k, text in enumerate(order)] for order in orders])
    mass = of_options.masked_fill(again, -torch.inf).logsumexp(-1)  # equal options are one reply
    return Answers(torch.log_softmax(of_options, -1), mass.exp(), none.exp())


@torch.no_grad()
def _next_token_logprobs(network: Any, questions: Sequence[Sequence[int]]) -> Float[Tensor, "orders vocabulary"]:
    ask = lambda row: list(next_token_logprobs(network, row).cpu())  # noqa: E731
    return torch.stack([answer for row in group_into_rows(questions) for answer in in_halves(ask, row, _does_not_fit)])


def _does_not_fit(question: Sequence[int]) -> str:
    return (
        f"a selection question of {len(question)} tokens does not fit into memory. Lower max_response_tokens, use "
        "method='pairwise' or load with dtype='bfloat16'"
    )


def _judge_of(model: LanguageModel) -> Any:
    return model.model if model.judge is None else model.judge


def _encoded_questions(
    model: LanguageModel, prompt: str, orders: Sequence[Sequence[str]], question: Question, reply_tokens: int
) -> tuple[list[str], list[list[int]]]:
    """The questions' texts and ids; ValueError where one and its reply exceed the context."""
    texts = [question(prompt, options) for options in orders]
    ids = [encode_chat(model.tokenizer, text) for text in texts]
    check_known_ids(model.model, ids, ["the selection question"] * len(ids))
    longest = max(map(len, ids))
    if longest + reply_tokens > model.max_length:
        raise ValueError(
            f"the selection question has {longest} tokens, with its reply of up to {reply_tokens} more than the "
            f"context of {model.name} ({model.max_length}); use method='pairwise', max_response_tokens, fewer or "
            "shorter responses"
        )
    return texts, ids


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

    Args:
        model: its tokenizer and chat template decide.
        letter: one option's letter.
        text: the question, as the user's message.

    Raises:
        ValueError: neither is one token there.
    """
    spelled = zip((letter, f" {letter}"), _spellings(model.tokenizer, text, letter), strict=True)
    single = {ids[0] for word, ids in spelled if len(ids) == 1 and not merges_with_prompt(model.tokenizer, text, word)}
    single.discard(model.tokenizer.unk_token_id)
    if not single:
        raise ValueError(
            f"option letter {letter!r} is not a single token for {model.name}; it cannot be asked this way"
        )
    return sorted(single)


def _spellings(tokenizer: Any, text: str, word: str) -> list[list[int]]:
    """The ids of a word, and of a space and the word, behind the question."""
    return encode_answers(tokenizer, text, [word, f" {word}"], space="")[1]
