"""The candidates table: what is accepted, what is refused with which words, and conversion to and from TRL's."""

import pytest
from datasets import Dataset, DatasetDict, IterableDataset
from hypothesis import given, settings
from hypothesis import strategies as st

from padlab.candidates import add_columns, check_candidates, from_trl, to_trl

GOOD = {
    "prompt": "Name a colour.",
    "responses": ["red", "blue", "blue"],
    "finished": [True, False, True],
    "response_ids": [[1, 2], [3], [3]],
    "teacher_reward": [-1.0, -2.0, -2.0],
    "selection_prob": [0.5, 0.25, 0.25],
}


def changed(**cells):
    """Two good rows; the second one with cells replaced."""
    return [GOOD, {**GOOD, **cells}]


def test_a_good_table_comes_back_as_it_was():
    assert list(check_candidates([GOOD, GOOD])) == [GOOD, GOOD]
    table = Dataset.from_list([GOOD])
    assert check_candidates(table, needs=("teacher_reward", "selection_prob")) is table
    assert len(check_candidates(IterableDataset.from_generator(lambda: iter([GOOD, GOOD])))) == 2


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"prompt": ""}, "row 1: the prompt is empty; drop"),
        ({"prompt": " \n\t"}, "row 1: the prompt is empty"),
        ({"prompt": None}, "row 1: the prompt is empty"),
        ({"responses": []}, "row 1: `responses` must be a list of at least one string"),
        ({"responses": None}, "row 1: `responses` must be a list"),
        ({"responses": ["red", " ", "x"], "response_ids": None}, "response 1: empty response; drop it"),
        ({"responses": ["red", None, "x"]}, "row 1, response 1: empty response"),
        ({"responses": ["red", "", "x"], "response_ids": [[1], [], [2]]}, "row 1, response 1: empty response"),
        ({"responses": ["red", "x"]}, "row 1: response_ids has 3 entries for 2 responses"),
        ({"finished": [True]}, "row 1: finished has 1 entries for 3 responses"),
        ({"teacher_reward": [-1.0, -2.0]}, "row 1: teacher_reward has 2 entries for 3 responses"),
        ({"teacher_reward": [-1.0, float("nan"), -2.0]}, "row 1, response 1: teacher_reward is nan; score"),
        ({"teacher_reward": [-1.0, -2.0, float("-inf")]}, "row 1, response 2: teacher_reward is -inf"),
        ({"teacher_reward": [-1.0, None, -2.0]}, "row 1, response 1: teacher_reward is None"),
        ({"selection_prob": [0.5, 0.5, 0.5]}, r"selection_prob must be >= 0 and sum to 1, got \[0.5, 0.5, 0.5\]"),
        ({"responses": ["red", "a\ud800", "x"]}, "row 1 does not fit into the table: .*surrogates not allowed; mend"),
        ({"responses": ["red", 3, "x"]}, "row 1 does not fit into the table"),
        ({"selection_prob": [1.5, -0.25, -0.25]}, "row 1: selection_prob must be >= 0"),
    ],
)
def test_bad_rows_are_named_with_a_remedy(cells, message):
    with pytest.raises(ValueError, match=message):
        check_candidates(changed(**cells))


def test_an_empty_text_with_sampled_ids_is_a_response():
    """A response that only ended, or drew blanks, was sampled all the same and can be scored."""
    assert len(check_candidates(changed(responses=["red", "", "x"]))) == 2


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        (("teacher_reward",), r"missing column\(s\) teacher_reward; .* run padlab.add_rewards"),
        (("selection_prob",), "add_selection_probs.*or set alpha=0"),
        (("student_reward", "nonsense"), "missing column.*student_reward, nonsense"),
    ],
)
def test_a_missing_column_says_which_call_makes_it(needs, message):
    with pytest.raises(ValueError, match=message):
        check_candidates([{"prompt": "p", "responses": ["a"]}], needs)


def test_other_shapes_of_table_are_recognised():
    with pytest.raises(ValueError, match=r"looks like a preference data set: padlab.from_trl"):
        check_candidates([{"prompt": "p", "chosen": "a", "rejected": "b"}])
    with pytest.raises(ValueError, match="choose one split: train, test"):
        check_candidates(DatasetDict(train=Dataset.from_list([GOOD]), test=Dataset.from_list([GOOD])))
    for wrong in ({"prompt": ["p"]}, 3, "text", ["a", "b"]):
        with pytest.raises(ValueError, match=r"expected a datasets.Dataset or a list of rows"):
            check_candidates(wrong)
    with pytest.raises(ValueError, match="no rows"):
        check_candidates(Dataset.from_dict({"prompt": [], "responses": []}))


rewards = st.lists(st.integers(-5, 0).map(float), min_size=1, max_size=5)


@settings(max_examples=30, deadline=None)
@given(st.lists(rewards, min_size=1, max_size=4))
def test_to_trl_takes_the_best_and_the_worst(columns):
    rows = [
        {"prompt": f"p{k}", "responses": [f"{k}-{i}" for i in range(len(c))], "teacher_reward": c}
        for k, c in enumerate(columns)
    ]
    expected = [
        (f"p{k}", f"{k}-{c.index(max(c))}", f"{k}-{c.index(min(c))}", max(c), min(c))
        for k, c in enumerate(columns)
        if max(c) > min(c)
    ]
    score = {row["prompt"]: dict(zip(row["responses"], row["teacher_reward"], strict=True)) for row in rows}
    found = list(to_trl(rows))
    assert [row["prompt"][0]["content"] for row in found] == [e[0] for e in expected]
    for row, (prompt, _, _, best, worst) in zip(found, expected, strict=True):
        chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
        assert (score[prompt][chosen], score[prompt][rejected]) == (best, worst)
        assert (row["chosen_score"], row["rejected_score"]) == (best, worst)
        assert {row["prompt"][0]["role"], row["chosen"][0]["role"]} == {"user", "assistant"}


def test_there_and_back():
    table = from_trl(to_trl([GOOD]))
    assert list(table) == [{"prompt": GOOD["prompt"], "responses": ["red", "blue"]}]
    assert from_trl([{"prompt": "p", "chosen": "a", "rejected": "b"}])[0] == {"prompt": "p", "responses": ["a", "b"]}
    talk = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]  # as in UltraFeedback binarized
    row = {"prompt": "p", "chosen": talk, "rejected": [talk[0], {"role": "assistant", "content": "b"}]}
    assert from_trl([row])[0]["responses"] == ["a", "b"]
    system = [{"role": "system", "content": "Be brief."}, *talk]
    first = from_trl([{**row, "prompt": system}])[0]
    assert (first["previous_messages"], first["prompt"]) == (system[:1], "p")
    longer = [*talk, {"role": "user", "content": "q"}]
    row = {"prompt": longer, "chosen": [*longer, {"role": "assistant", "content": "a"}], "rejected": "b"}
    scored = add_columns(from_trl([row]), {"teacher_reward": [[1.0, 0.0]]})
    assert from_trl(to_trl(scored))[0] == {"previous_messages": talk, "prompt": "q", "responses": ["a", "b"]}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"chosen": [{"role": "assistant", "content": "x"}] * 2}, "row 1, chosen: .*not those of the prompt"),
        ({"chosen": [{"role": "user", "content": "x"}]}, "row 1, chosen: .*end with an assistant message"),
        ({"chosen": []}, "row 1, chosen: .*end with an assistant message"),
        ({"chosen": None}, "row 1, chosen: expected text or a list of messages, found NoneType"),
        ({"chosen": [{"role": "assistant", "content": None}]}, "row 1, chosen: message content must be text"),
        ({"chosen": [{"role": "assistant", "content": ""}]}, "row 1, response 0: empty response"),
    ],
)
def test_from_trl_names_the_row(cells, message):
    turn = [{"role": "assistant", "content": "ok"}]
    row = {"prompt": "p", "chosen": turn, "rejected": turn}
    with pytest.raises(ValueError, match=message):
        from_trl([row, {**row, **cells}])
    with pytest.raises(ValueError, match=r"needs prompt, chosen, rejected; missing: \['rejected'\]"):
        from_trl([{"prompt": "p", "chosen": "a"}])


def test_columns_are_added_and_replaced_and_the_input_stays():
    table = check_candidates([GOOD])
    more = add_columns(table, {"teacher_reward": [[-9.0, -9.0, -9.0]], "note": ["x"]})
    assert more[0] == {**GOOD, "teacher_reward": [-9.0, -9.0, -9.0], "note": "x"}
    assert table[0] == GOOD
