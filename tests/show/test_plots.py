"""What is drawn is what was given; text in figures is inert; figures look alike and leave nothing behind."""

import inspect
import io
import itertools
import math
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle, Wedge
from matplotlib.text import Text
from PIL import Image

from padlab.show import plots
from padlab.show.plots.style import STUDENT, TEACHER, Figure, array, house_style, item_names, label, num, percent

RNG = np.random.default_rng(7)
HISTORY = [
    {"step": i + 1, "loss": 1 / (1 + i), "extra": None} | ({"jsd": 0.2 - i / 500} if i % 5 == 0 else {})
    for i in range(40)
]
HOSTILE = [
    "$x^2$",
    "\\frac{1}{2} $",
    "$$ \\begin{x}",
    "a\x00b\x1b[31m",
    "卵 🥚 \ud800 \u202e",
    "x" * 5000,
    "",
    "a\nb\t c",
]


def calls(labels=None, title=None):
    """Every plot function once, with the hostile texts where it takes texts."""
    four = labels[:4] if labels else None
    text = labels[0] if labels else "jsd"
    names = labels[:2] if labels else ["jsd", "kendall_tau"]
    probs = RNG.uniform(size=30)
    return {
        "plot_rankings": lambda: plots.plot_rankings([1, 2, 3, 0], [2, 1, 0, 3], four, title=title),
        "plot_rewards": lambda: plots.plot_rewards([-1, -2, -3, -4], [-2, -1, -3, -4], four, title=title),
        "plot_pairwise": lambda: plots.plot_pairwise({text: np.full((4, 4), 0.5)}, four, title=title),
        "plot_rank_marginals": lambda: plots.plot_rank_marginals({text: np.full((4, 4), 0.25)}, four, title=title),
        "plot_entropy_beta": lambda: plots.plot_entropy_beta([-1, -2, -3], [0, 5, 10], [-1, -1, -3], title=title),
        "plot_simplex": lambda: plots.plot_simplex([0, 1, 2], [2, 1, 0], four and four[:3], title=title),
        "plot_permutohedron": lambda: plots.plot_permutohedron([0, 1, 2, 3], [3, 1, 2, 0], four, title=title),
        "plot_training": lambda: plots.plot_training(
            [{"step": 1, text: 2.0}, {"step": 2, text: 1}], [text], title=title
        ),
        "plot_before_after": lambda: plots.plot_before_after(
            [0.2, 0.5], [0.1, 0.6], names, [-0.1, 0.1], [-0.2, -0.1], [-0.05, 0.3], title=title
        ),
        "plot_paired": lambda: plots.plot_paired(probs, probs**2, text, title=title),
        "plot_position_bias": lambda: plots.plot_position_bias(probs, probs, title=title),
        "plot_option_mass": lambda: plots.plot_option_mass(probs, title=title),
        "plot_reliability": lambda: plots.plot_reliability(probs, probs > 0.4, title=title),
        "plot_alpha_curve": lambda: plots.plot_alpha_curve(
            [0, 0.5, 1], [[0, 1, 2], [2, 1, 0]], [[0, 0, 0]] * 2, [[3, 3, 3]] * 2, metric=text, names=names, title=title
        ),
        "plot_calibration_step": lambda: plots.plot_calibration_step(
            [-1, -2, -3, -4], [0.1, 0.2, 0.3, 0.4], labels=four, title=title
        ),
        "plot_token_rewards": lambda: plots.plot_token_rewards(
            labels or ["a"], [-1.0] * len(labels or "a"), title=title
        ),
    }


ALL = [name for name in plots.__all__ if name.startswith("plot_")]


def texts(figure):
    figure.draw_without_rendering()
    return [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


def test_every_public_plot_is_in_these_tests():
    assert set(calls()) == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_figure_is_complete(name):
    figure = calls()[name]()
    assert isinstance(figure, Figure)
    assert 20 < len(figure.alt_text) < 600
    assert figure.alt_text.endswith(".")
    assert any(char.isdigit() for char in figure.alt_text)
    assert figure.get_suptitle()
    sizes = [text.get_fontsize() for text in texts(figure) if len(text.get_text()) > 1]
    assert np.median(sizes) >= 9
    image = Image.open(io.BytesIO(figure.png()))
    assert image.width >= 850
    assert len(figure.png()) < 120_000
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


# Of the first and the last axes of each figure: what the labels across and up must name; None: no scale to name.
UNITS = {
    "plot_rankings": ("ranking (best on top)", "probability (0 to 1)"),
    "plot_rewards": ("(nats/token)", None),
    "plot_pairwise": (None, "probability (0 to 1)"),
    "plot_rank_marginals": ("rank (1 = best)", "probability (0 to 1)"),
    "plot_entropy_beta": ("no unit", "(nats)"),
    "plot_training": ("step", "divergence (nats)"),
    "plot_before_after": ("difference after − before, mean over prompts, 95 % interval", None),
    "plot_paired": ("before: Jensen-Shannon divergence (nats)", "after: Jensen-Shannon divergence (nats)"),
    "plot_position_bias": ("a is named first (0 to 1)", "b is named first (0 to 1)"),
    "plot_option_mass": ("prompt, least mass first (number)", "probability (0 to 1)"),
    "plot_reliability": ("(0 to 1)", "share right (0 to 1)"),
    "plot_alpha_curve": ("alpha (0: reward alone", "divergence (nats)"),
    "plot_calibration_step": ("alpha (0: reward alone", "probability of rank 1 (0 to 1)"),
    "plot_token_rewards": ("(nats)", None),
}


@pytest.mark.parametrize("name", sorted(UNITS))
def test_axes_say_what_they_measure_and_in_which_unit(name):
    across, up = UNITS[name]
    axes = calls()[name]().axes
    assert across is None or any(across in each.get_xlabel() for each in axes)
    assert up is None or any(up in each.get_ylabel() for each in axes)
    assert set(ALL) - set(UNITS) == {"plot_simplex", "plot_permutohedron"}  # these have no scales


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shift", [0, 3, 5])
def test_hostile_text_is_drawn_and_inert(name, shift):
    labels = HOSTILE[shift:] + HOSTILE[:shift]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph warns
        figure = calls(labels, title=labels[0] + " title")[name]()
        for text in texts(figure):
            assert not text.get_parse_math()
            assert not text.get_usetex()
            assert len(text.get_text()) < 400
        figure.png()
    assert not any(char in figure.alt_text for char in "\x00\x1b\u202e\ud800")


def test_dollars_stay_dollars_in_the_picture():
    figure = plots.plot_rewards([-1, -2], [-1, -2], ["costs $5 or $6", "\\alpha and $\\beta$"])
    shown = [text.get_text() for text in texts(figure)]
    assert "A  costs $5 or $6" in shown
    assert "B  \\alpha and $\\beta$" in shown


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
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [
        "teacher",
        "student before",
        "student after",
    ]


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
    assert np.allclose(np.asarray(shown[0].images[0].get_array())[off], matrix[off])
    assert np.allclose(np.asarray(shown[1].images[0].get_array())[off], matrix.T[off])
    assert {t.get_text() for t in shown[0].texts} == {f"{v:.2f}" for v in matrix[off]}
    marginals = plots.plot_rank_marginals({"teacher": matrix, "student": matrix}).axes
    ends = [to_hex(axes.images[0].cmap(1.0)) for axes in marginals[:2]]
    assert ends == [TEACHER.lower(), STUDENT.lower()]


def test_rewards_and_models_keep_their_colours():
    figure = plots.plot_rewards([-3.0, -1.0, -2.0], [-2.5, -2.0, -1.0])
    by_colour = {
        to_hex(c.get_facecolor()[0]): c.get_offsets() for c in figure.axes[0].collections if len(c.get_offsets()) == 3
    }
    assert np.allclose(by_colour[TEACHER.lower()], [[-1, 0], [-2, 1], [-3, 2]])
    assert np.allclose(by_colour[STUDENT.lower()], [[-2, 0], [-1, 1], [-2.5, 2]])
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["B", "C", "A"]


def test_entropy_starts_at_ln_n_factorial_and_falls():
    figure = plots.plot_entropy_beta([-1.0, -1.5, -2.5], np.linspace(0, 20, 9))
    (curve,) = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 9]
    values = curve.get_ydata()
    assert values[0] == pytest.approx(math.log(6))
    assert (np.diff(values) < 0).all()
    every = [plackett_luce([-2.5 * 1, -2.5 * 1.5, -2.5 * 2.5], r) for r in itertools.permutations(range(3))]
    assert values[1] == pytest.approx(-sum(p * math.log(p) for p in every))


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
    for axes, low, high in zip(figure.axes, [-2, -2, -1, 0.5], [-0.5, -0.5, 3, 2], strict=True):
        ends = axes.containers[0].lines[2][0].get_segments()[0][:, 0]
        assert list(ends) == pytest.approx([low, high])
        assert axes.get_xlim()[0] < min(low, 0) <= max(high, 0) < axes.get_xlim()[1]


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
    line = figure.axes[0].containers[0].lines[0]
    assert line.get_xydata() == pytest.approx(np.array([[0.565, 0.5], [confidence[2:].mean(), 0.75]]))
    assert [p.get_height() for p in figure.axes[1].patches] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 4]


def test_option_mass_bars_fill_up_to_one():
    figure = plots.plot_option_mass([0.9, 0.2, 0.4], threshold=0.3)
    bars = [p.get_height() for p in figure.axes[0].patches]
    assert bars[:3] == [0.2, 0.4, 0.9]
    assert np.allclose(np.add(bars[:3], bars[3:]), 1)
    assert "1 below 0.30" in figure.alt_text


def test_position_bias_of_a_fair_and_of_a_stubborn_judge():
    assert "chosen with 50 %" in plots.plot_position_bias([0.9, 0.2], [0.1, 0.8]).alt_text
    assert "same place on 100 %" in plots.plot_position_bias([0.9, 0.8], [0.9, 0.8]).alt_text


def test_alpha_curve_marks_the_best():
    figure = plots.plot_alpha_curve([0, 0.5, 1], [0.1, 0.4, 0.2], [0, 0.3, 0.1], [0.2, 0.5, 0.3])
    (star,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert star.get_xydata().tolist() == [[0.5, 0.4]]
    (chosen,) = [line for line in plots.plot_alpha_curve([0, 1], [0, 1], [0, 1], [0, 1], best=0).axes[0].lines
                 if line.get_marker() == "*"]  # fmt: skip
    assert chosen.get_xydata().tolist() == [[0, 0]]


def test_calibration_ends_are_the_two_softmaxes():
    reward, chosen = np.array([-1.0, -1.1, -1.5]), np.array([0.2, 0.5, 0.3])
    lines = plots.plot_calibration_step(reward, chosen, beta=3.0).axes[0].lines
    start = np.exp(3 * reward) / np.exp(3 * reward).sum()
    end = chosen**3 / (chosen**3).sum()
    assert [line.get_ydata()[0] for line in lines] == pytest.approx(start)
    assert [line.get_ydata()[-1] for line in lines] == pytest.approx(end)


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
        (lambda: plots.plot_rewards([], []), "teacher_reward"),
        (lambda: plots.plot_rewards([0, 1], [0, 1], ["a"]), "labels: 1 for 2"),
        (lambda: plots.plot_pairwise([[0.5, 0.5]]), "square"),
        (lambda: plots.plot_pairwise([[0.5, 1.5], [0, 0.5]]), "0 to 1"),
        (lambda: plots.plot_simplex([0, 1], [1, 0]), "plot_permutohedron"),
        (lambda: plots.plot_permutohedron([0, 1, 2], [1, 0, 2]), "plot_simplex"),
        (lambda: plots.plot_entropy_beta([1, 2], [3, 2]), "rising"),
        (lambda: plots.plot_training([]), "0 metrics"),
        (lambda: plots.plot_training([{"step": 1, "loss": 1.0}], ["los"]), "'los'.*loss"),
        (lambda: plots.plot_before_after([1], [1], ["a"], [0], [1], [-1]), "low is above high"),
        (lambda: plots.plot_reliability([0.5], [0.5]), "0 or 1"),
        (lambda: plots.plot_option_mass([1.5]), "0 to 1"),
        (lambda: plots.plot_alpha_curve([0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2]), "2 alphas"),
        (lambda: plots.plot_calibration_step([0, 1], [0, 1], alphas=[0, 2]), "alphas"),
        (lambda: plots.plot_token_rewards(["a"], [1, 2]), "same length"),
        (lambda: plots.plot_rewards("ab", [1, 2]), "numbers"),
    ],
)
def test_bad_input_says_what_and_how_to_mend_it(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(st.text(alphabet=st.characters(), max_size=80), st.integers(2, 40))
@settings(max_examples=60, deadline=None)
def test_labels_are_short_single_lines(text, limit):
    shown = label(text, limit)
    assert len(shown) <= limit
    assert "\n" not in shown
    shown.encode("utf-8")


def test_numbers_in_words():
    assert [num(-0.001), num(-1.5, 1), percent(0), percent(1), percent(0.9951)] == [
        "0.00",
        "−1.5",
        "0 %",
        "100 %",
        ">99 %",
    ]
    assert item_names(["ab", "c"], 2) == (["ab", "c"], [])


def test_the_users_own_style_changes_nothing():
    import matplotlib

    plain = plots.plot_rewards([-1, -2], [-2, -1]).png()
    with matplotlib.style.context(["dark_background", {"font.size": 30, "text.parse_math": True}]):
        assert plots.plot_rewards([-1, -2], [-2, -1]).png() == plain
        later = plots.plot_rewards([-1, -2], [-2, -1])
    assert later.png() == plain
    before = dict(matplotlib.rcParams)
    with house_style():
        pass
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("scale", [0.5, 1, 1.37, 1.6])
def test_the_small_png_is_the_picture(scale):
    figure = plots.plot_rankings([0, 1, 2], [2, 1, 0])
    full = io.BytesIO()
    figure.savefig(full, format="png", dpi=100 * scale)
    true, small = (
        np.asarray(Image.open(data).convert("RGB"), dtype=int) for data in (full, io.BytesIO(figure.png(scale)))
    )
    assert true.shape == small.shape
    assert np.abs(true - small).mean() < 0.5
    for colour in (TEACHER, STUDENT):
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(small - rgb).max(-1) <= 2).sum() == pytest.approx((true == rgb).all(-1).sum(), rel=0.1)


def test_figures_are_freed():
    import gc
    import weakref

    reference = weakref.ref(plots.plot_rewards([-1, -2], [-2, -1]))
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("name", ALL)
def test_every_plot_takes_a_title_and_documents_its_arguments(name):
    function = getattr(plots, name)
    parameters = inspect.signature(function).parameters
    assert parameters["title"].default is None
    assert all(parameter in function.__doc__ for parameter in parameters)
    figure = calls(title="A title of my own")[name]()
    assert figure.get_suptitle() == "A title of my own"


def test_the_best_alpha_is_the_lowest_where_less_is_better():
    figure = plots.plot_alpha_curve([0, 0.5, 1], [0.3, 0.1, 0.2], [0.2, 0.0, 0.1], [0.4, 0.2, 0.3], metric="jsd")
    assert "best 0.10 [0.00, 0.20] at alpha 0.5" in figure.alt_text
