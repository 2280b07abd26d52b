"""The preallocated cache holds what transformers' own cache holds, also after selecting and appending rows."""

import pytest
import torch
from transformers import DynamicCache, LlamaConfig
from transformers.cache_utils import DynamicLayer

from padlab.lm.fast.kv_cache import PreallocatedLayer, preallocated_cache

CONFIG = LlamaConfig(
    vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2
)


@pytest.mark.parametrize("capacity", [10, 100])
def test_it_holds_what_a_dynamic_cache_holds(capacity):
    torch.manual_seed(0)
    cache, dynamic_cache = preallocated_cache(CONFIG, capacity), DynamicCache(config=CONFIG)
    assert [type(layer) for layer in cache.layers] == [PreallocatedLayer] * 2
    rows = 3
    for length, selected in ((4, None), (1, [2, 0, 0, 1]), (1, None), (3, [1, 3]), (1, None)):
        for layer in range(2):
            keys, values = torch.randn(2, rows, 2, length, 4)
            expected = dynamic_cache.update(keys, values, layer)
            assert all(torch.equal(a, b) for a, b in zip(cache.update(keys, values, layer), expected, strict=True))
        assert cache.get_seq_length() == dynamic_cache.get_seq_length()
        if selected is not None:
            rows = len(selected)
            cache.batch_select_indices(torch.tensor(selected))
            dynamic_cache.batch_select_indices(torch.tensor(selected))


def test_a_step_copies_nothing():
    layer = PreallocatedLayer(capacity=10)
    first, _ = layer.update(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2))
    later, _ = layer.update(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
    assert first.data_ptr() == later.data_ptr()


def test_more_positions_than_the_capacity_are_an_error():
    layer = PreallocatedLayer(capacity=4)
    with pytest.raises(RuntimeError):
        layer.update(torch.zeros(1, 1, 5, 2), torch.zeros(1, 1, 5, 2))


def test_layers_with_a_sliding_window_stay_those_of_transformers():
    sliding = preallocated_cache(type("C", (LlamaConfig,), {})(**CONFIG.to_dict() | {"sliding_window": 4}), 10)
    assert all(type(layer) is not DynamicLayer for layer in sliding.layers)
    assert all(type(layer) is not PreallocatedLayer for layer in sliding.layers)


def test_appended_rows_are_right_aligned_and_continue_together():
    torch.manual_seed(1)
    layer, states = PreallocatedLayer(capacity=8), []
    for rows, length in ((2, 3), (1, 5)):
        part = PreallocatedLayer(capacity=8)
        states.append(part.update(*torch.randn(2, rows, 2, length, 4)))
        layer.append_rows(part)
    together = layer.update(*torch.ones(2, 3, 2, 1, 4))
    for tensor, short, long in zip(together, *states, strict=True):
        assert torch.equal(tensor[:2, :, 2:5], short)
        assert torch.equal(tensor[2:, :, :5], long)
        assert not tensor[:2, :, :2].any()  # masked, but must be finite
        assert (tensor[:, :, 5] == 1).all()
