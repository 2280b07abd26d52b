"""A run folder damaged in many ways: every stage says which file and what to do, and doing so gives the same result."""

import re
import shutil
from pathlib import Path

import pytest

from padlab.cli import main
from tests.faults.campaign import STAGES, count, result_of


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 2
    path.write_bytes(data)


def turn_into_a_folder(path):
    path.unlink()
    path.mkdir()


def link_elsewhere(path):
    path.unlink(missing_ok=True)
    path.symlink_to(path.parent.parent / "precious")


def text(content):
    def write(path):
        path.write_text(content)

    write.__name__ = f"holds {content[:12]}"
    return write


def replaced(old, new):
    def write(path):
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new))

    write.__name__ = f"{old} is {new}"
    return write


SHARD, SCORES, ASKED = "sample/00000.jsonl", "score-teacher_reward/00000.jsonl", "select/00000.jsonl"
ADAPTER, SEAL = "student/adapter_model.safetensors", "student/checksums.json"


def two_shards_swapped(path):
    path.write_bytes((path.parents[1] / SCORES).read_bytes())


DAMAGE = [  # (stage that meets it, file, what happens to it)
    *[("sample", SHARD, how) for how in (cut, flip, text(""), text("null\n"), text("[1, 2]\n" * 9), text("\0\xff"))],
    ("sample", SHARD, two_shards_swapped),
    ("sample", SHARD, turn_into_a_folder),
    *[("score", SCORES, how) for how in (cut, flip, text("{}\n"))],
    *[("score", ASKED, how) for how in (cut, flip)],
    *[(stage, "manifest.json", text(t)) for stage, t in zip(STAGES, ("{}", "[]", "null", ""), strict=True)],
    *[(stage, "manifest.json", how) for stage, how in zip(STAGES, (cut, flip, text("x"), cut), strict=True)],
    ("distill", "manifest.json", replaced('"temperature": ', '"temperature": 1')),
    ("score", "manifest.json", replaced('"format": 2', '"format": 99')),
    ("distill", "manifest.json", turn_into_a_folder),
    *[("score", "candidates.jsonl", how) for how in (cut, flip, Path.unlink)],
    *[("distill", "candidates.jsonl", how) for how in (text(""), text("null\n"), flip, turn_into_a_folder)],
    *[("evaluate", ADAPTER, how) for how in (cut, flip, text("no tensors"), Path.unlink)],
    *[("evaluate", SEAL, how) for how in (text("{}"), text("[]"), flip, Path.unlink)],
    ("evaluate", "student/adapter_config.json", text("{}")),
    ("evaluate", "evaluate/after/sample/00000.jsonl", flip),
    ("evaluate", "evaluate/before/manifest.json", text("[]")),
    ("score", ".lock", link_elsewhere),
    ("distill", "checkpoints/.lock", link_elsewhere),
]


def run_stages(folder):
    for stage, words in STAGES.items():
        assert main([stage, str(folder), *words]) == 0, stage


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_stages(folder)
    return folder, result_of(folder)


def carry_out(said, folder):
    """Delete what the message says; the folder to go on with."""
    if "another folder" in said and "elete" not in said:
        return folder.with_name("another")
    if "run the stage that makes it first" in said:
        return folder
    named = Path(re.search(r"/[^\s:;]+", said).group())
    target = re.search(r"[dD]elete (that file|that folder|the link|/\S+)", said).group(1)
    path = Path(target.rstrip(".;,")) if target.startswith("/") else named
    assert folder in path.parents, "nothing outside of the run folder is deleted"
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return folder


@pytest.fixture
def counted(request):
    before = request.session.testsfailed
    yield
    lost = [request.node.name] * (request.session.testsfailed - before)
    count("damaged run folders", 1, lost, "remedy carried out, result equal")


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize(
    ("stage", "file", "how"),
    [
        pytest.param(*d, id=f"{d[0]}: {d[1]}, {d[2].__name__}", marks=[pytest.mark.slow] * (k % 4 > 0))
        for k, d in enumerate(DAMAGE)
    ],
)
def test_damage_is_named_and_its_remedy_gives_the_unbroken_result(whole, tmp_path, capsys, stage, file, how):
    original, expected = whole
    folder = tmp_path / "run"
    shutil.copytree(original, folder)
    (tmp_path / "precious").write_text("mine")
    how(folder / file)
    capsys.readouterr()
    assert main([stage, str(folder), *STAGES[stage]]) == 1
    said = capsys.readouterr().err
    message = said[said.index(f"padlab {stage}:") :].strip()
    assert len(message.splitlines()) <= 4
    assert Path(file).name in message or str(Path(file).parent) in message
    assert "Traceback" not in said
    folder = carry_out(message, folder)
    run_stages(folder)
    assert result_of(folder) == expected
    assert (tmp_path / "precious").read_text() == "mine"
