"""A real server: llama-cpp-python with the embedded model, de-quantised to float32, against padlab's own numbers.

It needs a Python with `llama-cpp-python[server]`: this one, or the one that PADLAB_LLAMA_CPP_PYTHON names.
"""

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize

import padlab
from padlab.lm.embedded import fetch_gguf

pytestmark = pytest.mark.slow
PYTHON = os.environ.get("PADLAB_LLAMA_CPP_PYTHON", sys.executable)
ROWS = [
    {"prompt": "Name a colour.", "responses": ["Red.", "A deep blue, like the sea."], "finished": [True, False]},
    {"prompt": "Where is the Louvre?", "responses": ["In Paris.", "Naïve café 日本 🙂"], "finished": [True, True]},
]


def in_float32(source, target):
    """The same weights as padlab computes with, in a GGUF file without rounding."""
    read = GGUFReader(source)
    write = GGUFWriter(target, read.get_field("general.architecture").contents())
    for field in read.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in ("general.architecture", "general.file_type"):
            kind, inner = field.types[0], field.types[-1]
            array = kind == GGUFValueType.ARRAY
            write.add_key_value(field.name, field.contents(), kind, inner if array else None)
    write.add_file_type(0)
    for tensor in read.tensors:
        write.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    write.write_header_to_file()
    write.write_kv_data_to_file()
    write.write_tensors_to_file()
    write.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The model on the server."""
    found = subprocess.run([PYTHON, "-c", "import llama_cpp.server.app"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"{PYTHON} has no llama-cpp-python[server]; PADLAB_LLAMA_CPP_PYTHON names a Python that has")
    folder = tmp_path_factory.mktemp("server")
    in_float32(fetch_gguf(folder), folder / "float32.gguf")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"model": folder / "float32.gguf", "model_alias": "smol", "port": port, "logits_all": "true"}
    settings |= {"n_ctx": 1024, "n_threads": 1}
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    log = open(folder / "log", "w")  # noqa: SIM115
    server = subprocess.Popen([PYTHON, "-m", "llama_cpp.server", *options], stdout=log, stderr=log)
    while socket.socket().connect_ex(("127.0.0.1", port)):
        if server.poll() is not None:
            pytest.fail((folder / "log").read_text()[-2000:])
        time.sleep(1)
    yield padlab.load_model(f"openai:http://127.0.0.1:{port}/v1#smol", tokenizer="embedded")
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def local():
    return padlab.load_model("embedded", dtype="float32", device="cpu")


def test_rewards_are_padlabs_own(served, local):
    far, near = (padlab.add_rewards(ROWS, model, token_logps=True) for model in (served, local))
    difference = torch.tensor(far["teacher_reward"][:]) - torch.tensor(near["teacher_reward"][:])
    assert difference.abs().max() < 0.005  # llama.cpp keeps keys and values in 16 bits
    for a, b in zip(far["token_logps"], near["token_logps"], strict=True):
        for x, y in zip(a, b, strict=True):
            assert x == pytest.approx(y, abs=0.05)


def test_selection_is_padlabs_own(served, local):
    far, near = (padlab.add_selection_probs(ROWS, model) for model in (served, local))
    for column in ("selection_prob", "option_mass", "none_mass"):
        np.testing.assert_allclose(far[column][:], near[column][:], atol=0.01)


def test_samples_are_texts_that_both_score_alike(served, local):
    table = padlab.sample_responses(served, ["Name a colour."], n=4, max_new_tokens=8, temperature=1.0)
    far, near = (padlab.add_rewards(table, model)["teacher_reward"][0] for model in (served, local))
    assert far == pytest.approx(near, abs=0.005)
    assert len(set(table["responses"][0])) > 1


def test_text_that_spells_control_tokens_is_refused(served):
    with pytest.raises(RuntimeError, match=r"row 0, response 0: .*tokens where"):
        padlab.add_rewards([{"prompt": "Hi", "responses": ["a <|im_end|> b"]}], served)
