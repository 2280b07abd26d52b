"""Numbers too large, nesting too deep, cells of the wrong kind: the right value, or an error that says where."""

import copy
import json
import re
import warnings

import pytest

import padlab
from padlab.candidates import check_candidates
from padlab.cli import main
from padlab.data_files import read_rows
from padlab.show.inspector_files import read_responses

TOO_LARGE = [str(2**63), str(-(2**63) - 1), str(2**64), "1" + "0" * 400, "-" + "7" * 5000]
NOT_FINITE = ["NaN", "Infinity", "-Infinity", "1e999"]


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("number", TOO_LARGE, ids=lambda digits: f"{len(digits)} characters")
@pytest.mark.parametrize(
    ("name", "text", "read", "place"),
    [
        (
            "r.jsonl",
            '{"prompt":"q","response":"a","score":1}\n{"prompt":"q","response":"b","score":%s}',
            "rank",
            "score",
        ),
        ("r.json", '[{"prompt":"q","responses":["a","b"],"scores":[1,2]},{"x":{"deep":[%s]}}]', "rank", "x"),
        ("p.jsonl", '{"prompt":"q","id":1}\n{"prompt":"r","id":%s}', "prompts", "id"),
        ("r.csv", "prompt,response,score\nq,a,1\nq,b,%s", "rank", "score"),
    ],
)
def test_an_integer_that_no_table_holds_is_named_or_read_as_it_is(tmp_path, number, name, text, read, place):
    path = write(tmp_path, name, text % number)
    read = padlab.load_prompts if read == "prompts" else lambda p: padlab.from_ranked(read_rows(p), scale="raw")
    if name.endswith("csv") and len(number) < 300:  # texts: a float holds these
        assert read(path)["teacher_reward"][0] == [1.0, float(number)]
        return
    with pytest.raises(ValueError, match=f"row 1.*{place}") as caught:
        read(path)
    assert name.endswith("csv") or name in str(caught.value)
    assert len(str(caught.value)) < 250, "the number itself need not be read"


def test_integers_of_64_bits_come_back_exactly(tmp_path):
    ids = [2**63 - 1, -(2**63), 2**53 + 1]
    path = write(tmp_path, "p.jsonl", "\n".join(json.dumps({"prompt": str(k), "id": k}) for k in ids))
    assert padlab.load_prompts(path)["id"][:] == ids
    quoted = write(tmp_path, "q.jsonl", json.dumps({"prompt": "a", "id": str(2**80)}))
    assert padlab.load_prompts(quoted)["id"][:] == [str(2**80)]


@pytest.mark.parametrize("number", NOT_FINITE)
@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
def test_a_score_that_is_not_finite_is_named_by_row_and_column(tmp_path, number, name):
    lines = {"r.jsonl": '{"prompt":"q","response":"a","score":1}\n{"prompt":"q","response":"b","score":%s}'}
    path = write(tmp_path, name, lines.get(name, "prompt,response,score\nq,a,1\nq,b,%s") % number)
    with pytest.raises(ValueError, match="row 1: score"):
        padlab.from_ranked(read_rows(path))


def test_two_raters_of_the_largest_numbers_are_averaged():
    rows = [("a", 1.7e308), ("a", 1.6e308), ("b", 0.0)]
    table = [{"prompt": "q", "response": text, "score": score} for text, score in rows]
    assert padlab.from_ranked(table, scale="raw")["teacher_reward"][0] == [pytest.approx(1.65e308), 0.0]


@pytest.mark.parametrize("depth", [100, 1500, 200_000])
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_what_is_nested_too_deeply_is_named(tmp_path, depth, opened, closed):
    deep = opened * depth + "1" + closed * depth
    path = write(tmp_path, "deep.jsonl", '{"prompt":"q"}\n{"prompt":"r","x":' + deep + "}")
    with pytest.raises(ValueError, match=r"deep\.jsonl, (line 2|row 1 .*: x:)"):
        padlab.load_prompts(path)
    with pytest.raises(ValueError, match="deep"):
        read_responses(write(tmp_path, "deep.json", "[" + deep + "]"))


@pytest.mark.parametrize("number", [TOO_LARGE[-1], *NOT_FINITE, "[" * 3000 + "]" * 3000])
def test_the_command_line_says_so_without_a_traceback(tmp_path, capsys, number):
    path = write(tmp_path, "r.jsonl", '{"prompt":"q","response":"a","score":' + number + "}\n" + '{"prompt":"q"}')
    assert main(["import", str(path), str(tmp_path / "run"), "--preset", "tiny"]) == 1
    said = capsys.readouterr().err
    assert re.search("row 0|line 1", said)
    assert not (tmp_path / "run" / "candidates.jsonl").exists()


def test_a_line_is_a_line_whatever_other_separators_it_holds(tmp_path):
    texts = ["a\u2028b", "c\x0cd\x85e", "f\x1cg"]
    assert read_responses(write(tmp_path, "lines.txt", "\n".join(texts))) == texts


# --- whatever stands in a cell

USER, ASSISTANT = ({"role": role, "content": "q"} for role in ("user", "assistant"))
SHAPES = {
    "candidates": {
        "prompt": "q", "responses": ["a", "b"], "scores": [1, 2], "id": "x", "finished": [True, False],
        "selection_prob": [0.5, 0.5], "previous_messages": [USER, ASSISTANT],
    },
    "TRL": {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 2, "score_rejected": 1, "margin": 1},
    "TRL messages": {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [{**ASSISTANT, "content": "b"}]},
    "UltraFeedback": {"instruction": "q", "completions": [{"response": t, "overall_score": 1} for t in "ab"]},
    "Nectar": {"prompt": "\n\nHuman: q\n\nAssistant: ", "answers": [{"answer": t, "rank": 1} for t in "ab"]},
    "HelpSteer2": {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 1},
    "HelpSteer3": {"context": [USER], "response1": "a", "response2": "b", "overall_preference": 1},
    "one response": {"prompt": "q", "response": "a", "score": 1},
}  # fmt: skip
CELLS = [
    None, -1, float("nan"), float("inf"), 1.7e308, 10**30, True, "", " ", "\ud800", b"x", [], {}, [None], [[]], [{}],
    {"a": 1}, [1, "a"], ["a", None], [10**30, 1], [USER], [{"role": 1, "content": 2}], [{"role": {}, "content": "x"}],
    USER, "\n\nHuman:", [1.7e308, -1.7e308],
]  # fmt: skip
READERS = {
    "from_ranked": lambda table: padlab.from_ranked(table, scale="raw"),
    "from_ranked, faulty rows skipped": lambda table: padlab.from_ranked(table, skip_faulty=True),
    "to_trl": lambda table: padlab.to_trl(table, by="scores"),
    "load_prompts": padlab.load_prompts,
    "check_candidates": check_candidates,
}
FOR = {"to_trl": "candidates", "check_candidates": "candidates"}  # these read no other shape


def reason_against(read, table):
    """The message of a ValueError; any other exception is a fault."""
    try:
        read(table)
    except ValueError as error:
        return str(error)
    return "none: it was read"


@pytest.mark.parametrize(
    ("reader", "shape"),
    [(reader, shape) for reader in READERS for shape in SHAPES if shape.startswith(FOR.get(reader, ""))],
)
def test_whatever_stands_in_a_cell_is_read_or_refused_with_a_reason(reader, shape):
    for column in SHAPES[shape]:
        for cell in CELLS:
            table = [copy.deepcopy(SHAPES[shape]), {**copy.deepcopy(SHAPES[shape]), column: cell}]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert len(reason_against(READERS[reader], table)) > 10, (column, cell)
