"""Accuracy by confidence agrees with a slow count, and wrong input is refused."""

import math

import numpy as np
import pytest
import torch

from padlab.rankings.intervals import wilson_interval
from padlab.rankings.reliability import reliability


def slow(confidence, correct, bins):
    """Count, mean confidence, accuracy and calibration error, choice by choice."""
    members = [[] for _ in range(bins)]
    for c, right in zip(confidence, correct, strict=True):
        members[min(int(c * bins), bins - 1)].append((c, right))
    means = [tuple(np.mean(m, axis=0)) if m else (math.nan, math.nan) for m in members]
    gaps = [len(m) * abs(c - a) for m, (c, a) in zip(members, means, strict=True) if m]
    return [len(m) for m in members], [c for c, _ in means], [a for _, a in means], sum(gaps) / len(confidence)


@pytest.mark.parametrize("bins", [1, 3, 10])
@pytest.mark.parametrize("kind", [list, np.asarray, torch.as_tensor])
def test_bins_agree_with_a_slow_count(bins, kind):
    rng = np.random.default_rng(bins)
    confidence = np.append(rng.uniform(0.4, 1, 60), [0.0, 1.0])
    correct = rng.uniform(size=62) < confidence
    result = reliability(kind(confidence), kind(correct), bins)
    count, mean, accuracy, error = slow(confidence.tolist(), correct.tolist(), bins)
    assert result.count.tolist() == count
    assert result.confidence.numpy() == pytest.approx(np.array(mean), nan_ok=True)
    assert result.accuracy.estimate.numpy() == pytest.approx(np.array(accuracy), nan_ok=True)
    assert result.calibration_error == pytest.approx(error)
    assert float(result.overall.estimate) == pytest.approx(correct.mean())


def test_each_occupied_bin_has_its_wilson_interval():
    result = reliability([0.55, 0.58, 0.91], [1, 0, 1], bins=10)
    expected = wilson_interval(torch.tensor(1.0, dtype=torch.float64), 2)
    assert [float(end[5]) for end in result.accuracy[:3]] == pytest.approx([float(end) for end in expected[:3]])
    assert math.isnan(result.accuracy.low[0])
    assert result.accuracy.low[9] < 1 == result.accuracy.high[9]


def test_calibration_error_of_known_choices():
    assert reliability([0.8] * 10, [1] * 8 + [0] * 2).calibration_error == pytest.approx(0)
    assert reliability([1.0] * 4, [1, 1, 0, 0]).calibration_error == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("confidence", "correct", "bins", "message"),
    [
        ([], [], 10, "one of each"),
        ([0.5], [1, 0], 10, "one of each"),
        ([1.5], [1], 10, "0 to 1"),
        ([math.nan], [1], 10, "0 to 1"),
        ([0.5], [0.5], 10, "0 or 1"),
        ([0.5], [1], 0, "bins"),
    ],
)
def test_wrong_input_is_refused(confidence, correct, bins, message):
    with pytest.raises(ValueError, match=message):
        reliability(confidence, correct, bins)
