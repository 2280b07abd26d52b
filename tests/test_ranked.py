"""Ranked data in its published shapes as candidates: what is read, on which scale, and what is refused by row."""

import json
import warnings

import pytest
from datasets import Dataset, IterableDataset
from hypothesis import given, settings
from hypothesis import strategies as st

import padlab
from padlab.show.inspection import Inspection
from padlab.trl_formats import to_trl

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


def from_ranked(rows, **options):
    """The table without `finished`, which is true for every response."""
    table = padlab.from_ranked(rows, **options)
    assert [[True] * len(responses) for responses in table["responses"]] == list(table["finished"])
    return table.remove_columns("finished")


def says(*contents):
    """A conversation: the user begins, roles alternate."""
    return [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(contents)]


def answers(text):
    return [{"role": "assistant", "content": text}]


SYSTEM = [{"role": "system", "content": "Answer in one word."}]
TALK = says("Name a tree.", "Oak.", "And a bird?")
HH = "\n\nHuman: Name a tree.\n\nAssistant: Oak.\n\nHuman: And a bird?\n\nAssistant: "
STEER = "Name a tree.\n<extra_id_1>Assistant\nOak.\n<extra_id_1>User\nAnd a bird?"
ASKED = {"prompt": "And a bird?", "previous_messages": TALK[:-1]}
PLAIN = {"prompt": "Name a bird."}
BIRDS, SCORES = ["wren", "cod"], [1.0, 0.0]


def pair(chosen="wren", rejected="cod", **cells):
    return {"chosen": chosen, "rejected": rejected, **cells}


def completions(scores=(8.0, 2.0), texts=BIRDS, **fields):
    return [{"response": t, "overall_score": s, **fields} for t, s in zip(texts, scores, strict=True)]


def places(ranks=(1.0, 2.0), texts=BIRDS, **fields):
    return [{"answer": t, "rank": r, **fields} for t, r in zip(texts, ranks, strict=True)]


def steer(prompt="Name a bird.", preference=-2, **cells):
    return {"prompt": prompt, "response_1": "wren", "response_2": "cod", "preference_strength": preference, **cells}


def steer3(context, preference=-2, **cells):
    return {"context": context, "response1": "wren", "response2": "cod", "overall_preference": preference, **cells}


READ = {  # a published shape -> a row of it, the question, the scores of wren and cod
    "explicit prompt, texts": (pair(**PLAIN), PLAIN, SCORES),
    "explicit prompt, messages": (pair(answers("wren"), answers("cod"), prompt=TALK), ASKED, SCORES),
    "a system message": (
        pair(answers("wren"), answers("cod"), prompt=SYSTEM + TALK[:1]),
        {"prompt": "Name a tree.", "previous_messages": SYSTEM},
        SCORES,
    ),
    "score_chosen": (pair(**PLAIN, score_chosen=8.5, score_rejected=2.0), PLAIN, [8.5, 2.0]),
    "chosen_score": (pair(**PLAIN, chosen_score=3, rejected_score=3), PLAIN, [3.0, 3.0]),
    "margin": (pair(**PLAIN, margin=0.5), PLAIN, [0.5, 0.0]),
    "scores and margin": (pair(**PLAIN, chosen_score=3, rejected_score=1, margin=2), PLAIN, [3.0, 1.0]),
    "ultrafeedback_binarized": (
        pair(says("Name a bird.", "wren"), says("Name a bird.", "cod"), **PLAIN)
        | {"messages": says("Name a bird.", "wren"), "score_chosen": 8.5, "score_rejected": 2.0},
        PLAIN,
        [8.5, 2.0],
    ),
    "prompt beside longer conversations": (
        pair(SYSTEM + says("Name a bird.", "wren"), SYSTEM + says("Name a bird.", "cod"), **PLAIN),
        {**PLAIN, "previous_messages": SYSTEM},
        SCORES,
    ),
    "implicit prompt": (pair(TALK + answers("wren"), TALK + answers("cod")), ASKED, SCORES),
    "hh-rlhf": (pair(HH + "wren", HH + "cod"), ASKED, SCORES),
    "UltraFeedback": ({"instruction": "Name a bird.", "completions": completions()}, PLAIN, [8.0, 2.0]),
    "Nectar": ({"prompt": HH, "answers": places()}, ASKED, [-1.0, -2.0]),
    "Nectar, a rank used twice": ({"prompt": HH, "answers": places((2, 2))}, ASKED, [-2.0, -2.0]),
    "HelpSteer2 preference": (steer(STEER), ASKED, [1.0, -1.0]),
    "HelpSteer2, the second is better": (steer(preference=3), PLAIN, [-1.5, 1.5]),
    "HelpSteer3": (steer3(TALK, 1), ASKED, [-0.5, 0.5]),
    "HelpSteer3, a system message": (
        steer3(SYSTEM + says("Name a bird."), -3),
        {**PLAIN, "previous_messages": SYSTEM},
        [1.5, -1.5],
    ),
    "online, texts": ({**PLAIN, "completions": BIRDS, "rewards": [1.0, 0]}, PLAIN, SCORES),
    "online, messages": (
        {"prompt": TALK, "completions": [answers("wren"), answers("cod")], "rewards": [0.5, 1.5]},
        ASKED,
        [0.5, 1.5],
    ),
    "padlab's own": ({**ASKED, "responses": BIRDS, "scores": [4, 3]}, ASKED, [4.0, 3.0]),
    "padlab's own, ranks": ({**PLAIN, "responses": BIRDS, "rank": [2, 1]}, PLAIN, [-2.0, -1.0]),
}


@pytest.mark.parametrize("name", READ)
def test_a_published_shape_is_read(name):
    row, asked, scores = READ[name]
    different = {k: 9.0 for k in row if k in ("score_chosen", "chosen_score")}  # one prompt must not tie
    different |= {"answers": places()} if "answers" in row else {}
    table = from_ranked([{**row, "source": "mine"}, {**row, **different, "source": "other"}], scale="raw")
    assert table[0] == {**asked, "responses": BIRDS, "teacher_reward": scores, "source": "mine"}
    assert table["source"][:] == ["mine", "other"]


RATINGS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def rated(prompt, response, *numbers, **cells):
    return {"prompt": prompt, "response": response, **dict(zip(RATINGS, numbers, strict=True)), **cells}


def test_rows_of_single_responses_are_grouped_by_conversation():
    rows = [
        rated(STEER, "wren", 4, 1, 4, 4, 4, topic="birds", model="x"),
        rated("Name a fish.", "cod", 2, 1, 4, 4, 4, topic="fish", model="x"),
        rated(STEER, "cod", 1, 3, 4, 4, 4, topic="birds", model="y"),
        rated("Name a fish.", "wren", 0, 3, 4, 4, 4, topic="fish", model="y"),
    ]
    with pytest.warns(UserWarning, match="correctness, coherence, complexity, verbosity, model") as caught:
        table = from_ranked(rows, scale="raw")
    assert len(caught) == 1
    fish = {"prompt": "Name a fish.", "previous_messages": None, "responses": ["cod", "wren"]}
    assert list(table) == [
        {**ASKED, "responses": BIRDS, "teacher_reward": [4.0, 1.0], "topic": "birds"},
        {**fish, "teacher_reward": [2.0, 0.0], "topic": "fish"},
    ]
    with pytest.warns(UserWarning, match="helpfulness"):
        assert from_ranked(rows, score="correctness", scale="raw")["teacher_reward"][:] == [[1.0, 3.0], [1.0, 3.0]]


def test_prompts_with_one_response_are_left_out_with_their_number():
    single = [{"prompt": p, "completion": "a", "label": True} for p in ("alone", "both", "alone too")]
    with pytest.warns(UserWarning, match="2 prompts with one response are left out, first row 0"):
        table = from_ranked([*single, {"prompt": "both", "completion": "b", "label": False}], scale="raw")
    assert list(table) == [{"prompt": "both", "responses": ["a", "b"], "teacher_reward": [1.0, 0.0]}]
    with pytest.raises(ValueError, match="no prompt has two responses"):
        from_ranked(single)


def test_fields_of_responses_that_are_not_used_are_named_once():
    fields = {"critique": "fine", "model": "m", "custom_system_prompt": "x", "fine-grained_score": 1.0}
    rows = [{"instruction": "Name a bird.", "models": ["m"], "completions": completions(**fields)}] * 3
    with pytest.warns(UserWarning, match="critique, model, custom_system_prompt, fine-grained_score") as caught:
        table = from_ranked(rows)
    assert len(caught) == 1
    assert set(table.column_names) == {"prompt", "responses", "teacher_reward", "models"}


def test_a_name_given_as_score_chooses_the_field():
    dicts = [{"response": t, "overall_score": 1.0, "fine-grained_score": s} for t, s in (("wren", 4.5), ("cod", 1.5))]
    with pytest.warns(UserWarning, match="overall_score"):
        table = from_ranked([{"instruction": "p", "completions": dicts}], score="fine-grained_score", scale="raw")
    assert table["teacher_reward"][0] == [4.5, 1.5]
    with pytest.raises(ValueError, match="row 0, completions: there is no quality; there are response, overall_score"):
        from_ranked([{"instruction": "p", "completions": completions()}], score="quality")


def test_told_names_work_with_any_spelling():
    lists = [{"Frage": TALK, "Antworten": BIRDS, "Note": [2, 5], "id": 7}]
    names = {"prompt": "Frage", "responses": "Antworten"}
    expected = {**ASKED, "responses": BIRDS, "id": 7}
    assert from_ranked(lists, **names, score="Note", scale="raw")[0] == {**expected, "teacher_reward": [2.0, 5.0]}
    assert from_ranked(lists, **names, rank="Note", scale="raw")[0] == {**expected, "teacher_reward": [-2.0, -5.0]}
    single = [{"Frage": TALK, "Antworten": t, "Note": n, "id": 7} for t, n in zip(BIRDS, (2, 5), strict=True)]
    assert list(from_ranked(single, **names, rank="Note", scale="raw")) == [
        {**expected, "teacher_reward": [-2.0, -5.0]}
    ]
    messages = [{**row, "Antworten": answers(row["Antworten"])} for row in single]
    assert from_ranked(messages, **names, score="Note")["responses"][0] == BIRDS
    overriding = [{**pair(**PLAIN), "texts": ["a", "b"], "s": [0.0, 1.0]}]  # also has the columns of a known shape
    assert from_ranked(overriding, responses="texts", score="s", scale="raw")[0]["responses"] == ["a", "b"]


def test_every_kind_of_table_is_taken(tmp_path):
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    expected = {"prompt": "p", "responses": ["a", "b"], "teacher_reward": [1.0, -1.0]}
    tables = [Dataset.from_json(str(path)), Dataset.from_list([row] * 2), [row] * 2]
    tables.append(IterableDataset.from_generator(lambda: iter([row, row])))
    for table in tables:
        assert list(from_ranked(table)) == [expected, expected]


def test_padlabs_other_columns_of_responses_stay():
    row = {**PLAIN, "responses": BIRDS, "finished": [True, False], "response_ids": [[1], [2]], "scores": SCORES}
    assert padlab.from_ranked([row])[0] == {
        **{k: v for k, v in row.items() if k != "scores"},
        "teacher_reward": [1.0, -1.0],
    }
    again = padlab.from_ranked([row], scale="raw")
    assert list(padlab.from_ranked(again, scale="raw")) == list(again)


def test_special_tokens_and_marks_inside_a_text_stay():
    text = "What does <|im_start|> mean?\n\nHuman: x <extra_id_1>Assistant\ny"
    table = from_ranked([pair("</s> wren", "<bos>", prompt=text)])
    assert (table["prompt"][0], table["responses"][0]) == (text, ["</s> wren", "<bos>"])
    assert "previous_messages" not in table.column_names


# --- refused

TOOL = [{"role": "user", "content": "p"}, {"role": "tool", "content": "3"}]
BAD = {  # what is wrong with the second row -> first row, cells replaced, error
    "a missing score": (
        pair(**PLAIN, score_chosen=1.0, score_rejected=0.0),
        {"score_rejected": None},
        "score_rejected is None.* drop",
    ),
    "a missing margin": (pair(**PLAIN, margin=1.0), {"margin": None}, "row 1: margin is None"),
    "chosen below rejected": (
        pair(**PLAIN, chosen_score=2.0, rejected_score=1.0),
        {"chosen_score": 0.0},
        "row 1: chosen has a lower.* exchange",
    ),
    "an empty answer": (pair(**PLAIN), {"rejected": " \n"}, "row 1, rejected: empty response; drop"),
    "an empty prompt": (pair(**PLAIN), {"prompt": ""}, "row 1, prompt: the prompt is empty; drop"),
    "no prompt": (pair(**PLAIN), {"prompt": None}, "row 1, prompt: expected text .* drop"),
    "a tool message": (pair(prompt=says("p")), {"prompt": TOOL}, "row 1, prompt: .*'tool' is not supported; drop"),
    "a prompt that ends with an answer": (
        pair(prompt=says("p")),
        {"prompt": says("p", "and")},
        "row 1, prompt: .*ends with an assistant message",
    ),
    "another prompt": (
        pair(says("p", "a"), says("p", "b"), prompt="p"),
        {"prompt": "q"},
        "row 1, chosen: .*not those of the prompt; drop",
    ),
    "equal answers to different questions": (
        pair(says("p", "a"), says("p", "b")),
        {"chosen": says("p", "a"), "rejected": says("q", "a")},
        "row 1: .* differ in the messages before .* drop",
    ),
    "implicit, a system message on one side": (
        pair(says("p", "a"), says("p", "b")),
        {"chosen": SYSTEM + says("p", "a")},
        "row 1: .* differ in the messages",
    ),
    "implicit, no answer": (pair(says("p", "a"), says("p", "b")), {"chosen": says("p")}, "row 1"),
    "hh-rlhf, texts alone": (
        pair(HH + "a", HH + "b"),
        {"chosen": "wren", "rejected": "cod"},
        "row 1, chosen: .*`prompt`.*add that column.*Human",
    ),
    "hh-rlhf, an empty answer": (pair(HH + "a", HH + "b"), {"chosen": HH}, "row 1, chosen: empty response"),
    "hh-rlhf, turns that differ": (
        pair(HH + "a", HH + "b"),
        {"chosen": HH.replace("Oak", "Elm") + "a"},
        "row 1: .* differ in the messages",
    ),
    "hh-rlhf, the user speaks last": (
        pair(HH + "a", HH + "b"),
        {"chosen": HH + "a\n\nHuman: c", "rejected": HH + "a\n\nHuman: c"},
        "row 1",
    ),
    "UltraFeedback, a missing score": (
        {"instruction": "p", "completions": completions()},
        {"completions": completions((8.0, None))},
        "row 1, completions, response 1: overall_score is None, expected a number",
    ),
    "UltraFeedback, an empty answer": (
        {"instruction": "p", "completions": completions()},
        {"completions": completions(texts=["a", ""])},
        "row 1, completions, response 1: empty response",
    ),
    "UltraFeedback, one answer": (
        {"instruction": "p", "completions": completions()},
        {"completions": completions()[:1]},
        "row 1, completions: 1 response.* 2 or more; filter",
    ),
    "UltraFeedback, none": (
        {"instruction": "p", "completions": completions()},
        {"completions": []},
        "row 1, completions: 0 response",
    ),
    "UltraFeedback, no list": (
        {"instruction": "p", "completions": completions()},
        {"completions": None},
        "row 1, completions: expected a list",
    ),
    "Nectar, no rank": (
        {"prompt": HH, "answers": places()},
        {"answers": places((1, None))},
        "row 1, answers, response 1: rank is None",
    ),
    "Nectar, an empty answer": (
        {"prompt": HH, "answers": places()},
        {"answers": places(texts=["", "a"])},
        "row 1, answers, response 0: empty",
    ),
    "HelpSteer2, invalid": (
        steer(),
        {"preference_strength": -100},
        "row 1: preference_strength is -100.* -3 to 3; drop",
    ),
    "HelpSteer2, no preference": (steer(), {"preference_strength": None}, "row 1: preference_strength is None"),
    "HelpSteer2, an empty answer": (steer(), {"response_2": ""}, "row 1, response_2: empty response"),
    "HelpSteer2, an answered prompt": (
        steer(),
        {"prompt": STEER + "\n<extra_id_1>Assistant\nWren"},
        "row 1, prompt: .*ends with an assistant",
    ),
    "HelpSteer3, a tool": (steer3(TALK), {"context": TOOL}, "row 1, context: .*'tool'.*drop"),
    "ratings, none": (rated("p", "a", 1, 2, 3, 4, 5), {"helpfulness": None}, "row 1: helpfulness is None"),
    "online, counts": (
        {**PLAIN, "completions": BIRDS, "rewards": SCORES},
        {"rewards": [1.0]},
        "row 1, completions: 2 responses and 1 numbers in rewards; mend",
    ),
    "online, NaN": (
        {**PLAIN, "completions": BIRDS, "rewards": SCORES},
        {"rewards": [1.0, float("nan")]},
        "row 1, completions, response 1: rewards is nan",
    ),
    "online, text": (
        {**PLAIN, "completions": BIRDS, "rewards": ["high", "2"]},
        {},
        "row 0, completions, response 0: rewards is 'high'",
    ),
    "own, previous messages twice": (
        {**ASKED, "responses": BIRDS, "scores": SCORES},
        {"prompt": HH},
        "row 1: .*previous_messages beside a conversation",
    ),
    "a column that would be written over": (
        {"instruction": "p", "completions": completions(), "prompt": None},
        {"prompt": "x"},
        "row 1: prompt would be .*rename",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named(name):
    row, cells, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        from_ranked([row, {**row, **cells}])


def test_other_bad_rows_are_counted():
    good = pair(**PLAIN)
    rows = [good, {**good, "chosen": ""}, good, {**good, "rejected": ""}, {**good, "prompt": ""}]
    with pytest.raises(ValueError, match=r"row 1, chosen: empty.*\(2 more cannot be read: rows 3, 4\)"):
        from_ranked(rows)


OWN = {**PLAIN, "responses": BIRDS, "scores": SCORES}


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            [{"question": "p", "texts": ["a"]}],
            {},
            r"unknown shape: there are question, texts. .*prompt='...'.*UltraFeedback \(instr",
        ),
        ([], {}, "no rows"),
        ([OWN], {"scale": "z"}, "scale must be one of"),
        ([OWN], {"spread": 0.0}, "spread must be a finite number > 0"),
        ([OWN], {"spread": float("inf")}, "spread must be a finite number > 0"),
        ([OWN], {"score": "a", "rank": "b"}, "score= or rank=, not both"),
        ([OWN], {"score": "typo"}, "no column typo; there are prompt, responses, scores"),
        ([OWN], {"prompt": "prompt"}, "score= or rank= must be named"),
        ([OWN], {"responses": "texts", "score": "scores"}, "no column texts; there are"),
        ([{**OWN, "rank": [1, 2]}], {}, "scores and rank found .*say score="),
        (
            [{**PLAIN, "responses": BIRDS}] * 3,
            {},
            r"no column of scores found among prompt, responses; say score=... or rank=...$",
        ),
        ([pair(**PLAIN)], {"score": "x"}, "score= and rank= are not for"),
        ([{**OWN, "scores": [1, 1]}] * 2, {}, "no prompt has responses with different scores.*nothing to learn"),
        ([pair(**PLAIN, margin=0.0)], {}, "nothing to learn"),
        ({"prompt": ["p"]}, {}, "expected a datasets.Dataset"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(rows, options, message):
    with pytest.raises(ValueError, match=message):
        from_ranked(rows, **options)


# --- scales

scores = st.lists(st.integers(-40, 40).map(lambda k: k / 4), min_size=2, max_size=6)
tables = st.lists(scores, min_size=1, max_size=5).filter(lambda t: any(len(set(row)) > 1 for row in t))


def rewards(table, **options):
    rows = [
        {"prompt": f"p{k}", "responses": [f"{k}-{i}" for i in range(len(row))], "scores": row}
        for k, row in enumerate(table)
    ]
    return from_ranked(rows, **options)["teacher_reward"][:]


def flat(table):
    return [value for row in table for value in row]


@settings(max_examples=40, deadline=None)
@given(tables, st.sampled_from(["standardised", "raw", "rank"]))
def test_rewards_have_the_order_of_the_scores_and_ties_are_exact(table, scale):
    for row, reward in zip(table, rewards(table, scale=scale), strict=True):
        for a, x in zip(row, reward, strict=True):
            for b, y in zip(row, reward, strict=True):
                assert (a < b) == (x < y)
                assert (a == b) == (x == y)


@settings(max_examples=40, deadline=None)
@given(tables, st.floats(0.01, 5))
def test_standardised_has_mean_0_and_one_deviation_and_keeps_gaps(table, spread):
    found = rewards(table, spread=spread)
    assert [sum(row) for row in found] == pytest.approx([0] * len(table), abs=1e-9)
    assert sum(x * x for x in flat(found)) / len(flat(found)) == pytest.approx(spread**2)
    gaps = [[a - b for a in row for b in row] for row in table]
    ratio = max(flat(gaps)) / max(flat([[a - b for a in row for b in row] for row in found]))
    assert [a - b for row in found for a in row for b in row] == pytest.approx(
        [g / ratio for g in flat(gaps)], abs=1e-9
    )


@settings(max_examples=40, deadline=None)
@given(tables, st.floats(-100, 100), st.floats(0.01, 100))
def test_standardised_does_not_change_under_shift_and_scale(table, shift, factor):
    moved = [[factor * value + shift for value in row] for row in table]
    assert flat(rewards(moved)) == pytest.approx(flat(rewards(table)), abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(tables)
def test_the_rank_scale_knows_the_order_alone(table):
    found = rewards(table, scale="rank", spread=0.5)
    assert rewards([[value**3 + 7 for value in row] for row in table], scale="rank", spread=0.5) == found
    for row, reward in zip(table, found, strict=True):
        if len(set(row)) == len(row):
            ordered = sorted(reward)
            assert [b - a for a, b in zip(ordered, ordered[1:])] == [0.5] * (len(row) - 1)  # noqa: B905, RUF007


def test_ties_share_their_mean_rank():
    assert rewards([[9.0, 5.0, 5.0, 1.0]], scale="rank", spread=1.0) == [[1.5, 0.0, 0.0, -1.5]]
    assert rewards([[9.0, 9.0, 1.0]], scale="rank", spread=1.0) == [[0.5, 0.5, -1.0]]


@settings(max_examples=40, deadline=None)
@given(tables, st.randoms(), st.sampled_from(["standardised", "raw", "rank"]))
def test_permuting_responses_permutes(table, random, scale):
    orders = [random.sample(range(len(row)), len(row)) for row in table]
    moved = rewards([[row[i] for i in order] for row, order in zip(table, orders, strict=True)], scale=scale)
    there = rewards(table, scale=scale)
    for row, found, order in zip(there, moved, orders, strict=True):
        assert found == pytest.approx([row[i] for i in order], abs=1e-12)


@pytest.mark.parametrize("size", [1e-200, 1e150])
def test_sizes_of_scores_do_not_matter(size):
    assert rewards([[3 * size, 1 * size]]) == [[pytest.approx(1), pytest.approx(-1)]]


def test_rewards_have_the_spread_within_prompts():
    """Pooled over the table: prompts with larger gaps keep larger gaps."""
    wide, narrow = rewards([[4.0, 0.0], [1.0, 0.0]], spread=0.5)
    assert ((2 * wide[0] ** 2 + 2 * narrow[0] ** 2) / 4) ** 0.5 == pytest.approx(0.5)
    assert wide[0] == pytest.approx(4 * narrow[0])


# --- from TRL's formats and back

SCORED = [
    {"prompt": "p", "previous_messages": SYSTEM, "responses": ["a", "b", "c"], "teacher_reward": [0.5, -1.0, 0.0]},
    {"prompt": "q", "previous_messages": None, "responses": ["d", "e", "f"], "teacher_reward": [-2.0, -2.0, 1.0]},
]


@pytest.mark.parametrize("pairs", ["best_worst", "adjacent", "all"])
@pytest.mark.parametrize("implicit_prompt", [False, True])
def test_pairs_in_trls_format_are_read_back_with_their_scores(pairs, implicit_prompt):
    written = to_trl(SCORED, pairs=pairs, implicit_prompt=implicit_prompt)
    of = {row["prompt"]: dict(zip(row["responses"], row["teacher_reward"], strict=True)) for row in SCORED}
    before = {row["prompt"]: row["previous_messages"] for row in SCORED}
    read = from_ranked(written, scale="raw")
    assert len(read) == {"best_worst": 2, "adjacent": 3, "all": 5}[pairs]
    for row in read:
        assert row["teacher_reward"] == [of[row["prompt"]][text] for text in row["responses"]]
        assert row["previous_messages"] == before[row["prompt"]]
    assert set(read.column_names) == {"prompt", "previous_messages", "responses", "teacher_reward"}


def test_labels_in_trls_format_are_read_back():
    read = from_ranked(to_trl(SCORED, pairs="unpaired"), scale="raw")
    assert [{k: v for k, v in row.items() if k != "teacher_reward"} for row in read] == [
        {k: v for k, v in row.items() if k != "teacher_reward"} for row in SCORED
    ]
    assert read["teacher_reward"][:] == [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]


# --- prompts, and training on it


def test_load_prompts_reads_a_dialogue_in_one_text():
    rows = [{"prompt": HH}, {"prompt": "\n\nHuman: Name a bird.\n\nAssistant: "}, {"prompt": "Who is\n\nHuman: ?"}]
    table = padlab.load_prompts(rows)
    assert table["prompt"][:] == ["And a bird?", "Name a bird.", "Who is\n\nHuman: ?"]
    assert table["previous_messages"][:] == [TALK[:-1], None, None]
    with pytest.raises(ValueError, match="row 0: the prompt is empty"):
        padlab.load_prompts([{"prompt": "\n\nHuman: \n\nAssistant: "}])


def test_a_typed_text_is_the_prompt_whole_even_if_it_looks_like_a_dialogue(tiny):
    assert padlab.load_prompts([HH])["prompt"][:] == [HH]
    assert padlab.sample_responses(tiny.student, [HH], 2, max_new_tokens=3)["prompt"][:] == [HH]
    typed, message = (padlab.score(tiny.teacher, p, ["red"]) for p in (HH, [{"role": "user", "content": HH}]))
    assert typed == message
    inspection = Inspection(*tiny, HH).draw(2, max_new_tokens=3)
    drawn = Inspection(*tiny, [{"role": "user", "content": HH}]).draw(2, max_new_tokens=3)
    assert inspection.state.row["prompt"] == HH
    assert inspection.state.responses == drawn.state.responses


def test_a_student_learns_from_ranked_data_without_a_teacher(tiny):
    table = from_ranked([pair(**PLAIN), pair("cod", "oak", prompt="Name a tree.")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained = padlab.distill(tiny.student, table, loss="ppd", alpha=0.0, num_train_epochs=6, learning_rate=1e-3)
    before, after = (padlab.add_rewards(table, model, column="student_reward") for model in (tiny.student, trained))
    assert not all(a > b for a, b in before["student_reward"])
    assert all(a > b for a, b in after["student_reward"])


def test_numbers_may_be_texts_as_in_csv_files(tmp_path):
    (path := tmp_path / "ratings.csv").write_text('q,a,stars\n"2 + 2?",4,5\n"2 + 2?",5,"1.5"\n', encoding="utf-8")
    from padlab.data_files import read_rows

    table = from_ranked(read_rows(path), prompt="q", responses="a", score="stars", scale="raw")
    assert list(table) == [{"prompt": "2 + 2?", "responses": ["4", "5"], "teacher_reward": [5.0, 1.5]}]


def test_responses_are_whole_unless_the_data_say_otherwise(tiny):
    """Their end-of-turn token counts, in training and rewards."""
    row = {"prompt": "Name a bird.", "responses": BIRDS, "score": [1.0, 0.0]}
    cut = padlab.from_ranked([{**row, "finished": [False, True]}])
    assert cut["finished"][:] == [[False, True]]
    reward = {
        name: padlab.add_rewards(table, tiny.student, "student_reward", length_normalize=False)["student_reward"][0]
        for name, table in {"cut": cut, "whole": padlab.from_ranked([row])}.items()
    }
    assert reward["cut"][1] == pytest.approx(reward["whole"][1])
    assert reward["cut"][0] > reward["whole"][0] + 0.1


def test_equal_texts_of_a_prompt_share_their_mean_score():
    row = {"prompt": "p", "responses": ["a", "b", "a"], "score": [4.0, 3.0, 0.0]}
    with pytest.warns(UserWarning, match="1 prompts hold equal responses with different scores"):
        table = from_ranked([row], scale="raw")
    assert table["teacher_reward"][0] == [2.0, 3.0, 2.0]
    same = {"prompt": "p", "responses": ["a", "b", "a"], "score": [4.0, 3.0, 4.0]}
    assert from_ranked([same], scale="raw")["teacher_reward"][0] == [4.0, 3.0, 4.0]  # no warning


def test_several_raters_of_an_answer_count_as_one_response():
    rated = [("a", 5), ("a", 1), ("b", 4), ("b", 3), ("c", 3)]
    rows = [{"prompt": "p", "response": text, "score": score} for text, score in rated]
    rows += [{"prompt": "q", "response": "same", "score": score} for score in (1, 2)]
    with pytest.warns(UserWarning, match="1 prompts with one response are left out, first row 5"):
        table = from_ranked(rows, scale="raw")
    assert list(table) == [{"prompt": "p", "responses": ["a", "b", "c"], "teacher_reward": [3.0, 3.5, 3.0]}]


def test_faulty_rows_can_be_left_out():
    rows = [pair(**PLAIN), pair("", "cod", **PLAIN), pair(**PLAIN), pair(None, "cod", **PLAIN)]
    with pytest.raises(ValueError, match=r"row 1, chosen: empty.*1 more cannot be read: rows 3.*skip_faulty=True"):
        from_ranked(rows)
    with pytest.warns(UserWarning, match=r"2 rows are left out: row 1.*rows 3"):
        assert len(from_ranked(rows, skip_faulty=True)) == 2
    with pytest.raises(ValueError, match="row 0"):
        from_ranked([rows[1]], skip_faulty=True)


def test_columns_of_single_responses_and_scores_of_any_size():
    rows = [{"prompt": "p", "response": r, "score": s, "finished": True} for r, s in (("a", 1.7e308), ("b", -1.7e308))]
    with pytest.warns(UserWarning, match="left out: finished"):
        assert from_ranked(rows)["teacher_reward"][0] == [pytest.approx(1), pytest.approx(-1)]


def test_labels_as_pandas_writes_them():
    rows = [{"prompt": "p", "completion": c, "label": x} for c, x in (("a", "True"), ("b", "False"))]
    assert from_ranked(rows, scale="raw")["teacher_reward"][0] == [1.0, 0.0]
