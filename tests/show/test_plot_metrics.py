"""Figures of training, evaluation and calibration draw what was given; wrong input is refused by all figures."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from padlab.rankings.intervals import wilson_interval
from padlab.show import plots
from padlab.show.plots.style import NEUTRAL

HISTORY = [
    {"step": i + 1, "loss": 1 / (1 + i), "extra": None} | ({"jsd": 0.2 - i / 500} if i % 5 == 0 else {})
    for i in range(40)
]


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
    words = [axes.texts[2].get_text() for axes in figure.axes]
    assert words == ["better", "worse", "not clear", "changed"]
    assert " ".join(figure.get_suptitle().split()).startswith("Better after training: 1 of 4; worse: 1")
    for axes, estimate, low, high in zip(
        figure.axes, [-1, -1, 1, 1], [-2, -2, -1, 0.5], [-0.5, -0.5, 3, 2], strict=True
    ):
        across = np.concatenate([line.get_xdata() for line in axes.lines[1:]])  # the first line is the one at 0
        assert (across.min(), across.max()) == pytest.approx((low, high))
        assert estimate in [float(line.get_xdata()[0]) for line in axes.lines[1:] if len(line.get_xdata()) == 1]
        assert axes.get_xlim()[0] < min(low, 0) <= max(high, 0) < axes.get_xlim()[1]


def test_paired_points_and_counts():
    figure = plots.plot_paired([0.1, 0.2, 0.3, 0.3], [0.2, 0.1, 0.3, 0.3], "jsd")
    points = figure.axes[0].collections[-1]
    assert sorted(map(tuple, points.get_offsets())) == [(0.1, 0.2), (0.2, 0.1), (0.3, 0.3)]
    assert sorted(points.get_sizes()) == [50, 50, 100]
    assert "Better on 1 of 4 prompts, worse on 1" in figure.alt_text


def test_levels_stand_at_their_shares_in_the_models_colours():
    triples = [(0.3, 0.2, 0.4), (0.6, 0.5, 0.7)]
    ax = plots.plot_levels(["before", "after"], {"T = 1": triples}, ["student", "other"]).axes[0]
    points = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [float(np.median(line.get_xdata())) for line in points] == [0.3, 0.6]
    assert points[0].get_color() == plots.STUDENT != points[1].get_color()
    assert [text.get_text() for text in ax.get_yticklabels()] == ["before", "after"]
    assert ax.get_xlim()[0] < 0 < 1 < ax.get_xlim()[1], "a marker at 0 or 1 is drawn whole"
    ax = plots.plot_levels(["a", "b"], {"x": triples}, what="A first", of="prompts", guessing=[0.5, 0.25]).axes[0]
    assert ax.get_xlabel() == "A first, share of prompts, 95 % interval"
    assert [line.get_xdata()[0] for line in ax.lines if line.get_gid() == "guessing"] == [0.5, 0.25]
    with pytest.raises(ValueError, match="3 conditions"):
        plots.plot_levels(["a"], {name: [(0.3, 0.2, 0.4)] for name in "xyz"})
    with pytest.raises(ValueError, match="outside its interval"):
        plots.plot_levels(["a"], {"x": [(0.5, 0.2, 0.4)]})


def test_the_live_curve_is_drawn_anew_in_one_place(monkeypatch):
    drawn = []
    handle = SimpleNamespace(update=drawn.append)
    monkeypatch.setattr("IPython.display.display", lambda figure, display_id: (drawn.append(figure), handle)[1])
    live, history = plots.LiveTraining(["loss"], every=2), []
    for step in range(1, 7):
        history.append({"step": step, "loss": 1 / step})
        live(history)
    live([*history, {"train_runtime": 3.0}])
    assert [len(figure.axes[0].lines[0].get_xdata()) for figure in drawn[:3]] == [2, 4, 6]


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
    expected = [wilson_interval(torch.tensor(hits), trials) for hits, trials in ((1.0, 2), (3.0, 4))]
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


def test_position_bias_of_a_fair_and_of_a_stubborn_judge():
    assert "first option 50 %" in plots.plot_position_bias([0.9, 0.2], [0.1, 0.8]).alt_text
    assert "100 % of the pairs give the same position" in plots.plot_position_bias([0.9, 0.8], [0.9, 0.8]).alt_text


def test_alpha_curve_marks_the_best():
    figure = plots.plot_alpha_curve([0, 0.5, 1], [0.1, 0.4, 0.2], [0, 0.3, 0.1], [0.2, 0.5, 0.3])
    (star,) = [line for line in figure.axes[0].lines if line.get_marker() == "*" and len(line.get_xdata())]
    assert star.get_xydata().tolist() == [[0.5, 0.4]]
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[0, 0.1], [0.5, 0.4], [1, 0.2]]
    corners = figure.axes[0].collections[0].get_paths()[0].vertices.tolist()
    assert all(corner in corners for corner in ([0, 0], [0.5, 0.3], [1, 0.1], [0, 0.2], [0.5, 0.5], [1, 0.3]))


def test_every_alpha_curve_has_its_own_best():
    curves = [[0.1, 0.4, 0.2], [0.3, 0.1, 0.2]], [[0, 0.3, 0.1], [0.2, 0, 0.1]], [[0.2, 0.5, 0.3], [0.4, 0.2, 0.3]]
    figure = plots.plot_alpha_curve([0, 0.5, 1], *curves, names=["toy", "aligned"])
    stars = [line for line in figure.axes[0].lines if line.get_marker() == "*" and len(line.get_xdata())]
    assert [star.get_xydata()[0].tolist() for star in stars] == [pytest.approx([0.4925, 0.4]), [0.0075, 0.3]]
    assert [star.get_color() for star in stars] == list(plots.ITEMS[:2])
    assert "toy: 0.40 [0.30, 0.50] at alpha 0.5; 0.10 at alpha 0, 0.20 at alpha 1. aligned: 0.30 [" in figure.alt_text
    assert "toy 0.40 at 0.5; aligned 0.30 at 0" in figure.get_suptitle().replace("\u00a0", " ").replace("\n", " ")


def test_intervals_of_several_alpha_curves_stand_beside_each_other():
    alphas, curves = [0, 0.01, 1], [np.tile(row, (3, 1)) for row in ([0.1, 0.2, 0.3], [0, 0.1, 0.2], [0.2, 0.3, 0.4])]
    (ax,) = plots.plot_alpha_curve(alphas, *curves, names=["a", "b", "c"]).axes
    bars = np.array(
        [[path.vertices for path in bar.get_paths()] for bar in ax.collections]
    )  # curve, alpha, end, x and y
    assert np.ptp(bars[..., 0], axis=2).max() == 0, "a bar is upright"
    assert np.diff(bars[:, :, 0, 0].T.ravel()).min() > 0, "curve after curve at one alpha, then the next alpha"
    assert bars[:, :, 0, 0].mean(0) == pytest.approx(alphas)
    assert bars[1, :, :, 1].tolist() == [pytest.approx(ends) for ends in ([0, 0.2], [0.1, 0.3], [0.2, 0.4])]


def test_long_names_of_alpha_curves_leave_the_axes_their_width():
    curves = [np.arange(9).reshape(3, 3) / 10 + shift for shift in (0, -0.1, 0.1)]
    figure = plots.plot_alpha_curve([0, 0.5, 1], *curves, names=[f"{name} of thirty letters, {name}" for name in "abc"])
    figure.draw_without_rendering()
    assert figure.axes[0].get_window_extent().width > 0.8 * figure.bbox.width


def test_calibration_ends_are_the_two_softmaxes():
    reward, chosen = np.array([-1.0, -1.1, -1.5]), np.array([0.2, 0.5, 0.3])
    lines = plots.plot_calibration_step(reward, chosen, beta=3.0).axes[0].lines
    start = np.exp(3 * reward) / np.exp(3 * reward).sum()
    end = chosen**3 / (chosen**3).sum()
    assert [line.get_ydata()[0] for line in lines] == pytest.approx(start)
    assert [line.get_ydata()[-1] for line in lines] == pytest.approx(end)
    never = plots.plot_calibration_step([-1.0, -1.0], [1.0, 0.0], alphas=[0.0, 0.1, 1.0], beta=1.0)
    assert [line.get_ydata()[-1] for line in never.axes[0].lines] == pytest.approx([1 - 1e-6, 1e-6], abs=1e-9)


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
        (lambda: plots.plot_before_after([1], [1], ["a"], [0], [1], [-1]), "outside"),
        (lambda: plots.plot_before_after([1], [1], ["a"], [2], [0], [1]), r"outside its interval \[0, 1\]"),
        (lambda: plots.plot_reliability([0.5], [0.5]), "0 or 1"),
        (lambda: plots.plot_alpha_curve([0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2]), "2 alphas"),
        (lambda: plots.plot_alpha_curve([0, 1], [0, 1], [0, 0], [1, 0.5]), "outside"),
        (lambda: plots.plot_calibration_step([0, 1], [0, 1], beta=0), "beta"),
        (lambda: plots.plot_calibration_step([0, 1], [0, 1], alphas=[0, 2]), "alphas"),
        (lambda: plots.plot_rewards("ab", [1, 2]), "numbers"),
    ],
)
def test_bad_input_says_what_and_how_to_mend_it(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_best_alpha_is_the_lowest_where_less_is_better():
    figure = plots.plot_alpha_curve([0, 0.5, 1], [0.3, 0.1, 0.2], [0.2, 0.0, 0.1], [0.4, 0.2, 0.3], metric="jsd")
    assert "Lowest mean Jensen-Shannon divergence: 0.10 [0.00, 0.20] at alpha 0.5" in figure.alt_text


STUDENTS = {
    "ppd": {"right": (0.3, 0.2, 0.4), "jsd": (-0.1, -0.2, -0.05)},
    "dpo": {"right": (-0.1, -0.2, 0.1), "jsd": (0.1, 0.05, 0.2)},
    "teacher": {"right": (0.5, 0.4, 0.6)},
}


def test_students_stand_where_the_paired_difference_puts_them():
    figure = plots.plot_students({"right": 0.4, "jsd": 0.3}, STUDENTS)
    right, jsd = figure.axes[:2]
    assert [tick.get_text() for tick in right.get_yticklabels()] == ["before", "ppd", "dpo", "teacher"]
    assert right.lines[0].get_xdata()[0] == pytest.approx(0.4)  # the level before
    ends = {round(float(x), 3) for bar in right.collections for path in bar.get_paths() for x in path.vertices[:, 0]}
    assert {0.6, 0.8, 0.2, 0.5} <= ends
    assert "less is better" in jsd.get_xlabel()
    assert "less is better" not in right.get_xlabel()
    assert "1 of 2 trained students better, 0 worse" in repr(figure)
    assert "1 of 2 trained students better, 1 worse" in repr(plots.plot_students({"jsd": 0.3}, STUDENTS))


def test_the_line_under_the_students_says_what_the_bars_are():
    assert "bars: 95 % interval of the paired" in plots.plot_students({"right": 0.4}, STUDENTS).get_supxlabel()
    figure = plots.plot_students({"right": 0.4}, STUDENTS, bars="95 % t interval over trainings")
    assert figure.get_supxlabel() == "bars: 95 % t interval over trainings"


def test_a_control_is_grey_and_not_counted():
    students = {**STUDENTS, "control: shuffled": {"right": (-0.2, -0.3, -0.1)}}
    figure = plots.plot_students({"right": 0.4}, students)
    assert "1 of 2 trained students better, 0 worse" in repr(figure)
    colours = {
        line.get_ydata()[0]: to_hex(line.get_color()) for line in figure.axes[0].lines if line.get_marker() == "o"
    }
    assert colours[4] == to_hex(NEUTRAL) != colours[1] == to_hex(plots.STUDENT)


def test_measures_without_an_interval_are_left_out():
    gsm8k = {"ppd": {**STUDENTS["ppd"], "gsm8k": (0.0, math.nan, math.nan)}}
    figure = plots.plot_students({"right": 0.4, "gsm8k": 0.0}, gsm8k)
    assert len([ax for ax in figure.axes if ax.get_visible()]) == 1
    with pytest.raises(ValueError, match="at least one student with a measure"):
        plots.plot_students({"gsm8k": 0.0}, gsm8k)


ROUNDS = {"toy": [(0.5, 0.5, 0.5), (0.7, 0.6, 0.75, 4), (0.72, 0.7, 0.8, 4)], "reading": [(0.3,) * 3, (0.2, 0.1, 0.3)]}


def test_rounds_are_drawn_with_their_bands_and_the_teacher_on_one_scale():
    figure = plots.plot_rounds(ROUNDS, {"toy": 0.54, "reading": 0.92}, "right")
    toy, reading = figure.axes
    assert toy.lines[0].get_xydata().tolist() == [[0, 0.5], [1, 0.7], [2, 0.72]]
    band = np.concatenate([path.vertices for path in toy.collections[0].get_paths()])
    for number, low, high in ((1, 0.6, 0.75), (2, 0.7, 0.8)):
        heights = [y for x, y in band if x == number]
        assert [min(heights), max(heights)] == pytest.approx([low, high])
    assert [ax.lines[1].get_ydata()[0] for ax in (toy, reading)] == [0.54, 0.92]
    assert toy.get_ylim() == reading.get_ylim()
    assert toy.get_ylim()[0] < 0.1 < 0.92 < toy.get_ylim()[1]
    assert "toy 0.50, 0.70 [0.60, 0.75], 0.72 [0.70, 0.80], teacher 0.54; reading 0.30" in figure.alt_text
    title = figure.get_suptitle().replace("\u00a0", " ").replace("\n", " ")  # numbers are not broken over lines
    assert title == "Toy 0.50 before, 0.70 after round 1, 0.72 after round 2; reading 0.30 before, 0.20 after round 1"


def test_rounds_without_a_teacher_and_rounds_that_cannot_be_drawn():
    assert len(plots.plot_rounds({"toy": ROUNDS["toy"]}).axes[0].get_legend().get_texts()) == 1
    for wrong, message in (
        ({}, "0 worlds"),
        ({str(k): ROUNDS["toy"] for k in range(4)}, "4 worlds"),
        ({"toy": ROUNDS["toy"][:1]}, "has 1 row"),
        ({"toy": [(0.5, 0.5, 0.5), (0.7, 0.8, 0.9)]}, "outside its interval"),
        ({"toy": [(0.5, 0.5, 0.5), (0.7, math.nan, 0.9)]}, "nan"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.plot_rounds(wrong)
