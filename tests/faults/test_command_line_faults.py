"""The command line says what is wrong in words, whatever the terminal, the options or the folder."""

import os
import re
import subprocess
import sys

import pytest
import torch

import padlab
from padlab.cli import main

TOKEN = "hf_" + "abcDEF0123" * 4
SAMPLE = ["--preset", "tiny", "--limit", "2", "--n", "2", "--max-new-tokens", "2"]


def said_by(words, capsys):
    """(exit status, what was printed on stderr)."""
    try:
        status = main(words)
    except SystemExit as end:  # argparse refuses a word
        status = end.code
    return status, capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--threads", "--limit"])
@pytest.mark.parametrize("value", ["0", "-1", "x"])
def test_numbers_that_must_be_positive(tmp_path, capsys, flag, value):
    status, said = said_by(["sample", str(tmp_path / "run"), "--preset", "tiny", flag, value], capsys)
    assert status == 2
    assert flag in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["--epochs", "0"], ["--epochs", "-1"], ["--rounds", "0"], ["--learning-rate", "-1"]])
def test_a_training_of_nothing_is_refused(tmp_path, capsys, words):
    run = str(tmp_path / "run")
    assert main(["sample", run, *SAMPLE]) == main(["score", run, "--selection", "none"]) == 0
    status, said = said_by(["distill", run, "--alpha", "0", *words], capsys)
    assert status in (1, 2)
    assert re.search("num_train_epochs|rounds|learning_rate", said)
    assert not (tmp_path / "run" / "student").exists()


def test_another_preset_on_an_old_folder_names_only_what_is_there(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["sample", str(run), *SAMPLE]) == 0
    status, said = said_by(["sample", str(run), "--preset", "toy"], capsys)
    assert status == 1
    assert "preset: 'tiny' in the folder, 'toy' now" in said
    named = {word.rstrip(".;:,") for word in said.split() if word.startswith("/")}
    assert all(os.path.exists(path) for path in named)
    status, said = said_by(["sample", str(run), *SAMPLE, "--seed", "1"], capsys)
    assert f"delete {run / 'sample'}" in said
    assert (run / "sample").is_dir()


def test_a_terminal_that_knows_ascii_only(tmp_path):
    run = tmp_path / "Lauf ü 漢"
    command = [sys.executable, "-m", "padlab", "sample", str(run), *SAMPLE]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert rb"Lauf \xfc" in done.stdout
    assert (run / "candidates.jsonl").exists()


def test_no_secret_is_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "a very secret value")
    monkeypatch.setattr(
        "padlab.sample_responses",
        lambda *_, **__: (_ for _ in ()).throw(ValueError(f"{TOKEN} a very secret value https://me:pass@host/x")),
    )
    status, said = said_by(["sample", str(tmp_path / "run"), *SAMPLE], capsys)
    assert status == 1
    assert not [secret for secret in (TOKEN, "a very secret value", "pass") if secret in said]
    assert "https://***@host/x" in said


def test_float32_is_not_advised_to_a_float32_model(tiny):
    for dtype, advised in ((torch.float32, False), (torch.bfloat16, True)):
        pair = padlab.load_pair("tiny", dtype=str(dtype).removeprefix("torch."))
        pair.teacher.model.get_decoder().norm.weight.data[3] = float("nan")
        for call in (
            lambda p: padlab.score(p.teacher, "Hi", ["a"]),
            lambda p: padlab.sample_responses(p.teacher, ["Hi"]),
        ):
            with pytest.raises(FloatingPointError) as raised:
                call(pair)
            assert ("dtype='float32'" in str(raised.value)) == advised


def test_a_columns_name_cannot_lead_out_of_the_folder(tiny, tmp_path):
    rows = [{"prompt": "Hi", "responses": ["a", "b"]}]
    for column in ("../../out", "/tmp/out", "a/b", "..", "ü ?"):
        table = padlab.add_rewards(rows, tiny.teacher, column, folder=tmp_path / "run")
        assert column in table.column_names
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert len(list((tmp_path / "run").glob("score-*"))) == 5
