"""A run folder survives what happens to it: interruption, damage, other settings, a second process, a full disk."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from datasets import Dataset

from padlab import progress, runs
from padlab.runs import load_table, read_manifest, record_stage, save_table
from padlab.safe_files import lock, write_jsonl
from padlab.shards import in_shards
from tests.other_process import held_by_another

AWKWARD = "a run (über) 漢字"


def squares(piece):
    return [{"item": k, "square": k * k, "text": f"é {k}\u2028\n"} for k in piece]


def run(folder, items=range(10), work=squares, settings=None, **more):
    return in_shards(
        items, work, stage="square", settings=settings or {"power": 2}, folder=folder, shard_size=3, **more
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / AWKWARD


class Interrupt:
    """Does the work, but raises in front of a given piece; counts what it did."""

    def __init__(self, piece, error=KeyboardInterrupt):
        self.left, self.error, self.done = piece, error, 0

    def __call__(self, piece):
        if self.left == 0:
            raise self.error
        self.left -= 1
        self.done += len(piece)
        return squares(piece)


def test_with_and_without_a_folder_the_rows_are_the_same(folder):
    assert run(None) == run(folder) == run(folder) == squares(range(10))
    assert sorted(p.name for p in (folder / "square").iterdir()) == [f"0000{k}.jsonl" for k in range(4)]


@pytest.mark.parametrize("piece", range(4))
def test_an_interrupted_run_goes_on_where_it_stopped(folder, piece):
    with pytest.raises(KeyboardInterrupt):
        run(folder, work=Interrupt(piece))
    rest = Interrupt(99)
    assert run(folder, work=rest) == squares(range(10))
    assert rest.done == 10 - 3 * piece


def test_other_settings_are_refused_with_the_difference_and_the_remedy_works(folder):
    run(folder)
    with pytest.raises(ValueError, match="power: 2 in the folder, 3 now") as refused:
        run(folder, settings={"power": 3})
    assert "items" not in str(refused.value)
    with pytest.raises(ValueError, match="items: 10 in the folder, 9 now"):
        run(folder, items=range(9))
    with pytest.raises(ValueError, match=r"new: '\(not there\)' in the folder, 1 now"):
        run(folder, settings={"power": 2, "new": 1})
    assert run(folder) == squares(range(10))
    named = Path(re.search(r"or delete (.*) to start", str(refused.value)).group(1))
    for shard in named.iterdir():
        shard.unlink()
    named.rmdir()
    assert run(folder, settings={"power": 3}) == squares(range(10))


def test_shards_of_other_settings_are_refused_even_without_a_manifest(folder):
    run(folder)
    (folder / "manifest.json").unlink()
    assert run(folder, work=Interrupt(0)) == squares(range(10)), "the same settings: nothing is done again"
    (folder / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"00000\.jsonl was made under other settings; delete .*square"):
        run(folder, settings={"power": 3})


def test_settings_of_a_stage_that_has_nothing_finished_may_change(folder):
    with pytest.raises(KeyboardInterrupt):
        run(folder, work=Interrupt(0))
    assert run(folder, settings={"power": 3}) == squares(range(10))


def test_a_stage_in_its_first_shard_has_begun(folder):
    with pytest.raises(KeyboardInterrupt):
        run(folder, work=Interrupt(0))
    with (
        held_by_another(folder / "square", ".00000.lock", seconds=20),
        pytest.raises(ValueError, match="power: 2 in the folder, 3 now"),
    ):
        run(folder, settings={"power": 3})
    assert run(folder, settings={"power": 3}) == squares(range(10)), "nobody is at work any more"


def test_a_shard_in_the_place_of_another_is_noticed(folder):
    run(folder)
    shutil.copy(folder / "square" / "00001.jsonl", folder / "square" / "00000.jsonl")
    with pytest.raises(ValueError, match=r"00000\.jsonl is damaged \(it is a copy of 00001"):
        run(folder)


@pytest.mark.parametrize("stage", ["../out", "a/b", "a\\b", "..", ".hidden", ""])
def test_a_stages_name_cannot_lead_out_of_the_folder(tmp_path, stage):
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        in_shards(range(2), squares, stage=stage, settings={}, folder=tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] in ([], ["run"])


def test_secrets_are_not_recorded(folder):
    settings = {"power": 2, "hub_token": "abc", "more": {"api_key": "abc", "token_kd": 1.0}}
    settings["list"] = [{"hf_token": "abc"}, "https://me:abc@host/x"]
    run(folder, settings=settings)
    assert "abc" not in (folder / "manifest.json").read_text()
    assert run(folder, settings={**settings, "hub_token": "another"}) == squares(range(10)), (
        "a new key is no new setting"
    )
    with pytest.raises(ValueError, match="more: "):
        run(folder, settings={**settings, "more": {"token_kd": 2.0}})


def test_stages_do_not_disturb_each_other(folder):
    run(folder)
    in_shards(range(2), squares, stage="other", settings={}, folder=folder)
    stages = read_manifest(folder)["stages"]
    assert stages == {"square": {"power": 2, "shard_size": 3, "items": 10}, "other": {"shard_size": 16, "items": 2}}
    assert read_manifest(folder)["versions"]["torch"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text[: text.index("\n") + 1],
        lambda text: text + text,
        lambda text: "garbage",
        lambda text: text.replace('"square": 16', '"square": 17'),
        lambda text: "[1]\n" * 4,
        lambda text: "null",
        lambda text: "[" * 100_000,
        lambda text: text.replace("\n", "\r\n"),
    ],
    ids=["cut", "empty", "one line only", "twice", "garbage", "a digit", "lists", "null", "deep", "line ends"],
)
def test_a_damaged_shard_is_named_and_only_it_is_redone(folder, damage):
    run(folder)
    shard = folder / "square" / "00001.jsonl"
    shard.write_text(damage(shard.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=r"00001\.jsonl is damaged .*delete that file and run again"):
        run(folder)
    shard.unlink()
    again = Interrupt(99)
    assert run(folder, work=again) == squares(range(10))
    assert again.done == 3


def test_bytes_that_are_no_text_are_damage_too(folder):
    run(folder)
    (folder / "square" / "00002.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"00002\.jsonl is damaged"):
        run(folder)


@pytest.mark.parametrize("text", ["{", "{}", "[]", "null", "", "[" * 100_000, '{"format": 2}', "A DIGIT"])
def test_a_damaged_manifest_is_named_and_the_remedy_loses_nothing(folder, text):
    run(folder)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"power": 2', '"power": 3') if text == "A DIGIT" else text)
    with pytest.raises(ValueError, match=r"manifest\.json is damaged .*delete that file"):
        run(folder)
    path.unlink()
    assert run(folder, work=Interrupt(0)) == squares(range(10))


def test_a_manifest_of_another_version_is_refused(folder):
    run(folder)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 99'))
    with pytest.raises(ValueError, match=r"manifest\.json has format 99.*reads 2"):
        run(folder)


def test_left_over_scratch_files_do_no_harm(folder):
    with pytest.raises(KeyboardInterrupt):
        run(folder, work=Interrupt(1))
    left = [folder / "square" / ".00001.jsonl.123.tmp", folder / ".manifest.json.123.tmp"]
    for path in left:
        path.write_text('{"item": ')
    assert run(folder) == squares(range(10))
    assert not any(path.exists() for path in left), "the next start removes them"


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_says_so_and_what_was_finished_stays(folder, monkeypatch, call):
    with pytest.raises(KeyboardInterrupt):
        run(folder, work=Interrupt(2))
    with monkeypatch.context() as patch:
        patch.setattr(os, call, no_space)
        with pytest.raises(OSError, match=r"cannot write .*No space left on device. What was finished before is still"):
            run(folder)
    assert [p.name for p in (folder / "square").iterdir() if p.suffix == ".tmp"] == []
    rest = Interrupt(99)
    assert run(folder, work=rest) == squares(range(10))
    assert rest.done == 4


def test_a_full_disk_in_the_middle_of_a_shard(folder, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(folder, work=Interrupt(2))
    with monkeypatch.context() as patch:
        calls = iter([os.fsync] * 1 + [no_space] * 9)
        patch.setattr(os, "fsync", lambda handle: next(calls)(handle))
        with pytest.raises(OSError, match=r"cannot write .*00002\.jsonl: No space left"):
            run(folder)
    rest = Interrupt(99)
    assert run(folder, work=rest) == squares(range(10))
    assert rest.done == 4


def test_a_read_only_place_says_which_folder(folder, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match=r"cannot write in .*漢字: Permission denied; use a folder you can write to"):
        run(folder)


def test_a_folder_whose_place_is_taken_by_a_file(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(OSError, match=r"cannot write in .*taken: File exists"):
        run(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_manifest_in_use_is_waited_for_and_then_named(folder, monkeypatch):
    monkeypatch.setattr(runs, "WAIT", 0.2)
    with held_by_another(folder), pytest.raises(RuntimeError, match=r"another process is working in .*漢字"):
        run(folder)
    assert run(folder) == squares(range(10)), "the lock ends with the process that held it"


def test_a_shard_that_another_process_has_begun_is_left_to_it_until_it_dies(folder):
    with pytest.raises(KeyboardInterrupt):
        run(folder, work=Interrupt(0))
    with held_by_another(folder / "square", ".00001.lock", seconds=1.0):
        began = time.monotonic()
        assert run(folder) == squares(range(10))
        assert time.monotonic() - began > 0.5
    assert sorted(p.name for p in (folder / "square").iterdir()) == [f"0000{k}.jsonl" for k in range(4)]


def test_two_processes_share_the_shards(folder):
    both = [subprocess.Popen([sys.executable, "-c", SHARING, str(folder), name]) for name in "ab"]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    results = [json.loads((folder / f"{name}.json").read_text()) for name in "ab"]
    assert results[0]["rows"] == results[1]["rows"] == [{"item": k} for k in range(30)]
    done = sorted(results[0]["done"] + results[1]["done"])
    assert done == list(range(30)), "every item once"
    assert min(len(result["done"]) for result in results) >= 3


SHARING = """
import json, sys, time, pathlib
from padlab.shards import in_shards

folder, name, done = pathlib.Path(sys.argv[1]), sys.argv[2], []
def work(piece):
    time.sleep(0.2)
    done.extend(piece)
    return [{"item": k} for k in piece]
folder.mkdir(exist_ok=True)
(folder / f"{name}.ready").touch()
while len(list(folder.glob("*.ready"))) < 2:
    time.sleep(0.01)
rows = in_shards(range(30), work, stage="s", settings={}, folder=folder, shard_size=3)
(folder / f"{name}.json").write_text(json.dumps({"rows": rows, "done": done}))
"""


def test_two_threads_do_not_hold_one_lock_but_one_thread_may_lock_again(folder):
    refused = []

    def other():
        with pytest.raises(RuntimeError, match="another process"), lock(folder):
            pass
        refused.append(True)

    with lock(folder), lock(folder):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused


def test_a_lock_file_that_is_a_link_is_neither_followed_nor_emptied(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"run/\.lock is a link"):
        run(tmp_path / "run")
    assert (tmp_path / "precious").read_text() == "mine"
    (tmp_path / "run" / ".lock").unlink()
    (tmp_path / "run" / ".lock").write_text("kept")
    run(tmp_path / "run")
    assert (tmp_path / "run" / ".lock").read_text() == "kept", "a lock file is not emptied"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_flock_gets_a_lock_that_is_a_file(folder, monkeypatch, number):
    import fcntl

    def no_flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_flock)
    assert run(folder) == squares(range(10))
    with lock(folder):
        assert (folder / ".lock-held").exists()
        thread_result = []
        thread = threading.Thread(target=lambda: thread_result.append(refused_in(folder)))
        thread.start()
        thread.join()
        assert thread_result == [folder / ".lock-held"], "the file that a machine that went down leaves is named"
    assert not (folder / ".lock-held").exists()


def test_a_lock_file_that_another_machine_has_just_removed_is_opened_again(folder, monkeypatch):
    """On a network file system the removed file is still known here for a moment: ESTALE."""
    import fcntl

    stale = iter([True, True])

    def flock(*arguments):
        if next(stale, False):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return plain(*arguments)

    plain = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    assert run(folder) == squares(range(10))
    assert next(stale, None) is None


def refused_in(folder):
    """The file that the message says to delete; None where the lock was free."""
    try:
        with lock(folder):
            return None
    except RuntimeError as error:
        return Path(str(error).split("delete ")[1])


KILLED = """
import os, signal, sys, pathlib
from padlab import runs, safe_files, shards
folder, point, where = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
calls = 0
original = getattr(os, where)
def dying(*arguments):
    global calls
    calls += 1
    if calls == point:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
setattr(os, where, dying)
work = lambda piece: [{"item": k, "text": "x" * 100} for k in piece]
rows = shards.in_shards(range(10), work, stage="s", settings={"a": 1}, folder=folder, shard_size=3)
safe_files.write_jsonl(folder / "out.jsonl", rows)
"""


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_killed_at_every_write_the_result_is_the_same(tmp_path, where):
    """SIGKILL before each flush and before each move into place: runs at last give the unbroken run's bytes."""
    command = [sys.executable, "-c", KILLED]
    subprocess.run([*command, str(tmp_path / "whole"), "0", where], check=True)
    expected = (tmp_path / "whole" / "out.jsonl").read_bytes()
    for point in range(1, 8):
        folder = tmp_path / f"broken {point}"
        killed = subprocess.run([*command, str(folder), str(point), where]).returncode
        assert killed == (-9 if point <= 6 else 0)  # manifest, four shards, the result
        if killed:
            assert not (folder / "out.jsonl").exists()
            subprocess.run([*command, str(folder), "0", where], check=True)
        assert (folder / "out.jsonl").read_bytes() == expected


def test_a_table_comes_back_and_always_gives_the_same_bytes(tmp_path):
    rows = [{"prompt": 'ü \u2028 \x85 \\ "q" \r\n', "responses": ["a\n", ""], "r": [-1.5, 1e-7], "ids": [[1], []]}] * 2
    table = Dataset.from_list(rows)
    save_table(table, tmp_path / "deep" / "t.jsonl")
    first = (tmp_path / "deep" / "t.jsonl").read_bytes()
    assert list(load_table(tmp_path / "deep" / "t.jsonl")) == rows
    save_table(load_table(tmp_path / "deep" / "t.jsonl"), tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == first
    assert [json.loads(line) for line in first.decode("utf-8").split("\n")[:-1]] == rows
    with pytest.raises(ValueError, match=r"nothing.jsonl is not there: run the stage that makes it first"):
        load_table(tmp_path / "nothing.jsonl")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    write_jsonl(tmp_path / "t.jsonl", [{"a": 1}])
    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="cannot write"):
        write_jsonl(tmp_path / "t.jsonl", [{"a": 2}])
    assert (tmp_path / "t.jsonl").read_text() == '{"a": 1}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["t.jsonl"]


def test_the_manifest_keeps_its_first_date_and_versions(folder):
    folder.mkdir()
    record_stage(folder, "one", {"a": Path("x")})
    first = read_manifest(folder)
    record_stage(folder, "two", {"b": 1})
    second = read_manifest(folder)
    assert second["stages"] == {"one": {"a": "x"}, "two": {"b": 1}}
    assert all(first[key] == second[key] for key in ("created", "versions", "format"))


def test_going_on_with_other_versions_is_said(folder, monkeypatch, recwarn):
    with pytest.raises(KeyboardInterrupt):
        run(folder, work=Interrupt(2))
    known = runs.versions()
    assert run(folder) == squares(range(10))
    assert not recwarn
    monkeypatch.setattr(runs, "versions", lambda: {**known, "torch": "99.0"})
    with pytest.warns(UserWarning, match=rf"torch {re.escape(known['torch'])}"):
        assert run(folder) == squares(range(10))


def test_progress_passes_everything_through_and_is_silent_when_short(capsys):
    assert list(progress.progress(range(5), "label")) == list(range(5))
    assert capsys.readouterr() == ("", "")


def test_progress_in_a_notebook_updates_one_line(monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    clock = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    import IPython.display

    monkeypatch.setattr(IPython.display, "display", lambda data, raw, display_id: Handle())
    assert list(progress.progress(range(6), "score")) == list(range(6))
    assert shown[0].startswith("score: 2 of 6, about 6 s left")
    assert shown[-1].startswith("score: 6 of 6 in")
