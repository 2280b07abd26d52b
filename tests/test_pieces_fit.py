"""Columns that one room writes are what another room reads."""

import pytest

import padlab


@pytest.mark.parametrize("method", ["pairwise", "n-way"])
def test_votes_and_token_rewards_feed_the_bootstrap(tiny, method):
    table = padlab.sample_responses(tiny.student, ["Name a colour."], n=3, max_new_tokens=6)
    table = padlab.add_rewards(table, tiny.teacher, token_logps=True)
    row = padlab.add_selection_probs(table, tiny.teacher, method, votes=True)[0]
    found = padlab.bootstrap_preference(
        row["token_logps"], row["selection_votes"], alpha=1.0, votes_are=method, num_resamples=50
    )
    scores = 10 * padlab.calibrate(row["teacher_reward"], row["selection_prob"], alpha=1.0)
    expected = padlab.PlackettLuce(scores).top_choice()
    assert found["top_choice"].estimate.tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert bool((found["top_choice"].low <= found["top_choice"].high).all())


def test_an_edited_text_is_not_scored_on_its_old_ids(tiny):
    table = padlab.sample_responses(tiny.student, ["Name a colour."], n=2, max_new_tokens=4)
    edited = table.map(lambda row: {"responses": ["red", *row["responses"][1:]]})
    with pytest.raises(ValueError, match="row 0: response 0: its text is not what response_ids say"):
        padlab.add_rewards(edited, tiny.student)
    fresh = padlab.add_rewards(edited.remove_columns("response_ids"), tiny.student)
    assert fresh["teacher_reward"][0][0] == pytest.approx(padlab.score(tiny.student, "Name a colour.", ["red"])[0])


def test_a_row_without_its_reward_is_named():
    rows = [{"prompt": "a", "responses": ["x", "y"], "teacher_reward": r} for r in ([-1.0, -2.0], None)]
    with pytest.raises(ValueError, match="row 1: teacher_reward is not there"):
        padlab.check_candidates(rows, needs=["teacher_reward"])


def test_shards_without_a_manifest_are_not_adopted(tiny, tmp_path):
    padlab.sample_responses(tiny.student, ["Hi"], n=2, max_new_tokens=2, folder=tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(ValueError, match="was made under other settings"):
        padlab.sample_responses(tiny.student, ["Hi"], n=2, max_new_tokens=2, seed=1, folder=tmp_path)


def test_a_pruned_model_does_not_claim_its_parents_name(tiny):
    assert padlab.prune_blocks(tiny.teacher, 2).model.name_or_path == ""


def test_a_template_with_todays_date_gives_the_same_ids_every_day(tiny):
    from padlab.lm.chat import encode_chat
    from padlab.lm.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer("teacher")
    date = "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    tokenizer.chat_template = date + "{{ date_string }}" + tokenizer.chat_template
    assert tokenizer.decode(encode_chat(tokenizer, "Hi")).startswith("26 Jul 2024")
