"""Training in two processes gives the weights, metrics and checkpoints of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import padlab
from padlab.training.config import PADConfig
from padlab.training.trainer import PADTrainer

FIVE_STEPS = {"learning_rate": 1e-2, "gradient_accumulation_steps": 2, "max_steps": 5}
CASES = {  # nine prompts, two or three responses each: no number of prompts or responses is even
    "ppd": {},
    "vpd": {"loss": "vpd"},
    "dpo": {"loss": "dpo"},
    "token_kd": {"token_kd": 1.0},
    "batches of four": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
    "all weights": {"peft_config": None, "learning_rate": 1e-3},
    "one prompt a step": {"gradient_accumulation_steps": 1},
}
LONG = {"num_train_epochs": 2, "save_steps": 2}
PROCESS = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from tests.training.test_several_processes import in_each_process
in_each_process(*sys.argv[2:])
"""


def in_each_process(folder, what):
    """What each of two processes does; the first one writes the results."""
    results = {}
    if what == "cases":
        results = {name: train(case) for name, case in CASES.items()}
        results["continued"] = train(LONG, folder=f"{folder}/continued")
        evaluated = evaluate()
        if os.environ["RANK"] == "0":
            Path(folder, "evaluated.json").write_text(json.dumps(evaluated))
    if what == "killed":
        train(LONG, folder=f"{folder}/killed", kill_at=6)
    if what == "resumed":
        results["killed"] = train(LONG, folder=f"{folder}/killed")
    if os.environ["RANK"] == "0":
        for name, trained in results.items():
            save_file(weights(trained), f"{folder}/{name}.safetensors")
            Path(folder, f"{name}.json").write_text(json.dumps(losses(trained)))


def launch(folder, what):
    """Run `in_each_process` in two processes; the exit status."""
    root = str(Path(__file__).parents[2])
    script = folder / "process.py"
    script.write_text(PROCESS)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [*command, script, root, folder, what], env=environment, capture_output=True, text=True, timeout=240
    )


def rows():
    texts = ["red fish", "blue", "an owl on the wing"]
    return [
        {
            "prompt": f"Name {k} things.",
            "responses": texts[: 2 + k % 2],
            "teacher_reward": [0.0, -(k + 1) / 4, -0.6][: 2 + k % 2],
        }
        for k in range(9)
    ]


def train(case, folder=None, kill_at=0):
    student = padlab.load_pair("tiny").student
    settings = {**FIVE_STEPS, **case}
    if "num_train_epochs" in case:
        del settings["max_steps"]
    teacher = padlab.load_pair("tiny").student if "token_kd" in case else None
    if teacher is not None:
        with torch.no_grad():
            teacher.model.lm_head.weight.mul_(1.5)

    def on_step(step, model):
        if step == kill_at:
            os.kill(os.getpid(), 9)

    return padlab.distill(student, rows(), teacher=teacher, folder=folder, on_step=on_step, **settings)


EVALUATIONS = ({}, {"per_device_eval_batch_size": 3}, {"per_device_eval_batch_size": 4, "loss": "vpd"})


def evaluate():
    """Mean loss and metrics on five rows, which two processes fill up to six and eight; then of a prediction."""
    student, found = padlab.load_pair("tiny").student, []
    for settings in EVALUATIONS:
        trainer = PADTrainer(student, PADConfig("/tmp/unused", use_cpu=True, **settings), rows(), rows()[:5])
        found += [trainer.evaluate(), trainer.predict(rows()[2:7], metric_key_prefix="eval").metrics]
    return found


def weights(trained):
    return {k: v.clone() for k, v in trained.model.state_dict().items() if "lora_" in k or "layers.0" in k}


def losses(trained):
    names = ("loss", "jsd", "kendall_tau", "rewards/chosen", "grad_norm")
    return [[entry[name] for name in names] for entry in trained.history if "loss" in entry]


def same(folder, name, trained):
    """Weights and logged numbers of a training in two processes are those of one."""
    found, expected = load_file(folder / f"{name}.safetensors"), weights(trained)
    assert found.keys() == expected.keys()
    assert max(float((found[k] - expected[k]).abs().max()) for k in found) < 1e-5
    assert torch.tensor(json.loads((folder / f"{name}.json").read_text())).allclose(
        torch.tensor(losses(trained)), atol=1e-4
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of two processes; "continued" was begun by one process and interrupted."""
    place = tmp_path_factory.mktemp("two processes")

    def interrupt(step, model):
        if step == 6:
            raise KeyboardInterrupt

    settings = {**FIVE_STEPS, **LONG}
    del settings["max_steps"]
    with pytest.raises(KeyboardInterrupt):
        padlab.distill(
            padlab.load_pair("tiny").student, rows(), folder=place / "continued", on_step=interrupt, **settings
        )
    done = launch(place, "cases")
    assert done.returncode == 0, done.stderr[-2000:]
    return place


@pytest.mark.parametrize("name", CASES)
def test_two_processes_give_the_weights_of_one(folder, name):
    same(folder, name, train(CASES[name]))


def test_begun_by_one_process_and_continued_by_two(folder):
    same(folder, "continued", train(LONG))


def test_evaluation_counts_every_row_once(folder):
    found, expected = json.loads((folder / "evaluated.json").read_text()), evaluate()
    assert len(found) == len(expected) == 2 * len(EVALUATIONS)
    for together, alone in zip(found, expected, strict=True):
        for name in ("eval_loss", "eval_jsd", "eval_kendall_tau", "eval_rewards/chosen"):
            assert together[name] == pytest.approx(alone[name], abs=1e-5)
    for k in range(4):  # PPD's loss is the divergence
        assert expected[k]["eval_loss"] == pytest.approx(expected[k]["eval_jsd"], abs=1e-5)
    assert expected[0]["eval_jsd"] != pytest.approx(expected[1]["eval_jsd"], abs=1e-5), "other rows"


@pytest.mark.slow
def test_killed_in_the_middle_and_resumed_by_two(tmp_path):
    assert launch(tmp_path, "killed").returncode != 0
    assert sorted(p.name for p in (tmp_path / "killed" / "checkpoints").glob("checkpoint-*")) == [
        "checkpoint-2",
        "checkpoint-4",
    ]
    done = launch(tmp_path, "resumed")
    assert done.returncode == 0, done.stderr[-2000:]
    same(tmp_path, "killed", train(LONG))
