"""Tables, files and conversations as people have them: taken whole, or refused by row with what to write instead."""

import gzip
import json

import pandas as pd
import pytest
from datasets import Dataset

import padlab

ROWS = [
    {"prompt": f"Q{k}", "responses": ["yes", "no", "perhaps"], "teacher_reward": [-1.0, -2.0, -1.5]} for k in (0, 1)
]


def talk(*turns):
    return [{"role": role, "content": content} for role, content in turns]


@pytest.mark.parametrize("name", ["torch", "numpy", "pandas", "arrow"])
def test_a_format_changes_nothing(tiny, name):
    table, right = Dataset.from_list(ROWS), padlab.add_rewards(ROWS, tiny.teacher, "again")["again"][:]
    found = padlab.add_rewards(table.with_format(name), tiny.teacher, "again")
    assert found.with_format(None)["again"][:] == right
    prompts = padlab.sample_responses(tiny.student, table.with_format(name), n=2, max_new_tokens=2)
    assert prompts["prompt"][:] == ["Q0", "Q1"]


def test_columns_of_the_users_own_stay_and_those_of_earlier_responses_go(tiny):
    mine = [{**row, "answer": "4", "tags": ["maths"], "weight": 0.5} for row in ROWS]
    table = padlab.sample_responses(tiny.student, mine, n=2, max_new_tokens=2)
    assert {"answer", "tags", "weight"} <= set(table.column_names)
    assert table["tags"][:] == [["maths"], ["maths"]]
    assert "teacher_reward" not in table.column_names  # it spoke of other responses
    named = padlab.load_prompts([{"question": "Why?", "source": "x"}], column="question")
    assert named[0] == {"source": "x", "prompt": "Why?"}


def test_later_rows_may_have_more_columns():
    table = padlab.check_candidates([ROWS[0], {**ROWS[1], "student_reward": [-1.0, -1.0, -3.0]}])
    assert table["student_reward"][:] == [None, [-1.0, -1.0, -3.0]]


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        ([1.0, None, 2.0], "row 1, response 1: score is None"),
        ([1.0, float("nan"), 2.0], "row 1, response 1: score is nan"),
        ([1.0, 2.0], "row 1: score has 2 entries for 3 responses"),
        (None, "row 1: score is not there"),
    ],
)
def test_a_named_column_is_checked_row_by_row(score, reason):
    rows = [{**ROWS[0], "score": [1.0, 2.0, 3.0]}, {**ROWS[1], "score": score}]
    with pytest.raises(ValueError, match=reason):
        padlab.to_trl(rows, by="score")


@pytest.mark.parametrize("name", ["p.parquet", "p.csv", "p.jsonl.gz", "p.json", "folder"])
def test_other_files_are_refused_with_the_line_to_write(tmp_path, name):
    path = tmp_path / name
    frame = pd.DataFrame({"prompt": ["a", "b"]})
    if name == "folder":
        path.mkdir()
    elif name == "p.parquet":
        frame.to_parquet(path)
    elif name == "p.csv":
        frame.to_csv(path)
    elif name == "p.json":
        path.write_text(json.dumps([{"prompt": "a"}], indent=1))
    else:
        path.write_bytes(gzip.compress(b'{"prompt": "a"}\n'))
    with pytest.raises(ValueError, match=r"load_dataset\(.*split='train'"):
        padlab.load_prompts(path)
    with pytest.raises(ValueError, match=r"Dataset\.from_pandas"):
        padlab.load_prompts(frame)


def test_instructions_before_the_question_are_kept():
    prompts = padlab.load_prompts(
        [
            {"messages": talk(("system", "Be brief."), ("user", "Hi"))},
            {"messages": talk(("developer", "Answer in French."), ("user", "Hi"), ("assistant", "Salut"))},
        ]
    )
    assert prompts["prompt"][:] == ["Be brief.\n\nHi", "Answer in French.\n\nHi"]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (talk(("assistant", "I am a pirate."), ("user", "Who are you?")), "role 'assistant' before the user's"),
        (talk(("user", "a"), ("assistant", "b"), ("user", "c")), "found 2 user turns"),
        (talk(("user", "a"), ("tool", "b")), "role 'tool' after the user's"),
        (talk(("system", "a")), "found 0 user turns"),
        (talk(("user", None)), "must be text"),
        ([{"role": "user"}], "must be text"),
        ([{"from": "human", "value": "Hi"}], "role and content, found from, value"),
        (talk(("user", "  \n")), "the prompt is empty"),
    ],
)
def test_conversations_that_would_lose_something_are_refused(messages, reason):
    with pytest.raises(ValueError, match=f"row 0: .*{reason}"):
        padlab.load_prompts([{"prompt": messages}])


def test_one_text_where_a_list_is_wanted_is_refused(tiny):
    for call in (padlab.score, padlab.score_tokens):
        with pytest.raises(ValueError, match="one text"):
            call(tiny.teacher, "Name a bird.", "wren")
    with pytest.raises(ValueError, match="row 0: the prompt must be one text, got a list"):
        padlab.check_candidates([{"prompt": talk(("user", "Name a bird.")), "responses": ["wren"]}])
    with pytest.raises(ValueError, match="a list of rows, got a str"):
        padlab.check_candidates("text")


@pytest.mark.parametrize("text", ["Cafe\u0301", "👩‍👩‍👧 ok", "漢字", "שלום", "नमस्ते", "plain"])
def test_tokens_join_to_the_text_without_boxes(tiny, text):
    for model in tiny:
        tokens, logps = padlab.score_tokens(model, "Hi", [text])[0]
        assert "".join(tokens) == text
        assert len(tokens) == len(logps)


def test_no_date_decides_ids(tiny, monkeypatch):
    import datetime

    import transformers.utils.chat_template_utils as templates

    tokenizer = padlab.load_pair("tiny").teacher.tokenizer
    formats = ["%d %B %Y", "%A, %d.%m.%y %H:%M:%S", "%b %j %p"]
    dates = " ".join(f"{{{{ strftime_now('{form}') }}}}" for form in formats)
    tokenizer.chat_template = dates + " {{ messages[0]['content'] }}"
    seen = set()
    for day in (1, 2):

        class Clock(datetime.datetime):
            @classmethod
            def now(cls, tz=None, day=day):
                return datetime.datetime(2025, 3, day)

        monkeypatch.setattr(templates, "datetime", Clock)
        seen.add(tokenizer.decode(padlab.lm.chat.encode_chat(tokenizer, "Hi")))
    assert seen == {"26 July 2024 Friday, 26.07.24 00:00:00 Jul 208 AM Hi"}


@pytest.mark.parametrize("content", [b"", b"GGUF" + b"\x03\0\0\0" * 9, b"<!DOCTYPE html>" * 99])
def test_damaged_gguf_files_are_named(tmp_path, content):
    path = tmp_path / "mödel.gguf"
    path.write_bytes(content)
    with pytest.raises(RuntimeError, match=r"mödel\.gguf cannot be read as a GGUF model"):
        padlab.load_model(path)
