"""Shared by all tests: shapes in signatures are enforced, two threads, and the tiny pair built once."""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # exact numbers are compared on the CPU; bench/gpu.py is for a GPU
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("padlab", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")  # 2 is a float
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


@pytest.fixture(scope="session")
def tiny():
    """Pair(student, teacher) with random weights and two different tokenizers."""
    import padlab

    return padlab.load_pair("tiny")


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    """Names the docstrings' examples use."""
    import padlab
    from padlab.lm.tiny import tiny_tokenizer

    doctest_namespace.update(
        torch=torch, load_pair=padlab.load_pair, tiny_tokenizer=tiny_tokenizer("teacher"), padlab=padlab
    )
