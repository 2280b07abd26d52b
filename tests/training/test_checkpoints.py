"""No checkpoint is lost and none is poisoned: numbers that are not finite, kills while saving, secrets."""

import json
import re
import shutil

import pytest
import torch

import padlab
from padlab.safe_files import SEAL, fault_of, remove_sealed, seal
from padlab.training import checkpoints
from padlab.training.checkpoints import newest_whole
from padlab.training.config import PADConfig
from padlab.training.trainer import PADTrainer

ROWS = [
    {"prompt": f"Name {k}.", "responses": ["red fish", "blue", "an owl"], "teacher_reward": [0.0, -1.0, -0.5]}
    for k in range(8)
]
STEPS = {"gradient_accumulation_steps": 2, "num_train_epochs": 2, "learning_rate": 1e-2}  # 8 steps


class Rot:
    """Makes the gradient NaN at a step."""

    def __init__(self, monkeypatch, step):
        original = padlab.training.trainer.PADTrainer.training_step

        def training_step(trainer, model, *others):
            loss = original(trainer, model, *others)
            if trainer.state.global_step + 1 == step:
                next(p for p in model.parameters() if p.grad is not None).grad[0, 0] = float("nan")
            return loss

        monkeypatch.setattr(padlab.training.trainer.PADTrainer, "training_step", training_step)


def test_a_gradient_that_is_not_finite_ends_the_training_before_it_reaches_the_weights(tiny, tmp_path, monkeypatch):
    whole = padlab.distill(tiny.student, ROWS, **STEPS)
    with monkeypatch.context() as patch:
        Rot(patch, 6)
        with pytest.raises(FloatingPointError, match=r"gradient .*at step 6.*learning_rate \(now .*beta") as stopped:
            padlab.distill(tiny.student, ROWS, **STEPS, folder=tmp_path, save_steps=1)
    assert "float32" not in str(stopped.value), "it is a float32 run"
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*"))
    assert kept == ["checkpoint-4", "checkpoint-5"]
    resumed = padlab.distill(tiny.student, ROWS, **STEPS, folder=tmp_path, save_steps=1)
    assert resumed.weights_hash() == whole.weights_hash()


@pytest.mark.parametrize("rate", [1e38, 1e20])
def test_a_rate_that_ruins_the_weights_leaves_no_checkpoint_to_resume(tiny, tmp_path, rate):
    call = {**STEPS, "learning_rate": rate, "lr_scheduler_type": "constant", "folder": tmp_path, "save_steps": 1}
    for _ in range(2):  # the same call again does the same, and does not resume ruined weights
        with pytest.raises(FloatingPointError, match=rf"at step 1.*now {re.escape(f'{rate:g}')}"):
            padlab.distill(tiny.student, ROWS, **call)
        assert not list((tmp_path / "checkpoints").glob(f"checkpoint-*/{SEAL}"))


def test_bf16_weights_are_advised_to_become_float32(tiny, monkeypatch):
    student = padlab.load_pair("tiny", dtype="bfloat16").student
    Rot(monkeypatch, 1)
    with pytest.raises(FloatingPointError, match="float32"):
        padlab.distill(student, ROWS, **STEPS)


def test_at_every_moment_of_a_save_a_whole_checkpoint_is_there(tiny, tmp_path, monkeypatch):
    """Killed in front of each file operation of saving, sealing and removing: the newest sealed one is resumed."""
    seen = []

    def watched(name, function):
        def wrapper(path, *others, **named):
            seen.append((name, newest_whole(tmp_path / "checkpoints", made_under[0])))
            return function(path, *others, **named)

        return wrapper

    made_under = []
    original = checkpoints.SealCheckpoints.__init__
    monkeypatch.setattr(
        checkpoints.SealCheckpoints, "__init__", lambda self, m, k: made_under.append(m) or original(self, m, k)
    )
    monkeypatch.setattr(shutil, "rmtree", watched("rmtree", shutil.rmtree))
    monkeypatch.setattr(checkpoints, "seal", watched("seal", checkpoints.seal))
    monkeypatch.setattr(checkpoints, "remove_sealed", watched("remove", checkpoints.remove_sealed))
    padlab.distill(tiny.student, ROWS, **STEPS, folder=tmp_path, save_steps=1)
    steps = [(name, int(path.rpartition("-")[2]) if path else 0) for name, path in seen]
    assert [step for name, step in steps if name == "seal"] == list(range(8))
    assert [step for name, step in steps if name == "rmtree"] == list(range(3, 9)), "the new one is sealed first"
    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("checkpoint-*")) == ["checkpoint-7", "checkpoint-8"]


def test_those_passed_over_are_named_and_with_none_left_the_training_begins_again(tiny, tmp_path, capsys):
    whole = padlab.distill(tiny.student, ROWS, **STEPS, folder=tmp_path, save_steps=1)
    for checkpoint in (tmp_path / "checkpoints").glob("checkpoint-*"):
        (checkpoint / "scheduler.pt").write_bytes(b"")
    capsys.readouterr()
    again = padlab.distill(tiny.student, ROWS, **STEPS, folder=tmp_path, save_steps=1)
    said = capsys.readouterr().out
    assert said.count("passed over") == 2
    assert "checkpoint-8 is passed over: scheduler.pt has 0 bytes" in said
    assert again.weights_hash() == whole.weights_hash()


def test_the_seal_notices_every_change(tmp_path):
    folder = tmp_path / "sealed"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_bytes(bytes(range(200)))
    (folder / "deep" / "b.txt").write_text("text")
    seal(folder, "settings")
    assert fault_of(folder, "settings") == ""
    assert "other settings" in fault_of(folder, "others")
    (folder / "new").write_text("")
    assert "new does not belong there" in fault_of(folder, "settings")
    (folder / "new").unlink()
    for byte in range(0, 200, 7):
        data = bytearray(range(200))
        data[byte] ^= 1
        (folder / "a.bin").write_bytes(data)
        assert "a.bin has changed" in fault_of(folder, "settings")
    (folder / "a.bin").unlink()
    assert "a.bin is missing" in fault_of(folder, "settings")
    for text in ("", "{", "[]", "null", '{"files": [], "settings": ""}', '{"files": {"a.bin": 1}, "settings": ""}'):
        (folder / SEAL).write_text(text)
        assert "damaged" in fault_of(folder, "settings")
    remove_sealed(folder)
    assert not folder.exists()


def test_a_hidden_file_of_the_system_does_no_harm(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"1")
    seal(tmp_path)
    (tmp_path / ".DS_Store").write_bytes(b"2")
    assert fault_of(tmp_path) == ""


def test_a_trainer_used_directly_resumes_whole_checkpoints_only(tiny, tmp_path, capsys):
    args = PADConfig(str(tmp_path), save_strategy="steps", save_steps=1, max_steps=3, learning_rate=1e-2, use_cpu=True)

    def trainer():
        return PADTrainer(tiny.student, args, ROWS, peft_config="auto")

    first = trainer()
    first.train()
    (weights,) = (tmp_path / "checkpoint-3").glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 64
    weights.write_bytes(data)
    second = trainer()
    second.train(resume_from_checkpoint=True)
    assert "checkpoint-3 is passed over" in capsys.readouterr().out
    for name, value in second.model.state_dict().items():
        torch.testing.assert_close(value, first.model.state_dict()[name])


def test_checkpoints_that_this_training_cannot_resume_do_not_push_out_its_own(tiny, tmp_path):
    padlab.distill(tiny.student, ROWS, **STEPS, folder=tmp_path, save_steps=4)
    place = tmp_path / "checkpoints"
    shutil.copytree(place / "checkpoint-8", place / "checkpoint-99")
    seal(place / "checkpoint-99", "other settings")
    for name in ("checkpoint-4", "checkpoint-8"):
        shutil.rmtree(place / name)
    padlab.distill(tiny.student, ROWS, **STEPS, folder=tmp_path, save_steps=4)
    assert sorted(path.name for path in place.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-8"]


def test_a_folder_and_an_output_dir_are_refused_together(tiny, tmp_path):
    with pytest.raises(ValueError, match="either folder or output_dir"):
        padlab.distill(tiny.student, ROWS, folder=tmp_path, output_dir=str(tmp_path / "x"))


SECRET = "hf_" + "abcDEF0123" * 4


def test_a_token_is_in_no_file_of_a_run(tiny, tmp_path):
    settings = {**STEPS, "hub_token": SECRET, "folder": tmp_path, "save_steps": 4}
    padlab.distill(tiny.student, ROWS, **settings)
    padlab.distill(tiny.student, ROWS, **{**settings, "hub_token": "another"}), "a new token is no new setting"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "training_args.bin" for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("num_train_epochs", 0), ("num_train_epochs", -1), ("gradient_accumulation_steps", 0), ("learning_rate", -1.0)],
)
def test_settings_that_train_nothing_are_refused(tiny, setting, value):
    with pytest.raises(ValueError, match=f"{setting} must be"):
        padlab.distill(tiny.student, ROWS, **{setting: value})


def test_the_best_checkpoint_stays(tiny, tmp_path):
    settings = {**STEPS, "num_train_epochs": 4, "eval_strategy": "steps", "eval_steps": 1, "save_total_limit": 1}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_kendall_tau", "greater_is_better": False}
    padlab.distill(
        tiny.student, ROWS, eval_candidates=ROWS, folder=tmp_path, save_steps=1, learning_rate=1e-2,
        **{k: v for k, v in settings.items() if k != "learning_rate"}, **best,
    )  # fmt: skip
    kept = list((tmp_path / "checkpoints").glob("checkpoint-*"))
    state = json.loads((max(kept, key=lambda p: int(p.name[11:])) / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"].rpartition("/")[2] in {path.name for path in kept}
    assert not torch.is_grad_enabled() or len(kept) <= 2
