"""Figures from arrays: each function returns a matplotlib Figure. No model is called; pyplot keeps no reference."""

from padlab.show.plots.alpha import plot_alpha_curve, plot_calibration_step
from padlab.show.plots.calibration import plot_position_bias, plot_reliability
from padlab.show.plots.comparison import plot_before_after, plot_paired
from padlab.show.plots.entropy import plot_entropy_beta
from padlab.show.plots.geometry import plot_permutohedron, plot_simplex
from padlab.show.plots.heatmaps import plot_pairwise, plot_rank_marginals
from padlab.show.plots.levels import plot_levels
from padlab.show.plots.rankings import plot_rankings, plot_rewards
from padlab.show.plots.rounds import plot_rounds
from padlab.show.plots.scatter import plot_scatter
from padlab.show.plots.students import plot_students
from padlab.show.plots.style import ITEMS, STUDENT, TEACHER, Figure, axes, projector
from padlab.show.plots.training import LiveTraining, plot_training

__all__ = [
    "ITEMS",
    "STUDENT",
    "TEACHER",
    "Figure",
    "LiveTraining",
    "axes",
    "plot_alpha_curve",
    "plot_before_after",
    "plot_calibration_step",
    "plot_entropy_beta",
    "plot_levels",
    "plot_paired",
    "plot_pairwise",
    "plot_permutohedron",
    "plot_position_bias",
    "plot_rank_marginals",
    "plot_rankings",
    "plot_reliability",
    "plot_rewards",
    "plot_rounds",
    "plot_scatter",
    "plot_simplex",
    "plot_students",
    "plot_training",
    "projector",
]
