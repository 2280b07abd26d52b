"""The reading world: truth recovered from the text alone, disjoint held-out sides, quality against hand-made cases."""

import random
import re
from collections import Counter

import pytest

from padlab.worlds.notes import KINDS, slots
from padlab.worlds.reading import WRITERS, _note, answers, corpus, normalise, prompts, quality, values, written
from padlab.worlds.values import POOLS

SIDES = (False, "names", "kinds")
PROMPT = (
    "Read the note and answer the question in a few words.\n\nNote: It is market day. Emma sells tea for 2 pounds. "
    "At Tim's stall you get jam for 12 pounds. Zoe offers soap at a price of 4 pounds.\n\nQuestion: "
)


@pytest.mark.parametrize(
    ("question", "response", "score"),
    [
        ("What does Tim sell?", "jam", 1),
        ("What does Tim sell?", "Jam.", 1),
        ("What does Tim sell?", "the jam", 1),
        ("What does Tim sell?", "Tim sells jam.", 0.5),
        ("What does Tim sell?", "jam or tea", 0),
        ("What does Tim sell?", "tea", 0),
        ("What does Tim sell?", "jams", 0),
        ("What does Tim sell?", "", 0),
        ("How much does Emma ask?", "2 pounds", 1),
        ("How much does Emma ask?", "2", 1),
        ("How much does Emma ask?", "£2", 1),
        ("How much does Emma ask?", "12 pounds", 0),
        ("How much does Emma ask?", "22", 0),
        ("Who asks 12 pounds?", "Tim", 1),
        ("Who asks 12 pounds?", "Tim Zoe", 0),
        ("Who asks 12 pounds?", "It is Tim's", 0.5),
    ],
)
def test_quality_by_hand(question, response, score):
    assert quality(PROMPT + question, response) == score


@pytest.mark.parametrize("count", [334, pytest.param(3334, marks=pytest.mark.slow)])
def test_the_truth_is_read_back_from_the_text_of_prompts(count):
    for side in SIDES:
        rng = random.Random(f"test {side}")
        for _ in range(count):
            note = _note(rng, side)
            (question, asked), entry = rng.choice(note.kind.questions), rng.choice(note.entries)
            wrong = tuple(other[asked] for other in note.entries if other is not entry)
            assert answers(note.prompt(question, entry)) == (entry[asked], wrong)


def test_values_that_are_asked_about_differ_and_have_words_that_count():
    for side in SIDES:
        for text in prompts(500, seed=6, heldout=side):
            right, wrong = answers(text)
            told_apart = {tuple(normalise(value)) for value in (right, *wrong)}
            assert len(told_apart) == 3
            assert () not in told_apart
    for pool, everything in POOLS.items():
        told_apart = {tuple(normalise(value)) for value in everything}
        assert len(told_apart) == len(everything), pool


def test_held_out_sides_share_no_value_and_no_kind_with_training():
    for pool in POOLS:
        assert not set(values(pool, True)) & set(values(pool, False))
    everything = [value.lower() for pool in POOLS.values() for value in pool if not value[0].isdigit()]
    assert len(set(everything)) == len(everything)  # no word is held out in one pool and trained on in another
    training = " ".join(prompts(3000, seed=0))
    for side in ("names", "kinds"):
        for text in prompts(200, seed=1, heldout=side):
            for value in (value for group in answers(text) for value in ([group] if isinstance(group, str) else group)):
                assert value[0].isdigit() or not re.search(rf"\b{value}\b", training), value
    for kind in KINDS:
        opening = any(sentence in training for sentence in kind.openings)
        assert opening != kind.heldout


def test_the_kinds_are_as_many_and_as_varied_as_said():
    assert sum(not kind.heldout for kind in KINDS) >= 8
    assert sum(kind.heldout for kind in KINDS) == 2
    for kind in KINDS:
        assert len(kind.questions) >= 5
        assert all(set(slots(entry)) == set(kind.pools) for entry in kind.entries)
        assert {asked for _, asked in kind.questions} <= set(kind.pools)
        assert all(asked not in slots(question) for question, asked in kind.questions)


def test_prompts_are_reproducible_and_do_not_repeat():
    for side in SIDES:
        assert prompts(30, seed=4, heldout=side) == prompts(40, seed=4, heldout=side)[:30]
        assert prompts(30, seed=4, heldout=side) != prompts(30, seed=5, heldout=side)
        assert len(set(prompts(2000, heldout=side))) == 2000


def test_writers_write_what_they_are_said_to():
    for text in prompts(100, seed=7):
        scores = {writer: quality(text, written(text, writer, random.Random(text))) for writer in WRITERS["student"]}
        assert scores == {"careful": 1, "careless": 0, "wordy": 0.5}
    notes = list(corpus(400, 0, "student", questions=5))
    assert all(len({asked.split("Question:")[0] for asked, _ in note}) == 1 for note in notes)
    assert all(len({asked for asked, _ in note}) == 5 for note in notes)
    counts = Counter(quality(asked, answer) for note in notes for asked, answer in note)
    for writer, score in (("careful", 1), ("careless", 0), ("wordy", 0.5)):
        assert counts[score] / 2000 == pytest.approx(WRITERS["student"][writer], abs=0.04)


@pytest.mark.parametrize(
    "text", ["", "Who is it?", PROMPT, PROMPT + "Who?", PROMPT.replace("tea", "gold") + "Who asks 2 pounds?"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="no prompt of the reading world"):
        quality(text, "x")
