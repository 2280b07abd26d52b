"""bench/gpu.py: all of it at the size of the tiny pair; the large presets are refused where there is no GPU."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parent.parent.parent / "bench"


@pytest.fixture
def run_script(monkeypatch):
    """Function: the script with these arguments, as from the command line."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments, "--threads", str(torch.get_num_threads())])
        runpy.run_path(str(BENCH / "gpu.py"), run_name="__main__")

    monkeypatch.syspath_prepend(str(BENCH))
    before = set(sys.modules)
    yield run
    for name in set(sys.modules) - before:  # "sampling", "scoring", ... are the scripts'
        if str(BENCH) in (getattr(sys.modules[name], "__file__", "") or ""):
            del sys.modules[name]


def test_every_task_is_measured_beside_plain_transformers(run_script, tmp_path, capsys):
    sizes = {"prompts": 2, "prompt": 16, "response": 8, "repeats": 1}
    run_script("--presets", "tiny", "--out", str(tmp_path / "gpu.json"), *(f"--{k}={v}" for k, v in sizes.items()))
    rows = {row["task"]: row for row in json.loads((tmp_path / "gpu.json").read_text())["rows"]}
    measured = [task for task, row in rows.items() if row.get("tokens_per_s", 0) > 0]
    assert [task.split()[0] for task in measured] == [
        "sampling", "scoring", "scoring", "selection", "training", "training"
    ]  # fmt: skip
    assert all(rows[task]["plain_times"] > 0 and rows[task]["plain_peak_mib"] >= 0 for task in measured)
    assert 0 <= rows["rewards: beta x (bfloat16 - float32)"]["beta_times_error"] < 1
    for task in ("sampling", "scoring", "selection", "training, LoRA"):
        assert "done in parts" in rows[f"memory: {task}, half of the memory"]["text"]
        assert "does not fit into memory" in rows[f"memory: {task}, no memory"]["text"]
    printed = capsys.readouterr().out
    assert all(task in printed for task in rows)


@pytest.mark.parametrize("preset", ["classroom", "classroom-qwen", "paper", "paper-llama"])
def test_the_large_presets_need_a_gpu(run_script, capsys, preset):
    with pytest.raises(SystemExit):
        run_script("--presets", preset)
    error = capsys.readouterr().err
    assert f"{preset}: " in error
    assert "GPU" in error
    assert "--presets tiny" in error
