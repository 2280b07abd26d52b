"""What the metrics are called in figures, in which unit, and which way is better."""

from padlab.show.plots.style import label

# Metric name: how an axis calls it, with its unit, and whether more of it is better (1), worse (-1) or neither (0).
METRICS = {
    "loss": ("training loss (nats)", -1),
    "eval_loss": ("held-out loss (nats)", -1),
    "jsd": ("Jensen-Shannon divergence (nats)", -1),
    "kendall_tau": ("Kendall tau (−1 to 1)", 1),
    "top1": ("same best response (share of prompts)", 1),
    "pairwise_accuracy": ("pairs in the teacher's order (share)", 1),
    "teacher_reward": ("teacher's reward (nats/token)", 1),
    "student_reward": ("student's reward (nats/token)", 1),
    "length": ("length (tokens)", 0),
    "finished": ("finished responses (share)", 1),
    "repetition": ("repetition (share of n-grams)", -1),
    "grad_norm": ("gradient norm (no unit)", 0),
    "learning_rate": ("learning rate (no unit)", 0),
}


def metric_label(name: str) -> str:
    """How an axis calls a metric, with its unit where padlab knows it.

    >>> metric_label("jsd")
    'Jensen-Shannon divergence (nats)'
    """
    return METRICS[name][0] if name in METRICS else label(name, 48)


def short_name(name: str) -> str:
    """A metric's name as a sentence uses it, without its unit.

    >>> short_name("kendall_tau")
    'Kendall tau'
    """
    return metric_label(name).split(" (")[0]


def better_sign(name: str) -> int:
    """1 where more of the metric is better, -1 where less is, 0 where neither; 1 for names padlab does not know.

    >>> better_sign("jsd")
    -1
    """
    return METRICS.get(name, ("", 1))[1]
