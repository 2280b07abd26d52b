"""Short notes and questions about them: plain English for a real language model, with a known right answer.

A prompt holds a note of three entries and a question about one of them:

    Read the note and answer the question in a few words.

    Note: It is market day. Anna sells honey for 4 pounds. At Boris's stall you get soap for 9 pounds. ...

    Question: What does Boris sell?

The right answer is "soap"; the wrong answers that the note offers are what the others sell. Nothing is known beyond the
text: `answers` reads note and question again, by the sentences they were made from (`padlab.worlds.notes`). Quality:

    soap                    1       the right answer
    Soap.                   1       small words ("the", "in", "pounds", ...), capitals, punctuation do not count
    Boris sells soap.       0.5     the right answer with other words, and no wrong one
    honey                   0       a wrong answer of the note
    soap or honey           0       so is both

"Right" means quality 1. Three kinds of prompt: for training; held out by "names" (the same kinds of note, with names
and values that no training text contains); held out by "kinds" (two kinds of note that no training text has, also with
persons that no training text names).

Writers: a careful one gives the right answer; a careless one slips a line and answers with the value of the next entry
(of the first one, where the last is asked about); a wordy one gives the right answer in a sentence. The pairs "reading"
and "reading-judge" are one language model with adapters trained on such texts:

    student             careless as often as careful: it knows how to answer, and is wrong as often as right
    teacher             careful
    careless teacher    writes like the student, from other texts
    judge               asked which of two answers is better, it replies with the right one

    >>> prompt = prompts(1, seed=3)[0]
    >>> right, wrong = answers(prompt)
    >>> quality(prompt, right), quality(prompt, wrong[0])
    (1.0, 0.0)
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from padlab.worlds.notes import KINDS, Kind, read_with
from padlab.worlds.values import POOLS

Heldout = Literal[False, "names", "kinds"]
SIDES = {"train": False, "heldout": "names", "names": "names", "kinds": "kinds"}
ENTRIES = 3  # per note
LAYOUT = "Read the note and answer the question in a few words.\n\nNote: {note}\n\nQuestion: {question}"
_SMALL = """
    a an the in at on by to from for as of is near under behind beside along
    room platform floor tent pounds euros minutes points years old book about
"""
SMALL_WORDS = frozenset(_SMALL.split())  # these count neither in the right answer nor beside it
WRITERS = {  # how often who writes
    "student": {"careful": 0.46, "careless": 0.46, "wordy": 0.08},
    "teacher": {"careful": 1.0},
}
WORDY = ("The answer is {}.", "It must be {}.", "The note says {}.")


def prompts(count: int, seed: int = 0, heldout: Heldout = False) -> list[str]:
    """Prompts of the world, without end.

    Args:
        count: how many, >= 1.
        seed: decides which.
        heldout: False for training; "names" for notes of the same kinds with names and values never used in training;
            "kinds" for the two kinds of note that no training text has.

    >>> len(set(prompts(100, heldout="names")))
    100
    """
    rng = random.Random(f"reading {seed} {heldout}")
    notes = (_note(rng, heldout) for _ in range(count))
    return [note.prompt(rng.choice(note.kind.questions)[0], rng.choice(note.entries)) for note in notes]


def answers(prompt: str) -> tuple[str, tuple[str, ...]]:
    """The right answer, and the wrong ones that the note offers, read from the text of the prompt alone.

    Raises:
        ValueError: the text is no prompt of this world.

    >>> answers(LAYOUT.format(note="Emma sells tea for 2 pounds. Tim sells jam for 3 pounds. Zoe sells soap for "
    ...                            "4 pounds.", question="Who sells jam?"))
    ('Tim', ('Emma', 'Zoe'))
    """
    given, right = _solve(prompt)
    return given[right], tuple(value for k, value in enumerate(given) if k != right)


@lru_cache(maxsize=4096)
def _solve(prompt: str) -> tuple[tuple[str, ...], int]:
    """What the entries of the note answer, in their order, and which of them is asked about."""
    found = _LAYOUT_PATTERN.fullmatch(prompt)
    sentences = re.split(r"(?<=[.]) ", found["note"]) if found else []
    for kind in KINDS if found else ():
        for question, asked in kind.questions:
            known = read_with(question, found["question"])
            read = [_read(kind, sentence) for sentence in sentences if sentence not in kind.openings]
            if known is None or None in read or len(read) != ENTRIES:
                continue
            right = [k for k, e in enumerate(read) if all(e[name] == value for name, value in known.items())]
            if len(right) == 1:
                return tuple(e[asked] for e in read), right[0]
    raise ValueError(f"no prompt of the reading world (see padlab.worlds.reading.prompts): {prompt[:120]!r}")


def quality(prompt: str, response: str) -> float:
    """The true score of a response: 1 right, 0.5 right with other words, 0 wrong.

    Args:
        prompt: a prompt of this world, word for word.
        response: any text.

    Raises:
        ValueError: the prompt is not of this world.
    """
    right, wrong = answers(prompt)
    given, target = normalise(response), normalise(right)
    if given == target:
        return 1.0
    return 0.5 if _holds(given, target) and not any(_holds(given, normalise(text)) for text in wrong) else 0.0


def normalise(text: str) -> list[str]:
    """The words that count: lower case, without punctuation and small words.

    >>> normalise("The red scarf, in the park.")
    ['red', 'scarf', 'park']
    """
    return [word for word in re.findall(r"[\w:]+", text.lower()) if word not in SMALL_WORDS]


def written(prompt: str, writer: str, rng: random.Random) -> str:
    """A response by a "careful" (right), "careless" (slips into the next entry) or "wordy" writer (a right sentence).

    Args:
        prompt: a prompt of this world.
        writer: "careful", "careless" or "wordy".
        rng: chooses the wordy writer's sentence.

    >>> quality(prompts(1)[0], written(prompts(1)[0], "wordy", random.Random(0)))
    0.5
    """
    given, right = _solve(prompt)
    if writer == "careless":
        return given[(right + 1) % ENTRIES]
    return rng.choice(WORDY).format(given[right]) if writer == "wordy" else given[right]


def corpus(notes: int, seed: int, role: str, questions: int = 6) -> Iterator[list[tuple[str, str]]]:
    """Texts to train on, note by note: (prompt, answer) for several questions about one note; only training prompts.

    Args:
        notes: how many.
        seed: decides all.
        role: whose texts, a key of `WRITERS`.
        questions: about each note, all different.
    """
    rng, shares = random.Random(f"corpus {seed} {role}"), WRITERS[role]
    for _ in range(notes):
        note = _note(rng, False)
        asked = rng.sample(note.kind.questions, questions)
        writers = rng.choices(list(shares), list(shares.values()), k=questions)
        texts = [note.prompt(question, rng.choice(note.entries)) for question, _ in asked]
        yield [(text, written(text, writer, rng)) for text, writer in zip(texts, writers, strict=True)]


def comparisons(notes: int, seed: int, questions: int = 2) -> Iterator[list[tuple[str, str, str]]]:
    """Pairs to train a judge on, note by note: (prompt, better answer, worse answer); only training prompts.

    Two thirds compare the right answer with a wrong one of the note, whichever; the others have a right one in a
    sentence, or an answer that is in no entry of the note, on one side.

    Args:
        notes: how many.
        seed: decides all.
        questions: about each note, one pair for each.
    """
    rng = random.Random(f"comparisons {seed}")
    for _ in range(notes):
        note, pairs = _note(rng, False), []
        for question, asked in rng.sample(note.kind.questions, questions):
            prompt = note.prompt(question, rng.choice(note.entries))
            stray = rng.choice([v for v in values(asked, False) if v not in (e[asked] for e in note.entries)])
            careful, careless = answers(prompt)[0], rng.choice(answers(prompt)[1])
            wordy = written(prompt, "wordy", rng)
            others = [(careful, stray), (careful, wordy), (wordy, careless)]
            pairs.append((prompt, *((careful, careless) if rng.random() < 2 / 3 else rng.choice(others))))
        yield pairs


def values(pool: str, heldout: bool) -> tuple[str, ...]:
    """The values of a pool for training, or held out: every third, and all where only a held-out kind has the pool.

    >>> set(values("city", True)) & set(values("city", False))
    set()
    """
    everything = POOLS[pool]
    if pool not in _TRAINING_POOLS:
        return everything if heldout else ()
    return tuple(value for k, value in enumerate(everything) if (k % 3 == 2) == heldout)


@dataclass(frozen=True)
class _Note:
    """A note and what it was made from."""

    kind: Kind
    entries: list[dict[str, str]]
    text: str

    def prompt(self, question: str, entry: dict[str, str]) -> str:
        """The note with a question of its kind about one of its entries."""
        return LAYOUT.format(note=self.text, question=question.format(**entry))


def _note(rng: random.Random, heldout: Heldout) -> _Note:
    kind = rng.choice([k for k in KINDS if k.heldout == (heldout == "kinds")])
    columns = {pool: rng.sample(values(pool, bool(heldout)), ENTRIES) for pool in kind.pools}
    entries = [{pool: columns[pool][k] for pool in columns} for k in range(ENTRIES)]
    sentences = [rng.choice(kind.entries).format(**entry) for entry in entries]
    return _Note(kind, entries, " ".join([rng.choice(kind.openings), *sentences]))


def _read(kind: Kind, sentence: str) -> dict[str, str] | None:
    return next((found for entry in kind.entries if (found := read_with(entry, sentence))), None)


def _holds(words: list[str], wanted: list[str]) -> bool:
    return any(words[k : k + len(wanted)] == wanted for k in range(len(words) - len(wanted) + 1))


_TRAINING_POOLS = {pool for kind in KINDS if not kind.heldout for pool in kind.pools}
_LAYOUT_PATTERN = re.compile(
    re.escape(LAYOUT).replace(r"\{note\}", "(?P<note>.+)").replace(r"\{question\}", "(?P<question>.+)")
)
