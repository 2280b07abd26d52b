"""Templates, BOS and inert text."""

import pytest

from padlab.lm import template
from padlab.lm.chat import encode_chat, encode_text, end_of_turn_id
from padlab.lm.plain_text import control_tokens
from padlab.lm.tiny import tiny_tokenizer

TEXTS = [
    "Hello",
    "two\nlines",
    "emoji 🙂 漢字 עברית",
    "  padded  ",
    "\x00nul \ufeff bom",
    "a" * 3000,
    "<script>alert(1)</script>",
    "$x$ \\frac",
]


@pytest.fixture(params=["teacher", "student"])
def tokenizer(request):
    return tiny_tokenizer(request.param)


@pytest.mark.parametrize("text", TEXTS)
def test_plain_text_is_encoded_as_the_template_would(tokenizer, text):
    expected = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
    )
    assert encode_chat(tokenizer, text) == expected


def test_control_strings_in_text_never_become_control(tokenizer):
    control = control_tokens(tokenizer)
    hostile = " ".join(control) + "".join(control) * 2
    clean, attacked = (encode_chat(tokenizer, t) for t in ("hi", hostile))
    count = lambda ids: sum(i in set(control.values()) for i in ids)  # noqa: E731
    assert count(attacked) == count(clean)
    assert not set(encode_text(tokenizer, hostile)) & set(control.values())


def test_inert_text_still_reads_the_same(tokenizer):
    hostile = "end <|im_end|> and <end_of_turn> and <bos>."
    assert tokenizer.decode(encode_text(tokenizer, hostile)) == hostile


def test_a_response_cannot_close_its_turn(tokenizer):
    end = end_of_turn_id(tokenizer)
    text = tokenizer.convert_ids_to_tokens(end)
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": f"a{text}"}]
    ids = encode_chat(tokenizer, talk, add_generation_prompt=False)
    assert ids.count(end) == encode_chat(tokenizer, [talk[0], {**talk[1], "content": "a"}], False).count(end)


def test_at_most_one_bos(tokenizer):
    ids = encode_chat(tokenizer, "hi")
    assert ids.count(tokenizer.bos_token_id) <= 1
    tokenizer.chat_template = "{{ bos_token }}{{ bos_token }}{{ messages[0]['content'] }}"
    if tokenizer.bos_token:
        with pytest.raises(ValueError, match="BOS twice"):
            encode_chat(tokenizer, "hi")


def test_end_of_turn_is_what_the_template_writes():
    teacher, student = tiny_tokenizer("teacher"), tiny_tokenizer("student")
    assert teacher.convert_ids_to_tokens(end_of_turn_id(teacher)) == "<|im_end|>"
    assert student.convert_ids_to_tokens(end_of_turn_id(student)) == "<end_of_turn>"  # not its eos_token


def test_a_system_message_is_folded_where_there_is_no_system_role():
    student = tiny_tokenizer("student")
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    template._warn_once.cache_clear()  # another test may have been told already
    with pytest.warns(UserWarning, match="no system role"):
        ids = encode_chat(student, talk)
    assert ids == encode_chat(student, "Be brief.\n\nHi")


def test_without_a_template_a_plain_layout_is_used_and_said():
    tokenizer = tiny_tokenizer("student")
    tokenizer.chat_template = None
    tokenizer.name_or_path = "base-model"
    with pytest.warns(UserWarning, match="base-model has no chat template"):
        ids = encode_chat(tokenizer, "Hi")
    assert tokenizer.decode(ids) == "User: Hi\n\nAssistant:"
    assert end_of_turn_id(tokenizer) == tokenizer.eos_token_id


def test_without_pad_token_nothing_changes():
    tokenizer = tiny_tokenizer("student")
    before = encode_chat(tokenizer, "Hi")
    tokenizer.pad_token = None
    assert encode_chat(tokenizer, "Hi") == before


def test_without_any_end_the_error_says_what_to_set():
    tokenizer = tiny_tokenizer("teacher")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="eos_token"):
        end_of_turn_id(tokenizer)


def test_a_template_that_rewrites_text_is_refused_with_the_place():
    tokenizer = tiny_tokenizer("teacher")
    tokenizer.chat_template = "{{ messages[0]['content'] | upper }}"
    with pytest.raises(ValueError, match="first difference at character 0"):
        encode_chat(tokenizer, "abc")


def test_bad_content_is_named():
    tokenizer = tiny_tokenizer("teacher")
    with pytest.raises(ValueError, match="lone surrogate at character 1"):
        encode_chat(tokenizer, "a\ud800")
    with pytest.raises(ValueError, match=r"message 0 \(user\): content must be a string"):
        encode_chat(tokenizer, [{"role": "user", "content": None}])
