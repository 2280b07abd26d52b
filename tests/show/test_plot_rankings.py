"""Figures of rankings and rewards draw what was given: bars, half-discs, heat maps, points, entropies."""

import itertools
import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle, Wedge

from padlab.rankings.large_n import js_divergence
from padlab.rankings.metrics import kendall_tau
from padlab.rankings.plackett_luce import PlackettLuce
from padlab.show import plots
from padlab.show.arrays import array
from padlab.show.plots.style import STUDENT, TEACHER

RNG = np.random.default_rng(7)


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


@pytest.mark.parametrize(("plot", "n"), [(plots.plot_simplex, 3), (plots.plot_permutohedron, 4)])
def test_points_of_rankings_come_with_the_divergence(plot, n):
    student, teacher = torch.randn(2, n, dtype=torch.float64)
    value = float(js_divergence(student, teacher).value)
    assert f"Jensen-Shannon divergence {value:.3f} nats" in plot(student, teacher).alt_text


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


@pytest.mark.parametrize("sure", list(itertools.permutations([60.0, 40.0, 20.0, 0.0])))
def test_permutohedron_lies_inside_its_figure_and_names_what_is_probable(sure):
    figure = plots.plot_permutohedron(sure, [0.4, 1.3, 0.0, 2.0], labels=["a", "b", "c", "d"])
    assert figure.get_figheight() <= 5.4 + 1e-9
    (ax,), renderer = figure.axes, figure.canvas.get_renderer()
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    for wedge in ax.patches:
        (x, y), r = wedge.center, wedge.r
        assert left <= x - r <= x + r <= right
        assert low <= y - r <= y + r <= high
    figure.draw(renderer)
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in ax.texts}
    teacher = [plackett_luce([0.4, 1.3, 0.0, 2.0], r) for r in itertools.permutations(range(4))]
    assert len(boxes) - sum(p >= 0.02 for p in teacher) in (0, 1)
    assert not [pair for pair in itertools.combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])]


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_tensors_of_any_type_are_taken(dtype):
    values = torch.tensor([2, 1, 0]).to(dtype)
    if dtype.is_floating_point:
        values.requires_grad_()
    assert array(values, "x").tolist() == [2, 1, 0]
    assert plots.plot_rankings(values, [2.0, 1.0, 0.0]).alt_text == plots.plot_rankings([2, 1, 0], [2, 1, 0]).alt_text
