"""The adapters: the loss is the plain one, texts come from the right writers, and a judge sees both orders."""

import torch

from padlab.lm.adapters import trainable_copy
from padlab.lm.chat import encode_chat, encode_text, end_of_turn_id
from padlab.lm.logprobs import token_logprobs
from padlab.study.reading_models import _group_loss, train_on_texts, training_groups
from padlab.worlds.reading import answers, quality

GROUP = [("Note: Ann has tea. Who?", "Ann"), ("Note: Ann has tea. What does she have?", "some tea"), ("Note: x", "y")]


def test_the_loss_of_a_group_and_its_gradient_are_the_plain_ones(tiny):
    base = tiny.teacher
    network = trainable_copy(base.model, None)
    end, weights = end_of_turn_id(base.tokenizer), list(network.parameters())
    plain = sum(
        -token_logprobs(network, encode_chat(base.tokenizer, p), [[*encode_text(base.tokenizer, a), end]]).mean()
        for p, a in GROUP
    )
    losses = [_group_loss(base, network, GROUP), plain]
    assert torch.allclose(*losses, rtol=1e-4)
    found, expected = (torch.autograd.grad(loss, weights) for loss in losses)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5 + 1e-3 * float(b.abs().max()))


def test_training_makes_the_answers_likelier_and_leaves_the_model_as_it_was(tiny):
    before = tiny.teacher.weights_hash()
    trained = train_on_texts(tiny.teacher, [GROUP] * 60, seed=0)
    with torch.no_grad():
        assert _group_loss(trained, trained.model, GROUP) < 0.9 * _group_loss(tiny.teacher, tiny.teacher.model, GROUP)
    assert tiny.teacher.weights_hash() == before


def test_a_judges_questions_come_in_both_orders_and_its_reply_is_the_better_answer():
    for group in training_groups("judge", 5, 0):
        assert len(group) == 4
        for (first, better), (second, same) in zip(group[::2], group[1::2], strict=True):
            assert better == same
            assert first != second
            assert sorted(first) == sorted(second)
            assert f"> {better}\n" in first


def test_a_teachers_answers_are_right():
    for group in training_groups("teacher", 5, 0):
        assert all(quality(prompt, answer) == 1 and answer == answers(prompt)[0] for prompt, answer in group)
