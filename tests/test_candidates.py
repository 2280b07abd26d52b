"""The candidates table: what is accepted, and what is refused with which words."""

import pytest
from datasets import Dataset, DatasetDict, IterableDataset

from padlab.candidates import add_columns, check_candidates

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
    with pytest.raises(ValueError, match="choose one split: train, test"):
        check_candidates(DatasetDict(train=Dataset.from_list([GOOD]), test=Dataset.from_list([GOOD])))
    for row, shape in (
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "TRL preference"),
        ({"instruction": "p", "completions": [{"response": "a", "overall_score": 1.0}]}, "UltraFeedback"),
        ({"prompt": "p", "answers": [{"answer": "a", "rank": 1}]}, "Nectar"),
        ({"prompt": "p", "response_1": "a", "response_2": "b", "preference_strength": 1}, "HelpSteer2 preference"),
        ({"prompt": "p", "completions": ["a", "b"], "rewards": [1.0, 0.0]}, "online table"),
    ):
        with pytest.raises(ValueError, match=f"looks like {shape} data: padlab.from_ranked.table. converts it"):
            check_candidates([row])
    for wrong in ({"prompt": ["p"]}, 3, "text", ["a", "b"]):
        with pytest.raises(ValueError, match=r"expected a datasets.Dataset or a list of rows"):
            check_candidates(wrong)
    with pytest.raises(ValueError, match="no rows"):
        check_candidates(Dataset.from_dict({"prompt": [], "responses": []}))


def test_columns_are_added_and_replaced_and_the_input_stays():
    table = check_candidates([GOOD])
    more = add_columns(table, {"teacher_reward": [[-9.0, -9.0, -9.0]], "note": ["x"]})
    assert more[0] == {**GOOD, "teacher_reward": [-9.0, -9.0, -9.0], "note": "x"}
    assert table[0] == GOOD
