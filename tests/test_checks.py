"""The checks of the course's exercises: right functions pass, each mistake gets its own hint, and nothing raises.

Right and wrong functions are written anew here, most of them in plain Python or NumPy.
"""

import ast
import copy
import itertools
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import padlab
from padlab import checks
from padlab.checks import calibration, distributions, losses, sampling_and_rewards
from padlab.checks.verdict import Verdict, as_tensor, shown
from padlab.rankings.losses import jensen_shannon, released_divergence
from padlab.rankings.plackett_luce import PlackettLuce
from tests import second_half_solutions as second_half

NAMES = [name for name in checks.__all__ if name not in ("Verdict", "hypothesis")]  # see test_checks_second_half.py


def floats(values):
    return np.asarray(values, dtype=np.float64)


def log_softmax(rows):
    rows = floats(rows)
    return rows - np.log(np.exp(rows).sum(-1, keepdims=True))


def logit(p):
    return math.log(p) - math.log(1 - p)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


# --- right functions: of the library, and written anew


def library_top_p(probs, p):
    """The tokens that the library's sampler can draw, renormalised."""
    from padlab.lm.generate import sample_top_p

    uniform = torch.arange(2000, dtype=torch.float64) / 2000  # every token has at least 1 %
    drawn = sample_top_p(probs.log().expand(2000, -1), p, uniform).unique()
    kept = torch.zeros_like(probs).scatter(0, drawn, probs[drawn])
    return kept / kept.sum()


def library_max_min(distances, n):
    """`pick_diverse` on texts whose distances are looked up."""
    from rapidfuzz.distance import Levenshtein

    from padlab.phases.sampling import pick_diverse

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Levenshtein, "normalized_distance", lambda a, b: float(distances[int(a), int(b)]))
        return pick_diverse([str(k) for k in range(len(distances))], n)


def library_gumbel(scores, uniform):
    """`PlackettLuce.sample` with the exponential draws that belong to the uniform ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "exponential_", lambda self, generator=None: -uniform.to(self.dtype).log())
        return PlackettLuce(scores).sample((len(uniform),))


LIBRARY = {
    "mean_log_probability": sampling_and_rewards._mean_log_probability,
    "top_p": library_top_p,
    "max_min_selection": library_max_min,
    "debias": calibration._debias,
    "calibrate": lambda reward, p_sel, alpha: padlab.calibrate(reward, p_sel, alpha=alpha),
    "option_mass": lambda probs, letters: sum(probs.get(t, 0) for a in letters for t in (a, f" {a}")),  # none there
    "ranking_log_probability": lambda scores, ranking: PlackettLuce(scores).log_prob(ranking),
    "pairwise_probability": lambda scores, i, j: PlackettLuce(scores).pairwise()[i, j],
    "gumbel_ranking": library_gumbel,
    "vpd": padlab.vpd_loss,
    "jsd": jensen_shannon,
    "batch_loss": lambda passes: torch.cat(passes).mean(),
    **second_half.LIBRARY,
}


def mean_logp(logits, ids, first, last, shift=1):
    rows = log_softmax(logits)
    return sum(rows[t - shift][int(ids[t])] for t in range(first, last)) / (last - first)


def nucleus(probs, p):
    """Indices of the smallest set of most likely tokens, most likely first."""
    kept, mass = [], 0.0
    for k in sorted(range(len(probs)), key=lambda k: -float(probs[k])):
        if mass < p:
            kept.append(k)
            mass += float(probs[k])
    return kept


def only(probs, kept, divide=True):
    total = sum(float(probs[k]) for k in kept) if divide else 1.0
    return [float(probs[k]) / total if k in kept else 0.0 for k in range(len(probs))]


def furthest(distances, n, gap, in_order=True):
    kept = [0]
    while len(kept) < n:
        gaps = [(gap([float(row[k]) for k in kept]), -i) for i, row in enumerate(distances) if i not in kept]
        kept.append(-max(gaps)[1])
    return sorted(kept) if in_order else kept


def pl_log(scores, ranking, start=0):
    """Log-probability of a ranking; start=1 removes the picked item before its own step."""
    s = floats(scores)[np.asarray(ranking, dtype=int)]
    return sum(s[k] - math.log(np.exp(s[k + start :]).sum()) for k in range(len(s) - 1))


def pl_probabilities(scores):
    return {r: math.exp(pl_log(scores, r)) for r in itertools.permutations(range(len(scores)))}


def gumbel(uniform):
    return -np.log(-np.log(floats(uniform)))


def vpd(student, teacher, order=-1):
    return floats([-pl_log(s, np.argsort(order * floats(t))) for s, t in zip(student, teacher, strict=True)])


def js(log_p, log_q, mixture=lambda p, q: (p + q) / 2, weights=(0.5, 0.5)):
    p, q = np.exp(floats(log_p)), np.exp(floats(log_q))
    m = mixture(p, q)
    return weights[0] * (p * np.log(p / m)).sum() + weights[1] * (q * np.log(q / m)).sum()


def swapped_kl(log_p, log_q):
    p, q = np.exp(floats(log_p)), np.exp(floats(log_q))
    m = (p + q) / 2
    return ((m * np.log(m / p)).sum() + (m * np.log(m / q)).sum()) / 2


PLAIN = {  # right, in NumPy or in lists
    "mean_log_probability": lambda x, ids, start, length: np.float64(mean_logp(x, ids, start, length)),
    "top_p": lambda probs, p: only(probs, nucleus(probs, p)),
    "max_min_selection": lambda d, n: np.array(furthest(d, n, min)),
    "debias": lambda first, second: sigmoid((logit(first) + logit(1 - second)) / 2),
    "calibrate": lambda r, p, a: [(1 - a) * float(x) + a * math.log(y) for x, y in zip(r, p, strict=True)],
    "option_mass": lambda probs, letters: sum(v for k, v in probs.items() if k.removeprefix(" ") in letters),
    "ranking_log_probability": pl_log,
    "pairwise_probability": lambda s, i, j: sum(
        p for r, p in pl_probabilities(s).items() if r.index(int(i)) < r.index(int(j))
    ),
    "gumbel_ranking": lambda s, u: np.argsort(floats(s) + gumbel(u))[:, ::-1],  # negative strides
    "vpd": lambda s, t: vpd(s, t).mean(),
    "jsd": js,
    "batch_loss": lambda passes: sum(sum(map(float, x)) for x in passes) / sum(len(x) for x in passes),
    **second_half.PLAIN,
}


def torch_max_min(distances, n):
    kept = [torch.tensor(0)]
    for _ in range(n - 1):
        kept.append(distances[torch.stack(kept)].min(0).values.argmax())
    return sorted(kept)  # a list of tensors


def torch_log_prob(scores, ranking):
    s = scores[ranking]
    return torch.stack([s[k] - s[k:].logsumexp(0) for k in range(len(s))]).sum()


def torch_top_p(probs, p):
    ordered, order = probs.sort(descending=True)
    kept = ordered * (ordered.cumsum(0) - ordered < p)
    return torch.zeros_like(probs).scatter(0, order, kept / kept.sum())


FLOAT32 = {  # right, in float32, with a gradient where there may be one
    "mean_log_probability": lambda x, ids, start, length: (
        -torch.nn.functional.cross_entropy(x[start - 1 : length - 1].requires_grad_(), ids[start:length])
    ),
    "top_p": torch_top_p,
    "max_min_selection": torch_max_min,
    "debias": lambda first, second: torch.sigmoid((torch.logit(torch.tensor([first, 1 - second]))).mean()),
    "calibrate": lambda r, p, a: torch.lerp(r, p.log(), a),
    "option_mass": lambda probs, letters: torch.tensor(
        [v for k, v in probs.items() if k[k[:1] == " " :] in letters]
    ).sum(),
    "ranking_log_probability": lambda s, r: torch_log_prob(s.requires_grad_(), r),
    "pairwise_probability": lambda s, i, j: s[[i, j]].softmax(0)[0],
    "gumbel_ranking": lambda s, u: (s - (-u.log()).log()).sort(descending=True).indices.int(),
    "vpd": lambda s, t: (
        -torch.stack([torch_log_prob(a, b.argsort(descending=True)) for a, b in zip(s, t, strict=True)]).mean()
    ),
    "jsd": lambda p, q: (
        sum(
            torch.nn.functional.kl_div(((p.exp() + q.exp()) / 2).log(), x, log_target=True, reduction="sum")
            for x in (p, q)
        )
        / 2
    ),
    "batch_loss": lambda passes: sum(x.sum() for x in passes) / sum(map(len, passes)),
    **second_half.FLOAT32,
}


@pytest.mark.parametrize("name", NAMES)
def test_the_librarys_function_passes(name):
    for seed in range(100):
        given = getattr(checks, name)(LIBRARY[name], seed=seed)
        assert given.state == "passed", (seed, given)
        assert given.mistake == ""


@pytest.mark.parametrize("solutions", [PLAIN, FLOAT32], ids=["plain", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_solutions_of_other_kinds_pass(name, solutions):
    for seed in range(10):
        given = getattr(checks, name)(solutions[name], seed=seed)
        assert given.state == "passed", (seed, given)


# --- mistakes, by exercise and key


def kept_below(probs, p, at_least=0):
    """The crossing token left out."""
    kept = nucleus(probs, p)
    return kept[: max(len(kept) - 1, at_least)]


def dropped(probs, p):
    mass = torch.where(torch.tensor([k in kept_below(probs, p) for k in range(len(probs))]), probs, 0.0)
    return mass / mass.sum()  # NaN where nothing is left


def least_likely(probs, p):
    kept, mass = [], 0.0
    for k in probs.argsort().tolist():
        if mass < p:
            kept.append(k)
            mass += float(probs[k])
    return only(probs, kept)


def letters_at(tokens, accept):
    return sum(probability for token, probability in tokens.items() if accept(token))


def all_stay(scores, ranking, last=None):
    return log_softmax(scores)[np.asarray(ranking)][:last].sum()


def draws(values):
    return np.argsort(-np.asarray(values), axis=-1)


def pair(scores, i, j, condition):
    return sum(p for r, p in pl_probabilities(scores).items() if condition(r, int(i), int(j)))


def geometric(p, q):
    return np.sqrt(p * q)


WRONG = {
    "mean_log_probability": {
        "unshifted": [lambda x, ids, s, n: mean_logp(x, ids, s, n, shift=0)],
        "prompt": [lambda x, ids, s, n: mean_logp(x, ids, 1, n)],
        "padding": [
            lambda x, ids, s, n: mean_logp(x, ids, s, len(ids)),
            lambda x, ids, s, n: -torch.nn.functional.cross_entropy(x[s - 1 : -1], ids[s:]),
        ],
        "padding_by_id": [
            lambda x, ids, s, n: np.mean([mean_logp(x, ids, t, t + 1) for t in range(s, len(ids)) if ids[t] != 0])
        ],
        "vocabulary": [lambda x, ids, s, n: log_softmax(x)[s - 1 : n - 1].mean()],
        "first_token_missing": [lambda x, ids, s, n: mean_logp(x, ids, s + 1, n)],
        "summed": [lambda x, ids, s, n: mean_logp(x, ids, s, n) * (n - s)],
        "no_softmax": [lambda x, ids, s, n: np.mean([x[t - 1, ids[t]].item() for t in range(s, n)])],
    },
    "top_p": {
        "crossing_dropped": [dropped, lambda probs, p: only(probs, kept_below(probs, p, at_least=1))],
        "not_renormalised": [lambda probs, p: only(probs, nucleus(probs, p), divide=False)],
        "sorted_order": [lambda probs, p: sorted(only(probs, nucleus(probs, p)), reverse=True)],
        "least_likely": [least_likely],
    },
    "max_min_selection": {
        "max_mean": [lambda d, n: furthest(d, n, np.mean), lambda d, n: furthest(d, n, sum)],
        "last_only": [lambda d, n: furthest(d, n, lambda gaps: gaps[-1])],
        "first_only": [lambda d, n: furthest(d, n, lambda gaps: gaps[0])],
        "nearest": [lambda d, n: furthest(d, n, lambda gaps: -min(gaps))],
        "unsorted": [lambda d, n: furthest(d, n, min, in_order=False)],
    },
    "debias": {
        "probabilities_averaged": [lambda a, b: np.mean([a, 1 - b])],
        "not_flipped": [lambda a, b: sigmoid((logit(a) + logit(b)) / 2)],
        "letters_followed": [lambda a, b: a],
        "wrong_option": [lambda a, b: sigmoid((logit(b) - logit(a)) / 2)],
        "summed": [lambda a, b: sigmoid(logit(a) - logit(b))],
        "log_odds_returned": [lambda a, b: (logit(a) - logit(b)) / 2],
    },
    "calibrate": {
        "weights_swapped": [lambda r, p, a: a * r + (1 - a) * torch.log(p)],
        "no_log": [lambda r, p, a: (1 - a) * r.numpy() + a * p.numpy()],
        "reward_at_full_weight": [lambda r, p, a: r + a * torch.log(p)],
    },
    "option_mass": {
        "begins_with_letter": [lambda t, letters: letters_at(t, lambda x: x.strip()[:1] in letters)],
        "begins_without_space": [lambda t, letters: letters_at(t, lambda x: x[0] in letters)],
        "renormalised": [lambda t, letters: PLAIN["option_mass"](t, letters) / PLAIN["option_mass"](t, letters)],
        "divided_by_listed": [lambda t, letters: PLAIN["option_mass"](t, letters) / math.fsum(t.values())],
        "space_forgotten": [lambda t, letters: letters_at(t, lambda x: x in letters)],
        "any_white_space": [lambda t, letters: letters_at(t, lambda x: x.strip() in letters)],
        "lower_case": [lambda t, letters: letters_at(t, lambda x: x.removeprefix(" ").upper() in letters)],
    },
    "ranking_log_probability": {
        "picked_stay": [all_stay],
        "picked_stay_but_last": [lambda s, r: all_stay(s, r, -1)],
        "picked_removed_early": [lambda s, r: pl_log(s, r, start=1)],
        "worst_first": [lambda s, r: pl_log(s, r.tolist()[::-1])],
        "ranks_for_items": [lambda s, r: pl_log(s, [r.tolist().index(k) for k in range(len(r))])],
        "probability": [lambda s, r: math.exp(pl_log(s, r))],
    },
    "pairwise_probability": {
        "adjacent_only": [lambda s, i, j: pair(s, i, j, lambda r, a, b: r.index(b) - r.index(a) == 1)],
        "top_choice": [lambda s, i, j: pair(s, i, j, lambda r, a, b: r[0] == a)],
        "other_order": [lambda s, i, j: sigmoid(float(s[j] - s[i]))],
        "no_exp": [lambda s, i, j: s[i] / (s[i] + s[j])],
    },
    "gumbel_ranking": {
        "one_noise_for_all": [lambda s, u: [draws(floats(s) + gumbel(u[0]))] * len(u)],
        "ascending": [lambda s, u: np.argsort(floats(s) + gumbel(u), axis=-1)],
        "no_noise": [lambda s, u: torch.stack([s.argsort(descending=True)] * len(u))],
        "noise_multiplied": [lambda s, u: draws(floats(s) * gumbel(u))],
        "uniform_noise": [lambda s, u: draws(floats(s) + floats(u))],
        "one_log_missing": [lambda s, u: draws(floats(s) - np.log(floats(u)))],
        "noise_subtracted": [lambda s, u: draws(floats(s) - gumbel(u))],
        "ranks_returned": [lambda s, u: np.argsort(draws(floats(s) + gumbel(u)), axis=-1)],
    },
    "vpd": {
        "own_mode": [lambda s, t: vpd(s, s).mean()],
        "sign": [lambda s, t: -vpd(s, t).mean()],
        "roles_exchanged": [lambda s, t: vpd(t, s).mean()],
        "worst_first": [lambda s, t: vpd(s, t, order=1).mean()],
        "summed": [lambda s, t: vpd(s, t).sum()],
        "top_only": [lambda s, t: torch.nn.functional.cross_entropy(s, t.argmax(-1))],
    },
    "jsd": {
        "logs_mixed": [lambda p, q: js(p, q, geometric)],
        "logs_mixed_normalised": [lambda p, q: js(p, q, lambda p, q: geometric(p, q) / geometric(p, q).sum())],
        "kl_swapped": [swapped_kl, lambda p, q: released_divergence(p[None], q[None])[0]],
        "half_missing": [lambda p, q: js(p, q, weights=(1, 1))],
        "mixture_not_halved": [lambda p, q: js(p, q, np.add)],
        "one_sided": [lambda p, q: js(p, q, weights=(1, 0))],
        "bits": [lambda p, q: js(p, q) / math.log(2)],
    },
    "batch_loss": {
        "mean_of_means": [lambda passes: np.mean([x.mean().item() for x in passes])],
        "sum_over_prompts": [lambda passes: sum(x.sum() for x in passes)],
        "sum_of_means": [lambda passes: sum(x.mean() for x in passes)],
        "divided_by_passes": [lambda passes: torch.stack([x.sum() for x in passes]).mean()],
    },
    **second_half.WRONG,
}
KNOWN = {
    "mean_log_probability": sampling_and_rewards.REWARD_MISTAKES,
    "top_p": sampling_and_rewards.TOP_P_MISTAKES,
    "max_min_selection": sampling_and_rewards.SELECTION_MISTAKES,
    "debias": calibration.DEBIAS_MISTAKES,
    "calibrate": calibration.CALIBRATE_MISTAKES,
    "option_mass": calibration.MASS_MISTAKES,
    "ranking_log_probability": distributions.RANKING_MISTAKES,
    "pairwise_probability": distributions.PAIR_MISTAKES,
    "gumbel_ranking": distributions.GUMBEL_MISTAKES,
    "vpd": losses.VPD_MISTAKES,
    "jsd": losses.JSD_MISTAKES,
    "batch_loss": losses.BATCH_MISTAKES,
    **second_half.KNOWN,
}


@pytest.mark.parametrize("name", NAMES)
def test_every_known_mistake_is_tried_and_no_others(name):
    assert [mistake.__name__ for mistake in KNOWN[name]] == list(WRONG[name])
    assert len(WRONG[name]) >= 3


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in WRONG.items() for key in keys])
def test_a_mistake_gets_its_own_hint(name, key):
    hint = next(" ".join(m.__doc__.split()) for m in KNOWN[name] if m.__name__ == key)
    for function in WRONG[name][key]:
        for seed in range(5):
            given = getattr(checks, name)(function, seed=seed)
            assert (given.state, given.mistake) == ("hint", key), (seed, given)
            assert given.message.startswith(f"{hint} For {name}(")


@pytest.mark.parametrize("name", NAMES)
def test_hints_show_an_example_and_give_no_formula(name):
    for mistake in KNOWN[name]:
        hint = " ".join(mistake.__doc__.split())
        assert 10 < len(hint) < 200
        assert not any(sign in hint for sign in ("=", "exp(", "sum(", "log(", "log_softmax", "argsort")), hint
    given = getattr(checks, name)(next(iter(WRONG[name].values()))[0], seed=0)
    assert "the right answer is" in given.message
    assert "your function returned" in given.message
    assert len(given.message) < 900


def test_the_example_is_right():
    given = checks.debias(lambda first, second: first, seed=3)
    text = given.message.split("debias(")[1]
    first, second = (float(part.split("=")[1]) for part in text.split(")")[0].split(", "))
    assert f"the right answer is {PLAIN['debias'](first, second):.5g}; your function returned {first:g}." in text


# --- stubs, crashes, and worse


def not_implemented(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("stub", [not_implemented, lambda *a: None, lambda *a: ...], ids=["raise", "none", "ellipsis"])
@pytest.mark.parametrize("name", NAMES)
def test_stubs_are_not_attempted(name, stub):
    given = getattr(checks, name)(stub)
    assert (given.state, given.mistake) == ("not attempted", "")


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Deceptive:
    __class__ = property(lambda self: 1 / 0)


def crash(*arguments):
    raise ZeroDivisionError("division by zero\nsecond line")


def unprintable(*arguments):
    raise Unprintable


def leave(*arguments):
    sys.exit(1)


def interrupted(*arguments):
    raise KeyboardInterrupt


def endless(*arguments):
    return endless(*arguments)


def circular(*arguments):
    made = []
    made.append(made)
    return made


async def later(*arguments):
    return 1.0


HOSTILE = {
    "error": [crash, unprintable, leave, interrupted, endless, lambda: 1.0, lambda *a: a[0][999999], math.sqrt],
    "type": [
        lambda *a: "0.5", lambda *a: {"a": 1}, lambda *a: {1, 2}, lambda *a: [1, [2, 3]], lambda *a: [None, 1.0],
        lambda *a: object(), lambda *a: (x for x in a), lambda *a: 1j, lambda *a: torch.tensor(1j), circular,
        lambda *a: Deceptive(), lambda *a: np.array([None, 1]), lambda *a: torch.empty(2, device="meta"),
    ],
    "shape": [lambda *a: torch.zeros(2, 3, 1, 1), lambda *a: [], lambda *a: np.zeros((9, 9))],
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_check_never_raises(name):
    for kind, functions in HOSTILE.items():
        for function in functions:
            given = getattr(checks, name)(function)
            assert (given.state, given.mistake) == ("hint", kind), given
            assert given._repr_html_()
    assert "ZeroDivisionError: division by zero" in getattr(checks, name)(crash).message
    assert "without end" in getattr(checks, name)(endless).message


@pytest.mark.filterwarnings("ignore:coroutine")
def test_an_async_function_gets_a_hint():
    assert checks.jsd(later).mistake == "type"


@pytest.mark.parametrize("name", NAMES)
def test_nan_and_infinite_answers_get_a_hint(name):
    def with_(value):
        return lambda *arguments: torch.full_like(as_tensor(PLAIN[name](*arguments)), value)

    assert getattr(checks, name)(with_(math.nan)).mistake == "nan"
    assert getattr(checks, name)(with_(math.inf)).mistake == "value"


@pytest.mark.parametrize("name", NAMES)
def test_changed_inputs_neither_help_nor_harm(name):
    def changing(*arguments):
        answer = copy.deepcopy(LIBRARY[name](*arguments))
        for value in (part for a in arguments for part in (a if isinstance(a, list) else [a])):
            if isinstance(value, torch.Tensor):
                value.zero_()
        for value in arguments:
            if isinstance(value, list | dict):
                value.clear()
        return answer

    assert getattr(checks, name)(changing).state == "passed"
    shared = torch.zeros(())

    def accumulating(*arguments):  # the same object each time
        return shared.add_(1)

    assert getattr(checks, name)(accumulating).state == "hint"


@pytest.mark.parametrize("name", NAMES)
def test_our_own_functions_leave_their_inputs_as_they_are(name):
    inputs = []

    def keep(*arguments):
        inputs.append(copy.deepcopy(arguments))
        return LIBRARY[name](*arguments)

    getattr(checks, name)(keep, seed=0)
    before = repr(inputs)
    for function in (LIBRARY[name], *KNOWN[name]):
        for arguments in inputs:
            function(*arguments)
    assert repr(inputs) == before


def test_a_slow_function_is_waited_for():
    def slow(passes):
        time.sleep(0.02)
        return torch.cat(passes).mean()

    assert checks.batch_loss(slow).state == "passed"


def test_a_result_in_place_of_the_function_gets_a_hint():
    for given in (checks.jsd(0.5), checks.jsd(None), checks.jsd(...)):
        assert (given.state, given.mistake) == ("hint", "call")


def test_an_unknown_mistake_shows_input_expected_and_returned():
    given = checks.batch_loss(lambda passes: torch.cat(passes).mean() + 1, seed=0)
    assert given.mistake == "value"
    assert given.message.startswith("For batch_loss(losses_per_pass=[[")
    assert "shape (1,); it should be one number" in checks.batch_loss(lambda passes: torch.cat(passes)[:1]).message


def test_a_problem_on_some_inputs_only_names_that_input():
    def for_three(scores, ranking):
        if len(scores) == 3:
            return PLAIN["ranking_log_probability"](scores, ranking)
        return None

    given = checks.ranking_log_probability(for_three)
    assert (given.state, given.mistake) == ("hint", "not attempted")
    assert "returned None" in given.message
    stopping = checks.top_p(lambda probs, p: only(probs, kept_below(probs, p)) if kept_below(probs, p) else crash())
    assert stopping.mistake in ("crossing_dropped", "error")


def test_inputs_differ_from_call_to_call_and_follow_the_seed():
    seen = []

    def record(passes):
        seen.append(shown(passes))
        return 0.0

    for seed in (None, None, 5, 5):
        checks.batch_loss(record, seed=seed)
    runs = [seen[k : k + 8] for k in range(0, 32, 8)]
    assert runs[0] != runs[1]
    assert runs[2] == runs[3]


def test_gumbel_draws_follow_the_distribution():
    scores, samples = torch.tensor([1.0, 0.0, -0.5]), 20000
    uniform = torch.rand(samples, 3, generator=torch.Generator().manual_seed(0))
    rankings = distributions._gumbel(scores, uniform)
    for ranking, log_prob in zip(*PlackettLuce(scores).enumerate(), strict=True):
        p = float(log_prob.exp())
        assert float((rankings == ranking).all(-1).float().mean()) == pytest.approx(p, abs=5 * (p / samples) ** 0.5)


# --- verdicts


def test_a_verdict_reads_well_and_is_inert():
    given = Verdict("jsd", "hint", 'raised ValueError: <script>"$x$"</script>', "error")
    assert str(given) == repr(given) == 'jsd: hint. raised ValueError: <script>"$x$"</script>'
    assert "<script>" not in given._repr_html_()
    assert "<b>jsd: hint.</b>" in given._repr_html_()
    assert "\u202e" not in repr(checks.jsd(lambda log_p, log_q: [][chr(0x202E)]))


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_say_what_to_write(name):
    text = getattr(checks, name).__doc__
    assert text.startswith("Check `f(")
    assert "\n    Write: " in text
    assert name in checks.__doc__


def test_of_show_only_the_html_is_imported_and_padlab_loads_checks_late():
    for path in Path(checks.__file__).parent.glob("*.py"):
        modules = {n.module for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)}
        assert all(module.startswith("padlab.show.html") for module in modules if module.startswith("padlab.show"))
    code = "import sys, padlab; assert 'torch' not in sys.modules; print(padlab.checks.jsd(lambda p, q: None).state)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "not attempted"
