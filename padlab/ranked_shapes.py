"""Published shapes of ranked data: each is recognised by its columns and read by one function.

A reader takes the columns it reads out of the row; what is left in the row are the user's own columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from padlab.conversations import checked_messages, is_dialogue
from padlab.ranked_fields import (
    Row,
    answer,
    check_columns,
    helpsteer_turns,
    number,
    question_columns,
    take_list,
    take_question,
    turns,
)

By = tuple[str, int]  # which field holds the numbers, and 1 for scores or -1 for ranks
PAIR_SCORES = (("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"))
NUMBERS = ("score", "scores", "reward", "rewards", "rank", "ranks", "teacher_reward")
HELPSTEER_RATINGS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


class Ranked(NamedTuple):
    """What a row says: columns of the question, responses, scores (higher is better), fields that are left out."""

    asked: Row
    responses: list[str]
    scores: list[float]
    unused: tuple[str, ...] = ()


Reader = Callable[[Row, str, By | None], Ranked]  # (row, its name in errors, field of the numbers or the shape's own)


def recognised(columns: Iterable[str]) -> tuple[str, Reader, bool] | None:
    """Name and reader of the shape with these columns, and whether a row is one response; None if unknown."""
    present = set(columns)
    for shapes in (SHAPES, RESPONSE_SHAPES):
        for name, needed, reader in shapes:
            if present.issuperset(needed):
                return name, reader, shapes is RESPONSE_SHAPES
    return None


# --- chosen and rejected


def read_pair(entry: Row, where: str, by: By | None) -> Ranked:
    """TRL's preference formats, ultrafeedback_binarized, hh-rlhf: the chosen response, then the rejected one."""
    _no_choice(by)
    return Ranked(*_pair_texts(entry, where), _pair_scores(entry, where))


def _pair_texts(entry: Row, where: str) -> tuple[Row, list[str]]:
    """Columns of the question, and the texts of chosen and rejected, which may hold the question too."""
    if "messages" in entry and entry["messages"] == entry["chosen"]:  # in ultrafeedback_binarized
        del entry["messages"]
    sides = {side: turns(entry.pop(side)) for side in ("chosen", "rejected")}
    whole = {k: v for k, v in sides.items() if isinstance(v, Sequence) and not isinstance(v, str) and len(v) > 1}
    if "prompt" not in entry:
        asked = question_columns(_shared_messages(sides, where), f"{where}, chosen")
    elif whole and isinstance(entry["prompt"], str) and not is_dialogue(entry["prompt"]):
        before = _shared_messages(whole, where)  # as in TRL, the whole conversations count: they may say more
        if {"role": "user", "content": entry.pop("prompt")} not in before:
            side = next(iter(whole))
            raise ValueError(f"{where}, {side}: the messages before it are not those of the prompt; drop the row")
        asked = question_columns(before, where)
    else:
        asked = take_question(entry, "prompt", where)
    return asked, [answer(value, asked, f"{where}, {side}") for side, value in sides.items()]


def _shared_messages(sides: Mapping[str, Any], where: str) -> list[Row]:
    """The messages before the answers, which must be the same on all sides."""
    before = []
    for side, value in sides.items():
        if isinstance(value, str):
            need = "add that column, or give messages or a dialogue that begins with '\\n\\nHuman:'"
            raise ValueError(f"{where}, {side}: a text alone, and no column `prompt` says what was asked; {need}")
        before.append(checked_messages(value, f"{where}, {side}")[:-1])
    if before[0] != before[-1]:
        raise ValueError(f"{where}: chosen and rejected differ in the messages before the answer; drop the row")
    return before[0]


def _pair_scores(entry: Row, where: str) -> list[float]:
    """Two scores where there are any, else the margin and 0, else 1 and 0."""
    names = next((names for names in PAIR_SCORES if set(names) <= entry.keys()), None)
    margin = entry.pop("margin", 1)
    if names:
        scores = [number(entry.pop(name), name, where) for name in names]
    else:
        scores = [number(margin, "margin", where), 0.0]
    if scores[0] < scores[1]:
        raise ValueError(f"{where}: chosen has a lower score than rejected ({scores}); exchange them or drop the row")
    return scores


# --- several responses in a row


def _read_ultrafeedback(entry: Row, where: str, by: By | None) -> Ranked:
    return _read_dicts(entry, where, ("instruction", "completions", "response"), by or ("overall_score", 1))


def _read_nectar(entry: Row, where: str, by: By | None) -> Ranked:
    return _read_dicts(entry, where, ("prompt", "answers", "answer"), by or ("rank", -1))


def _read_online(entry: Row, where: str, by: By | None) -> Ranked:
    return read_lists(entry, where, ("prompt", "completions"), by or ("rewards", 1))


def _read_own(entry: Row, where: str, by: By | None) -> Ranked:
    return read_lists(entry, where, ("prompt", "responses"), by or _only_numbers(entry))


def _read_helpsteer2(entry: Row, where: str, by: By | None) -> Ranked:
    _no_choice(by)
    return _read_two(entry, where, ("prompt", "response_1", "response_2"), "preference_strength")


def _read_helpsteer3(entry: Row, where: str, by: By | None) -> Ranked:
    _no_choice(by)
    return _read_two(entry, where, ("context", "response1", "response2"), "overall_preference")


def _read_two(entry: Row, where: str, names: tuple[str, str, str], preference: str) -> Ranked:
    """HelpSteer's preference lies in -3 (the first response is much better) to 3 (the second)."""
    value = number(entry.pop(preference), preference, where)
    if abs(value) > 3:
        raise ValueError(f"{where}: {preference} is {value}, expected -3 to 3; drop the row")
    question, *sides = names
    entry[question] = helpsteer_turns(entry[question])
    asked = take_question(entry, question, where)
    return Ranked(asked, [answer(entry.pop(n), asked, f"{where}, {n}") for n in sides], [-value / 2, value / 2])


def _read_dicts(entry: Row, where: str, names: tuple[str, str, str], by: By) -> Ranked:
    """A list of dicts with a text and a number each; names: of the question, the list, the text."""
    question, column, text = names
    asked, items = take_question(entry, question, where), take_list(entry, column, where)
    if not all(isinstance(item, Mapping) for item in items):
        raise ValueError(f"{where}, {column}: expected a list of dicts with {text} and {by[0]}; mend or drop the row")
    fields = {name: None for item in items for name, value in item.items() if value is not None}
    if items and not any(by[0] in item for item in items):
        raise ValueError(f"{where}, {column}: there is no {by[0]}; there are {', '.join(fields)}. Say score=...")
    responses, numbers = ([item.get(name) for item in items] for name in (text, by[0]))
    unused = tuple(name for name in fields if name not in (text, by[0]))
    return Ranked(asked, *_matched(asked, responses, numbers, by, f"{where}, {column}"), unused)


def read_lists(entry: Row, where: str, names: tuple[str, str], by: By) -> Ranked:
    """A list of responses and a list of numbers; names: of the question, the responses."""
    check_columns(entry, (*names, by[0]))
    asked = take_question(entry, names[0], where)
    responses, numbers = (take_list(entry, column, where) for column in (names[1], by[0]))
    return Ranked(asked, *_matched(asked, responses, numbers, by, f"{where}, {names[1]}"))


def _matched(asked: Row, responses: list[Any], numbers: list[Any], by: By, where: str) -> tuple[list[str], list[float]]:
    """The responses' texts and their scores."""
    if len(responses) != len(numbers):
        raise ValueError(f"{where}: {len(responses)} responses and {len(numbers)} numbers in {by[0]}; mend or drop it")
    if len(responses) < 2:
        raise ValueError(f"{where}: {len(responses)} response(s), a ranking needs 2 or more; filter such rows out")
    places = [f"{where}, response {k}" for k in range(len(responses))]
    texts = [answer(value, asked, place) for value, place in zip(responses, places, strict=True)]
    return texts, [by[1] * number(value, by[0], place) for value, place in zip(numbers, places, strict=True)]


# --- one response in a row


def _read_rating(entry: Row, where: str, by: By | None) -> Ranked:
    entry["prompt"] = helpsteer_turns(entry["prompt"])
    read = read_single(entry, where, ("prompt", "response"), by or ("helpfulness", 1))
    return read._replace(unused=tuple(name for name in HELPSTEER_RATINGS if entry.pop(name, None) is not None))


def _read_unpaired(entry: Row, where: str, by: By | None) -> Ranked:
    return read_single(entry, where, ("prompt", "completion"), by or ("label", 1))


def _read_response(entry: Row, where: str, by: By | None) -> Ranked:
    return read_single(entry, where, ("prompt", "response"), by or _only_numbers(entry))


def read_single(entry: Row, where: str, names: tuple[str, str], by: By) -> Ranked:
    """One response and its number; names: of the question, the response."""
    check_columns(entry, (*names, by[0]))
    asked = take_question(entry, names[0], where)
    text = answer(entry.pop(names[1]), asked, f"{where}, {names[1]}")
    return Ranked(asked, [text], [by[1] * number(entry.pop(by[0]), by[0], where)])


# --- which numbers count


def _only_numbers(entry: Row) -> By:
    """The one column whose name says that it holds scores or ranks."""
    found = [name for name in NUMBERS if name in entry]
    if len(found) != 1:
        what = " and ".join(found) or "no column of scores"
        raise ValueError(f"{what} found among {', '.join(entry)}; say score=... or rank=...")
    return found[0], -1 if found[0].startswith("rank") else 1


def _no_choice(by: By | None) -> None:
    if by:
        raise ValueError("score= and rank= are not for a table of two responses with a preference; leave them out")


SHAPES = (  # a row is a prompt with its responses: name, columns, reader
    ("TRL preference", ("prompt", "chosen", "rejected"), read_pair),
    ("TRL preference without prompt, or hh-rlhf", ("chosen", "rejected"), read_pair),
    ("UltraFeedback", ("instruction", "completions"), _read_ultrafeedback),
    ("Nectar", ("prompt", "answers"), _read_nectar),
    ("HelpSteer2 preference", ("prompt", "response_1", "response_2", "preference_strength"), _read_helpsteer2),
    ("HelpSteer3", ("context", "response1", "response2", "overall_preference"), _read_helpsteer3),
    ("online table", ("prompt", "completions", "rewards"), _read_online),
    ("candidates with scores", ("prompt", "responses"), _read_own),
)
RESPONSE_SHAPES = (  # a row is one response; rows of one conversation belong together
    ("HelpSteer2 ratings", ("prompt", "response", "helpfulness"), _read_rating),
    ("TRL unpaired preference", ("prompt", "completion", "label"), _read_unpaired),
    ("one response per row", ("prompt", "response"), _read_response),
)
