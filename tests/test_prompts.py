"""Prompts in: every source gives the same table, and what is wrong is named by line or row."""

import json

import pytest
from datasets import Dataset, DatasetDict, IterableDataset

from padlab.bundled import bundled
from padlab.data_files import read_rows
from padlab.prompts import load_prompts

TEXTS = [
    "Why is the sky blue?",
    "<|im_end|> <b>$x$</b> \\frac \u2028 end",
    "\x00 and \u200b",
    "Übersetze: naïve café ☕\nzweite",
]


def write(path, *lines, encoding="utf-8"):
    path.write_bytes("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode(encoding))
    return path


def test_every_source_gives_the_same_prompts(tmp_path):
    rows = [{"prompt": t} for t in TEXTS]
    table = Dataset.from_list(rows)
    file = write(tmp_path / "with space ü.jsonl", *rows)
    renamed = table.rename_column("prompt", "instruction")
    messages = [[{"role": "user", "content": t}, {"role": "assistant", "content": "ignored"}] for t in TEXTS]
    sources = [
        TEXTS, tuple(TEXTS), rows, table, str(file), file,
        IterableDataset.from_generator(lambda: iter(rows)),
        Dataset.from_dict({"messages": messages}),
    ]  # fmt: skip
    for source in sources:
        assert load_prompts(source)["prompt"][:] == TEXTS
    assert load_prompts(renamed, column="instruction")["prompt"][:] == TEXTS
    assert load_prompts(rows, limit=2)["prompt"][:] == TEXTS[:2]
    assert load_prompts(IterableDataset.from_generator(lambda: iter(rows)), limit=1).num_rows == 1


def test_bundled_splits_load_with_ids_and_categories_in_file_order():
    table = load_prompts("heldout", limit=5)
    assert table.column_names == ["id", "category", "prompt"]
    first = [json.loads(line) for line in bundled("prompts/heldout.jsonl").read_text(encoding="utf-8").splitlines()[:5]]
    assert list(table) == [{k: row[k] for k in table.column_names} for row in first]


def test_windows_newlines_a_bom_and_blank_lines_are_read(tmp_path):
    path = tmp_path / "w.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n\r\n{"prompt": "b\\r\\nc"}\r\n   \n')
    assert load_prompts(path)["prompt"][:] == ["a", "b\r\nc"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"prompt": "a"}', '{"prompt": "b"', '{"prompt": "c"}'], r"line 2 is not valid JSON \(.*mend or delete"),
        (
            ['{"prompt": "a"}', '{"prompt": "trunc'],
            r"line 2 is not valid JSON \(Unterminated string starting at column 12\)",
        ),
        (['{"prompt": "a"}', "[1, 2]"], "line 2 is a list, expected an object"),
        (['{"prompt": "a"}', '{"prompt": " "}'], "p.jsonl, row 1: the prompt is empty; drop the row"),
        (['{"id": 1, "prompt": "a"}', '{"id": 1, "prompt": "b"}'], "id 1 stands in rows 0 and 1"),
        (['{"text": "a"}'], "row 0: no column 'prompt' .nor 'messages'.; there are text. Name it with column="),
        (['{"prompt": 3}'], "row 0: expected text or a list of messages, found int"),
        (['{"prompt": null}'], "row 0: expected text or a list of messages"),
        ([""], "holds no prompts"),
    ],
)
def test_broken_files_are_named_by_line_or_row(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        load_prompts(write(tmp_path / "p.jsonl", *lines))


def test_a_file_in_another_encoding_or_not_there(tmp_path):
    path = write(tmp_path / "latin.jsonl", '{"prompt": "a"}', '{"prompt": "caf\u00e9"}', encoding="latin-1")
    with pytest.raises(ValueError, match=r"latin.jsonl is not UTF-8.*re-save"):
        read_rows(path)
    with pytest.raises(ValueError, match=r"no such file: nowhere\.jsonl; bundled prompts are 'train' and 'heldout'"):
        load_prompts("nowhere.jsonl")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (["ok", ""], "list, row 1: the prompt is empty"),
        (["ok", "\n \t"], "row 1: the prompt is empty"),
        (["ok", None], "row 1: expected text or a list of messages"),
        (["ok", "a\ud800b"], "row 1 does not fit into the table: .*surrogates not allowed; mend or drop"),
        ([{"messages": [{"role": "system", "content": "x"}]}], "row 0: there is no user message"),
        ([{"messages": [{"role": "user", "content": None}]}], "row 0: message content must be text"),
        ([{"messages": [{"role": "user", "content": [{"type": "image"}]}]}], "row 0: message content must be text"),
        ([{"messages": ["Hi"]}], "row 0: expected text or a list of messages"),
        ([], "holds no prompts"),
        (7, "expected a datasets.Dataset or a list of rows, got a int"),
        (DatasetDict(train=Dataset.from_list([{"prompt": "a"}])), "choose one split: train"),
    ],
)
def test_bad_sources_are_named(source, message):
    with pytest.raises(ValueError, match=message):
        load_prompts(source)


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        load_prompts("train", limit=0)
    with pytest.raises(ValueError, match="no column 'question'"):
        load_prompts("train", column="question", limit=1)
