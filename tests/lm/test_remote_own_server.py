"""A server that is running already against the same weights here, for instance vLLM, which not every machine can hold.

    vllm serve MODEL --dtype float32
    PADLAB_SERVER=openai:http://localhost:8000/v1#MODEL PADLAB_SERVER_WEIGHTS=MODEL \
        pytest -m slow tests/lm/test_remote_own_server.py
"""

import os

import numpy as np
import pytest
import torch

import padlab

ADDRESS, WEIGHTS = (os.environ.get(name) for name in ("PADLAB_SERVER", "PADLAB_SERVER_WEIGHTS"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ADDRESS and WEIGHTS), reason="needs PADLAB_SERVER and PADLAB_SERVER_WEIGHTS"),
]
REWARD, PROBABILITY = 0.02, 0.02  # nats/token; what 16-bit keys and values and other kernels may change
ROWS = [
    {"prompt": "Name a colour.", "responses": ["Red.", "A deep blue, like the sea."], "finished": [True, False]},
    {"prompt": "Where is the Louvre?", "responses": ["In Paris.", "Naïve café 日本 🙂"], "finished": [True, True]},
]


@pytest.fixture(scope="module")
def models():
    """The model on the server, and the same weights here."""
    local = padlab.load_model(WEIGHTS, dtype="float32")
    return padlab.load_model(ADDRESS, tokenizer=local.tokenizer), local


def test_rewards_are_those_of_the_weights_here(models):
    far, near = (padlab.add_rewards(ROWS, model)["teacher_reward"][:] for model in models)
    difference = (torch.tensor(far) - torch.tensor(near)).abs()
    assert difference.max() < REWARD, f"nats/token, response by response: {difference.tolist()}"


def test_selection_is_that_of_the_weights_here(models):
    far, near = (padlab.add_selection_probs(ROWS, model) for model in models)
    for column in ("selection_prob", "option_mass"):
        np.testing.assert_allclose(far[column][:], near[column][:], atol=PROBABILITY)


def test_samples_keep_their_ids_and_are_scored_alike(models):
    served, local = models
    table = padlab.sample_responses(served, ["Name a colour."], n=4, max_new_tokens=8, temperature=1.0)
    for ids, text in zip(table["response_ids"][0], table["responses"][0], strict=True):
        assert local.tokenizer.decode(ids, skip_special_tokens=True).strip() == text.strip()
    far, near = (padlab.add_rewards(table, model)["teacher_reward"][0] for model in models)
    assert far == pytest.approx(near, abs=REWARD)
