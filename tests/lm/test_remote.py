"""A model on a server gives the numbers of the same model here; faults are named, and nothing is asked twice."""

import json
import logging
import re
import threading
import time
from itertools import chain
from pathlib import Path

import pytest
import torch

import padlab
from padlab.cli import main
from padlab.lm.chat import stop_ids
from padlab.lm.models import LanguageModel
from padlab.lm.plain_text import plain_text
from padlab.lm.remote import client
from padlab.lm.remote.server import AT_ONCE
from padlab.show.snapshot import preferences
from padlab.study.benchmarks.answers import generate_answers
from padlab.study.benchmarks.questions import Question
from tests.lm.remote_server import CLOSE, DRIP, SILENCE, RemoteServer

KINDS = {  # name -> (which tiny model, form of the server, its options)
    "vllm": ("teacher", "vllm", {}),
    "vllm-bos": ("student", "vllm", {}),
    "vllm-older": ("teacher", "vllm", {"knows_wanted": False}),
    "llama": ("student", "llama", {}),
    "llama-adds-bos": ("student", "llama", {"adds_bos": True}),
    "openai": ("teacher", "openai", {}),
}
ROWS = [
    {"prompt": "Name a colour.", "responses": ["red", "blue and green", "é 日本"], "finished": [True, False, True]},
    {"prompt": "Name a town.", "responses": ["On the hill", "red", "red"], "finished": [True, True, True]},
]


@pytest.fixture
def serve():
    """Starts a server over a tiny model; returns it."""
    servers = []

    def start(model, form="vllm", **options):
        servers.append(RemoteServer(model, form, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The seconds that were waited between tries, without waiting them; no key in the environment."""
    waited = []
    monkeypatch.setattr(client, "pause", lambda seconds, stop: waited.append(seconds))
    monkeypatch.delenv("PADLAB_API_KEY", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return waited


@pytest.fixture(params=KINDS)
def pair(request, tiny, serve):
    """(the model on a server, the same model here)."""
    role, form, options = KINDS[request.param]
    local = getattr(tiny, role)
    return load(serve(local, form, **options), local), local


@pytest.fixture
def vllm(tiny, serve):
    """(the model on a server, the server), after the first questions."""
    server = serve(tiny.teacher)
    model = load(server, tiny.teacher)
    server.requests.clear()
    return model, server


def load(server, local, **options):
    return padlab.load_model(server.url, tokenizer=local.tokenizer, **options)


# --- the same numbers


def test_rewards_are_those_of_the_same_model_here(pair):
    remote, local = pair
    far, near = (padlab.add_rewards(ROWS, model, token_logps=True) for model in (remote, local))
    for a, b in zip(far["token_logps"], near["token_logps"], strict=True):
        assert [len(t) for t in a] == [len(t) for t in b]
        torch.testing.assert_close(torch.tensor([*chain(*a)]), torch.tensor([*chain(*b)]), atol=2e-5, rtol=0)
    assert far["teacher_reward"][1][1] == far["teacher_reward"][1][2]  # equal texts tie exactly


@pytest.mark.parametrize("settings", [{"method": "n-way"}, {"reply": "text"}], ids=str)
def test_selection_is_that_of_the_same_model_here(pair, settings):
    far, near = (padlab.add_selection_probs(ROWS, model, **settings) for model in pair)
    for column in ("selection_prob", "option_mass", "none_mass", "position_bias"):
        torch.testing.assert_close(torch.tensor(far[column][:]), torch.tensor(near[column][:]), atol=1e-5, rtol=1e-3)


def test_rank_agreement_with_a_teacher_on_a_server(vllm, tiny):
    far, near = (padlab.rank_agreement(tiny.student, teacher, ROWS, beta=3.0) for teacher in (vllm[0], tiny.teacher))
    for name, values in near.per_prompt.items():
        assert far.per_prompt[name] == pytest.approx(values, abs=1e-5)


def test_responses_are_what_the_server_wrote_and_score_alike(pair, tiny):
    remote, local = pair
    table = padlab.sample_responses(remote, ["Hi", "Name a colour."], n=6, max_new_tokens=12, temperature=0.8)
    again = padlab.sample_responses(remote, ["Name a colour."], n=2, max_new_tokens=12, temperature=0.8)
    assert again["responses"][0] == table["responses"][1][:2]  # by seed, prompt and number, not by what is beside it
    assert len({text for row in table["responses"] for text in row}) > 8
    stops = stop_ids(local.model, local.tokenizer)
    for entry in table:
        assert all(text.strip() for text in entry["responses"])
        assert [ids[-1] in stops for ids in entry["response_ids"]] == entry["finished"]
    if "adds_bos" not in str(remote.model.__dict__):  # with token ids they are exactly those that were sampled
        far, near = (padlab.add_rewards(table, model)["teacher_reward"] for model in pair)
        torch.testing.assert_close(torch.tensor(far[:]), torch.tensor(near[:]), atol=2e-5, rtol=0)


def test_the_server_is_asked_to_sample_as_padlab_does(vllm):
    remote, server = vllm
    padlab.sample_responses(remote, ["Hi"], n=4, temperature=0.7, top_p=0.9, max_new_tokens=5, seed=3)
    asked = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 5, "top_k": -1, "repetition_penalty": 1, "min_p": 0}
    assert all(body.items() >= asked.items() for body in server.requests)
    assert len({body["seed"] for body in server.requests}) == len(server.requests) >= 4


def test_blank_responses_and_control_tokens_are_drawn_again(tiny, serve, shouting):
    end = tiny.teacher.tokenizer.eos_token_id
    silent = shouting(tiny.teacher, [end])
    with pytest.raises(RuntimeError, match=r"row 0: .*nothing visible"):
        padlab.sample_responses(load(serve(silent), silent), ["Hi"], n=2)
    control = next(i for i in plain_text(tiny.teacher.tokenizer).ids if i != end)
    chatty = shouting(tiny.teacher, [control], by=4.0)
    table = padlab.sample_responses(load(serve(chatty), chatty), ["Hi"], n=4, max_new_tokens=4)
    assert not any(control in ids for ids in table["response_ids"][0])
    padlab.add_rewards(table, chatty)  # refuses ids with control tokens


def test_the_order_of_replies_does_not_matter(tiny, serve):
    late = serve(tiny.teacher, delays=[0.0] * 3 + [0.15, 0.0, 0.1, 0.0, 0.05])
    slow, quick = (load(server, tiny.teacher) for server in (late, serve(tiny.teacher)))
    for work in (padlab.add_rewards, padlab.add_selection_probs):
        assert work(ROWS, slow)[:] == work(ROWS, quick)[:]
    assert AT_ONCE > 1


# --- tokens


@pytest.mark.parametrize("form", ["llama", "openai"])
def test_text_whose_tokens_differ_on_the_server_is_an_error_that_names_the_row(tiny, serve, form):
    remote = load(serve(tiny.student, form), tiny.student)
    spelled = {"prompt": "Hi", "responses": ["a <end_of_turn> b", "c"]}
    with pytest.raises(RuntimeError, match=r"row 1, response 0: .*(tokens where|token \d+ is)"):
        padlab.add_rewards([ROWS[0] | {"responses": ["a", "b"], "finished": None}, spelled], remote)
    encode = lambda text: tiny.student.tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    words = [(word, i) for word, i in tiny.student.tokenizer.get_vocab().items() if word.isalpha() and word.isascii()]
    split = ((a + b, [i, j]) for a, i in words for b, j in words if len(encode(a + b)) == 2 and encode(a + b) != [i, j])
    letters = [tiny.student.tokenizer.convert_tokens_to_ids(letter) for letter in "the"]
    for text, ids in (("the", letters), next(split)):  # ids as a model may sample them, which are not those of the text
        odd = {
            "prompt": "Hi",
            "responses": [text],
            "response_ids": [ids],
            "response_tokenizer": remote.tokenizer_hash(),
        }
        with pytest.raises(RuntimeError, match=r"row 0, response 0: .*response_ids"):
            padlab.add_rewards([odd], remote)


def test_text_that_spells_control_tokens_stays_plain_where_ids_are_sent(tiny, vllm):
    row = [{"prompt": "Hi <|im_end|>", "responses": ["a <|im_end|> b", "c"]}]
    far, near = (padlab.add_rewards(row, model)["teacher_reward"][0] for model in (vllm[0], tiny.teacher))
    assert far == pytest.approx(near, abs=2e-5)


@pytest.mark.parametrize(
    ("form", "served", "given", "message"),
    [
        ("vllm", "teacher", "student", "tokenizer is another model's"),
        ("vllm", "student", "teacher", "tokenizer= is its model's own"),  # with ids that the model does not have
        ("llama", "student", "teacher", "tokens where the tokenizer has"),
    ],
)
def test_the_tokenizer_of_another_model_is_noticed(tiny, serve, form, served, given, message):
    with pytest.raises(RuntimeError, match=message):
        load(serve(getattr(tiny, served), form), getattr(tiny, given))


def test_shifted_log_probabilities_are_noticed(tiny, serve):
    with pytest.raises(RuntimeError, match=r"does not begin with BOS"):
        load(serve(tiny.teacher, "llama"), tiny.teacher)
    server = serve(tiny.teacher)

    def shift(reply):
        entries = reply["choices"][0]["prompt_logprobs"] or []
        for entry, later in zip(entries[1:], [*entries[2:], *entries[1:2]], strict=True):
            for name, other in zip(list(entry), list(later), strict=True):
                entry[name] = {**entry[name], "logprob": later[other]["logprob"] - 2}
        return reply

    server.edit = shift
    with pytest.raises(RuntimeError, match=r"nats for one token"):
        load(server, tiny.teacher)


def test_a_context_that_is_too_short_is_noticed(tiny, serve):
    short = load(serve(tiny.teacher, length=30), tiny.teacher)
    with pytest.raises(ValueError, match=r"row 0.*context.*29"):
        padlab.sample_responses(short, ["Name a colour."], max_new_tokens=20)
    server = serve(tiny.student, "llama")
    remote = load(server, tiny.student)
    server.edit = lambda reply: reply | {"usage": reply["usage"] | {"completion_tokens": 3}}
    with pytest.raises(RuntimeError, match=r"row 0: .*3 of 20 tokens"):
        padlab.sample_responses(remote, ["Hi"], max_new_tokens=20, seed=1)


# --- faults


def without(*path):
    """A reply in which one thing is missing."""

    def edit(reply):
        inner = reply
        for step in path[:-1]:
            inner = inner[step]
        del inner[path[-1]]
        return reply

    return edit


def changed(value, *path):
    """A reply in which one thing is another."""

    def edit(reply):
        inner = reply
        for step in path[:-1]:
            inner = inner[step]
        inner[next(iter(inner)) if path[-1] is SENT else path[-1]] = value
        return reply

    return edit


SENT = "the token that was sent"  # the key of an entry
PROMPT = ("choices", 0, "prompt_logprobs")
EDITS = {
    "no choices": (without("choices"), "row 0.*no list of choices"),
    "two choices": (lambda reply: reply | {"choices": reply["choices"] * 2}, "row 0.*2 choices, expected one"),
    "no logprobs": (without(*PROMPT), "row 0.*no `prompt_logprobs`"),
    "null logprobs": (changed(None, *PROMPT), "row 0.*no `prompt_logprobs`"),
    "fewer tokens": (without(*PROMPT, -1), "row 0.*tokens were sent and"),
    "other tokens": (changed({"7": {"logprob": -1.0}}, *PROMPT, -1), "row 0.*the reply speaks of 7"),
    "above 0": (changed({"logprob": 3.0}, *PROMPT, -1, SENT), "row 0.*finite log-probability but 3.0"),
    "minus infinity": (changed({"logprob": -9999.0}, *PROMPT, -1, SENT), "row 0.*finite log-probability but -9999"),
    "not finite": (lambda reply: json.loads(re.sub('ob": [-.e0-9]+', 'ob": NaN', json.dumps(reply))), "row 0.*finite"),
    "other form": (changed([3] * 40, *PROMPT), "row 0.*"),
    "choice is a text": (changed("yes", "choices", 0), "row 0.*"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_reply_that_lacks_something_is_an_error_that_says_what(vllm, name):
    remote, server = vllm
    server.edit, message = EDITS[name]
    with pytest.raises(RuntimeError, match=message):
        padlab.add_rewards(ROWS, remote)


REPLIES = {  # what the server does at every request -> (words of the error, tries)
    "not json": ((200, b"<html>It works!</html>"), "no JSON object.*It works", 1),
    "a list": ((200, [1]), "no JSON object", 1),
    "unknown": ((404, {"detail": "Not Found"}), "HTTP 404.*/v1.*Not Found", 1),
    "no key": ((401, {"error": "Unauthorized"}), "HTTP 401.*PADLAB_API_KEY", 1),
    "redirect": ((302, {}, [("Location", "http://127.0.0.1:9/")]), "HTTP 302.*final address", 1),
    "broken": ((500, {"error": "CUDA error"}), "HTTP 500.*CUDA error.*folder= or cache=", client.TRIES),
    "starting": ((503, b""), "HTTP 503", client.TRIES),
    "silent": (SILENCE, "no reply within 0.2 s", client.TRIES),
    "dripping": (DRIP, "no reply within 0.2 s", client.TRIES),
    "closed": (CLOSE, "cannot be reached", client.TRIES),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_server_that_fails_for_good(tiny, serve, waits, name):
    server = serve(tiny.teacher)
    remote = load(server, tiny.teacher, timeout=0.2 if name in ("silent", "dripping") else 20)
    server.requests.clear()
    reply, message, tries = REPLIES[name]
    server.faults = [reply] * 40
    with pytest.raises(RuntimeError, match=f"row 0, response 0: .*{server.http.server_port}.*{message}"):
        padlab.add_rewards([{"prompt": "Hi", "responses": ["you"]}], remote)
    assert len(server.requests) == tries
    assert waits == [1, 2, 4, 8][: tries - 1]


def test_an_interrupted_process_does_not_wait_for_replies(tiny, vllm):
    """The interpreter joins at its end all threads but daemons."""
    remote, server = vllm
    server.delays = [1.0] * 8
    asking = threading.Thread(target=padlab.add_rewards, args=(ROWS, remote), daemon=True)
    asking.start()
    while len(server.requests) < 2:
        time.sleep(0.01)
    assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
    asking.join()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True])
def test_a_timeout_that_is_no_time_is_refused(tiny, vllm, timeout):
    with pytest.raises(ValueError, match="seconds above 0"):
        load(vllm[1], tiny.teacher, timeout=timeout)


@pytest.mark.parametrize(("status", "word"), [(401, "PADLAB_API_KEY"), (404, "/v1")])
def test_a_refusal_at_the_first_question_is_not_buried(tiny, serve, status, word):
    server = serve(tiny.teacher)
    server.faults = [(status, {"error": "no"})] * 9
    with pytest.raises(RuntimeError, match=f"HTTP {status}.*{word}") as caught:
        load(server, tiny.teacher)
    assert "logits_all" not in str(caught.value)
    assert len(server.requests) == 1


def test_what_a_server_says_of_itself_is_checked(tiny, serve, monkeypatch):
    server = serve(tiny.teacher)
    monkeypatch.setenv(client.KEY, "0.0-TEST")  # it repeats the key as its version
    server.length = "long"
    remote = load(server, tiny.teacher)
    assert remote.max_length == 2**30
    assert remote.describe()["server"] == "***"


def test_passing_faults_are_tried_again_after_the_time_the_server_asks_for(tiny, vllm, waits):
    remote, server = vllm
    row = [{"prompt": "Hi", "responses": ["you"]}]
    server.faults = [(429, {}, [("Retry-After", "7")]), (500, {}), CLOSE, (503, {})]
    assert padlab.add_rewards(row, remote)["teacher_reward"][0] == pytest.approx(
        padlab.add_rewards(row, tiny.teacher)["teacher_reward"][0], abs=2e-5
    )
    assert waits == [7, 2, 4, 8]
    server.faults = [(429, {}, [("Retry-After", "86400")])]
    with pytest.raises(RuntimeError, match=r"wait 86400 s"):
        padlab.add_rewards([{"prompt": "Ho", "responses": ["you"]}], remote)
    server.faults = [(429, {}, [("Retry-After", "Wed, 21 Oct 2099 07:28:00 GMT")])]
    with pytest.raises(RuntimeError, match=r"it asks to wait"):
        padlab.add_rewards([{"prompt": "Ha", "responses": ["you"]}], remote)


def test_nobody_there(tiny, serve):
    server = serve(tiny.teacher)
    remote = load(server, tiny.teacher)
    server.close()
    with pytest.raises(RuntimeError, match=r"cannot be reached.*refused"):
        padlab.add_rewards(ROWS, remote)
    with pytest.raises(RuntimeError, match=f"127.0.0.1:{server.http.server_port}/v1/models cannot be reached"):
        load(server, tiny.teacher)


def test_a_model_that_is_not_served_and_a_server_without_log_probabilities(tiny, serve):
    server = serve(tiny.teacher)
    with pytest.raises(RuntimeError, match=r"no model 'gpt'.*tiny"):
        padlab.load_model(server.url.replace("#tiny", "#gpt"), tokenizer=tiny.teacher.tokenizer)
    assert padlab.load_model(server.url.removesuffix("#tiny"), tokenizer=tiny.teacher.tokenizer).name == "tiny"
    with pytest.raises(RuntimeError, match=r"llama.cpp's own server"):
        load(serve(tiny.teacher, "none"), tiny.teacher)


def test_the_tokenizer_is_named_loaded_or_missed(tiny, serve, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    server = serve(tiny.teacher)
    with pytest.raises(RuntimeError, match=r"pass tokenizer="):
        padlab.load_model(server.url)
    tiny.teacher.tokenizer.save_pretrained(tmp_path)
    named = padlab.load_model(server.url, tokenizer=str(tmp_path))
    assert named.tokenizer_hash() == tiny.teacher.tokenizer_hash()
    monkeypatch.setattr(server, "entry", lambda: {"id": "tiny", "root": str(tmp_path)})
    assert padlab.load_model(server.url).template_hash() == named.template_hash()


# --- nothing lost


@pytest.mark.parametrize("kept", ["folder", "cache"])
@pytest.mark.parametrize("work", [padlab.add_rewards, padlab.add_selection_probs], ids=["rewards", "selection"])
def test_what_was_finished_before_a_fault_is_not_asked_again(tiny, vllm, tmp_path, work, kept):
    remote, server = vllm
    rows = [{"prompt": f"Name {k}.", "responses": ["red", "blue"]} for k in range(10)]
    whole = work(rows, remote)
    once, server.requests[:] = len(server.requests), []
    server.faults = [None] * 12 + [(400, {})] * 40  # 2 requests a row: the second shard of four rows fails
    with pytest.raises(RuntimeError, match=r"HTTP 400"):
        work(rows, remote, **{kept: tmp_path})
    server.settle()
    server.faults, server.requests[:] = [], []
    assert work(rows, remote, **{kept: tmp_path})[:] == whole[:]
    assert len(server.requests) == once - 8  # the first shard is there
    server.requests.clear()
    assert work(rows, remote, **{kept: tmp_path})[:] == whole[:]
    assert server.requests == []


def test_another_server_or_version_is_another_model(tiny, serve, tmp_path):
    first, second = (load(serve(tiny.teacher), tiny.teacher) for _ in range(2))
    padlab.add_rewards(ROWS, first, folder=tmp_path)
    with pytest.raises(ValueError, match=r"other settings"):
        padlab.add_rewards(ROWS, second, folder=tmp_path)
    assert first.describe()["server"] == "0.0-test"


# --- secrets


def test_the_key_is_sent_and_never_shown(tiny, serve, tmp_path, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    key = "k-3f9a77c1"  # as short as a person may choose it
    monkeypatch.setenv("PADLAB_API_KEY", f" {key}\n")
    server = serve(tiny.teacher)
    remote = load(server, tiny.teacher)
    padlab.add_rewards(ROWS, remote, folder=tmp_path, cache=tmp_path / "cache")
    assert set(server.keys) == {f"Bearer {key}"}
    shown = [repr(remote), str(remote.describe()), str(vars(remote.model))]
    for fault in [(401, {"error": f"wrong key {key}"}), (500, {"seen": f"Bearer {key}"}), (200, key.encode())]:
        server.faults = [fault] * 40
        with pytest.raises(RuntimeError) as caught:
            padlab.add_rewards([{"prompt": "Hi", "responses": ["you"]}], remote)
        shown += [str(caught.value), repr(caught.value.__cause__), repr(caught.value.__context__)]
    shown += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    shown += [caplog.text, *capfd.readouterr()]
    assert not [text for text in shown if key in text]
    monkeypatch.setenv("PADLAB_API_KEY", f"{key}\r\nX-Other: 1")
    with pytest.raises(RuntimeError, match=r"PADLAB_API_KEY") as caught:
        load(server, tiny.teacher)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://me:secret77@localhost:1/v1#m",
        "http://secret77@localhost:1/v1#m",
        "http://localhost:1/v1?key=secret77#m",
        "http://localhost:1/v1#m?key=secret77",
        "ftp://localhost/v1#m",
        "http://[::1/v1#m",
        "localhost:8000/v1#m",
        "",
    ],
)
def test_addresses_with_secrets_and_none_at_all_are_refused(address):
    with pytest.raises(ValueError, match=r"environment|openai:http") as caught:
        padlab.load_model(f"openai:{address}")
    assert "secret77" not in str(caught.value)


# --- no weights


def test_what_needs_weights_is_refused_by_name(tiny, vllm, tmp_path):
    remote, _ = vllm
    table = padlab.add_rewards(ROWS, tiny.teacher)
    refused = "tiny is a model on a server"
    with pytest.raises(ValueError, match=f"{refused}.*cannot be trained"):
        padlab.distill(remote, table)
    with pytest.raises(ValueError, match=f"{refused}.*token_kd=0"):
        padlab.distill(tiny.student, table, teacher=remote, token_kd=1.0, num_train_epochs=1)
    for work in (
        lambda: padlab.with_judge(remote, tmp_path),
        lambda: padlab.prune_blocks(remote, 2),
        lambda: remote.save(tmp_path / "saved"),
        lambda: padlab.score(remote, "Hi", ["you"], exact=True),
        lambda: remote.weights_hash(),
    ):
        with pytest.raises(ValueError, match=refused):
            work()
    with pytest.raises(ValueError, match=r"dtype"):
        padlab.load_model("openai:http://localhost/v1#m", dtype="float32")
    assert isinstance(remote, LanguageModel)


def test_a_teacher_on_a_server_on_the_command_line(tiny, serve, tmp_path, monkeypatch, capsys):
    tiny.teacher.tokenizer.save_pretrained(tmp_path / "tokenizer")
    server = serve(tiny.teacher)
    server.entry = lambda: {"id": "tiny", "root": str(tmp_path / "tokenizer")}
    run = str(tmp_path / "run")
    sample = ["sample", run, "--preset", "tiny", "--teacher", server.url, "--limit", "3", "--max-new-tokens", "4"]
    for arguments in (sample, ["score", run, "--selection", "pairwise"], ["distill", run, "--epochs", "1"]):
        assert main(arguments) == 0, capsys.readouterr().err
    assert json.loads(Path(run, "manifest.json").read_text())["stages"]["models"]["teacher"] == server.url


def test_a_tokenizer_is_named_on_the_command_line(tiny, serve, tmp_path):
    tiny.teacher.tokenizer.save_pretrained(tmp_path / "tokenizer")
    server, run = serve(tiny.teacher), str(tmp_path / "run")
    sample = ["sample", run, "--preset", "tiny", "--teacher", server.url, "--limit", "2", "--max-new-tokens", "2"]
    assert main(sample) == 1, "the server's name for it is no tokenizer"
    assert main([*sample, "--tokenizer", str(tmp_path / "tokenizer")]) == 0
    assert main(["score", run, "--selection", "none"]) == 0


def test_doctor_inspector_and_benchmarks_take_a_model_on_a_server(vllm, tiny):
    remote, scores = vllm[0], []
    found, expected = padlab.examine(remote), padlab.examine(tiny.teacher)
    assert found.numbers["option_mass"] == pytest.approx(expected.numbers["option_mass"], abs=1e-5)
    for teacher in (remote, tiny.teacher):
        inspection = padlab.Inspection(tiny.student, teacher, "Name a colour.", ["red fish", "blue"]).score()
        scores.append(preferences(inspection.snapshot(), 0.0, 10.0).scores["teacher"])
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
    assert len(generate_answers(remote, [Question("1", ("Hi",))], max_new_tokens=3)) == 1
