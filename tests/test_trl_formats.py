"""Candidates to and from TRL's preference formats, checked against the installed TRL."""

import copy
from itertools import combinations, pairwise

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import padlab
from padlab.trl_formats import to_trl

GOOD = {
    "prompt": "Name a colour.",
    "responses": ["red", "blue", "blue"],
    "finished": [True, False, True],
    "response_ids": [[1, 2], [3], [3]],
    "teacher_reward": [-1.0, -2.0, -2.0],
    "selection_prob": [0.5, 0.25, 0.25],
}
FOUR = {"prompt": "Count.", "responses": ["a", "b", "c", "d"], "teacher_reward": [-2.0, -1.0, -3.0, -2.0]}
SYSTEM = [{"role": "system", "content": "Be brief."}]


def content(value):
    """The text of a list with one message."""
    (message,) = value
    return message["content"]


rewards = st.lists(st.integers(-5, 0).map(float), min_size=1, max_size=5)


@settings(max_examples=30, deadline=None)
@given(st.lists(rewards, min_size=1, max_size=4))
def test_to_trl_takes_the_best_and_the_worst(columns):
    rows = [
        {"prompt": f"p{k}", "responses": [f"{k}-{i}" for i in range(len(c))], "teacher_reward": c}
        for k, c in enumerate(columns)
    ]
    expected = [(f"p{k}", max(c), min(c)) for k, c in enumerate(columns) if max(c) > min(c)]
    score = {row["prompt"]: dict(zip(row["responses"], row["teacher_reward"], strict=True)) for row in rows}
    found = list(to_trl(rows))
    assert [content(row["prompt"]) for row in found] == [e[0] for e in expected]
    for row, (prompt, best, worst) in zip(found, expected, strict=True):
        chosen, rejected = content(row["chosen"]), content(row["rejected"])
        assert (score[prompt][chosen], score[prompt][rejected]) == (best, worst)
        assert (row["chosen_score"], row["rejected_score"], row["margin"]) == (best, worst, best - worst)
        assert {row["prompt"][0]["role"], row["chosen"][0]["role"]} == {"user", "assistant"}


@settings(max_examples=30, deadline=None)
@given(rewards)
def test_pairs_of_neighbours_all_pairs_and_labels(values):
    table = [{"prompt": "p", "responses": [str(k) for k in range(len(values))], "teacher_reward": values}]
    found = {pairs: list(to_trl(table, pairs=pairs)) for pairs in ("adjacent", "all", "unpaired")}
    for pairs, of in (("adjacent", pairwise), ("all", combinations)):
        order = sorted(values, reverse=True)
        expected = sorted((a, b) for a, b in (of(order) if of is pairwise else of(order, 2)) if a > b)
        rows = found[pairs]
        assert sorted((row["chosen_score"], row["rejected_score"]) for row in rows) == expected
        for row in rows:
            assert values[int(content(row["chosen"]))] == row["chosen_score"]
            assert values[int(content(row["rejected"]))] == row["rejected_score"]
            assert row["margin"] == row["chosen_score"] - row["rejected_score"]
    labels = {content(row["completion"]): row["label"] for row in found["unpaired"]}
    mean = sum(values) / len(values)
    different = min(values) < max(values)
    assert labels == ({str(k): value > mean for k, value in enumerate(values)} if different else {})


def test_columns_of_each_form():
    pair = ["chosen", "rejected", "chosen_score", "rejected_score", "margin"]
    assert to_trl([FOUR]).column_names == ["prompt", *pair]
    assert to_trl([FOUR], implicit_prompt=True).column_names == pair
    assert to_trl([FOUR], pairs="unpaired").column_names == ["prompt", "completion", "label"]
    plain = to_trl([FOUR], conversational=False)[0]
    assert (plain["prompt"], plain["chosen"], plain["rejected"]) == ("Count.", "b", "c")
    assert to_trl([FOUR], pairs="unpaired", conversational=False)["completion"][:] == ["a", "b", "c", "d"]
    implicit = to_trl([{**FOUR, "previous_messages": SYSTEM}], implicit_prompt=True)[0]
    assert [m["role"] for m in implicit["chosen"]] == ["system", "user", "assistant"]
    assert [m["content"] for m in implicit["rejected"]] == ["Be brief.", "Count.", "c"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": "worst"}, "pairs must be one of best_worst, adjacent, all, unpaired, got 'worst'"),
        ({"pairs": "unpaired", "implicit_prompt": True}, "implicit_prompt=True needs pairs"),
        ({"conversational": False, "implicit_prompt": True}, "implicit_prompt=True needs pairs of messages"),
        ({"conversational": False}, "row 1: previous_messages .*conversational=True or drop"),
        ({"by": "score"}, r"missing column\(s\) score"),
        ({"by": "responses"}, "row 0: responses must hold one number per response"),
        ({"by": "mass"}, "row 0: mass must hold one number per response, got 0.5"),
    ],
)
def test_what_cannot_be_written_is_refused(options, message):
    rows = [{**FOUR, "previous_messages": None, "mass": 0.5}, {**FOUR, "previous_messages": SYSTEM, "mass": 0.5}]
    with pytest.raises(ValueError, match=message):
        to_trl(rows, **options)


# --- back again


def pairs_of(table):
    """What was asked and answered, chosen first."""
    names = ("prompt", "previous_messages", "responses")
    return [{k: row[k] for k in names if row.get(k) is not None} for row in padlab.from_ranked(table, scale="raw")]


def test_there_and_back():
    table = pairs_of(to_trl([GOOD]))
    assert table == [{"prompt": GOOD["prompt"], "responses": ["red", "blue"]}]
    assert pairs_of([{"prompt": "p", "chosen": "a", "rejected": "b"}])[0] == {"prompt": "p", "responses": ["a", "b"]}
    talk = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]  # as in UltraFeedback binarized
    row = {"prompt": "p", "chosen": talk, "rejected": [talk[0], {"role": "assistant", "content": "b"}]}
    assert pairs_of([row])[0]["responses"] == ["a", "b"]
    system = [{"role": "system", "content": "Be brief."}, *talk]
    first = pairs_of([{**row, "prompt": system[:2]}])[0]
    assert (first["previous_messages"], first["prompt"]) == (system[:1], "p")
    longer = [*talk, {"role": "user", "content": "q"}]
    row = {"prompt": longer, "chosen": [*longer, {"role": "assistant", "content": "a"}], "rejected": "b"}
    asked = {"previous_messages": talk, "prompt": "q", "responses": ["a", "b"]}
    assert pairs_of([row]) == pairs_of(to_trl(padlab.from_ranked([row]))) == [asked]


@pytest.mark.parametrize("form", [{}, {"conversational": False}, {"implicit_prompt": True}], ids=str)
@pytest.mark.parametrize("pairs", ["best_worst", "adjacent", "all"])
def test_every_form_of_pairs_is_read_back(pairs, form):
    rows = [FOUR, {**FOUR, "prompt": "Again."}]
    if "conversational" not in form:
        rows = [{**row, "previous_messages": SYSTEM} for row in rows]
    written = to_trl(rows, pairs=pairs, **form)
    read = pairs_of(written)
    of = {row["prompt"]: dict(zip(row["responses"], row["teacher_reward"], strict=True)) for row in rows}
    assert len(read) == {"best_worst": 2, "adjacent": 4, "all": 10}[pairs]
    for row, pair in zip(read, written, strict=True):
        chosen, rejected = (of[row["prompt"]][text] for text in row["responses"])
        assert (chosen, rejected) == (pair["chosen_score"], pair["rejected_score"])
        assert row.get("previous_messages") == rows[0].get("previous_messages")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"chosen": [{"role": "assistant", "content": "x"}] * 2}, "row 1, chosen: .*not those of the prompt"),
        ({"chosen": [{"role": "user", "content": "x"}]}, "row 1, chosen: .*end with an assistant message"),
        ({"chosen": []}, "row 1, chosen: .*end with an assistant message"),
        ({"chosen": None}, "row 1, chosen: expected text or a list of messages, found NoneType"),
        ({"chosen": [{"role": "assistant", "content": None}]}, "row 1, chosen: message content must be text"),
        ({"chosen": [{"role": "assistant", "content": ""}]}, "row 1, chosen: empty response; drop"),
        ({"chosen": [{"role": "tool", "content": "x"}]}, "row 1, chosen: a message of role 'tool' .*drop the row"),
        ({"prompt": " "}, "row 1, prompt: the prompt is empty; drop"),
    ],
)
def test_a_pair_that_cannot_be_read_is_named(cells, message):
    turn = [{"role": "assistant", "content": "ok"}]
    row = {"prompt": "p", "chosen": turn, "rejected": turn}
    with pytest.raises(ValueError, match=message):
        pairs_of([row, {**row, **cells}])


# --- TRL itself


def test_trl_finds_the_same_prompt():
    utils = pytest.importorskip("trl.data_utils")
    rows = [{**FOUR, "previous_messages": SYSTEM}]
    explicit, implicit = to_trl(rows, pairs="all"), to_trl(rows, pairs="all", implicit_prompt=True)
    assert utils.is_conversational(explicit[0])
    assert utils.is_conversational(implicit[0])
    assert not utils.is_conversational(to_trl([FOUR], conversational=False)[0])
    for have, want in zip(implicit, explicit, strict=True):
        assert utils.extract_prompt(have) == {k: want[k] for k in ("prompt", "chosen", "rejected")}


def test_unpaired_are_trls_unpaired_columns():
    utils = pytest.importorskip("trl.data_utils")
    two = {"prompt": "p", "responses": ["a", "b"], "teacher_reward": [0.0, 1.0]}
    pairs = to_trl([two]).remove_columns(["chosen_score", "rejected_score", "margin"])
    theirs = utils.unpair_preference_dataset(pairs)
    key = str
    assert sorted(to_trl([two], pairs="unpaired"), key=key) == sorted(theirs, key=key)


@pytest.mark.parametrize("form", [{}, {"conversational": False}, {"implicit_prompt": True}], ids=str)
@pytest.mark.parametrize("trainer", ["DPO", "Reward", "KTO"])
def test_trls_trainers_take_the_tables(trainer, form, tiny, tmp_path):
    trl = pytest.importorskip("trl")
    if trainer == "KTO" and form.get("implicit_prompt"):
        pytest.skip("unpaired rows have a prompt")
    pairs = "unpaired" if trainer == "KTO" else "all"
    table = to_trl([FOUR, {**FOUR, "prompt": "Again."}], pairs=pairs, **form)
    model, tokenizer = copy.deepcopy(tiny.teacher.model), copy.deepcopy(tiny.teacher.tokenizer)
    tokenizer.pad_token = "<|endoftext|>"
    more = {} if trainer == "Reward" else {"ref_model": copy.deepcopy(model)}
    if trainer == "Reward":
        model = classifier(model.config, tokenizer.pad_token_id)
    settings = {"max_steps": 1, "per_device_train_batch_size": 2, "report_to": [], "use_cpu": True}
    settings |= {"save_strategy": "no", "disable_tqdm": True}
    made = getattr(trl, f"{trainer}Trainer")(
        model=model,
        args=getattr(trl, f"{trainer}Config")(output_dir=str(tmp_path), **settings),
        train_dataset=table,
        processing_class=tokenizer,
        **more,
    )
    if trainer == "Reward":
        assert set(next(iter(made.get_train_dataloader()))["margin"].tolist()) <= set(table["margin"])
    assert made.train().training_loss > 0


def classifier(config, pad):
    """A reward model with random weights."""
    from transformers import LlamaForSequenceClassification

    config = copy.deepcopy(config)
    config.num_labels, config.pad_token_id = 1, pad
    return LlamaForSequenceClassification(config)


def test_a_table_in_which_all_tie_gives_no_rows():
    tied = Dataset.from_list([{"prompt": "p", "responses": ["a", "b"], "teacher_reward": [1.0, 1.0]}])
    for pairs in ("best_worst", "adjacent", "all", "unpaired"):
        assert len(to_trl(tied, pairs=pairs)) == 0
