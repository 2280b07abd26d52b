"""A model's description changes with whatever decides its numbers, and with nothing else."""

import copy
import os

import pytest
import torch

import padlab
from padlab.lm.models import LanguageModel
from padlab.lm.weights import hash_of_weights

ROWS = [{"prompt": f"Q{k}", "responses": ["yes", "no"]} for k in range(2)]


@pytest.fixture
def model(tiny):
    return LanguageModel(copy.deepcopy(tiny.student.model), tiny.student.tokenizer, "model")


def swap_rows(network):
    """In place and uncounted: neither the sum nor torch's write counter changes."""
    weight = network.model.layers[0].mlp.up_proj.weight
    weight.data[[3, 4]] = weight.data[[4, 3]]


def set_config(name, value):
    return lambda network: setattr(network.config, name, value)


CHANGES = {
    "two rows": swap_rows,
    "one number": lambda network: network.model.norm.weight.data[5:6].add_(1e-3),
    "norm epsilon": set_config("rms_norm_eps", 0.1),
    "rotary base": lambda network: network.config.rope_parameters.update(rope_theta=1e6),
    "end of text": lambda network: setattr(network.generation_config, "eos_token_id", [5, 6]),
    "activation": set_config("hidden_act", "relu"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("known", [True, False])
def test_what_decides_numbers_is_described(model, what, known, tmp_path):
    before = dict(model.describe()) if known else None
    padlab.add_rewards(ROWS, model, folder=tmp_path / "run", cache=tmp_path / "cache")
    cached = {path.name for path in (tmp_path / "cache").rglob("*.json")}
    CHANGES[what](model.model)
    if known:
        assert model.describe() != before
    with pytest.raises(ValueError, match="under other settings"):
        padlab.add_rewards(ROWS, model, folder=tmp_path / "run")
    padlab.add_rewards(ROWS, model, cache=tmp_path / "cache")
    assert len({path.name for path in (tmp_path / "cache").rglob("*.json")}) == 2 * len(cached)


def test_every_bit_and_place_counts():
    base = torch.arange(24.0).reshape(4, 6)
    same = hash_of_weights({"w": base})
    assert hash_of_weights({"w": base.clone().T.contiguous().T}) == same  # how it lies in memory does not
    others = [
        base.T,
        base.flip(0),
        base.flip(1),
        base.double(),
        base.reshape(6, 4),
        base.clone().index_fill_(1, torch.tensor([2]), 0),
    ]
    assert len({same, *(hash_of_weights({"w": other}) for other in others), hash_of_weights({"v": base})}) == 8
    assert hash_of_weights({"w": base.bfloat16()}) != hash_of_weights({"w": base.half()})


def test_a_folder_has_one_description_however_it_is_written(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny.student.save("~/models/student")
    monkeypatch.chdir(tmp_path / "models")
    os.symlink("student", "link")
    spellings = ["student", "./student/", "~/models/student", str(tmp_path / "models" / ".." / "models" / "student")]
    found = [padlab.load_model(name).describe() for name in spellings]
    assert all(description == found[0] for description in found)
    for name in ("~/run", "../run", str(tmp_path / "run")):
        padlab.add_rewards(ROWS, tiny.student, folder=name)
    assert sorted(os.listdir(tmp_path)) == ["models", "run"]
    assert sorted(os.listdir(tmp_path / "models")) == ["link", "student"]


def test_training_under_the_home_folder_resumes(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    rows = [{**row, "teacher_reward": [-1.0, -2.0]} for row in ROWS]
    settings = {"folder": "~/run", "max_steps": 2, "save_steps": 1, "gradient_accumulation_steps": 1}
    first = padlab.distill(tiny.student, rows, **settings)
    monkeypatch.setattr(padlab.training.trainer.PADTrainer, "training_step", None)  # nothing is left to do
    assert padlab.distill(tiny.student, rows, **settings).weights_hash() == first.weights_hash()
    assert os.listdir(tmp_path) == ["run"]
