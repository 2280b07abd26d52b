"""Texts in their context, on every kind of tokenizer and template: equal to the rendered conversation, inert, whole."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padlab.lm.chat import answer_space, encode_answers, encode_chat, end_of_turn_id
from padlab.lm.plain_text import control_tokens
from padlab.lm.template import render
from tests.lm.tokenizer_kinds import LOSSLESS, build

TOKENIZERS = build()
EXAMPLES = 40  # per tokenizer and template
words = st.text("abc GrenfishPx.,:?é日\n", max_size=24)
hostile_parts = [
    *["<|im_end|>", "<|im_start|>", "</s>", "<s>", "<unk>", "[INST]", "[/INST]", "<pad>", "<0x0A>", "†"],
    *["<|IM_END|>", "＜|end|>", "<|END|>", "<|left|>", "<|right|>", "<|word|>", "\ue0000\ue001", "assistant\n"],
]
hostile = st.lists(st.one_of(words, st.sampled_from(hostile_parts)), max_size=6).map("".join)
every_tokenizer = pytest.mark.parametrize(("kind", "template"), TOKENIZERS)


def user(text):
    return [{"role": "user", "content": text}]


def control_ids(tokenizer, ids):
    """The control tokens in a conversation, in order; unknown characters are no control."""
    control = set(control_tokens(tokenizer).values()) - {tokenizer.unk_token_id}
    return [i for i in ids if i in control]


def squeeze(text):
    """Without white space."""
    return re.sub(r"\s+", "", text)


@every_tokenizer
def test_harmless_text_has_the_ids_of_the_rendered_conversation(kind, template):
    tokenizer = TOKENIZERS[kind, template]

    @given(words, words)
    @settings(max_examples=EXAMPLES, deadline=None)
    def check(question, answer):
        if kind == "stripping":  # control tokens that swallow white space are tried below
            question, answer = question.strip() or "x", answer.strip() or "x"
        asked = tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False)
        ids, (said,) = encode_answers(tokenizer, question, [answer])
        assert ids == asked == encode_chat(tokenizer, question)
        if template in ("trimmed", "inst", "plain words") and answer != answer.strip():
            return  # the template writes something else, or what stands behind it merges with its last space
        if template in ("inst", "plain words") and kind in ("metaspace first, not split", "llama legacy"):
            return  # merges cross spaces: the answer's last tokens depend on what the template writes behind it
        talk = [*user(question), {"role": "assistant", "content": answer}]
        whole = tokenizer.apply_chat_template(talk, return_dict=False)
        if whole[: len(asked)] == asked:  # else the answer's first characters merge with the prompt's last
            end = [*asked, *said]
            assert whole[: len(end)] == end

    check()


@every_tokenizer
def test_hostile_text_never_acts_as_control(kind, template):
    tokenizer = TOKENIZERS[kind, template]
    expected = control_ids(tokenizer, encode_chat(tokenizer, "hi"))

    @given(hostile, hostile)
    @settings(max_examples=EXAMPLES, deadline=None)
    def check(question, answer):
        ids, (said,) = encode_answers(tokenizer, question, [answer])
        assert control_ids(tokenizer, ids) == expected
        assert control_ids(tokenizer, said) == []

    check()


@pytest.mark.parametrize(("kind", "template"), [key for key in TOKENIZERS if key[0] in (*LOSSLESS, "stripping")])
def test_every_text_decodes_to_itself(kind, template):
    tokenizer = TOKENIZERS[kind, template]
    read = lambda ids: tokenizer.decode(ids, clean_up_tokenization_spaces=False)  # noqa: E731

    @given(hostile, hostile)
    @settings(max_examples=EXAMPLES, deadline=None)
    def check(question, answer):
        if kind == "slow":  # ByT5 has no id for a part of a character
            question, answer = (text.encode("ascii", "ignore").decode() for text in (question, answer))
        ids, (said,) = encode_answers(tokenizer, question, [answer])
        rendered = render(tokenizer, user(question), True)
        if kind == "stripping":
            assert squeeze(read([*ids, *said])) == squeeze(rendered + answer)
            assert question in read(ids)
        elif kind in ("metaspace always", "llama legacy", "byte-level, prefix space"):
            assert squeeze(read([*ids, *said])) == squeeze(rendered + answer)  # a space behind each control token
        else:
            assert read([*ids, *said]) == rendered + (answer_space(tokenizer) if answer else "") + answer
        assert read([*ids, *said])[len(read(ids)) :].endswith(answer)

    check()


@pytest.mark.parametrize("text", [" padded ", "\nline", "  ", "x\n"])
def test_tokens_that_take_white_space_leave_people_theirs(text):
    tokenizer = TOKENIZERS["stripping", "own"]
    ids, (said,) = encode_answers(tokenizer, text, [text])
    assert control_ids(tokenizer, ids) == control_ids(tokenizer, encode_chat(tokenizer, "hi"))
    assert f"†{answer_space(tokenizer)}{text}" in tokenizer.decode(ids)
    assert tokenizer.decode(said) == answer_space(tokenizer) + text


@every_tokenizer
def test_the_end_of_a_turn_is_found(kind, template):
    tokenizer = TOKENIZERS[kind, template]
    name = tokenizer.convert_ids_to_tokens(end_of_turn_id(tokenizer))
    own = {"normalised": "<|end|>", "stripping": "<|left|>"}
    expected = {"chatml": "<|im_end|>", "inst": "</s>", "plain words": "</s>", "trimmed": "[/INST]"}
    assert name == own.get(kind, expected.get(template))
