"""A model's answers to benchmark questions: one per question and turn, through the sampling engine, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from padlab.conversations import Message, transcript
from padlab.lm.chat import encode_chat
from padlab.lm.models import LanguageModel
from padlab.lm.remote.dispatch import check_known_ids
from padlab.phases.sampling import draw_responses
from padlab.progress import progress
from padlab.shards import cached_rows
from padlab.study.benchmarks.questions import Question

GREEDY = {"temperature": 1.0, "top_p": 1e-9}  # a nucleus of one token, the likeliest


@dataclass(frozen=True)
class Answer:
    """What the model answered to one turn.

    Args:
        text: without the end-of-turn token.
        tokens: number of tokens, that one included.
        finished: the end-of-turn token was sampled.
    """

    text: str
    tokens: int
    finished: bool


def generate_answers(
    model: LanguageModel,
    questions: Sequence[Question],
    *,
    max_new_tokens: int,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 8,
    folder: str | Path | None = None,
) -> list[list[Answer]]:
    """Answers to all turns of all questions.

    Args:
        model: the model that answers.
        questions: each has its own temperature.
        max_new_tokens: per answer; fewer where the model's context has less room (how many is printed).
        top_p: nucleus where the temperature is above 0.
        seed: with the conversation it decides what is sampled.
        batch_size: questions sampled together.
        folder: answers are kept here, one file per question and turn, and not computed again; None keeps nothing.

    Returns:
        per question, per turn, an `Answer`.

    Raises:
        ValueError: a question that leaves no room in the model's context (named).

    >>> questions = [Question("1", ("Hi", "And you?"))]
    >>> [len(turns) for turns in generate_answers(load_pair("tiny").teacher, questions, max_new_tokens=3)]
    [2]
    """
    if max_new_tokens < 1 or batch_size < 1:
        raise ValueError(f"max_new_tokens and batch_size must be at least 1, got {max_new_tokens} and {batch_size}")
    answers: list[list[Answer]] = [[] for _ in questions]
    for turn in range(max(len(question.turns) for question in questions)):
        asked = [k for k, question in enumerate(questions) if turn < len(question.turns)]
        talks = [_conversation(questions[k], answers[k]) for k in asked]
        ids = [encode_chat(model.tokenizer, talk) for talk in talks]
        names = [f"question {questions[k].id}, turn {turn + 1}" for k in asked]
        check_known_ids(model.model, ids, names)
        rooms = _rooms(model, ids, max_new_tokens, names)
        work = _sampler(model, talks, ids, top_p, seed, [questions[k].temperature for k in asked], rooms, folder)
        alike = sorted(range(len(asked)), key=lambda k: (questions[asked[k]].temperature, rooms[k], len(ids[k])))
        for piece in progress(_batches(alike, asked, questions, rooms, batch_size), f"answers, turn {turn + 1}"):
            for k, row in zip(piece, work(piece), strict=True):
                answers[asked[k]].append(Answer(**row))
    return answers


def _conversation(question: Question, answered: Sequence[Answer]) -> list[Message]:
    """The messages of the turn that comes after those answered."""
    talk = list(question.before)
    for turn, answer in zip(question.turns, answered, strict=False):
        talk += [{"role": "user", "content": turn}, {"role": "assistant", "content": answer.text}]
    return [*talk, {"role": "user", "content": question.turns[len(answered)]}]


def _rooms(model: LanguageModel, ids: Sequence[Sequence[int]], max_new_tokens: int, names: Sequence[str]) -> list[int]:
    """Tokens each answer may have: `max_new_tokens`, or what the model's context leaves."""
    rooms = [min(max_new_tokens, model.max_length - len(asked)) for asked in ids]
    for name, room, asked in zip(names, rooms, ids, strict=True):
        if room < 1:
            raise ValueError(
                f"{name}: the conversation has {len(asked)} tokens, the context of {model.name} {model.max_length}; "
                "use fewer max_new_tokens (earlier answers count), or a model with a longer context"
            )
    if short := sum(room < max_new_tokens for room in rooms):
        print(f"{short} of {len(ids)} answers have room for {min(rooms)} to {max_new_tokens} tokens: the context's end")
    return rooms


def _batches(
    order: Sequence[int], asked: Sequence[int], questions: Sequence[Question], rooms: Sequence[int], size: int
) -> list[list[int]]:
    """Batches of at most `size` that share temperature and room."""
    batches: list[list[int]] = []
    last = None
    for k in order:
        now = questions[asked[k]].temperature, rooms[k]
        if now != last or len(batches[-1]) == size:
            batches.append([])
        batches[-1].append(k)
        last = now
    return batches


def _sampler(model, talks, ids, top_p, seed, temperatures, rooms, folder):
    """(rows of one temperature and room) -> their answers as plain dicts, kept in the folder."""
    texts = [transcript({"prompt": talk[-1]["content"], "previous_messages": talk[:-1]}) for talk in talks]
    described = model.describe()

    def options(row: int) -> dict[str, Any]:
        sampling = {"temperature": temperatures[row], "top_p": top_p} if temperatures[row] > 0 else GREEDY
        return {**sampling, "max_new_tokens": rooms[row], "seed": seed}

    def work(rows: Sequence[int]) -> list[dict[str, Any]]:
        asked = [ids[row] for row in rows], [texts[row] for row in rows]
        drawn = draw_responses(model, *asked, [[0]] * len(rows), **options(rows[0]))
        return [{"text": r["text"], "tokens": len(r["ids"]), "finished": r["finished"]} for (r,) in drawn]

    return cached_rows(work, lambda row: ["answer", described, ids[row], options(row)], folder)
