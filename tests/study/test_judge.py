"""The judge adapter: pairs, training, and that it answers selection questions and nothing else."""

import json
import random

import pytest
import torch

import padlab
from padlab.lm.fast.scoring import next_token_logprobs
from padlab.study.judge import PreferencePair, judge_quality, make_pairs
from padlab.study.judge_training import prepare_judge, question_losses, training_questions

PROMPTS = [f"Say {word}." for word in ("red", "blue", "green", "black", "white", "brown")]


def tables(count=6):
    good, weak = ([{"prompt": p, "responses": [f"{w} {p} {k}" for k in range(2)]} for p in PROMPTS[:count]]
                  for w in ("good", "weak"))  # fmt: skip
    return padlab.check_candidates(weak), padlab.check_candidates(good)


@pytest.fixture(scope="module")
def judged(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    call = {"folder": folder, "learning_rate": 7e-3, "num_train_epochs": 15, "per_device_train_batch_size": 2}
    return folder, call, prepare_judge(tiny.student, tiny.teacher, PROMPTS, **call)


def test_pairs_are_what_they_say():
    pairs = make_pairs(*tables())
    assert [p.kind for p in pairs] == ["own", "other"] * 6
    for pair in pairs:
        assert pair.prompt in pair.better
        assert pair.better.startswith("good")
        assert (pair.worse.startswith("weak") and pair.prompt in pair.worse) == (pair.kind == "own")
        assert (pair.worse.startswith("good") and pair.prompt not in pair.worse) == (pair.kind == "other")
    assert make_pairs(*tables(), seed=1) != pairs
    with pytest.raises(ValueError, match="same prompts"):
        make_pairs(tables()[0], tables(5)[1])


def test_every_pair_is_asked_in_both_orders(tiny):
    pairs = make_pairs(*tables())
    asked = training_questions(tiny.teacher, pairs, seed=1)
    assert len(asked) == len(PROMPTS)
    decode = tiny.teacher.tokenizer.decode
    plain = {f"> {text}" for pair in pairs for text in (pair.better, pair.worse)}
    by_right, swayed = {p.better: (p.better, p.worse) for p in pairs}, 0
    for questions in asked:
        assert [q["right"] for q in questions] == [0, 1] * 2
        for first, second in zip(questions[::2], questions[1::2], strict=True):
            texts = [decode(q["ids"]) for q in (first, second)]
            options = [t.split("\n[A]\n", 1)[1].split("\n\nWhich")[0].split("\n\n[B]\n") for t in texts]
            assert options[0] == options[1][::-1]
            right, wrong = options[0]
            ((better, worse),) = (pair for key, pair in by_right.items() if right.startswith(f"> {key}"))
            assert wrong.startswith((f"> {worse}", f"> {better}"))
            assert right != wrong
            swayed += not {right, wrong} <= plain
    assert 0 < swayed < len(pairs)


def test_the_loss_is_that_of_a_plain_forward(tiny):
    (questions,) = training_questions(tiny.teacher, make_pairs(*tables())[:1])
    found = question_losses(tiny.teacher.model, questions)
    for question, loss in zip(questions, found, strict=True):
        logits = tiny.teacher.model(torch.tensor([question["ids"]])).logits[0, -1]
        p = logits.softmax(-1)[question["letters"][question["right"]]].sum()
        assert float(loss.detach()) == pytest.approx(-float(p.detach().log()), abs=1e-4)


def _samples(folder):
    shards = sorted((folder / "sample").glob("*.jsonl"))
    rows = [json.loads(line) for shard in shards for line in shard.read_text(encoding="utf-8").splitlines()[:-1]]
    return [{"prompt": p, "responses": row["responses"]} for p, row in zip(PROMPTS, rows, strict=True)]


def test_training_teaches_the_letters(tiny, judged):
    """On its own training pairs the adapter answers with a letter, and is right more often than the bare model."""
    folder = judged[0]
    drawn = [padlab.check_candidates(_samples(folder / "judge-training" / name)) for name in ("student", "teacher")]
    before, after = (judge_quality(m, make_pairs(*drawn)) for m in (tiny.teacher, judged[2]))
    for kind in after:
        assert after[kind]["option_mass"].estimate > before[kind]["option_mass"].estimate + 0.2
    assert sum(after[k]["p_better"].estimate for k in after) > sum(before[k]["p_better"].estimate for k in before) + 0.1


def test_a_judge_answers_selection_questions_only(tiny, judged):
    model, bare = judged[2], tiny.teacher
    rows = [{"prompt": p, "responses": ["red", "blue and green"]} for p in PROMPTS[:3]]
    assert padlab.add_rewards(rows, model)["teacher_reward"] == padlab.add_rewards(rows, bare)["teacher_reward"]
    draw = lambda m: padlab.sample_responses(m, PROMPTS[:2], n=2, max_new_tokens=6)["response_ids"]  # noqa: E731
    assert draw(model) == draw(bare)
    ask = lambda m: padlab.add_selection_probs(rows, m)["selection_prob"]  # noqa: E731
    assert ask(model) != ask(bare)
    assert ask(padlab.with_judge(model, None)) == ask(bare)
    assert model.describe() == bare.describe()
    assert model.judge_hash() != bare.judge_hash() == "none"
    assert model.with_weights(bare.model, "copy").judge is None


def test_selection_refuses_to_resume_under_another_judge(tiny, judged, tmp_path):
    rows = [{"prompt": "p", "responses": ["a", "b"]}]
    padlab.add_selection_probs(rows, tiny.teacher, folder=tmp_path)
    with pytest.raises(ValueError, match="judge: 'none' in the folder"):
        padlab.add_selection_probs(rows, judged[2], folder=tmp_path)


@pytest.mark.parametrize("better", ["a", "b"])
def test_shares_have_a_width_where_all_prompts_agree(tiny, monkeypatch, better):
    """Accuracy and order consistency: Wilson's interval of 0 or 1 per prompt; the bootstrap's would be a point."""
    answer = {"selection_prob": [0.9, 0.1] if better == "a" else [0.1, 0.9], "position_bias": 0.0, "option_mass": 1.0}
    ask = lambda rows, *_: [row | answer | {"order_consistency": float(better == "a")} for row in rows]  # noqa: E731
    monkeypatch.setattr("padlab.study.judge.add_selection_probs", ask)
    pairs = [PreferencePair(f"prompt {k}", "a", "b", "note") for k in range(24)]
    found = judge_quality(tiny.teacher, pairs)["note"]
    for name in ("accuracy", "order_consistency"):
        value, low, high, count = found[name]
        assert all(isinstance(v, float) for v in (value, low, high))
        assert count == 24
        # Wilson's at 24 of 24: z^2 / (n + z^2) away from the estimate
        ends = (1 - 3.8415 / 27.8415, 1) if better == "a" else (0, 3.8415 / 27.8415)
        assert (value, low, high) == pytest.approx((float(better == "a"), *ends), abs=1e-4)
        assert 0 <= low <= value + 1e-9
        assert value - 1e-9 <= high <= 1
    assert found["option_mass"][:3] == (1, 1, 1)  # no share of yes and no: the bootstrap's
    assert found["p_better"].low == found["p_better"].high


def test_a_prompt_with_several_pairs_keeps_the_bootstrap(tiny, monkeypatch):
    answers = iter([[0.9, 0.1], [0.1, 0.9]] * 6)
    rest = {"position_bias": 0.0, "option_mass": 1.0, "order_consistency": 1.0}
    ask = lambda rows, *_: [row | rest | {"selection_prob": next(answers)} for row in rows]  # noqa: E731
    monkeypatch.setattr("padlab.study.judge.add_selection_probs", ask)
    pairs = [PreferencePair(f"prompt {k // 2}", "a", "b", "note") for k in range(12)]
    assert judge_quality(tiny.teacher, pairs)["note"]["accuracy"] == (0.5, 0.5, 0.5, 6)


def test_the_same_call_again_trains_nothing_and_gives_the_same(tiny, judged, monkeypatch):
    folder, call, first = judged
    monkeypatch.setattr("padlab.study.judge_training.question_losses", None)
    again = prepare_judge(tiny.student, tiny.teacher, PROMPTS, **call)
    assert again.judge_hash() == first.judge_hash()
    with pytest.raises(ValueError, match=r"learning_rate: 0\.007 in the folder, 0\.1 now"):
        prepare_judge(tiny.student, tiny.teacher, PROMPTS, **{**call, "learning_rate": 0.1})
    assert not [f for f in (folder / "judge").rglob("*") if f.suffix in (".bin", ".pt", ".pkl")]


def test_an_adapter_for_another_model_is_refused(tiny, judged):
    with pytest.raises(ValueError, match="made for another model"):
        padlab.with_judge(tiny.student, judged[0] / "judge")


def test_the_bundled_judge_is_small_safe_and_documented():
    from padlab.bundled import bundled

    files = {f.name: f.stat().st_size for f in bundled("judge").iterdir()}
    assert set(files) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert files["adapter_model.safetensors"] <= 4_000_000
    card = (bundled("judge") / "README.md").read_text(encoding="utf-8").lower()
    assert all(word in card for word in ("prepare-judge", "held-out", "limits"))


def test_a_question_of_ones_own(tiny):
    """Another wording, other answers; the text asked is exactly what the function returns."""
    rows = [{"prompt": "p", "responses": ["a", "b"]}]
    seen = []

    def short(prompt, options):
        seen.append((prompt, list(options)))
        return f"{prompt}: A = {options[0]} or B = {options[1]}?"

    found = padlab.add_selection_probs(rows, tiny.teacher, question=short, votes=True)[0]
    assert sorted(seen[-2:]) == [("p", ["a", "b"]), ("p", ["b", "a"])]
    talk = [{"role": "user", "content": "p: A = a or B = b?"}]
    ids = tiny.teacher.tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
    logps = next_token_logprobs(tiny.teacher.model, [ids])[0].double()
    from padlab.phases.multiple_choice import letter_tokens

    a, b = (logps[letter_tokens(tiny.teacher, letter)].logsumexp(-1) for letter in "AB")
    assert found["selection_votes"][0][1] == pytest.approx(float(torch.sigmoid(a - b)), abs=1e-5)


def test_order_of_the_pairs_table_decides_nothing_but_the_other_prompt():
    weak, good = tables()
    order = list(range(6))
    random.Random(3).shuffle(order)
    own = {(p.prompt, p.better, p.worse) for p in make_pairs(weak, good) if p.kind == "own"}
    shuffled = make_pairs(weak.select(order), good.select(order))
    assert {(p.prompt, p.better, p.worse) for p in shuffled if p.kind == "own"} == own
