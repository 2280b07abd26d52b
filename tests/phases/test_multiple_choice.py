"""The question's text and what is read from the answers: letters, other mass, cuts, consistency, averages."""

import copy
from functools import partial

import numpy as np
import pytest
import torch

from padlab.lm.chat import encode_chat, encode_text
from padlab.lm.models import LanguageModel
from padlab.phases.multiple_choice import (
    TRUNCATED,
    ask_for_letters,
    group_into_rows,
    letter_tokens,
    multiple_choice_question,
    truncate,
)
from padlab.phases.selection import add_selection_probs
from padlab.rankings.calibration import calibrate

TEXTS = ["red", "a very long answer\nin two lines", "blue", "漢字 🙂"]


def one(model, responses, method, **more):
    return add_selection_probs([{"prompt": "Which colour?", "responses": responses}], model, method, **more)[0]


def test_cuts_are_visible_and_equal(tiny):
    tokenizer = tiny.teacher.tokenizer
    long = "one two three four five six seven"
    ids = encode_text(tokenizer, long)
    for limit in range(1, len(ids)):
        shown = truncate(tokenizer, long, limit)
        assert shown.endswith(TRUNCATED)
        assert long.startswith(shown.removesuffix(TRUNCATED))
    assert truncate(tokenizer, long, len(ids)) == long
    assert truncate(tokenizer, long, None) == long
    with pytest.raises(ValueError, match="max_response_tokens must be at least 1"):
        truncate(tokenizer, long, 0)


def test_only_what_is_shown_counts(tiny):
    same = "x" * 30
    found = one(tiny.teacher, [same + " the end", same + " another end"], "pairwise", max_response_tokens=4)
    assert found["selection_prob"] == [0.5, 0.5]


def test_a_cut_lets_long_responses_into_the_context(tiny):
    rows = [{"prompt": "p", "responses": ["a", "word " * 900]}]
    with pytest.raises(ValueError, match="max_response_tokens"):
        add_selection_probs(rows, tiny.teacher)
    assert add_selection_probs(rows, tiny.teacher, max_response_tokens=20)


def test_averaging_log_odds_removes_a_strong_letter_bias(tiny, answering):
    answering(tiny.teacher, {"a": 2.0, "b": 0.0}.get, bias=(9.0, 0.0))
    found = one(tiny.teacher, ["a", "b"], "pairwise")["selection_prob"][0]
    assert found == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-5)


@pytest.mark.parametrize("method", ["pairwise", "n-way"])
@pytest.mark.parametrize(
    ("bias", "other", "consistency", "confident"),
    [((0.0, 0.0), -9.0, 1.0, True), ((9.0, 0.0), -9.0, None, False), ((0.0, 0.0), 9.0, 1.0, False)],
)
def test_confidence_needs_letters_and_consistency(tiny, answering, method, bias, other, consistency, confident):
    answering(tiny.teacher, {"a": 1.0, "b": 0.0}.get, bias=bias, other=other)
    found = one(tiny.teacher, ["a", "b"], method)
    always_first = 0.0 if method == "pairwise" else 0.5
    assert found["order_consistency"] == (always_first if consistency is None else consistency)
    assert found["confident"] is confident


def test_two_responses_rank_alike_both_ways(tiny):
    for model in tiny:
        for pair in (["red", "a blue house"], ["x", "y z"]):
            pairwise, n_way = (one(model, pair, m)["selection_prob"] for m in ("pairwise", "n-way"))
            assert pairwise == pytest.approx(n_way, abs=1e-6)


def test_the_mass_on_none_is_that_of_a_plain_forward(tiny):
    texts = ["red", "blue"]
    found = ask_for_letters(tiny.teacher, "Why?", [texts], multiple_choice_question)
    ids = encode_chat(tiny.teacher.tokenizer, multiple_choice_question("Why?", texts))
    p = tiny.teacher.model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    first = {encode_text(tiny.teacher.tokenizer, word)[0] for word in ("None", " None")}
    assert float(found.none[0]) == pytest.approx(float(p[sorted(first)].sum()), abs=1e-6)


def test_letters_are_looked_up_where_they_follow(tiny):
    """A tokenizer that has one token for ":A" offers no letter of its own behind a question that ends in a colon."""
    tokenizer = copy.deepcopy(tiny.teacher.tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}:"
    model = LanguageModel(tiny.teacher.model, tokenizer, "glued")
    (bare,) = encode_text(tokenizer, "A")
    assert bare in letter_tokens(model, "A", "Which?")
    tokenizer.add_tokens([":A", ": A"])
    assert encode_text(tokenizer, "A") == [bare]
    with pytest.raises(ValueError, match="'A' is not a single token for glued"):
        letter_tokens(model, "A", "Which?")
    assert letter_tokens(model, "B", "Which?")


def test_rows_keep_the_order_and_their_limit():
    questions = [[1] * 300 + [k] * 200 for k in range(5)]
    rows = group_into_rows(questions)
    assert [q for row in rows for q in row] == questions
    assert [len(r) for r in rows] == [1, 1, 1, 1, 1]
    assert [len(r) for r in group_into_rows([[1] * 300 + [k] * 20 for k in range(20)])] == [17, 3]


def test_matched_terms_share_a_scale():
    reward, p = torch.tensor([[-1.0, -2.0, -4.0]]).double(), torch.tensor([[0.98, 0.01, 0.01]]).double()
    ends = [calibrate(reward, p, a, match_scale=True) for a in (0.0, 1.0)]
    assert torch.equal(ends[0], reward)
    assert float(ends[1].mean()) == pytest.approx(float(reward.mean()))
    assert float(ends[1].std()) == pytest.approx(float(reward.std()))
    assert torch.corrcoef(torch.stack([ends[1][0], p[0].log()]))[0, 1] == pytest.approx(1)
    flat = calibrate(reward, torch.full((1, 3), 1 / 3), 1.0, match_scale=True)
    assert flat.tolist()[0] == pytest.approx([float(reward.mean())] * 3)


def test_equal_texts_are_no_choice_and_no_inconsistency(tiny, answering):
    """A duplicate asked against itself says nothing about the judge."""
    answering(tiny.teacher, {"a": 1.0, "b": 0.0}.get, bias=(0.1, 0.0), other=-9.0)
    found = one(tiny.teacher, ["a", "b", "a", "a"], "pairwise")
    assert found["order_consistency"] == 1.0
    assert found["confident"] is True
    assert one(tiny.teacher, ["a", "a"], "pairwise")["order_consistency"] == 1.0


def test_resuming_with_another_wording_for_many_options_is_refused(tiny, answering, tmp_path):
    """The wording may differ for three options only."""
    answering(tiny.teacher, len)
    rows = [{"prompt": "p", "responses": ["a", "bb", "ccc"]}]

    def ask(word, prompt, options):
        text = multiple_choice_question(prompt, options)
        return text if len(options) == 2 else text.replace("best", word)

    add_selection_probs(rows, tiny.teacher, "n-way", question=partial(ask, "best"), folder=tmp_path)
    with pytest.raises(ValueError, match="candidates"):
        add_selection_probs(rows, tiny.teacher, "n-way", question=partial(ask, "nicest"), folder=tmp_path)
