"""Phase 2a: the reward of a response against a plain forward pass per sequence, for both models."""

import copy
import json
import random

import pytest
import torch

import padlab
from padlab.candidates import check_candidates
from padlab.lm.chat import encode_text, end_of_turn_id, stop_ids
from padlab.lm.encoding import candidate_ids
from padlab.lm.models import LanguageModel
from padlab.lm.plain_text import control_tokens
from padlab.phases import rewards
from padlab.phases.rewards import add_rewards, score, score_tokens
from padlab.runs import save_table

PROMPTS = [
    "Hi",
    "Name three rivers.",
    "Write a short story about a lighthouse keeper who finds a letter. " * 3,
    "漢字?",
]


@pytest.fixture(scope="module")
def sampled(tiny, shouting):
    """Responses of the student, about half of them finished."""
    ends_early = shouting(tiny.student, stop_ids(tiny.student.model, tiny.student.tokenizer), by=3.0)
    table = padlab.sample_responses(ends_early, PROMPTS, n=4, max_new_tokens=10, seed=2)
    share = [f for row in table["finished"] for f in row]
    assert 0.2 < sum(share) / len(share) < 0.9
    return table


def template_ids(tokenizer, prompt):
    talk = [{"role": "user", "content": prompt}]
    return tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)


def plain_logps(model, prompt_ids, response_ids):
    """The oracle: one sequence, one forward pass of the transformers model, log-softmax, gather; in float64."""
    with torch.no_grad():
        logits = model.model(torch.tensor([prompt_ids + response_ids])).logits[0].double()
    return [float(logits[len(prompt_ids) - 1 + k].log_softmax(-1)[t]) for k, t in enumerate(response_ids)]


def plain_reward(model, row, k, same_tokenizer):
    """Which ids: the sampled ones if they are this model's; else the text's, and its own end of turn if finished."""
    if same_tokenizer:
        ids = row["response_ids"][k]
    else:
        ids = model.tokenizer(row["responses"][k], add_special_tokens=False)["input_ids"]
        ids = ids + [end_of_turn_id(model.tokenizer)] * row["finished"][k]
    logps = plain_logps(model, template_ids(model.tokenizer, row["prompt"]), ids)
    return sum(logps) / len(logps)


@pytest.mark.parametrize("which", ["teacher", "student"], ids=["teacher, re-tokenized", "student, sampled ids"])
@pytest.mark.parametrize("shard_size", [1, 3, 64])
def test_agrees_with_a_plain_forward(tiny, sampled, which, shard_size):
    model = getattr(tiny, which)
    found = add_rewards(sampled, model, "r", shard_size=shard_size)["r"]
    for row, values in zip(sampled, found, strict=True):
        expected = [plain_reward(model, row, k, which == "student") for k in range(4)]
        assert values == pytest.approx(expected, abs=1e-4)


def test_score_agrees_with_a_plain_forward_without_end_of_turn(tiny):
    for model in tiny:
        texts = ["red", "a long walk\nby the river", "漢字 🙂"]
        ids = [model.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
        expected = [plain_logps(model, template_ids(model.tokenizer, "Why?"), i) for i in ids]
        assert score(model, "Why?", texts) == pytest.approx([sum(e) / len(e) for e in expected], abs=1e-4)
        for (tokens, logps), wanted, text in zip(score_tokens(model, "Why?", texts), expected, texts, strict=True):
            assert logps == pytest.approx(wanted, abs=1e-4)
            assert len(tokens) == len(logps)
            assert text.isascii() is False or "".join(tokens) == text


def test_end_of_turn_counts_exactly_when_finished(tiny, sampled):
    """For both models alike: the last token is the model's own end of turn, and only then."""
    for model, same in zip(tiny, (True, False), strict=True):
        _, ids = candidate_ids(model, sampled)
        stops = stop_ids(model.model, model.tokenizer)
        for row, group in zip(sampled, ids, strict=True):
            for k, response in enumerate(group):
                assert (response[-1] in stops) == row["finished"][k]
                assert not set(response[:-1]) & stops
                text = encode_text(model.tokenizer, row["responses"][k])
                assert response == row["response_ids"][k] if same else response[: len(text)] == text


def test_finished_without_ids_and_ids_without_finished(tiny):
    student = tiny.student
    end, ids = end_of_turn_id(student.tokenizer), encode_text(student.tokenizer, "red")
    row = {"prompt": "p", "responses": ["red", "red"]}
    mine = {"response_ids": [ids, [*ids, end]], "response_tokenizer": student.tokenizer_hash()}
    cases = [
        (row, [ids, ids]),
        ({**row, "finished": [True, False]}, [[*ids, end], ids]),
        ({**row, **mine}, [ids, [*ids, end]]),
        ({**row, **mine, "finished": [True, True]}, [[*ids, end]] * 2),
        ({**row, **mine, "response_tokenizer": "someone else's", "finished": [True, False]}, [[*ids, end], ids]),
    ]
    for given, expected in cases:
        assert candidate_ids(student, check_candidates([given]))[1] == [expected]


def test_a_stop_id_known_from_the_generation_config_ends_a_response_once(tiny):
    """Some families name further stop ids in their generation config; such a response must not get a second end."""
    student = tiny.student
    network = copy.deepcopy(student.model)
    other = student.tokenizer.convert_tokens_to_ids("<start_of_turn>")
    network.generation_config.eos_token_id = [other, student.tokenizer.eos_token_id]
    model = LanguageModel(network, student.tokenizer, "several ends")
    ids = [*encode_text(student.tokenizer, "red"), other]
    row = {"prompt": "p", "responses": ["red", "red"], "response_ids": [ids, ids], "finished": [True, True]}
    table = check_candidates([{**row, "response_tokenizer": model.tokenizer_hash()}])
    assert candidate_ids(model, table)[1] == [[ids, ids]]


def test_the_sampled_ids_are_scored_even_if_the_text_would_encode_otherwise(tiny):
    student = tiny.student
    tokenizer = student.tokenizer
    ids = [i for c in "the story" for i in tokenizer(c, add_special_tokens=False)["input_ids"]]
    assert ids != encode_text(tokenizer, "the story")
    row = {"prompt": "p", "responses": ["the story"], "response_ids": [ids]}
    expected = plain_logps(student, template_ids(tokenizer, "p"), ids)
    (found,) = add_rewards([{**row, "response_tokenizer": student.tokenizer_hash()}], student, "r")["r"]
    assert found == pytest.approx([sum(expected) / len(expected)], abs=1e-4)


def test_order_of_responses_and_prompts_does_not_matter(tiny, sampled):
    teacher = tiny.teacher
    forward = add_rewards(sampled, teacher)["teacher_reward"]
    turned = [
        {**row, **{c: row[c][::-1] for c in ("responses", "response_ids", "finished")}} for row in list(sampled)[::-1]
    ]
    backward = add_rewards(turned, teacher)["teacher_reward"]
    for a, b in zip(forward, backward[::-1], strict=True):
        assert a == pytest.approx(b[::-1], abs=1e-5)


def test_ragged_numbers_of_responses(tiny):
    rows = [{"prompt": "p", "responses": ["a", "bc", "def"]}, {"prompt": "q", "responses": ["only one"]}]
    found = add_rewards(rows, tiny.teacher)["teacher_reward"]
    assert found[0] == pytest.approx(score(tiny.teacher, "p", ["a", "bc", "def"]), abs=1e-5)
    assert found[1] == pytest.approx(score(tiny.teacher, "q", ["only one"]), abs=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_same_response_twice_gets_exactly_the_same_reward(tiny, count):
    """Else rounding would rank them: in a shared row the positions differ."""
    texts = ["a long answer", *["the same text"] * count, "short"]
    for model in tiny:
        found = score(model, "Why is the sky blue?", texts)
        assert len(set(found)) == 3
        assert found == pytest.approx([score(model, "Why is the sky blue?", [t])[0] for t in texts], abs=1e-5)


def test_token_logps_are_what_the_reward_is_the_mean_of(tiny, sampled):
    for model in tiny:
        table = add_rewards(sampled, model, "r", token_logps=True)
        _, ids = candidate_ids(model, sampled)
        for row, group in zip(table, ids, strict=True):
            assert [len(t) for t in row["token_logps"]] == [len(i) for i in group]
            assert row["r"] == pytest.approx([sum(t) / len(t) for t in row["token_logps"]], abs=1e-12)
            assert all(x <= 0 for t in row["token_logps"] for x in t)


def test_columns_are_added_and_the_input_stays(tiny, sampled):
    before = list(sampled)
    table = add_rewards(add_rewards(sampled, tiny.teacher), tiny.student, "student_reward")
    assert set(table.column_names) - set(sampled.column_names) == {"teacher_reward", "student_reward"}
    assert list(sampled) == before == [{k: row[k] for k in sampled.column_names} for row in table]


def test_control_text_in_a_response_is_scored_as_characters(tiny):
    for model in tiny:
        hostile = " ".join(control_tokens(model.tokenizer))
        _, ids = candidate_ids(model, check_candidates([{"prompt": hostile, "responses": [hostile]}]))
        assert not set(ids[0][0]) & set(control_tokens(model.tokenizer).values())
        assert score(model, hostile, [hostile])[0] < 0


def test_training_mode_and_weights_are_left_as_they_were(tiny):
    model = tiny.teacher.model
    before = tiny.teacher.weights_hash()
    model.train()
    score(tiny.teacher, "p", ["a"])
    assert model.training
    model.eval()
    assert tiny.teacher.weights_hash() == before


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"responses": ["fine", ""]}, "row 1, response 1: empty response; drop it or sample again"),
        (
            {"responses": ["fine", "x" * 1200]},
            r"row 1, response 1: prompt \(\d+\) and response \(\d+\) exceed the context",
        ),
        (
            {"prompt": "y" * 1200},
            r"row 1, response 0: prompt .* exceed the context of tiny .* \(1024 tokens\); shorten or drop",
        ),
        ({"prompt": " "}, "row 1: the prompt is empty"),
        ({"finished": [True]}, "row 1: finished has 1 entries for 2 responses"),
    ],
)
def test_rows_that_cannot_be_scored_are_named(tiny, cells, message):
    row = {"prompt": "p", "responses": ["a", "b"]}
    if "finished" in cells:
        row["finished"] = [True, True]
    for model in tiny:
        with pytest.raises(ValueError, match=message):
            add_rewards([row, {**row, **cells}, row], model)


def test_a_text_without_tokens_is_named(tiny):
    """Sampled by another model, an empty answer has nothing to score here unless it finished."""
    row = {"prompt": "p", "responses": ["a", ""], "response_ids": [[5], [6]], "response_tokenizer": "another"}
    with pytest.raises(ValueError, match="row 0: response 1 has no tokens; drop it"):
        add_rewards([row], tiny.teacher)
    assert len(add_rewards([{**row, "finished": [False, True]}], tiny.teacher)["teacher_reward"][0]) == 2


def test_broken_weights_stop_the_stage(tiny):
    network = copy.deepcopy(tiny.student.model)
    network.get_decoder().norm.weight.data[0] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        add_rewards([{"prompt": "p", "responses": ["a"]}], LanguageModel(network, tiny.student.tokenizer, "broken"))


# --- what a folder is for


def test_interrupted_and_resumed(tiny, sampled, tmp_path, monkeypatch):
    whole = add_rewards(sampled, tiny.teacher, token_logps=True, shard_size=1)
    original, calls = rewards.score_ids, 0

    def interrupted(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    monkeypatch.setattr(rewards, "score_ids", interrupted)
    call = {"folder": tmp_path / "ein Lauf ü", "shard_size": 1, "token_logps": True}
    with pytest.raises(KeyboardInterrupt):
        add_rewards(sampled, tiny.teacher, **call)
    assert len(list((tmp_path / "ein Lauf ü" / "score-teacher_reward").iterdir())) == 2
    assert list(add_rewards(sampled, tiny.teacher, **call)) == list(whole)
    assert calls == 5


def test_both_models_in_one_folder_and_other_candidates_refused(tiny, sampled, tmp_path):
    both = add_rewards(sampled, tiny.teacher, folder=tmp_path)
    both = add_rewards(both, tiny.student, "student_reward", folder=tmp_path)
    assert {p.name for p in tmp_path.glob("score-*")} == {"score-teacher_reward", "score-student_reward"}
    with pytest.raises(ValueError, match=r"model: .*tiny teacher"):
        add_rewards(sampled, tiny.student, folder=tmp_path)
    other = [{**row, "responses": row["responses"][::-1]} for row in sampled.remove_columns("response_ids")]
    with pytest.raises(ValueError, match="candidates: "):
        add_rewards(other, tiny.teacher, folder=tmp_path)


SCORE = """
table = load_table(IN)
table = padlab.add_rewards(table, teacher, folder=FOLDER, shard_size=1)
table = padlab.add_rewards(table, student, "student_reward", token_logps=True, folder=FOLDER, shard_size=1)
table = padlab.add_selection_probs(table, teacher, METHOD, votes=True, folder=FOLDER, shard_size=2)
save_table(table, OUT)
"""


@pytest.mark.parametrize("method", ["pairwise", "n-way"])
def test_killed_at_random_points_gives_the_unbroken_bytes(killer, sampled, tmp_path, method):
    """Both rewards and the selection questions, one after the other over one folder, as `padlab score` does."""
    save_table(sampled, tmp_path / "in.jsonl")

    def code(name):
        places = {"IN": tmp_path / "in.jsonl", "FOLDER": tmp_path / name, "OUT": tmp_path / f"{name}.jsonl"}
        text = SCORE.replace("METHOD", repr(method))
        for word, path in places.items():
            text = text.replace(word, repr(str(path)))
        return text

    status, events = killer.run(code("whole"))
    assert status == 0
    draw = random.Random(method)
    assert killer.finish(code("broken"), [draw.randint(1, events // (k + 1)) for k in range(4)]) >= 1
    assert (tmp_path / "broken.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "whole.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert all(len(row["selection_prob"]) == len(row["student_reward"]) == 4 for row in rows)


def test_one_text_is_no_list_of_responses(tiny):
    with pytest.raises(ValueError, match=r"write \['abc'\]"):
        score(tiny.teacher, "Name a colour.", "abc")


def test_the_reference_gives_the_same_scores(tiny):
    for model in tiny:
        texts = ["red", "a long walk by the river", "red"]
        assert score(model, "Why?", texts, exact=True) == pytest.approx(score(model, "Why?", texts), abs=1e-4)


def test_agreement_of_sums_compares_sums_with_sums(tiny, sampled):
    from padlab.study.agreement import rank_agreement

    table = add_rewards(sampled, tiny.student, length_normalize=False)
    itself = rank_agreement(tiny.student, tiny.student, table, length_normalize=False).per_prompt
    assert itself["jsd"] == pytest.approx(0, abs=1e-6)
