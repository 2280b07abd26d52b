"""What the widget over training steps shows: one prompt's responses under the student as it was after each step."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from padlab.rankings.checks import Numbers
from padlab.rankings.large_n import js_divergence
from padlab.rankings.metrics import kendall_tau
from padlab.rankings.plackett_luce import PlackettLuce
from padlab.show import html
from padlab.show.arrays import array, same_length
from padlab.show.explore_model_views import letters_of, line, number, page
from padlab.show.html import Html, shorten
from padlab.show.html.safe import num
from padlab.show.plots.style import STUDENT, TEACHER


def step_view(
    rewards: Mapping[int, Shaped[Tensor, " items"] | Numbers],
    step: int,
    teacher: Shaped[Tensor, " items"] | Numbers,
    labels: Sequence[str],
    beta: float = 10.0,
) -> Html:
    """How near are student and teacher after this step? P(rank 1) of each response, and the rewards.

    Args:
        rewards: number of a step -> the student's n rewards after it, nats/token; the lowest number is the start.
        step: one of these numbers.
        teacher: the teacher's n rewards, nats/token.
        labels: n texts of the responses.
        beta: factor from rewards to scores, 0 or more.

    Raises:
        ValueError: a step that is not there, lists of different lengths, numbers that are not finite.

    >>> step_view({0: [-2.0, -1.0], 4: [-1.0, -2.0]}, 4, [-0.5, -3.0], ["yes", "no"]).text.splitlines()[0][:13]
    'After step 4:'
    """
    if step not in rewards:
        raise ValueError(f"step {step} is not there; there are {', '.join(map(str, sorted(rewards)))}")
    beta, start = number(beta, "beta", 0), min(rewards)
    given = {"start": rewards[start], "student": rewards[step], "teacher": teacher}
    given = {name: array(values, f"rewards, {name}", ndim=1) for name, values in given.items()}
    letters = letters_of(same_length(**given, labels=labels))
    models = {name: PlackettLuce(torch.as_tensor(beta * values)) for name, values in given.items()}
    first = {name: model.top_choice() for name, model in models.items()}
    tau = float(kendall_tau(given["student"], given["teacher"]))
    divergence = float(js_divergence(models["student"], models["teacher"]).value)
    agreement = f"Kendall tau {num(tau) if tau == tau else 'undefined'}, divergence {num(divergence, 3)} nats."
    names = [f"{letter}: {shorten(text, 60)}" for letter, text in zip(letters, labels, strict=True)]
    shown = {"response": names} | {
        f"reward, {title}": given[name].tolist()
        for name, title in (("start", f"student at step {start}"), ("student", "student now"), ("teacher", "teacher"))
    }
    return page(
        line(f"After step {step}: {agreement}", bold=True),
        html.bars(
            {name: first[name] for name in ("student", "teacher")}, names, {"student": STUDENT, "teacher": TEACHER},
            ghost={"student": first["start"]}, longest=1.0,
            title=f"probability of rank 1 at beta = {beta:g}; outline: the student at step {start}",
        ),
        html.table([dict(zip(shown, row, strict=True)) for row in zip(*shown.values(), strict=True)]),
    )  # fmt: skip
