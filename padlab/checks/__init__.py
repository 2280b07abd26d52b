"""Checks of the course's exercises: `padlab.checks.<name>(my_function)` gives a verdict and names the likely mistake.

Each runs the function on small random inputs (float32 tensors, numbers, texts), compares the answers, and never raises;
`hypothesis` runs an experiment on four seeds instead. Answers may be tensors, arrays, lists or numbers. The exercises,
by notebook:

    01  mean_log_probability, top_p, max_min_selection
    02  debias, calibrate, option_mass
    03  ranking_log_probability, pairwise_probability, gumbel_ranking
    04  vpd, jsd, batch_loss
    05  kendall_tau, paired_bootstrap, blind_vote
    06  seed_interval, equal_budget, hypothesis
    07  gsm8k_answer, win_rate, length_matched
"""

from padlab.checks.agreement import blind_vote, kendall_tau, paired_bootstrap
from padlab.checks.calibration import calibrate, debias, option_mass
from padlab.checks.distributions import gumbel_ranking, pairwise_probability, ranking_log_probability
from padlab.checks.evaluation import gsm8k_answer, length_matched, win_rate
from padlab.checks.experiments import equal_budget, hypothesis, seed_interval
from padlab.checks.losses import batch_loss, jsd, vpd
from padlab.checks.sampling_and_rewards import max_min_selection, mean_log_probability, top_p
from padlab.checks.verdict import Verdict

__all__ = [
    "Verdict",
    "batch_loss",
    "blind_vote",
    "calibrate",
    "debias",
    "equal_budget",
    "gsm8k_answer",
    "gumbel_ranking",
    "hypothesis",
    "jsd",
    "kendall_tau",
    "length_matched",
    "max_min_selection",
    "mean_log_probability",
    "option_mass",
    "paired_bootstrap",
    "pairwise_probability",
    "ranking_log_probability",
    "seed_interval",
    "top_p",
    "vpd",
    "win_rate",
]
