"""A slow oracle: NumPy and itertools, straight from the definition, for one row of scores."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch


def rankings(n, k=None):
    return list(itertools.permutations(range(n), k))


def probability(scores, ranking):
    weights = np.exp(np.asarray(scores, dtype=np.float64) - np.max(scores))
    left, result = list(range(len(scores))), 1.0
    for item in ranking:
        result *= weights[item] / weights[left].sum()
        left.remove(item)
    return result


def probabilities(scores, k=None):
    return np.array([probability(scores, r) for r in rankings(len(scores), k)])


def entropy(scores):
    p = probabilities(scores)
    return float(-(p * np.log(p)).sum())


def kl(scores, others):
    p, q = probabilities(scores), probabilities(others)
    return float((p * np.log(p / q)).sum())


def jsd(scores, others, k=None):
    p, q = probabilities(scores, k), probabilities(others, k)
    m = (p + q) / 2
    return float((p * np.log(p / m)).sum() / 2 + (q * np.log(q / m)).sum() / 2)


def pairwise(scores):
    n = len(scores)
    table = np.full((n, n), 0.0)
    for p, r in zip(probabilities(scores), rankings(n), strict=True):
        for i, j in itertools.combinations(r, 2):
            table[i, j] += p
    return table + np.eye(n) / 2


def rank_marginals(scores):
    n = len(scores)
    table = np.zeros((n, n))
    for p, r in zip(probabilities(scores), rankings(n), strict=True):
        for rank, item in enumerate(r):
            table[item, rank] += p
    return table


def released(students, teachers):
    p, q = (np.array([probabilities(s) for s in side]) for side in (students, teachers))
    mixture = (p + q).sum(0) / 2
    return np.array([sum((mixture * np.log(mixture / d)).sum() for d in (p[i], q[i])) / 2 for i in range(len(p))])


@pytest.fixture(scope="session")
def oracle():
    names = "rankings probability probabilities entropy kl jsd pairwise rank_marginals released"
    return SimpleNamespace(**{name: globals()[name] for name in names.split()}, ln2=math.log(2))


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20250222)


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """The tensors are small: a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
