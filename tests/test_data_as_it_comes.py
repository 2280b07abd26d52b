"""Tables, files and conversations as people have them: taken whole, or refused by row with what to write instead."""

import copy
import gzip

import pandas as pd
import pytest
import torch
from datasets import Dataset

import padlab
from padlab.data_files import read_rows
from padlab.lm.chat import encode_chat
from padlab.lm.encoding import candidate_ids
from padlab.lm.models import LanguageModel
from padlab.training.collator import training_examples

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


@pytest.mark.parametrize("name", ["p.parquet", "p.csv", "p.csv.gz", "p.tsv", "p.jsonl", "p.jsonl.gz", "p.json"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, name):
    texts = ["a, 'b'\n\"c\"", "007", "NA", "ü😀"]
    frame, path = pd.DataFrame({"prompt": texts, "note": ["x", None, "y", None]}), tmp_path / name
    lines = frame.to_json(orient="records", lines=True, force_ascii=False).encode()
    if name == "p.parquet":
        frame.to_parquet(path)
    elif name.startswith("p.csv"):
        frame.to_csv(path, index=False)
    elif name == "p.tsv":
        frame.to_csv(path, index=False, sep="\t")
    elif name == "p.json":
        frame.to_json(path, orient="records", force_ascii=False, indent=1)
    else:
        path.write_bytes(gzip.compress(lines) if name.endswith(".gz") else b"\xef\xbb\xbf" + lines)
    assert read_rows(path) == [{"prompt": t, "note": n} for t, n in zip(texts, ["x", None, "y", None], strict=True)]
    assert padlab.load_prompts(path)["prompt"][:] == texts


@pytest.mark.parametrize("row", ["Hi, name 0,no,0", "Hi,no,0,", "Hi,no", '"Hi, no,0'])
def test_a_line_with_other_cells_than_the_header_is_refused(tmp_path, row):
    (path := tmp_path / "p.csv").write_text(f"prompt,response,score\nHi,yes,1\n{row}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"p\.csv, line 3.*(quotes|mend)"):
        read_rows(path)
    path.write_text("prompt,prompt\na,b\n", encoding="utf-8")
    with pytest.raises(ValueError, match="stands twice"):
        read_rows(path)


def test_long_cells_blank_lines_and_upper_case_names(tmp_path):
    (path := tmp_path / "P.CSV").write_text(f'prompt,x\n\n"{"long " * 40_000}",\n\n', encoding="utf-8")
    assert read_rows(path) == [{"prompt": "long " * 40_000, "x": None}]


def test_the_row_to_blame_is_found_in_a_large_table():
    rows = [{"prompt": f"p{k}", "note": k} for k in range(20_000)]
    rows[17_001]["note"] = "text"
    with pytest.raises(ValueError, match="row 17001 does not fit"):
        padlab.load_prompts(rows)


def test_parquet_keeps_lists_and_numbers(tmp_path):
    row = {"prompt": "p", "answers": [{"answer": "a", "rank": 1.0}, {"answer": "b", "rank": 2.0}], "turns": 1}
    pd.DataFrame([row]).to_parquet(tmp_path / "p.parquet")
    assert read_rows(tmp_path / "p.parquet") == [row]


@pytest.mark.parametrize("name", ["p.txt", "p.zip", "folder", "p.csv", "p.parquet", "p.jsonl.gz", "p.json", "p.jsonl"])
def test_files_that_cannot_be_read_are_refused_by_name(tmp_path, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    else:
        path.write_bytes(b'["x", 3' if name == "p.json" else b"\xff\xfe\x00 PK")
    remedy = r"load_dataset\(.*split='train'" if name in ("p.txt", "p.zip", "folder") else "re-save|fetch it|mend"
    with pytest.raises(ValueError, match=remedy) as refused:
        read_rows(path)
    assert name in str(refused.value)


def test_a_pandas_frame_is_refused_with_the_line_to_write():
    with pytest.raises(ValueError, match=r"Dataset\.from_pandas"):
        padlab.load_prompts(pd.DataFrame({"prompt": ["a"]}))


def test_what_was_said_before_the_question_is_kept():
    before = (("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"))
    prompts = padlab.load_prompts(
        [
            {"messages": talk(*before, ("user", "Who are you?"))},
            {"messages": talk(("developer", "Answer in French."), ("user", "Hi"), ("assistant", "Salut"))},
            {"messages": talk(("user", "Hi"))},
        ]
    )
    assert prompts["prompt"][:] == ["Who are you?", "Hi", "Hi"]
    assert prompts["previous_messages"][:2] == [talk(*before), talk(("system", "Answer in French."))]
    assert not prompts["previous_messages"][2]


def test_models_read_the_whole_conversation(tiny):
    """Prompt ids, rewards and selection questions are those of the conversation; without it they are others."""
    before, question = talk(("user", "My name is Ann."), ("assistant", "Hello, Ann!")), "What is my name?"
    rows = [{"prompt": question, "previous_messages": before}, {"prompt": question}]
    for model in tiny:
        table = padlab.sample_responses(model, rows, n=3, max_new_tokens=5)
        whole = [*before, {"role": "user", "content": question}]
        asked, _ = candidate_ids(model, table)
        assert asked[0] == model.tokenizer.apply_chat_template(whole, add_generation_prompt=True, return_dict=False)
        assert table["responses"][0] != table["responses"][1]
        text = [{**row, "responses": ["Ann", "I do not know"]} for row in rows]
        rewards = padlab.add_rewards(text, model)["teacher_reward"]
        assert rewards[0] == pytest.approx(padlab.score(model, whole, ["Ann", "I do not know"]))
        assert rewards[0] != pytest.approx(rewards[1])
    seen = []

    def question_of(prompt, options):
        seen.append(prompt)
        return padlab.phases.multiple_choice.multiple_choice_question(prompt, options)

    padlab.add_selection_probs(text, tiny.teacher, question=question_of)
    whole = "User: My name is Ann.\n\nAssistant: Hello, Ann!\n\nUser: What is my name?"
    assert set(seen) - {"prompt"} == {whole, question}
    assert seen.count(whole) == seen.count(question)


def test_conversations_are_trained_on_and_resumed(tiny, tmp_path):
    rows = [{"prompt": "b", "previous_messages": talk(("system", "Be brief."), ("user", "a"), ("assistant", "x"))}]
    table = padlab.add_rewards(padlab.sample_responses(tiny.student, rows, n=2, max_new_tokens=4), tiny.teacher)
    assert table["previous_messages"][0] == rows[0]["previous_messages"]
    ids = training_examples(tiny.student, table, padlab.PADConfig(str(tmp_path / "out")))[0]["prompt_ids"]
    assert ids == encode_chat(tiny.student.tokenizer, [*rows[0]["previous_messages"], *talk(("user", "b"))])
    padlab.sample_responses(tiny.student, rows, n=2, max_new_tokens=4, folder=tmp_path / "run")
    with pytest.raises(ValueError, match="prompts"):
        padlab.sample_responses(tiny.student, [{"prompt": "b"}], n=2, max_new_tokens=4, folder=tmp_path / "run")


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (talk(("user", "a"), ("tool", "b")), "role 'tool' is not supported"),
        (talk(("user", "a"), ("assistant", "b"), ("system", "c")), "role 'system' after the last user message"),
        (talk(("system", "a")), "no user message"),
        (talk(("user", None)), "must be text"),
        ([{"role": "user"}], "must be text"),
        ([{"from": "human", "value": "Hi"}], "role and content, found from, value"),
        (talk(("user", "  \n")), "the prompt is empty"),
    ],
)
def test_conversations_that_would_lose_something_are_refused(messages, reason):
    with pytest.raises(ValueError, match=f"row 0: .*{reason}"):
        padlab.load_prompts([{"prompt": messages}])
    broken = {"prompt": "a", "responses": ["b"], "previous_messages": [{"role": "tool", "content": "c"}]}
    with pytest.raises(ValueError, match=r"row 0, previous_messages: .*'tool'"):
        padlab.check_candidates([broken])


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


def test_a_tokenizer_larger_than_the_model_is_named_by_row(tiny):
    tokenizer, network = tiny.teacher.tokenizer, copy.deepcopy(tiny.teacher.model)
    network.resize_token_embeddings(len(tokenizer) - 1)
    model, beyond = LanguageModel(network, tokenizer, "small", "small"), tokenizer.decode([len(tokenizer) - 1])
    calls = {
        "row 1": lambda: padlab.add_rewards(row_of("a") + row_of(beyond), model),
        "row 2": lambda: padlab.sample_responses(model, ["a", "a", beyond], n=2, max_new_tokens=2),
        "row 0: the selection question": lambda: padlab.add_selection_probs(
            [{"prompt": "Q", "responses": ["a", beyond]}], model
        ),
    }
    for where, call in calls.items():
        with pytest.raises(ValueError, match=f"{where}: token id .*belongs to another model"):
            call()


def row_of(response):
    return [{"prompt": "Q", "responses": [response]}]


def test_broken_weights_are_named_by_the_row_of_the_table(tiny):
    network = copy.deepcopy(tiny.teacher.model)
    (letter,) = tiny.teacher.tokenizer("Z")["input_ids"]
    network.config.tie_word_embeddings = False
    network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())
    network.get_input_embeddings().weight.data[letter] = float("nan")
    model = LanguageModel(network, tiny.teacher.tokenizer, "broken", "broken")
    rows = [{"prompt": "Q", "responses": ["a", "b"]} for _ in range(5)]
    with pytest.raises(FloatingPointError, match="row 3"):
        padlab.add_rewards([*rows[:3], {"prompt": "Z", "responses": ["a", "b"]}], model, shard_size=2)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"prompt": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "recursion"),
        ('{"prompt": "a", "x": ' + "9" * 5000 + "}", "digits"),
        ('{"prompt": "a", "x": ' + "9" * 40 + "}", "row 1 does not fit"),
        ('{"prompt": "a", "x": ' + "[" * 80 + "]" * 80 + "}", "row 1 does not fit"),
        ('{"prompt": "a", "x": {"y": 1}}', "row 1 does not fit"),
    ],
)
def test_broken_lines_are_named(tmp_path, line, reason):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a", "x": 1}\n' + line + "\n")
    with pytest.raises(ValueError, match=f"(line 2|row 1).*{reason}|{reason}"):
        padlab.load_prompts(tmp_path / "p.jsonl")


def test_types_are_checked_by_name(tiny):
    with pytest.raises(ValueError, match="response 0: a response must be text, got a int"):
        padlab.check_candidates([{"prompt": "a", "responses": [1, 2]}])
    with pytest.raises(ValueError, match="`finished` must hold true or false"):
        padlab.check_candidates([{"prompt": "a", "responses": ["x", "y"], "finished": ["no", "no"]}])
    with pytest.raises(ValueError, match="dtype must be float32"):
        padlab.load_model("embedded", dtype="float17")
    assert {m.model.dtype for m in padlab.load_pair("tiny", dtype="bfloat16")} == {torch.bfloat16}


def test_a_model_keeps_its_stored_type_on_request(tiny, tmp_path):
    network = copy.deepcopy(tiny.teacher.model).to(torch.bfloat16)
    LanguageModel(network, tiny.teacher.tokenizer, "m", "m").save(tmp_path / "m")
    assert padlab.load_model(tmp_path / "m", dtype="auto", device="cpu").model.dtype == torch.bfloat16
    assert padlab.load_model(tmp_path / "m", device="cpu").model.dtype == torch.float32
