"""The command line: one whole run on the tiny pair, messages, exit statuses."""

import json
import shutil
import sys

import pytest

import padlab
from padlab import cli
from padlab.cli import main
from padlab.runs import load_table
from padlab.worlds import toy


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder after all four stages."""
    folder = tmp_path_factory.mktemp("my runs") / "first"
    stages = (
        ["sample", str(folder), "--preset", "tiny", "--limit", "8", "--max-new-tokens", "6"],
        ["score", str(folder), "--selection", "pairwise"],
        ["distill", str(folder), "--alpha", "0.5"],
        ["evaluate", str(folder), "--limit", "4"],
    )
    for stage in stages:
        assert main(stage) == 0, stage
    return folder


def test_token_level_distillation_from_the_command_line(run, tmp_path, capsys, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("checkpoints"))
    assert main(["distill", str(copy), "--token-kd", "1"]) == 1
    assert "token_kd needs one tokenizer for both" in capsys.readouterr().err
    seen = {}
    monkeypatch.setattr(cli.padlab, "distill", lambda *_, **settings: seen.update(settings) or sys.exit(0))
    monkeypatch.setattr(padlab.LanguageModel, "tokenizer_hash", lambda self: "one")
    with pytest.raises(SystemExit):
        main(["distill", str(copy), "--token-kd", "0.5"])
    assert seen["token_kd"] == 0.5
    assert seen["teacher"] is not None


def test_all_stages_leave_their_files(run):
    rows = [json.loads(line) for line in (run / "candidates.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert len(rows) == 8
    assert {"responses", "teacher_reward", "selection_prob", "option_mass", "position_bias"} <= set(rows[0])
    assert (run / "student" / "adapter_model.safetensors").exists()
    found = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert {"jsd", "kendall_tau", "teacher_reward"} <= set(found)
    for values in found.values():
        assert values["difference"]["estimate"] == pytest.approx(values["after"] - values["before"], abs=1e-9)


def test_the_same_words_again_do_nothing_twice(run, capsys):
    before = (run / "candidates.jsonl").read_bytes()
    assert main(["score", str(run), "--selection", "pairwise"]) == 0
    assert (run / "candidates.jsonl").read_bytes() == before


def test_other_settings_are_refused_with_the_difference(run, capsys):
    assert main(["distill", str(run), "--alpha", "0.25"]) == 1
    said = capsys.readouterr().err
    assert "alpha: 0.5 in the folder, 0.25 now" in said
    assert main(["sample", str(run), "--preset", "pruned"]) == 1
    assert "preset: 'tiny' in the folder, 'pruned' now" in capsys.readouterr().err


def test_a_worlds_prompts_question_and_truth_reach_every_stage(tmp_path, capsys):
    run = tmp_path / "toy"
    assert main(["sample", str(run), "--preset", "toy", "--limit", "8"]) == 0
    prompts = [row["prompt"] for row in load_table(run / "candidates.jsonl")]
    assert prompts == toy.prompts(8)
    assert main(["score", str(run)]) == 0  # the preset's alpha is above 0, so the teacher is asked too
    assert load_table(run / "candidates.jsonl")["option_mass"][0] > 0.5
    assert main(["distill", str(run), "--rounds", "2", "--epochs", "1"]) == 0
    assert "round 2 of 2" in capsys.readouterr().out
    first = (run / "student" / "model.safetensors").read_bytes()
    assert main(["distill", str(run), "--rounds", "2", "--epochs", "1"]) == 0  # resumed, nothing trained twice
    assert (run / "student" / "model.safetensors").read_bytes() == first
    assert main(["evaluate", str(run), "--limit", "4"]) == 0
    found = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert {"quality", "right", "truth_tau", "kendall_tau"} <= set(found)
    held = [row["prompt"] for row in load_table(run / "heldout.jsonl")]
    assert held == toy.prompts(4, seed=1000, heldout=True)


def test_other_prompts_than_the_worlds_have_no_truth(tmp_path):
    run, file = tmp_path / "toy", tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "sort : bee ant"}\n' * 2, encoding="utf-8")
    stages = (
        ["sample", "--preset", "toy", "--limit", "8"],
        ["score"],
        ["distill"],
        ["evaluate", "--prompts", str(file)],
    )
    for stage in stages:
        assert main([stage[0], str(run), *stage[1:]]) == 0
    assert "quality" not in json.loads((run / "evaluation.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "RUN"], "run the stage that makes it first"),
        (["distill", "RUN"], "run the stage that makes it first"),
        (["evaluate", "RUN"], "start with `padlab sample"),
        (["sample", "RUN", "--preset", "tiny", "--temperature", "0"], "temperature must be a positive number"),
        (["sample", "RUN", "--preset", "tiny", "--n", "1"], "n must be at least 2"),
        (["sample", "RUN", "--preset", "tiny", "--n", "0"], "n must be at least 2"),
        (["sample", "RUN", "--preset", "tiny", "--prompts", "no.jsonl"], "no such file"),
        (["sample", "RUN", "--preset", "nonsense"], "no preset 'nonsense'"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_mistakes_get_one_line_and_status_1(tmp_path, capsys, words, message):
    assert main([str(tmp_path / "run") if w == "RUN" else w for w in words]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_ctrl_c_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("padlab.sample_responses", interrupted)
    assert main(["sample", str(tmp_path / "run"), "--preset", "tiny"]) == 130
    assert "the same command again goes on" in capsys.readouterr().err


def test_doctor_on_a_pair(capsys):
    assert main(["doctor", "tiny"]) == 0
    said = capsys.readouterr().out
    assert "tiny teacher" in said
    assert "end of turn: '<end_of_turn>'" in said
    assert "Keep alpha = 0" in said


def test_sampling_again_keeps_the_scores(run):
    words = ["sample", str(run), "--preset", "tiny", "--limit", "8", "--max-new-tokens", "6"]
    before = (run / "candidates.jsonl").read_bytes()
    assert main(words) == 0
    assert (run / "candidates.jsonl").read_bytes() == before


def test_evaluation_uses_what_was_sampled_and_trained(run):
    rows = [json.loads(line) for line in (run / "heldout.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert max(len(ids) for row in rows for ids in row["response_ids"]) <= 6  # as sampled, not the preset's 12
    assert all("selection_prob" in row for row in rows)  # trained with alpha 0.5, so judged with it


def test_full_training_leaves_no_old_adapter(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints")
    assert main(["distill", str(copy), "--full", "--epochs", "1"]) == 0
    names = {p.name for p in (copy / "student").iterdir()}
    assert "model.safetensors" in names
    assert not names & {"adapter_config.json", "adapter_model.safetensors"}


def test_a_preset_that_cannot_be_loaded_does_not_bind_the_folder(tmp_path, capsys):
    assert main(["sample", str(tmp_path / "run"), "--preset", "tiny", "--teacher", "/no/such/model.gguf"]) == 1
    assert "no such GGUF file" in capsys.readouterr().err
    assert main(["sample", str(tmp_path / "run"), "--preset", "tiny", "--limit", "2", "--max-new-tokens", "2"]) == 0


def test_the_demo_ends_with_status_0(tmp_path, monkeypatch):
    """It returns the page's path to Python; the command line must not take that for a status."""
    seen = []
    monkeypatch.setattr("padlab.cli.run_demo", lambda *options: seen.append(options) or tmp_path / "page.html")
    assert main(["demo", "--out", str(tmp_path), "--preset", "tiny"]) == 0
    assert seen == [(str(tmp_path), "tiny", "00_quickstart.ipynb")]


def test_evaluate_measures_against_what_the_student_was_trained_towards(run, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert main(["distill", str(copy), "--alpha", "0.2"]) == 1, "other settings are refused"
    (copy / "manifest.json").unlink()
    words = ["--preset", "tiny", "--limit", "8", "--max-new-tokens", "6"]
    assert main(["sample", str(copy), *words]) == main(["score", str(copy), "--selection", "pairwise"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(copy), "--limit", "4"]) == 0
    assert "target: alpha 0.5" in capsys.readouterr().out


def test_evaluating_with_other_numbers_names_one_folder_to_delete(run, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert main(["evaluate", str(copy), "--limit", "4"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(copy), "--limit", "3", "--seed", "5"]) == 1
    said = capsys.readouterr().err
    assert "limit: 4 in the folder, 3 now" in said
    assert "seed: 1000 in the folder, 5 now" in said
    assert f"delete {copy / 'evaluate'} " in said
    shutil.rmtree(copy / "evaluate")
    assert main(["evaluate", str(copy), "--limit", "3", "--seed", "5"]) == 0
    assert len(load_table(copy / "heldout.jsonl")) == 3


def test_a_folder_of_imported_responses_is_not_sampled_into_and_may_be_imported_again(tmp_path, capsys):
    file, run = tmp_path / "ranked.jsonl", str(tmp_path / "run")
    file.write_text('{"prompt": "q", "responses": ["a", "b"], "scores": [1, 2]}\n' * 2, encoding="utf-8")
    assert main(["import", str(file), run, "--preset", "tiny"]) == 0
    table = (tmp_path / "run" / "candidates.jsonl").read_bytes()
    assert main(["sample", run, "--preset", "tiny", "--limit", "2"]) == 1
    assert "were imported" in capsys.readouterr().err
    assert (tmp_path / "run" / "candidates.jsonl").read_bytes() == table
    assert main(["score", run, "--selection", "pairwise"]) == 0
    assert main(["import", str(file), run, "--preset", "tiny"]) == 0
    assert "selection_prob" in load_table(tmp_path / "run" / "candidates.jsonl").column_names


def test_a_run_folder_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for stage in (["sample", "--preset", "tiny", "--limit", "2"], ["score", "--selection", "none"], ["distill"]):
        assert main([stage[0], "~/run", *stage[1:], *(["--alpha", "0"] if stage == ["distill"] else [])]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert (tmp_path / "home" / "run" / "student" / "adapter_model.safetensors").exists()


def test_models_are_found_from_another_folder(tiny, tmp_path, monkeypatch):
    tiny.student.save(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    run = ["--preset", "tiny", "--limit", "2"]
    assert main(["sample", str(tmp_path / "run"), *run, "--student", "mine"]) == 0
    monkeypatch.chdir("/")
    assert main(["score", str(tmp_path / "run"), "--selection", "none"]) == 0
    assert main(["sample", str(tmp_path / "run"), *run, "--student", str(tmp_path / "mine")]) == 0
