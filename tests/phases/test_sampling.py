"""Phase 1: what a response is depends on seed, prompt and number alone; the draws follow the nucleus."""

import copy
import itertools
import math
import os
import random
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Gemma2Config, Lfm2Config

from padlab.lm.chat import encode_chat, stop_ids
from padlab.lm.fast import prefill
from padlab.lm.generate import sample_top_p
from padlab.lm.models import LanguageModel
from padlab.lm.plain_text import control_tokens
from padlab.phases import sampling
from padlab.phases.sampling import pick_diverse, random_stream, sample_responses
from padlab.runs import load_table, save_table

PROMPTS = [f"{'Tell me more. ' * (k % 5)}What is number {k}?" for k in range(16)]
OPTIONS = {"n": 4, "max_new_tokens": 10, "seed": 3}


@pytest.fixture(scope="module")
def sampled(tiny):
    return sample_responses(tiny.student, PROMPTS, **OPTIONS)


def plain_draw(model, prompt, number, seed, steps, temperature=1.0, top_p=0.95):
    """The oracle: one response, a full forward pass per token, the nucleus and its inversion in NumPy."""
    tokenizer, stops = model.tokenizer, stop_ids(model.model, model.tokenizer)
    banned = [i for i in control_tokens(tokenizer).values() if i not in stops]
    ids, prompt_ids = [], encode_chat(tokenizer, prompt)
    for uniform in random_stream(seed, prompt, number, steps):
        with torch.no_grad():
            logits = model.model(torch.tensor([prompt_ids + ids])).logits[0, -1].double().numpy()
        blank = not any(tokenizer.decode([i]).strip() for i in ids)
        logits[[*banned, *(stops if blank else ())]] = -np.inf
        ids.append(int(np.searchsorted(np.cumsum(nucleus(logits / temperature, top_p)), uniform, side="right")))
        if ids[-1] in stops:
            break
    return ids


def nucleus(logits, top_p):
    """Probabilities after cutting to the smallest set of most likely tokens with mass >= top_p."""
    p = np.exp(logits - logits.max())
    p /= p.sum()
    kept, mass = [], 0.0
    for k in np.argsort(-p, kind="stable"):
        kept.append(k)
        mass += p[k]
        if mass >= top_p:
            break
    cut = np.zeros_like(p)
    cut[kept] = p[kept]
    return cut / cut.sum()


def test_the_same_alone_and_inside_a_batch_of_16(tiny, sampled):
    for k in range(0, 16, 3):
        alone = sample_responses(tiny.student, [PROMPTS[k]], **OPTIONS)
        assert alone[0] == sampled[k]


def test_other_prompts_shards_order_and_n_do_not_matter(tiny, sampled):
    assert list(sample_responses(tiny.student, PROMPTS, **OPTIONS, shard_size=3)) == list(sampled)
    assert list(sample_responses(tiny.student, PROMPTS[::-1], **OPTIONS))[::-1] == list(sampled)
    fewer = sample_responses(tiny.student, PROMPTS[:4], **{**OPTIONS, "n": 2})
    assert fewer["response_ids"][:] == [row[:2] for row in sampled["response_ids"][:4]]
    shorter = sample_responses(tiny.student, PROMPTS[:4], **{**OPTIONS, "max_new_tokens": 5})
    assert shorter["response_ids"][:] == [[ids[:5] for ids in row] for row in sampled["response_ids"][:4]]


def test_agrees_with_a_plain_loop(tiny):
    for model in tiny:
        warm = {"temperature": 0.7, "top_p": 0.8}
        found = sample_responses(model, PROMPTS[:5], n=2, max_new_tokens=8, seed=11, **warm)["response_ids"]
        expected = [[plain_draw(model, p, k, 11, 8, **warm) for k in range(2)] for p in PROMPTS[:5]]
        assert found[:] == expected


@pytest.mark.parametrize("family", ["gemma2", "lfm2"])
def test_caches_that_forget_or_hold_states_draw_what_a_plain_loop_draws(tiny, family):
    """Sliding windows shorter than prompt and response, convolution states; rows end at different steps."""
    model = of_family(tiny.student, family)
    prompts = ["Hi", "Tell me a story about a bird.", "Why?"]
    table = sample_responses(model, prompts, n=4, max_new_tokens=60, seed=2, temperature=3.0)
    for prompt, row in zip(prompts, table["response_ids"], strict=True):
        assert row == [plain_draw(model, prompt, k, 2, 60, temperature=3.0) for k in range(4)]
    assert len({len(ids) for row in table["response_ids"] for ids in row}) > 1


def of_family(tiny, family):
    """Random weights of another architecture under tiny's tokenizer."""
    size = {"vocab_size": len(tiny.tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.3}  # fmt: skip
    config = {
        "gemma2": lambda: Gemma2Config(**size, head_dim=16, sliding_window=5),
        "lfm2": lambda: Lfm2Config(**size, layer_types=["conv", "full_attention"]),
    }[family]()
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config).eval()
    return LanguageModel(network, tiny.tokenizer, family, "random")


def test_logits_that_are_not_finite_are_refused(tiny):
    broken = LanguageModel(copy.deepcopy(tiny.student.model), tiny.student.tokenizer, "broken", "")
    broken.model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"logits are not finite"):
        sample_responses(broken, ["Hi"], n=2, max_new_tokens=3)


def test_prefilling_in_groups_of_like_length_changes_nothing(tiny, monkeypatch):
    prompts = ["Name a colour.", "Why? " * 40, "Hi", "Tell me a story about a bird. " * 12, "Count to three."]
    together = sample_responses(tiny.student, prompts, n=2, max_new_tokens=6)["response_ids"]
    monkeypatch.setattr(prefill, "SMALL_GROUP", 1)
    lengths = sorted((encode_chat(tiny.student.tokenizer, text) for text in prompts), key=len)
    assert len(prefill.group_by_length(lengths)) > 2
    assert sample_responses(tiny.student, prompts, n=2, max_new_tokens=6)["response_ids"] == together


def test_seeds_prompts_and_numbers_give_different_draws(tiny, sampled):
    other = sample_responses(tiny.student, PROMPTS[:2], **{**OPTIONS, "seed": 4})
    ids = [tuple(i) for table in (sampled, other) for row in table["response_ids"] for i in row]
    assert len(set(ids)) == len(ids)
    twice = sample_responses(tiny.student, [PROMPTS[0]] * 2, **OPTIONS)
    assert twice[0] == twice[1] == sampled[0]


def test_noise_is_uniform_and_belongs_to_its_key():
    keys = list(itertools.product([0, 1, -5, 2**40], ["a", "b", "a\0b", "漢"], [0, 1, 10]))
    rows = np.array([random_stream(s, p, k, 500) for s, p, k in keys])
    assert rows.min() >= 0
    assert rows.max() < 1
    assert len(np.unique(rows[:, 0])) == len(keys)
    counts = np.histogram(rows, bins=20, range=(0, 1))[0]
    expected = rows.size / 20
    assert ((counts - expected) ** 2 / expected).sum() < 43.8  # chi-square, 19 degrees of freedom, p = 0.001
    assert np.abs(np.corrcoef(rows) - np.eye(len(keys))).max() < 0.25
    assert (random_stream(1, "a", 2, 10) == random_stream(1, "a", 2, 99)[:10]).all()


def test_control_tokens_are_never_drawn(tiny, shouting):
    for model in tiny:
        control = sorted(control_tokens(model.tokenizer).values())
        stops = stop_ids(model.model, model.tokenizer)
        loud = sample_responses(shouting(model, [i for i in control if i not in stops]), PROMPTS[:6], **OPTIONS)
        drawn = {i for row in loud["response_ids"] for ids in row for i in ids}
        assert not drawn & (set(control) - stops)
        assert len(drawn) > 20


def test_ids_beyond_the_tokenizer_are_never_drawn(tiny, shouting):
    network = copy.deepcopy(tiny.student.model)
    network.resize_token_embeddings(len(tiny.student.tokenizer) + 20)
    padded = LanguageModel(network, tiny.student.tokenizer, "padded vocabulary")
    beyond = list(range(len(tiny.student.tokenizer), network.config.vocab_size))
    assert len(beyond) == 20
    table = sample_responses(shouting(padded, beyond), PROMPTS[:4], **OPTIONS)
    assert max(i for row in table["response_ids"] for ids in row for i in ids) < len(tiny.student.tokenizer)


def test_finished_means_that_the_last_id_is_a_stop_id(tiny, shouting):
    for model in tiny:
        stops = stop_ids(model.model, model.tokenizer)
        table = sample_responses(shouting(model, sorted(stops), by=4.0), PROMPTS, **OPTIONS)
        rows = [x for row in table for x in zip(row["response_ids"], row["finished"], row["responses"], strict=True)]
        for ids, finished, text in rows:
            assert finished == (ids[-1] in stops)
            assert not set(ids[:-1]) & stops
            assert finished or len(ids) == OPTIONS["max_new_tokens"]
            assert text == model.tokenizer.decode(ids[:-1] if finished else ids, skip_special_tokens=True)
        assert 0.2 < np.mean([finished for _, finished, _ in rows]) < 1


def test_a_response_never_ends_before_it_says_something(tiny, shouting):
    stops = sorted(stop_ids(tiny.student.model, tiny.student.tokenizer))
    table = sample_responses(shouting(tiny.student, stops), PROMPTS[:4], **OPTIONS)
    assert all(text.strip() for row in table["responses"] for text in row)
    assert all(all(row) for row in table["finished"])


def test_duplicates_are_counted(tiny):
    table = sample_responses(tiny.student, PROMPTS, n=6, temperature=0.3, max_new_tokens=1)
    assert table["duplicates"][:] == [len(texts) - len(set(texts)) for texts in table["responses"]]
    assert sum(table["duplicates"]) > 5


def test_the_table_says_whose_ids_they_are(tiny, sampled):
    assert set(sampled["response_tokenizer"]) == {tiny.student.tokenizer_hash()}
    assert tiny.student.tokenizer_hash() != tiny.teacher.tokenizer_hash()


def test_prompts_keep_their_id_and_category(tiny):
    table = sample_responses(tiny.student, [{"id": "x", "category": "c", "prompt": "Hi"}], n=2, max_new_tokens=2)
    assert (table[0]["id"], table[0]["category"]) == ("x", "c")


GRID = 4000


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.floats(0.05, 1.0), st.floats(0.2, 5.0))
def test_sample_top_p_inverts_the_exact_nucleus(seed, vocabulary, top_p, temperature):
    """A grid of uniforms: the share of grid points at each token is its probability, up to one point."""
    logits = np.random.default_rng(seed).normal(size=vocabulary) / temperature
    grid = (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID
    rows = torch.tensor(logits, dtype=torch.float32).expand(GRID, -1)
    counts = torch.bincount(sample_top_p(rows, top_p, grid), minlength=vocabulary).numpy()
    assert np.abs(counts / GRID - nucleus(rows[0].double().numpy(), top_p)).max() <= 1.5 / GRID


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 6.0])
def test_sample_top_p_on_a_large_vocabulary(top_p, scale):
    """More tokens than TOP_TOKENS, flat and peaked."""
    logits = torch.tensor(np.random.default_rng(5).normal(size=2000) * scale, dtype=torch.float32)
    grid = (torch.arange(6_000, dtype=torch.float64) + 0.5) / 6_000
    found = torch.cat([sample_top_p(logits.expand(len(part), -1), top_p, part) for part in grid.split(2000)])
    expected = nucleus(logits.double().numpy(), top_p)
    assert np.abs(torch.bincount(found, minlength=2000).numpy() / 6_000 - expected).max() <= 2.5 / 6_000


def test_rows_of_sample_top_p_do_not_depend_on_each_other():
    logits = torch.randn(50, 900, generator=torch.Generator().manual_seed(0)) * torch.linspace(0, 8, 50)[:, None]
    uniform = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    alone = [int(sample_top_p(logits[k : k + 1], 0.9, uniform[k : k + 1])) for k in range(50)]
    assert sample_top_p(logits, 0.9, uniform).tolist() == alone


def test_the_ends_of_the_unit_interval():
    logits = torch.tensor([[-math.inf, 1.0, 0.0, -math.inf]]).expand(2, -1)
    ends = torch.tensor([0.0, np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert sample_top_p(logits, 1.0, ends).tolist() == sample_top_p(logits, 0.999, ends).tolist() == [1, 2]


def test_low_temperature_is_greedy_and_high_temperature_uniform(tiny):
    cold = sample_responses(tiny.student, PROMPTS[:3], n=3, temperature=1e-4, top_p=1.0, max_new_tokens=6)
    greedy = [plain_draw(tiny.student, p, 0, 0, 6, temperature=1e-6, top_p=1e-9) for p in PROMPTS[:3]]
    assert cold["response_ids"][:] == [[ids] * 3 for ids in greedy]
    assert cold["duplicates"][:] == [2, 2, 2]
    hot = sample_responses(tiny.student, PROMPTS, n=16, temperature=1e6, top_p=1.0, max_new_tokens=8)["response_ids"]
    ids = [i for row in hot for response in row for i in response[1:]]  # the first one may not be a stop id
    allowed = (
        len(tiny.student.tokenizer)
        - len(control_tokens(tiny.student.tokenizer))
        + len(stop_ids(tiny.student.model, tiny.student.tokenizer))
    )
    counts = np.bincount(ids)
    counts = counts[counts > 0]
    assert len(counts) > 0.95 * allowed
    z = (((counts - len(ids) / allowed) ** 2).sum() / (len(ids) / allowed) - allowed) / math.sqrt(2 * allowed)
    assert abs(z) < 5


def test_distinct_replaces_repeats_and_nothing_else(tiny):
    options = {"n": 8, "temperature": 0.8, "max_new_tokens": 1}
    plain = sample_responses(tiny.student, PROMPTS, **options)
    distinct = sample_responses(tiny.student, PROMPTS, **options, distinct=True)
    assert sum(plain["duplicates"]) > 20
    assert sum(distinct["duplicates"]) < sum(plain["duplicates"]) / 5
    for a, b in zip(plain, distinct, strict=True):
        for k, text in enumerate(a["responses"]):
            if text not in a["responses"][:k]:
                assert b["response_ids"][k] == a["response_ids"][k]
    assert list(sample_responses(tiny.student, PROMPTS, **options, distinct=True, shard_size=5)) == list(distinct)


def test_distinct_gives_up_when_there_is_only_one_answer(tiny):
    table = sample_responses(tiny.student, PROMPTS[:2], n=3, temperature=1e-4, max_new_tokens=3, distinct=True)
    assert table["duplicates"][:] == [2, 2]


def edit_distance(a, b):
    """Levenshtein, by the definition."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
    return row[-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab c", max_size=6), min_size=2, max_size=7), st.data())
def test_pick_diverse_is_the_greedy_choice(texts, data):
    n = data.draw(st.integers(1, len(texts)))
    gap = lambda i, j: edit_distance(texts[i], texts[j]) / max(len(texts[i]), len(texts[j]), 1)  # noqa: E731
    kept = [0]
    while len(kept) < n:
        rest = [i for i in range(len(texts)) if i not in kept]
        furthest = max(min(gap(i, k) for k in kept) for i in rest)
        kept.append(next(i for i in rest if math.isclose(min(gap(i, k) for k in kept), furthest)))
    assert pick_diverse(texts, n) == sorted(kept)


def test_pool_keeps_the_most_different_of_independent_draws(tiny):
    options = {"max_new_tokens": 4, "temperature": 0.6, "seed": 2}
    whole = sample_responses(tiny.student, PROMPTS[:5], n=6, **options)
    picked = sample_responses(tiny.student, PROMPTS[:5], n=3, oversample=6, **options)
    for all_six, three in zip(whole, picked, strict=True):
        keep = pick_diverse(all_six["responses"], 3)
        for column in ("responses", "response_ids", "finished"):
            assert three[column] == [all_six[column][k] for k in keep]


def test_nothing_global_is_touched(tiny):
    tiny.student.model.train()
    before, random_state = tiny.student.weights_hash(), torch.get_rng_state()
    sample_responses(tiny.student, PROMPTS[:2], n=2, max_new_tokens=3)
    assert tiny.student.model.training
    tiny.student.model.eval()
    assert tiny.student.weights_hash() == before
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"n": 0}, "n must be at least 2"),
        ({"n": 1}, "n must be at least 2"),
        ({"temperature": 0.0}, "temperature must be a positive number, got 0.0; use 0.01"),
        ({"temperature": -1.0}, "temperature must be a positive number"),
        ({"temperature": float("nan")}, "temperature must be a positive number, got nan"),
        ({"temperature": float("inf")}, "temperature must be a positive number"),
        ({"top_p": 0.0}, r"top_p must lie in \(0, 1\], got 0.0"),
        ({"top_p": 1.1}, "top_p must lie in"),
        ({"top_p": float("nan")}, "top_p must lie in"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ({"oversample": 3}, "oversample must be at least n = 4, got 3"),
        (
            {"max_new_tokens": 1200},
            "row 0: the prompt has .* tokens; with 1200 more it exceeds the context of tiny student",
        ),
    ],
)
def test_settings_out_of_range_are_refused(tiny, setting, message):
    with pytest.raises(ValueError, match=message):
        sample_responses(tiny.student, PROMPTS[:2], **setting)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "row 1: the prompt is empty"),
        ("word " * 900, r"row 1: the prompt has \d+ tokens; .*exceeds the context of tiny student \(1024\). Shorten"),
        ("a\ud800", "row 1 .*surrogates not allowed"),
    ],
)
def test_bad_prompts_are_named_before_anything_is_sampled(tiny, prompt, message, monkeypatch):
    monkeypatch.setattr(sampling, "generate_rows", None)
    with pytest.raises(ValueError, match=message):
        sample_responses(tiny.student, ["fine", prompt, "fine too"], n=2)


def test_odd_characters_go_through(tiny):
    odd = [
        "\x00nul",
        "\ufeffbom",
        "עברית \u202e bidi",
        "zero\u200bwidth",
        "🙂 漢字",
        "e\u0301 é",
        "<|im_end|>",
        "a\r\nb",
    ]
    table = sample_responses(tiny.student, odd, n=2, max_new_tokens=2)
    assert table["prompt"][:] == odd


# --- what a folder is for


def saved(table, path):
    save_table(table, path)
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run mit Umlaut ü 漢字"


def test_interrupted_and_resumed_gives_the_unbroken_bytes(tiny, sampled, folder, tmp_path, monkeypatch):
    unbroken = saved(sampled, tmp_path / "unbroken.jsonl")
    original, calls = sampling.generate_rows, 0

    def interrupted(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls in (3, 5):
            raise KeyboardInterrupt
        return original(*arguments, **named)

    monkeypatch.setattr(sampling, "generate_rows", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            sample_responses(tiny.student, PROMPTS, **OPTIONS, folder=folder, shard_size=3)
    resumed = sample_responses(tiny.student, PROMPTS, **OPTIONS, folder=folder, shard_size=3)
    assert saved(resumed, tmp_path / "resumed.jsonl") == unbroken
    assert calls == 6 + 2  # six shards, two of them tried twice
    assert list(load_table(tmp_path / "resumed.jsonl")) == list(sampled)


SAMPLE = """
prompts = [f"{'Tell me more. ' * (k % 5)}What is number {k}?" for k in range(16)]
table = padlab.sample_responses(student, prompts, n=4, max_new_tokens=10, seed=3, folder=FOLDER, shard_size=3, EXTRA)
save_table(table, OUT)
"""


@pytest.mark.parametrize("extra", ["distinct=False", "distinct=True, temperature=0.3", "oversample=6"])
def test_killed_at_random_points_gives_the_unbroken_bytes(killer, tmp_path, extra):
    def code(name):
        text = SAMPLE.replace("FOLDER", repr(str(tmp_path / name))).replace(
            "OUT", repr(str(tmp_path / f"{name}.jsonl"))
        )
        return text.replace("EXTRA", extra)

    status, events = killer.run(code("whole"))
    assert status == 0
    draw = random.Random(extra)
    for trial in range(2):
        kills = [draw.randint(1, max(2, events // (k + 1))) for k in range(3)]
        assert killer.finish(code(f"broken {trial}"), kills) >= 1
        assert (tmp_path / f"broken {trial}.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_the_killed_process_draws_what_this_one_draws(killer, sampled, tmp_path):
    text = (
        SAMPLE.replace("FOLDER", "None")
        .replace("OUT", repr(str(tmp_path / "there.jsonl")))
        .replace("EXTRA", "oversample=4")
    )
    assert killer.run(text)[0] == 0
    assert (tmp_path / "there.jsonl").read_bytes() == saved(sampled, tmp_path / "here.jsonl")


def test_other_settings_are_refused_with_the_difference(tiny, folder):
    call = {"n": 2, "max_new_tokens": 3, "folder": folder}
    first = sample_responses(tiny.student, PROMPTS[:3], **call)
    for change, said in [
        ({"seed": 1}, "seed: 0 in the folder, 1 now"),
        ({"temperature": 0.5}, "temperature: 1.0 in the folder, 0.5 now"),
        ({"n": 3}, "n: 2 in the folder, 3 now"),
        ({"distinct": True}, "distinct: False in the folder, True now"),
    ]:
        with pytest.raises(ValueError, match=said):
            sample_responses(tiny.student, PROMPTS[:3], **{**call, **change})
    with pytest.raises(ValueError, match="prompts: "):
        sample_responses(tiny.student, [*PROMPTS[:2], "another one"], **call)
    with pytest.raises(ValueError, match=r"student: .*'weights'"):
        sample_responses(tiny.teacher, PROMPTS[:3], **call)
    assert list(sample_responses(tiny.student, PROMPTS[:3], **call)) == list(first)


def test_a_damaged_shard_and_a_full_disk(tiny, folder, monkeypatch):
    call = {"n": 2, "max_new_tokens": 3, "folder": folder, "shard_size": 2}
    first = list(sample_responses(tiny.student, PROMPTS[:6], **call))
    shard = folder / "sample" / "00001.jsonl"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"sample.00001\.jsonl is damaged"):
        sample_responses(tiny.student, PROMPTS[:6], **call)
    shard.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, os.strerror(28))))
        with pytest.raises(OSError, match=r"No space left on device. What was finished before is still there"):
            sample_responses(tiny.student, PROMPTS[:6], **call)
    assert list(sample_responses(tiny.student, PROMPTS[:6], **call)) == first
    assert shard.read_bytes() == whole


def test_a_common_beginning_is_computed_once_and_changes_no_logits(tiny, monkeypatch):
    rng = np.random.default_rng(0)
    beginning = rng.integers(20, 300, 30).tolist()
    prompts = sorted((beginning + rng.integers(20, 300, k).tolist() for k in (1, 5, 9, 40)), key=len)
    for model in tiny:
        network = model.model
        with mock.patch.object(network, "forward", wraps=network.forward) as forward:
            found = prefill.prefill(network, prompts, 4)
        assert sum(call.kwargs["input_ids"].numel() for call in forward.call_args_list) <= 30 + 4 * 40
        with torch.no_grad():
            alone = [network(torch.tensor([ids])).logits[0, -1] for ids in prompts]
        assert torch.allclose(found[2], torch.stack(alone), atol=1e-4)
        assert found[1].sum(1).tolist() == [len(ids) for ids in prompts]
        monkeypatch.setattr(prefill, "shared_beginning", lambda prompts, limit: 0)
        assert torch.allclose(prefill.prefill(network, prompts, 4)[2], found[2], atol=1e-4)
        monkeypatch.undo()
