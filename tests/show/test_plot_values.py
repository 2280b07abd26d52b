"""What is drawn is what was given, response by response and prompt by prompt; wrong input is refused."""

import itertools
import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle, Wedge

from padlab.rankings.metrics import kendall_tau
from padlab.rankings.plackett_luce import PlackettLuce
from padlab.rankings.uncertainty import wilson_interval
from padlab.show import plots
from padlab.show.plots.arrays import array
from padlab.show.plots.style import STUDENT, TEACHER

RNG = np.random.default_rng(7)
HISTORY = [
    {"step": i + 1, "loss": 1 / (1 + i), "extra": None} | ({"jsd": 0.2 - i / 500} if i % 5 == 0 else {})
    for i in range(40)
]


def heights(figure, colour):
    bars = [
        p for p in figure.axes[0].patches if isinstance(p, Rectangle) and to_hex(p.get_facecolor()) == colour.lower()
    ]
    return [p.get_height() for p in bars if p.get_alpha() is None]


def plackett_luce(scores, ranking):
    """The probability of a ranking, straight from the definition."""
    weights = [math.exp(scores[i]) for i in ranking]
    return math.prod(w / sum(weights[k:]) for k, w in enumerate(weights))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_ranking_bars_are_the_probabilities(n):
    teacher, student = RNG.normal(size=n), RNG.normal(size=n)
    figure = plots.plot_rankings(student, teacher)
    ticks = [tick.get_text().split("\n") for tick in figure.axes[0].get_xticklabels()]
    for scores, colour in ((teacher, TEACHER), (student, STUDENT)):
        drawn = heights(figure, colour)
        assert len(drawn) == len(ticks) == (math.factorial(n) if n <= 4 else 11)
        assert sum(drawn) == pytest.approx(1)
        for names, height in zip(ticks, drawn, strict=True):
            if len(names) == n and names[0] != "the":
                assert height == pytest.approx(plackett_luce(scores, [ord(name) - 65 for name in names]))
    if n > 4:
        assert ticks[-1] == ["the", "other", f"{math.factorial(n) - 10:,}"]
        single = heights(figure, TEACHER)[:-1]
        assert single == sorted(single, reverse=True)


def test_ranking_bars_keep_the_likeliest():
    teacher, student = RNG.normal(size=5), RNG.normal(size=5)
    figure = plots.plot_rankings(student, teacher, top=4)
    every = [sum(plackett_luce(s, r) for s in (teacher, student)) for r in itertools.permutations(range(5))]
    drawn = sum(heights(figure, TEACHER)[:-1]) + sum(heights(figure, STUDENT)[:-1])
    assert drawn == pytest.approx(sum(sorted(every)[-4:]))


def test_before_is_a_third_set_of_bars():
    figure = plots.plot_rankings([0, 1, 2], [2, 1, 0], before=[0, 0, 0])
    pale = [p.get_height() for p in figure.axes[0].patches if p.get_alpha() is not None]
    assert pale == pytest.approx([1 / 6] * 6)
    shown = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert shown == ["student before", "student after", "teacher"]


@pytest.mark.parametrize(("plot", "n", "scale"), [(plots.plot_simplex, 3, 0.25), (plots.plot_permutohedron, 4, 0.62)])
def test_half_discs_have_the_area_of_the_probability(plot, n, scale):
    teacher, student = RNG.normal(size=n), RNG.normal(size=n)
    figure = plot(student, teacher)
    wedges = [p for p in figure.axes[0].patches if isinstance(p, Wedge)]
    every = list(itertools.permutations(range(n)))
    for scores, colour in ((teacher, TEACHER), (student, STUDENT)):
        shares = [(w.r / scale) ** 2 for w in wedges if to_hex(w.get_facecolor()) == colour.lower()]
        assert sorted(shares) == pytest.approx(sorted(plackett_luce(scores, r) for r in every))


def test_permutohedron_is_the_solid():
    figure = plots.plot_permutohedron([0, 0, 0, 0], [0, 0, 0, 0])
    edges = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xydata()) == 2]
    centres = {tuple(np.round(w.center, 6)) for w in figure.axes[0].patches}
    assert len(edges) == 36
    assert len(centres) == 24
    degree = dict.fromkeys(centres, 0)
    for end in np.concatenate(edges):
        degree[tuple(np.round(end, 6))] += 1
    assert set(degree.values()) == {3}
    gaps = [math.dist(a, b) for a, b in itertools.combinations(centres, 2)]
    assert min(gaps) > 0.4


def test_simplex_puts_a_sure_first_choice_at_its_corner():
    figure = plots.plot_simplex([0.0, 50.0, 0.0], [50.0, 0.0, 0.0])
    corner = {
        t.get_text()[0]: np.array(t.get_position()) for t in figure.axes[0].texts if t.get_text().endswith(" first")
    }
    marks = {line.get_color(): line.get_xydata()[0] for line in figure.axes[0].lines if len(line.get_xydata()) == 1}
    assert np.argmin([np.linalg.norm(corner[c] - marks[TEACHER]) for c in "ABC"]) == 0
    assert np.argmin([np.linalg.norm(corner[c] - marks[STUDENT]) for c in "ABC"]) == 1


def test_heat_maps_show_the_matrix():
    matrix = RNG.uniform(size=(3, 3))
    shown = plots.plot_pairwise({"teacher": matrix, "student": matrix.T}).axes
    off = ~np.eye(3, dtype=bool)
    assert [axes.get_title() for axes in shown[:2]] == ["student", "teacher"]
    for axes, values in zip(shown, (matrix.T, matrix), strict=False):
        drawn = axes.collections[0].get_array()
        assert np.allclose(np.asarray(drawn)[off], values[off])
        assert np.ma.getmaskarray(drawn).tolist() == (~off).tolist()
    assert {t.get_text() for t in shown[1].texts} == {f"{v:.2f}" for v in matrix[off]}
    marginals = plots.plot_rank_marginals({"teacher": matrix, "student": matrix}).axes
    ends = [to_hex(axes.collections[0].cmap(1.0)) for axes in marginals[:2]]
    assert ends == [STUDENT.lower(), TEACHER.lower()]
    assert np.allclose(marginals[0].collections[0].get_array(), matrix)
    large = plots.plot_rank_marginals(np.full((9, 9), 1 / 9))
    assert not large.axes[0].texts


def test_rewards_and_models_keep_their_colours():
    figure = plots.plot_rewards([-2.5, -2.0, -1.0], [-3.0, -1.0, -2.0])
    by_colour = {
        to_hex(c.get_facecolor()[0]): c.get_offsets() for c in figure.axes[0].collections if len(c.get_offsets()) == 3
    }
    assert np.allclose(by_colour[TEACHER.lower()], [[-1, 0], [-2, 1], [-3, 2]])
    assert np.allclose(by_colour[STUDENT.lower()], [[-2, 0], [-1, 1], [-2.5, 2]])
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["B", "C", "A"]
    tau = float(kendall_tau([-2.5, -2.0, -1.0], [-3.0, -1.0, -2.0]))
    assert figure.alt_text.endswith(f"Kendall tau {tau:.2f}.")
    assert "not defined" in plots.plot_rewards([-1.0, -1.0], [-1.0, -2.0]).alt_text


def test_entropy_starts_at_ln_n_factorial_and_falls():
    figure = plots.plot_entropy_beta(np.linspace(0, 20, 9), teacher_reward=[-1.0, -1.5, -2.5])
    (curve,) = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 9]
    values = curve.get_ydata()
    assert values[0] == pytest.approx(math.log(6))
    assert (np.diff(values) < 0).all()
    every = [plackett_luce([-2.5 * 1, -2.5 * 1.5, -2.5 * 2.5], r) for r in itertools.permutations(range(3))]
    assert values[1] == pytest.approx(-sum(p * math.log(p) for p in every))


def test_entropy_band_is_the_middle_of_the_prompts():
    rewards = RNG.normal(size=(30, 4))
    betas = np.array([0.0, 1.0, 5.0])
    axes = plots.plot_entropy_beta(betas, rewards).axes[0]
    scores = torch.as_tensor(rewards[:, None, :] * betas[None, :, None])
    entropies = PlackettLuce(scores).entropy().numpy()
    (curve,) = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert curve.get_ydata() == pytest.approx(entropies.mean(0))
    corners = axes.collections[0].get_paths()[0].vertices
    for k, beta in enumerate(betas):
        ends = corners[corners[:, 0] == beta, 1]
        expected = np.quantile(entropies[:, k], [0.1, 0.9])
        assert [ends.min(), ends.max()] == pytest.approx(list(expected))


def test_training_shows_raw_values_and_their_running_mean():
    figure = plots.plot_training(HISTORY, smooth=5)
    loss, divergence = figure.axes
    raw, mean = (line.get_ydata() for line in loss.lines)
    given = [row["loss"] for row in HISTORY]
    assert list(raw) == given
    assert mean[20] == pytest.approx(np.mean(given[18:23]))
    assert mean[0] == pytest.approx(np.mean(given[:3]))
    assert divergence.get_ylabel() == "Jensen-Shannon divergence (nats)"
    assert list(divergence.lines[0].get_xdata()) == [row["step"] for row in HISTORY if "jsd" in row]


def test_forest_says_better_worse_and_not_clear():
    names = ["jsd", "kendall_tau", "teacher_reward", "length"]
    figure = plots.plot_before_after([1] * 4, [2] * 4, names, [-1, -1, 1, 1], [-2, -2, -1, 0.5], [-0.5, -0.5, 3, 2])
    words = [axes.texts[2].get_text().split("  ")[1] for axes in figure.axes]
    assert words == ["better", "worse", "not clear", "changed"]
    assert " ".join(figure.get_suptitle().split()).startswith("1 of 4 metrics is better after training, 1 is worse")
    for axes, estimate, low, high in zip(
        figure.axes, [-1, -1, 1, 1], [-2, -2, -1, 0.5], [-0.5, -0.5, 3, 2], strict=True
    ):
        across = np.concatenate([line.get_xdata() for line in axes.lines[1:]])  # the first line is the one at 0
        assert (across.min(), across.max()) == pytest.approx((low, high))
        assert estimate in [float(line.get_xdata()[0]) for line in axes.lines[1:] if len(line.get_xdata()) == 1]
        assert axes.get_xlim()[0] < min(low, 0) <= max(high, 0) < axes.get_xlim()[1]


@pytest.mark.parametrize(
    ("signs", "title"),
    [
        ([1], "1 of 1 metric is better after training (95 % interval excludes 0)"),
        ([0], "0 of 1 metric are better after training (95 % interval excludes 0)"),
        ([1, 1], "2 of 2 metrics are better after training (95 % interval excludes 0)"),
        ([1, 0, -1, -1], "1 of 4 metrics is better after training, 2 are worse (95 % interval excludes 0)"),
    ],
)
def test_titles_count_in_correct_english(signs, title):
    low, high = [s - 0.5 for s in signs], [s + 0.5 for s in signs]
    figure = plots.plot_before_after(signs, signs, ["kendall_tau"] * len(signs), signs, low, high)
    assert " ".join(figure.get_suptitle().split()) == title


def test_paired_points_and_counts():
    figure = plots.plot_paired([0.1, 0.2, 0.3, 0.3], [0.2, 0.1, 0.3, 0.3], "jsd")
    points = figure.axes[0].collections[-1]
    assert sorted(map(tuple, points.get_offsets())) == [(0.1, 0.2), (0.2, 0.1), (0.3, 0.3)]
    assert sorted(points.get_sizes()) == [50, 50, 100]
    assert "better on 1, worse on 1, equal on 2" in figure.alt_text


def test_undefined_values_are_left_out_and_counted():
    nan = math.nan
    figure = plots.plot_paired([0.5, nan, 1.0], [0.6, 0.2, nan], "kendall_tau")
    assert figure.axes[0].collections[-1].get_offsets().tolist() == [[0.5, 0.6]]
    assert "2 of 3 prompts are left out" in figure.axes[0].get_xlabel()
    history = [{"step": i, "kendall_tau": value} for i, value in enumerate([0.1, nan, 0.3])]
    axes = plots.plot_training(history).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0, 0.1], [2, 0.3]]
    assert "1 without a value" in axes.get_xlabel()
    with pytest.raises(ValueError, match="kendall_tau"):
        plots.plot_paired([nan], [nan])
    with pytest.raises(ValueError, match="loss"):
        plots.plot_training([{"step": 1, "loss": math.inf}])


def test_reliability_agrees_with_a_slow_count():
    confidence = np.array([0.55, 0.58, 0.91, 0.95, 0.99, 1.0])
    correct = np.array([1, 0, 1, 1, 0, 1])
    figure = plots.plot_reliability(confidence, correct, bins=10)
    error = (2 * abs(0.5 - 0.565) + 4 * abs(0.75 - confidence[2:].mean())) / 6
    assert f"calibration error {error:.2f}" in figure.alt_text
    line = figure.axes[0].lines[1]  # the first is the diagonal
    assert line.get_xydata() == pytest.approx(np.array([[0.565, 0.5], [confidence[2:].mean(), 0.75]]))
    bars = [segment[:, 1] for segment in figure.axes[0].collections[0].get_segments()]
    expected = [wilson_interval(torch.tensor(hits)) for hits in ([1.0, 0.0], [1.0, 1.0, 0.0, 1.0])]
    assert np.allclose(bars, [[float(end) for end in interval[1:3]] for interval in expected], atol=1e-6)
    assert [p.get_height() for p in figure.axes[1].patches] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 4]


def test_reliability_claims_no_more_than_the_interval_allows():
    few = plots.plot_reliability([0.9] * 4, [1, 1, 0, 1]).get_suptitle()
    many = plots.plot_reliability([0.9] * 400, [1, 1, 0, 1] * 100).get_suptitle()
    low = plots.plot_reliability([0.5] * 400, [1, 1, 0, 1] * 100).get_suptitle()
    assert [title.split(":")[0] for title in (few, many, low)] == [
        "Agreement within the interval",
        "Overconfident",
        "Underconfident",
    ]


def test_option_mass_bars_fill_up_to_one():
    figure = plots.plot_option_mass([0.9, 0.2, 0.4], threshold=0.3)
    bars = [p.get_height() for p in figure.axes[0].patches]
    assert bars[:3] == [0.2, 0.4, 0.9]
    assert np.allclose(np.add(bars[:3], bars[3:]), 1)
    assert "1 below 0.30" in figure.alt_text


def test_position_bias_of_a_fair_and_of_a_stubborn_judge():
    assert "first option 50 %" in plots.plot_position_bias([0.9, 0.2], [0.1, 0.8]).alt_text
    assert "same position on 100 %" in plots.plot_position_bias([0.9, 0.8], [0.9, 0.8]).alt_text


def test_alpha_curve_marks_the_best():
    figure = plots.plot_alpha_curve([0, 0.5, 1], [0.1, 0.4, 0.2], [0, 0.3, 0.1], [0.2, 0.5, 0.3])
    (star,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert star.get_xydata().tolist() == [[0.5, 0.4]]
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[0, 0.1], [0.5, 0.4], [1, 0.2]]
    corners = figure.axes[0].collections[0].get_paths()[0].vertices.tolist()
    assert all(corner in corners for corner in ([0, 0], [0.5, 0.3], [1, 0.1], [0, 0.2], [0.5, 0.5], [1, 0.3]))
    figure = plots.plot_alpha_curve([0, 1], [0, 1], [0, 1], [0, 1], best=0)
    (chosen,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert chosen.get_xydata().tolist() == [[0, 0]]
    assert "highest" not in figure.alt_text + figure.get_suptitle()


def test_calibration_ends_are_the_two_softmaxes():
    reward, chosen = np.array([-1.0, -1.1, -1.5]), np.array([0.2, 0.5, 0.3])
    lines = plots.plot_calibration_step(reward, chosen, beta=3.0).axes[0].lines
    start = np.exp(3 * reward) / np.exp(3 * reward).sum()
    end = chosen**3 / (chosen**3).sum()
    assert [line.get_ydata()[0] for line in lines] == pytest.approx(start)
    assert [line.get_ydata()[-1] for line in lines] == pytest.approx(end)
    never = plots.plot_calibration_step([-1.0, -1.0], [1.0, 0.0], alphas=[0.0, 0.1, 1.0], beta=1.0)
    assert [line.get_ydata()[-1] for line in never.axes[0].lines] == pytest.approx([1 - 1e-6, 1e-6], abs=1e-9)


def test_tokens_are_drawn_in_order_and_the_rest_is_counted():
    tokens = [f" word{i}" for i in range(300)]
    figure = plots.plot_token_rewards(tokens, -np.arange(300) / 50)
    drawn = [t.get_text() for t in figure.axes[0].texts if t.get_text().startswith("word")]
    assert drawn == [f"word{i}" for i in range(len(drawn))]
    assert f"{300 - len(drawn)} more tokens" in figure.axes[0].get_xlabel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_tensors_of_any_type_are_taken(dtype):
    values = torch.tensor([2, 1, 0]).to(dtype)
    if dtype.is_floating_point:
        values.requires_grad_()
    assert array(values, "x").tolist() == [2, 1, 0]
    assert plots.plot_rankings(values, [2.0, 1.0, 0.0]).alt_text == plots.plot_rankings([2, 1, 0], [2, 1, 0]).alt_text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.plot_rankings([0, 1], [0, 1, 2]), "same length"),
        (lambda: plots.plot_rankings([0], [0]), "2 to 8"),
        (lambda: plots.plot_rankings(range(9), range(9)), "plot_rank_marginals"),
        (lambda: plots.plot_rankings([0, math.nan], [0, 1]), r"student.*\(1,\)"),
        (lambda: plots.plot_rewards([], []), "student_reward"),
        (lambda: plots.plot_rewards([0, 1], [0, 1], ["a"]), "labels: 1 for 2"),
        (lambda: plots.plot_pairwise([[0.5, 0.5]]), "square"),
        (lambda: plots.plot_pairwise([[0.5, 1.5], [0, 0.5]]), "0 to 1"),
        (lambda: plots.plot_simplex([0, 1], [1, 0]), "plot_permutohedron"),
        (lambda: plots.plot_permutohedron([0, 1, 2], [1, 0, 2]), "plot_simplex"),
        (lambda: plots.plot_entropy_beta([3, 2], [1, 2]), "rising"),
        (lambda: plots.plot_entropy_beta([0, 2]), "none"),
        (lambda: plots.plot_entropy_beta([0, 2], [1, 2], [1, 2, 3]), "one number of responses"),
        (lambda: plots.plot_training([]), "0 metrics"),
        (lambda: plots.plot_training([{"step": 1, "loss": 1.0}], ["los"]), "'los'.*loss"),
        (lambda: plots.plot_before_after([1], [1], ["a"], [0], [1], [-1]), "low is above high"),
        (lambda: plots.plot_before_after([1], [1], ["a"], [2], [0], [1]), r"outside \[0, 1\]"),
        (lambda: plots.plot_reliability([0.5], [0.5]), "0 or 1"),
        (lambda: plots.plot_option_mass([1.5]), "0 to 1"),
        (lambda: plots.plot_alpha_curve([0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2]), "2 alphas"),
        (lambda: plots.plot_alpha_curve([0, 1], [0, 1], [0, 0], [1, 0.5]), "outside"),
        (lambda: plots.plot_calibration_step([0, 1], [0, 1], beta=0), "beta"),
        (lambda: plots.plot_calibration_step([0, 1], [0, 1], alphas=[0, 2]), "alphas"),
        (lambda: plots.plot_token_rewards(["a"], [1, 2]), "same length"),
        (lambda: plots.plot_rewards("ab", [1, 2]), "numbers"),
    ],
)
def test_bad_input_says_what_and_how_to_mend_it(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_best_alpha_is_the_lowest_where_less_is_better():
    figure = plots.plot_alpha_curve([0, 0.5, 1], [0.3, 0.1, 0.2], [0.2, 0.0, 0.1], [0.4, 0.2, 0.3], metric="jsd")
    assert "lowest mean 0.10 [0.00, 0.20] at alpha 0.5" in figure.alt_text
