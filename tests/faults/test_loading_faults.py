"""Models that cannot be loaded: one message that names file or folder and the remedy, and no waiting for a Hub."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import BitsAndBytesConfig

import padlab
from padlab.cli import main
from padlab.lm import hub
from padlab.lm.adapters import WEIGHTS, trainable_copy, with_adapter

REVISION = "a" * 40


@pytest.fixture(scope="module")
def models(tiny, tmp_path_factory):
    """A folder with `base` and `adapter`, a model and an adapter of it, which loads without the Hub."""
    folder = tmp_path_factory.mktemp("models")
    tiny.student.save(folder / "base")
    tuned = tiny.student.with_weights(trainable_copy(tiny.student.model, "auto"), "tuned")
    next(iter(tuned.model.peft_config.values())).base_model_name_or_path = str(folder / "base")
    tuned.save(folder / "adapter")
    return folder


def half(content):
    return content[: len(content) // 2]


def rewritten(**changes):
    """A change of a JSON file: fields with other values, or without (None)."""

    def change(content):
        fields = {**json.loads(content), **changes}
        return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()

    return change


NO_OBJECT = {"empty": b"", "list": b"[]", "null": b"null", "number": b"3", "no UTF-8": b"\xff", "deep": b"[" * 99_999}
DAMAGE = {  # (folder, file, what stands in it) -> what the message must name
    **{("base", "config.json", f"{name}"): NO_OBJECT[name] for name in NO_OBJECT},
    **{("base", "tokenizer.json", f"{name}"): NO_OBJECT[name] for name in NO_OBJECT},
    **{("adapter", "adapter_config.json", f"{name}"): NO_OBJECT[name] for name in NO_OBJECT},
    ("base", "tokenizer_config.json", "list"): b"[]",
    ("base", "generation_config.json", "half"): half,
    ("base", "config.json", "half"): half,
    ("base", "config.json", "no fields"): b"{}",
    ("base", "config.json", "missing"): None,
    ("base", "config.json", "unknown kind"): rewritten(model_type="nonsense"),
    ("base", "config.json", "wrong type"): rewritten(hidden_size="a"),
    ("base", "config.json", "no heads"): rewritten(num_attention_heads=0),
    ("base", "config.json", "other shape"): rewritten(vocab_size=5),
    ("base", "config.json", "unknown activation"): rewritten(hidden_act="nope"),
    ("base", "tokenizer.json", "half"): half,
    ("base", "tokenizer.json", "no fields"): b"{}",
    ("base", "tokenizer.json", "missing"): None,
    ("base", "tokenizer_config.json", "wrong length"): rewritten(model_max_length="x"),
    ("base", "model.safetensors", "half"): half,
    ("base", "model.safetensors", "text"): b"version https://git-lfs",
    ("base", "model.safetensors", "missing"): None,
    ("adapter", "adapter_config.json", "half"): half,
    ("adapter", "adapter_config.json", "no fields"): b"{}",
    ("adapter", "adapter_config.json", "unknown kind"): rewritten(peft_type="NOPE"),
    ("adapter", "adapter_config.json", "no kind"): rewritten(peft_type=None),
    ("adapter", "adapter_config.json", "wrong type"): rewritten(lora_alpha="x"),
    ("adapter", "adapter_config.json", "other rank"): rewritten(r=3),
    ("adapter", "adapter_config.json", "base of another type"): rewritten(base_model_name_or_path=3),
    ("adapter", "adapter_config.json", "base that is gone"): rewritten(base_model_name_or_path="/no/such/base"),
    ("adapter", "adapter_model.safetensors", "half"): half,
    ("adapter", "adapter_model.safetensors", "missing"): None,
    ("adapter", "base_weights.json", "half"): half,
    ("adapter", "base_weights.json", "list"): b"[]",
    ("adapter", "base_weights.json", "words"): b'{"model.norm.weight": "x"}',
    ("adapter", "tokenizer.json", "half"): half,
}


def damaged(models, folder, name, content):
    """A copy of one of the models with one file changed, in a folder of its own."""
    place = models / f"{folder}, {name} {len(list(models.iterdir()))}"
    shutil.copytree(models / folder, place)
    if content is None:
        (place / name).unlink()
    else:
        (place / name).write_bytes(content((place / name).read_bytes()) if callable(content) else content)
    return place


def only_message(capsys, *arguments):
    """What the command line says beside what it cannot do; any exception that reaches the user is a fault."""
    assert main(list(map(str, arguments))) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said[said.index(f"padlab {arguments[0]}: ") :]


@pytest.mark.parametrize("case", DAMAGE, ids=", ".join)
def test_a_damaged_model_is_one_message_that_names_it(models, capsys, case):
    place = damaged(models, *case[:2], DAMAGE[case])
    said = only_message(capsys, "doctor", place)
    named = case[2] not in ("base that is gone",)
    assert place.name in said or not named
    if DAMAGE[case] is half or (case[2] in NO_OBJECT):
        assert case[1] in said, "a broken file is named, not only its folder"
        assert "again" in said
    assert any(word in said for word in ("again", "needs", "made for another", "which model", "no such", "no adapter"))


@pytest.mark.parametrize("damage", [("base", "config.json", b"null"), ("adapter", "adapter_config.json", b"[]")])
def test_every_command_says_it(models, tmp_path, capsys, damage):
    place = damaged(models, *damage)
    answers = tmp_path / "answers.txt"
    answers.write_text("a\nb\n")
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"instruction": "q", "dataset": "d"}\n')
    for arguments in (
        ("inspect", "--student", place, "--teacher", place, "--prompt", "q", "--responses", answers),
        ("benchmark", "alpaca_eval", "--model", place, "--questions", questions, "--out", tmp_path),
        ("sample", tmp_path / "run", "--student", place, "--teacher", place),
    ):
        assert f"{damage[1]} is damaged" in only_message(capsys, *arguments)


def test_what_is_no_model_at_all_is_named(models, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "text.gguf").write_text("hello")
    (tmp_path / "loud.GGUF").write_text("hello")
    for name, reason in {
        "empty": "model_type", "notes.txt": "is a file; give the folder", "text.gguf": "GGUF", "loud.GGUF": "GGUF",
        "missing.gguf": "no such GGUF", "typo": "no such folder",
    }.items():  # fmt: skip
        said = only_message(capsys, "doctor", tmp_path / name)
        assert name in said
        assert reason in said


def test_an_adapter_whose_tensors_fit_no_place_is_refused_also_as_a_judge(models, tiny):
    place = damaged(models, "adapter", WEIGHTS, half)
    with pytest.raises(RuntimeError, match=r"adapter_model.safetensors is damaged .*again"):
        padlab.with_judge(tiny.student, place)
    weights = {name: value[:, :5].contiguous() for name, value in load_file(models / "adapter" / WEIGHTS).items()}
    save_file(weights, place / WEIGHTS)
    with pytest.raises(ValueError, match="made for another model"):
        with_adapter(tiny.student.model, place)
    with pytest.raises(RuntimeError, match=r"there is no adapter in .*no-adapter"):
        padlab.with_judge(tiny.student, "org/no-adapter")


# --- packages, types, devices


@pytest.mark.parametrize(
    ("settings", "package"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel"),
        ({"quant_method": "gptq", "bits": 4}, "optimum"),
        ({"quant_method": "torchao"}, "torchao"),
    ],
)
def test_a_package_that_a_model_needs_is_named(models, capsys, settings, package):
    place = damaged(models, "base", "config.json", rewritten(quantization_config=settings))
    said = only_message(capsys, "doctor", place)
    assert package in said
    assert "not installed" in said


def test_four_bits_without_bitsandbytes_name_the_package(models):
    with pytest.raises(RuntimeError, match="bitsandbytes"):
        padlab.load_model(models / "base", quantization_config=BitsAndBytesConfig(load_in_4bit=True))


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps", "gpu", "", "cpu0"])
def test_a_device_that_is_not_there_is_refused_before_weights_are_read(device):
    for load, name in (
        (padlab.load_model, "/no/such/model"),
        (padlab.load_pair, "tiny"),
        (padlab.load_pair, "reading"),
    ):
        with pytest.raises(ValueError, match=r"no device .*has cpu"):
            load(name, device=device)


@pytest.mark.parametrize("dtype", ["float3", "int8", "torch.float32", "", torch.int8])
def test_a_type_that_is_none_is_refused_before_weights_are_read(dtype):
    with pytest.raises(ValueError, match="float32, bfloat16, float16"):
        padlab.load_model("/no/such/model", dtype=dtype)


# --- the Hub

ASK = """
import json, time
import padlab
from padlab.lm import hub
from padlab.study.benchmarks.questions import Hub, question_rows
padlab.load_pair("tiny")
for number, spec in enumerate(SPECS):
    hub.SECONDS = min(hub.SECONDS, 5.0 if number == 0 else 1.0)
    began = time.monotonic()
    try:
        if spec == "questions":
            said = len(question_rows(None, Hub("org/questions", "test.jsonl")))
        else:
            model = padlab.load_model(spec)
            said = type(model.model).__name__, model.weights_hash(), model.model.config.name_or_path
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    print(json.dumps([spec, said, time.monotonic() - began]), flush=True)
"""


@pytest.fixture(scope="module")
def hub_cache(models, tmp_path_factory):
    """A local Hub cache that holds org/base and org/adapter, as huggingface_hub leaves them there."""
    cache = tmp_path_factory.mktemp("hub")
    for name in ("base", "adapter"):
        repository = cache / f"models--org--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(REVISION)
        shutil.copytree(models / name, repository / "snapshots" / REVISION)
    place = cache / "models--org--adapter" / "snapshots" / REVISION / "adapter_config.json"
    place.write_bytes(rewritten(base_model_name_or_path="org/base")(place.read_bytes()))
    return cache


def ask_hub(endpoint, cache, specs, **changes):
    """What loading says with this endpoint and cache, in a process of its own: spec -> (result, seconds)."""
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache), "OMP_NUM_THREADS": "1", "NO_PROXY": "*"}
    code = f"SPECS = {specs!r}\n{ASK}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**environment, **changes})
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(rows) == len(specs), done.stderr
    return {spec: (said, seconds) for spec, said, seconds in rows}


@pytest.fixture
def silent_server():
    """(address, list of connections) of a server that accepts connections and never answers."""
    connections, server = [], socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            try:
                connections.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}", connections
    server.close()


def check_unreachable(said, endpoint):
    refused = "org/none", "questions"
    for spec in refused:
        assert endpoint in said[spec][0]
        assert "HF_HUB_OFFLINE=1" in said[spec][0]
    assert max(seconds for _, seconds in said.values()) < 10
    assert said["org/base"][0][0] == "LlamaForCausalLM", said["org/base"]
    assert said["org/base"][0][2] == "org/base", "an adapter of it records the Hub id, not this machine's cache"
    assert said["org/adapter"][0][0] == "PeftModelForCausalLM", said["org/adapter"]


SPECS = ["org/none", "org/base", "org/adapter", "questions"]


def test_a_closed_port_is_noticed_at_once_and_the_cache_still_serves(hub_cache):
    check_unreachable(ask_hub("http://127.0.0.1:9", hub_cache, SPECS), "http://127.0.0.1:9")


@pytest.mark.slow  # it waits as long as a user would
def test_a_silent_hub_costs_seconds_and_the_cache_still_serves(hub_cache, silent_server):
    check_unreachable(ask_hub(silent_server[0], hub_cache, SPECS), silent_server[0])


def test_a_silent_hub_is_given_up_after_the_time_that_is_set(monkeypatch, silent_server):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", silent_server[0])
    monkeypatch.setattr(hub, "SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"org/none.*{silent_server[0]}.*HF_HUB_OFFLINE=1"):
        padlab.load_model("org/none")
    assert 0.3 <= time.monotonic() - began < 3
    assert silent_server[1]


@pytest.mark.parametrize("spec", ["./models/typo", "/no/such/typo", "~/no/such/folder", "a/b/c", "C:\\typo", "../typo"])
def test_what_can_only_be_a_folder_is_not_looked_up(monkeypatch, spec):
    monkeypatch.setattr(hub, "hub_answers", lambda: pytest.fail("the Hub was asked"))
    with pytest.raises(RuntimeError, match=f"{re.escape(spec)}.*no such folder"):
        padlab.load_model(spec)


class Mirror(BaseHTTPRequestHandler):
    """As much of the Hub's protocol as loading a model takes; `root` holds org/name folders."""

    root = None
    asked: list = []  # noqa: RUF012

    def do_GET(self, body=True):
        self.asked.append(self.path)
        parts = self.path.split("?")[0].strip("/").split("/")
        names = parts[2:4] if parts[:2] == ["api", "models"] else parts[:2]
        folder = self.root.joinpath(*names)
        if parts == [""]:
            self._reply(200, b"", body)
        elif not folder.is_dir():
            self._reply(404, b"", body, "RepoNotFound")
        elif parts[0] == "api":
            files = [
                {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "c" * 40} for p in folder.iterdir()
            ]
            info = {"id": "/".join(names), "sha": REVISION, "siblings": [{"rfilename": f["path"]} for f in files]}
            self._reply(200, json.dumps(files if "tree" in parts else info).encode(), body)
        elif (file := folder.joinpath(*parts[4:])).is_file():
            self._reply(200, file.read_bytes(), body)
        else:
            self._reply(404, b"", body, "EntryNotFound")

    def do_HEAD(self):
        self.do_GET(body=False)

    def _reply(self, status, content, body, error=""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_a_mirror_is_asked_instead_of_the_hub(models, hub_cache, tmp_path):
    for name in ("base", "adapter"):
        shutil.copytree(hub_cache / f"models--org--{name}" / "snapshots" / REVISION, tmp_path / "mirror" / "org" / name)
    handler = type("Mirrored", (Mirror,), {"root": tmp_path / "mirror", "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = ask_hub(
            f"http://127.0.0.1:{server.server_port}", tmp_path / "cache", ["org/base", "org/adapter", "org/none"]
        )
        server.shutdown()
    local = padlab.load_model(models / "base")
    assert said["org/base"][0] == ["LlamaForCausalLM", local.weights_hash(), "org/base"]
    assert said["org/adapter"][0][:2] == ["PeftModelForCausalLM", padlab.load_model(models / "adapter").weights_hash()]
    assert "does not have it" in said["org/none"][0]
    assert any("/org/base/resolve/" in path for path in handler.asked)
