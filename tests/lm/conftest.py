"""Small causal language models with random weights, one for each kind of architecture that matters to packing."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, Lfm2Config, LlamaConfig

LLAMA = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 1, "initializer_range": 0.2}  # fmt: skip
CONFIGS = {
    "llama": lambda words: LlamaConfig(vocab_size=words, **LLAMA),
    "gpt2": lambda words: GPT2Config(  # absolute positions
        vocab_size=words, n_layer=2, n_head=2, n_embd=32, initializer_range=0.2
    ),
    "gemma2": lambda words: Gemma2Config(  # soft cap on the logits, sliding window
        vocab_size=words, **LLAMA, head_dim=16, final_logit_softcapping=2.0, sliding_window=64
    ),
    "lfm2": lambda words: Lfm2Config(  # a convolution ignores the attention mask: responses cannot share a row
        vocab_size=words, **LLAMA, layer_types=["conv", "full_attention"]
    ),
}


def build(family, seed=0, words=120):
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(CONFIGS[family](words)).eval()


@pytest.fixture
def build_model():
    """Function of a family, a seed and a vocabulary size."""
    return build


@pytest.fixture(params=list(CONFIGS))
def model(request):
    """One model of each family."""
    return build(request.param)
