"""Answers kept in a folder: nothing is asked twice, and whatever decides an answer is part of its name."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import padlab
from padlab.phases import rewards, selection
from padlab.safe_files import ABANDONED
from padlab.shards import cached_rows

ROWS = [{"prompt": f"Name {k}.", "responses": ["red", "blue and green"]} for k in range(3)]


@pytest.fixture
def counted(monkeypatch):
    """How many rows were scored, and how many asked about."""
    count = {"scored": 0, "asked": 0}
    score, ask = rewards.score_ids, selection.ASK["letter"]

    def score_counted(model, prompts, responses, **named):
        count["scored"] += len(prompts)
        return score(model, prompts, responses, **named)

    def ask_counted(*arguments):
        count["asked"] += 1
        return ask(*arguments)

    monkeypatch.setattr(rewards, "score_ids", score_counted)
    monkeypatch.setitem(selection.ASK, "letter", ask_counted)
    return count


def test_the_same_rows_are_scored_and_asked_once(tiny, counted, tmp_path):
    for _ in range(2):
        scored = padlab.add_rewards(ROWS, tiny.teacher, cache=tmp_path)
        asked = padlab.add_selection_probs(ROWS, tiny.teacher, cache=tmp_path)
    assert counted == {"scored": 3, "asked": 3}
    assert scored["teacher_reward"] == padlab.add_rewards(ROWS, tiny.teacher)["teacher_reward"]
    assert asked["selection_prob"] == padlab.add_selection_probs(ROWS, tiny.teacher)["selection_prob"]


def test_only_new_rows_are_asked_and_another_model_is_another_answer(tiny, counted, tmp_path):
    first = padlab.add_rewards(ROWS[:2], tiny.teacher, cache=tmp_path)
    more = padlab.add_rewards([*ROWS[::-1], ROWS[0]], tiny.teacher, cache=tmp_path)
    assert counted["scored"] == 3
    assert more["teacher_reward"][2] == first["teacher_reward"][0] == more["teacher_reward"][3]
    other = padlab.add_rewards(ROWS, tiny.student, cache=tmp_path)
    assert counted["scored"] == 6
    assert other["teacher_reward"] != padlab.add_rewards(ROWS, tiny.teacher, cache=tmp_path)["teacher_reward"]


def test_another_question_is_another_answer(tiny, counted, tmp_path):
    short = lambda prompt, options: f"{prompt} A {options[0]} B {options[1]}?"  # noqa: E731
    for settings in ({}, {"method": "n-way"}, {"max_response_tokens": 1}, {"question": short}):
        padlab.add_selection_probs(ROWS[:1], tiny.teacher, cache=tmp_path, **settings)
    assert counted["asked"] == 4


def test_a_damaged_file_is_done_again(tmp_path):
    done = []
    work = lambda piece: [done.append(k) or {"row": k} for k in piece]  # noqa: E731
    kept = cached_rows(work, lambda k: ["key", k], tmp_path)
    assert kept([1, 2]) == [{"row": 1}, {"row": 2}]
    (damaged,) = [f for f in tmp_path.rglob("*.jsonl") if '{"row": 2}' in f.read_text()]
    for damage in ('{"row"', damaged.read_text().replace('{"row": 2}', '{"row": 3}'), ""):
        damaged.write_text(damage)
        assert kept([2, 1]) == [{"row": 2}, {"row": 1}]
    assert done == [1, 2, 2, 2, 2]


def test_threads_may_share_a_cache(tmp_path):
    def work(piece):
        return [{"row": k} for k in piece]

    def read(_):
        return cached_rows(work, lambda k: ["key", k], tmp_path)(range(40))

    with ThreadPoolExecutor(4) as threads:
        assert all(rows == work(range(40)) for rows in threads.map(read, range(12)))


def test_scratch_files_that_nobody_writes_any_more_are_removed(tmp_path):
    (tmp_path / "ab").mkdir()
    old, new = tmp_path / "ab" / ".x.jsonl.1.tmp", tmp_path / "ab" / ".y.jsonl.2.tmp"
    for path in (old, new):
        path.write_text("half a ro")
    os.utime(old, (time.time() - 2 * ABANDONED,) * 2)
    cached_rows(list, str, tmp_path)
    assert not old.exists()
    assert new.exists(), "another process may be writing it"
