"""The bfloat16 probe: what it compares, when it says yes, and that positions keep their precision."""

import pytest
import torch
from transformers import AutoModelForCausalLM

import padlab
from padlab.lm import precision as module
from padlab.lm.fast.scoring import score_ids
from padlab.lm.fast.precision import in_dtype, probe_bfloat16
from padlab.phases import rewards

ROWS = [{"prompt": f"Name {k}.", "responses": ["red", "blue and green"]} for k in range(6)]
BATCH = [[5, 6, 7]] * 5, [[[8, 9], [10, 11, 12]]] * 5


def test_a_copy_scores_like_a_model_loaded_in_that_type(tiny, tmp_path):
    """500 tokens: a rotary frequency rounded to 16 bits would turn far positions."""
    tiny.teacher.model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    copy = in_dtype(tiny.teacher.model, "bfloat16")
    ids = torch.randint(5, 300, (500,), generator=torch.Generator().manual_seed(0)).tolist()
    ours, theirs = (score_ids(m, [ids[:10]], [[ids[10:]]])[0][0] for m in (copy, loaded))
    assert ours == theirs
    assert tiny.teacher.model.dtype == torch.float32
    assert in_dtype(tiny.teacher.model, "float32") is tiny.teacher.model


@pytest.mark.parametrize(
    ("seconds", "error", "chosen"), [((2, 1), 0.0, "bfloat16"), ((1, 1), 0.0, "float32"), ((2, 1), 0.02, "float32")]
)
def test_faster_and_near_enough_or_not_at_all(tiny, monkeypatch, seconds, error, chosen):
    """Clock and errors are made up: 0.02 nats/token are 0.2 in scores."""
    clock, calls = [0.0], []

    def scored(model, prompts, responses):
        half = model.dtype == torch.bfloat16
        clock[0] += seconds[half]
        calls.append(len(prompts))
        return [[[-1.0 - error * half] * len(r) for r in group] for group in responses]

    monkeypatch.setattr(module, "score_ids", scored)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    found = probe_bfloat16(tiny.teacher.model, *BATCH)
    assert found.dtype == chosen
    assert found.speedup == pytest.approx(seconds[0] / seconds[1])
    assert found.error == pytest.approx(10 * error)
    assert set(calls) == {4}


def test_a_resumed_run_keeps_the_type_that_was_chosen(tiny, tmp_path, monkeypatch, capsys):
    measured = []

    def says(dtype):
        return lambda *a: measured.append(1) or module.Probe(dtype, 2.0, 0.0)

    monkeypatch.setattr(rewards, "probe_bfloat16", says("bfloat16"))
    first = padlab.add_rewards(ROWS, tiny.teacher, folder=tmp_path, dtype="auto")
    assert "bfloat16 is 2.00 x as fast" in capsys.readouterr().out
    monkeypatch.setattr(rewards, "probe_bfloat16", says("float32"))
    again = padlab.add_rewards(ROWS, tiny.teacher, folder=tmp_path, dtype="auto")
    assert again["teacher_reward"] == first["teacher_reward"] != padlab.add_rewards(ROWS, tiny.teacher)["teacher_reward"]
    assert measured == [1]
    with pytest.raises(ValueError, match="dtype must be"):
        padlab.add_rewards(ROWS, tiny.teacher, dtype="float16")
