"""`reply="text"`: the better answer itself is asked for; its probability is that of transformers' own forward."""

import itertools

import numpy as np
import pytest
import torch

from padlab.lm.chat import end_of_turn_id
from padlab.phases.multiple_choice import ask_for_texts, multiple_choice_question
from padlab.phases.selection import add_selection_probs

TEXTS = ["red", "a very long answer\nin two lines", "blue", "漢字 🙂"]


def question(prompt, options):
    return multiple_choice_question(prompt, options, reply="text")


def logp_of_reply(model, texts, reply):
    """Sum over the reply's tokens and the end of the turn, from a plain forward of the conversation."""
    talk = [{"role": "user", "content": question("Why?", texts)}]
    before = model.tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
    after = [*model.tokenizer(reply, add_special_tokens=False)["input_ids"], end_of_turn_id(model.tokenizer)]
    with torch.no_grad():
        logps = model.model(torch.tensor([before + after])).logits[0].double().log_softmax(-1)
    return sum(float(logps[len(before) - 1 + k, token]) for k, token in enumerate(after))


def test_the_question_lists_the_options_alike_and_asks_for_the_answer():
    letter, text = (multiple_choice_question("Why?", TEXTS[:2], reply) for reply in ("letter", "text"))
    assert letter.rpartition("\n\n")[0] == text.rpartition("\n\n")[0]
    assert letter != text


def test_probabilities_and_masses_by_a_plain_forward(tiny):
    for model in tiny:
        answers = ask_for_texts(model, "Why?", [TEXTS[:3], TEXTS[1:]], question)
        for row, texts in enumerate((TEXTS[:3], TEXTS[1:])):
            p = np.exp([logp_of_reply(model, texts, text) for text in texts])
            assert answers.logps[row].exp().numpy() == pytest.approx(p / p.sum(), rel=1e-4)
            assert float(answers.mass[row]) == pytest.approx(p.sum(), rel=1e-4)
            assert float(answers.none[row]) == pytest.approx(np.exp(logp_of_reply(model, texts, "None")), rel=1e-4)


@pytest.mark.parametrize("method", ["pairwise", "n-way"])
def test_sums_to_one_and_does_not_depend_on_the_order_given(tiny, method):
    def one(texts):
        row = [{"prompt": "Which colour?", "responses": list(texts)}]
        return add_selection_probs(row, tiny.teacher, method, reply="text")[0]["selection_prob"]

    base = dict(zip(TEXTS, one(TEXTS), strict=True))
    assert sum(base.values()) == pytest.approx(1, abs=1e-9)
    assert max(base.values()) - min(base.values()) > 1e-3
    for order in itertools.islice(itertools.permutations(TEXTS), 1, 24, 5):
        assert one(order) == pytest.approx([base[text] for text in order], abs=1e-6)


def test_equal_options_tie_and_count_once_in_the_mass(tiny):
    answers = ask_for_texts(tiny.teacher, "Why?", [["red", "red"]], question)
    assert answers.logps[0].exp().tolist() == pytest.approx([0.5, 0.5])
    assert float(answers.mass[0]) == pytest.approx(np.exp(logp_of_reply(tiny.teacher, ["red", "red"], "red")), rel=1e-4)


def test_an_unknown_reply_and_a_question_beyond_the_context_are_refused(tiny):
    row = [{"prompt": "p", "responses": ["a", "b " * tiny.teacher.max_length]}]
    with pytest.raises(ValueError, match="reply must be"):
        add_selection_probs(row, tiny.teacher, reply="words")
    with pytest.raises(ValueError, match=r"row 0.*context"):
        add_selection_probs(row, tiny.teacher, reply="text")
