"""The cache with room holds what transformers' own cache holds, through growth and selection of rows."""

import pytest
import torch
from transformers import DynamicCache, LlamaConfig
from transformers.cache_utils import DynamicLayer

from padlab.lm.fast.kv_cache import RoomyLayer, roomy_cache

CONFIG = LlamaConfig(
    vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2
)


@pytest.mark.parametrize("room", [1, 5, 100])
def test_it_holds_what_a_growing_cache_holds(room):
    torch.manual_seed(0)
    ours, theirs = roomy_cache(CONFIG, room), DynamicCache(config=CONFIG)
    assert [type(layer) for layer in ours.layers] == [RoomyLayer] * 2
    rows = 3
    for length, keep in ((4, None), (1, [2, 0, 0, 1]), (1, None), (3, [1, 3]), (1, None)):
        for layer in range(2):
            new = torch.randn(2, rows, 2, length, 4)
            found, expected = (cache.update(new[0], new[1], layer) for cache in (ours, theirs))
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert ours.get_seq_length() == theirs.get_seq_length()
        if keep is not None:
            rows = len(keep)
            for cache in (ours, theirs):
                cache.batch_select_indices(torch.tensor(keep))


def test_a_step_within_the_room_copies_nothing():
    layer = RoomyLayer(room=10)
    first, _ = layer.update(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2))
    later, _ = layer.update(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
    assert first.data_ptr() == later.data_ptr()


def test_layers_that_forget_are_left_to_transformers():
    sliding = roomy_cache(type("C", (LlamaConfig,), {})(**CONFIG.to_dict() | {"sliding_window": 4}), 10)
    assert all(type(layer) is not DynamicLayer for layer in sliding.layers)


def test_rows_put_together_stand_right_aligned_and_go_on_together():
    torch.manual_seed(1)
    layer, parts = RoomyLayer(room=8), []
    for rows, length in ((2, 3), (1, 5)):
        part = RoomyLayer(room=8)
        parts.append(part.update(*torch.randn(2, rows, 2, length, 4)))
        layer.append_rows(part)
    keys, values = layer.update(*torch.ones(2, 3, 2, 1, 4))
    for found, short, long in zip((keys, values), *parts, strict=True):
        assert torch.equal(found[:2, :, 2:5], short)
        assert torch.equal(found[2:, :, :5], long)
        assert not found[:2, :, :2].any()  # masked, but must be finite
        assert (found[:, :, 5] == 1).all()
