"""The small widgets for notebooks: a control or two above a view of `padlab.show.explore_views`, one question each.

Core ipywidgets and no JavaScript. Moving a slider calls one view and replaces one HTML text. A saved notebook, and a
page such as GitHub's that runs no widgets, shows the view as it was when the cell ran. Needs the extra `lab`.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

from padlab.lm.models import LanguageModel
from padlab.rankings.checks import Numbers
from padlab.show.explore_grid_view import Curves, grid_view
from padlab.show.explore_model_views import COLDEST, letters_of, number
from padlab.show.explore_step_view import step_view
from padlab.show.explore_views import (
    alpha_view,
    beta_view,
    pull_view,
    ranking_view,
    temperature_view,
    token_gap_view,
)
from padlab.show.html import Html, error_box

try:
    from ipywidgets import HTML, Button, Dropdown, FloatSlider, Layout, SelectionSlider, Text, Textarea, VBox, Widget
except ImportError as error:
    raise ImportError("the widgets of padlab.show.explore need ipywidgets: pip install padlab[lab]") from error

MOST_LISTED = 4  # items up to which all n! rankings stand in a list; above, the ranking is typed
WIDE = {"layout": {"width": "auto"}, "style": {"description_width": "initial"}}  # no description is cut


class Explorer(VBox):
    """Controls above the view of their values; an error is written between them, and the last good view stays.

    Args:
        view: makes the view from the controls' values, by name.
        controls: name of the view's argument -> widget with a value, in the order in which they are shown.
        button: where the view takes long: it is made when this is clicked, not at each change of a control.

    Raises:
        Exception: whatever the view raises at the controls' first values.

    >>> from padlab.show.html import Html
    >>> Explorer(lambda x: Html(f"<b>{x}</b>", str(x)), {"x": FloatSlider(0.5)}).shown
    0.5
    """

    def __init__(self, view: Callable[..., Html], controls: Mapping[str, Widget], button: Button | None = None):
        self.view, self.named, self.button = view, dict(controls), button
        self.output, self.error = HTML(), HTML()
        self._show(self._make())
        extra = [] if button is None else [button]
        layout = Layout(max_width="48em", overflow="hidden")
        super().__init__([*self.named.values(), *extra, self.error, self.output], layout=layout)
        if button is not None:
            button.on_click(self.update)
        else:
            for control in self.named.values():
                control.observe(self.update, "value")

    def update(self, *_: Any) -> None:
        """Make the view anew from the controls' values; called by them."""
        if self.button is not None:
            self.button.disabled = True
        try:
            self._show(self._make())
        except Exception as error:  # whatever it is, it is shown: a callback has nobody else to tell
            self.error.value = error_box(error)
        else:
            self.error.value = ""
        finally:
            if self.button is not None:
                self.button.disabled = False

    def _make(self) -> Html:
        return self.view(**{name: control.value for name, control in self.named.items()})

    def _show(self, made: Html) -> None:
        self.shown = made
        self.output.value = made._repr_html_()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The widget, and the view of this moment as HTML and as text for pages that run no widgets."""
        data = super()._repr_mimebundle_(**kwargs) or {}
        return data | {"text/html": self.shown._repr_html_(), "text/plain": self.shown.text}


def _slider(description: str, value: float, low: float, high: float, step: float) -> FloatSlider:
    return FloatSlider(value, min=low, max=high, step=step, description=description, continuous_update=True, **WIDE)


def explore_alpha(table: Any, row: int = 0, beta: float = 10.0) -> Explorer:
    """Slider for alpha: which response of a prompt is the best, by likelihood, by selection, or by both?

    Args:
        table: candidates with prompt, responses, teacher_reward (nats/token) and selection_prob.
        row: the prompt, from 0.
        beta: factor on the calibrated reward, 0 or more.

    Raises:
        ValueError: a row or column that is not there.

    >>> row = {"prompt": "2+2?", "responses": ["4", "5"], "teacher_reward": [-2, -1], "selection_prob": [0.9, 0.1]}
    >>> explore_alpha([row]).named["alpha"].value
    0.0
    """
    alpha = _slider("alpha (weight of the selection)", 0.0, 0.0, 1.0, 0.01)
    return Explorer(partial(alpha_view, table, row=row, beta=beta), {"alpha": alpha})


def explore_beta(
    rewards: Shaped[Tensor, " items"] | Numbers,
    labels: Sequence[str] | None = None,
    other: Shaped[Tensor, " items"] | Numbers | None = None,
    beta: float = 10.0,
) -> Explorer:
    """Slider for beta: how sharp is the distribution over rankings?

    Args:
        rewards: n rewards, nats/token, 2 to 7 responses; of the student where `other` is given.
        labels: n texts of the responses.
        other: the teacher's n rewards, to compare both.
        beta: where the slider starts, 0 or more.

    Raises:
        ValueError: as `explore_views.beta_view`.

    >>> explore_beta([-1.0, -2.0], beta=2.0).named["beta"].value
    2.0
    """
    beta = number(beta, "beta", 0)
    slider = _slider("beta (factor on the rewards)", beta, 0.0, max(30.0, beta), 0.1)
    return Explorer(partial(beta_view, rewards, other=other, labels=labels), {"beta": slider})


def explore_ranking(scores: Shaped[Tensor, " items"] | Numbers) -> Explorer:
    """List of the rankings (a text to type above 4 items): how does its probability come about, stage by stage?

    Args:
        scores: n scores, beta * reward (nats).

    Raises:
        ValueError: as `explore_views.ranking_view`.

    >>> explore_ranking([1.0, 0.0]).named["ranking"].options
    ('A > B', 'B > A')
    """
    letters = letters_of(len(scores))
    if len(letters) <= MOST_LISTED:
        rankings = [" > ".join(order) for order in itertools.permutations(letters)]
        control = Dropdown(options=rankings, description="ranking, best first", **WIDE)
    else:
        control = Text("".join(letters), description=f"ranking, best first, such as {''.join(letters[::-1])}", **WIDE)
    return Explorer(partial(ranking_view, scores), {"ranking": control})


def explore_temperature(logits: Shaped[Tensor, " tokens"] | Numbers, tokens: Sequence[str] | None = None) -> Explorer:
    """Slider for the temperature: how is the next token chosen?

    Args:
        logits: one finite number per token.
        tokens: the tokens' texts.

    Raises:
        ValueError: as `explore_views.temperature_view`.

    >>> explore_temperature([2.0, 0.0]).named["temperature"].value
    1.0
    """
    temperature = _slider("T (temperature)", 1.0, COLDEST, 3.0, 0.01)
    return Explorer(partial(temperature_view, logits, tokens=tokens), {"temperature": temperature})


def explore_pull() -> Explorer:
    """Sliders for the two models' score gaps: where does each loss pull the student, and how hard?

    At first the student has no preference (gap 0) and the teacher has P(A first) = 0.8 (gap log 4).

    >>> sorted(explore_pull().named)
    ['student_gap', 'teacher_gap']
    """
    gaps = {
        f"{model}_gap": _slider(f"{model}'s gap s_A − s_B (beta × reward)", value, -6.0, 6.0, 0.1)
        for model, value in {"student": 0.0, "teacher": math.log(4)}.items()
    }
    return Explorer(pull_view, gaps)


def explore_grid(values: Numbers, curves: Curves, name: str = "alpha") -> Explorer:
    """Slider over the measured values of a setting: what came out there, with intervals? Nothing is trained.

    Args:
        values: K values of the setting, each once.
        curves: name -> K results (estimate, low, high, ...), e.g. an `Interval` each; higher is better.
        name: the setting's name.

    Raises:
        ValueError: as `explore_grid_view.grid_view`.

    >>> explore_grid([0, 0.5], {"toy": [(-0.1, -0.2, 0.1), (0.3, 0.2, 0.4)]}).named["value"].value
    0.0
    """
    options = [(f"{value:g}", value) for value in map(float, values)]
    slider = SelectionSlider(options=options, description=f"{name} (measured values)", **WIDE)
    return Explorer(partial(grid_view, values, curves, name=name), {"value": slider})


def token_gap(model: LanguageModel, prompt: str | Sequence[Mapping[str, Any]], a: str, b: str) -> Explorer:
    """Two texts and a button: which tokens make one response cost more than the other?

    Args:
        model: any `LanguageModel`; it scores both texts at once and again at each click.
        prompt: the user's text, or messages of which the last is the user's.
        a, b: the responses to begin with.

    Raises:
        ValueError: as `explore_views.token_gap_view`.

    >>> token_gap(load_pair("tiny").teacher, "Hi", "ab", "c").button.description
    'Score'
    """
    texts = {"a": Textarea(a, description="response A", rows=2, **WIDE)}
    texts["b"] = Textarea(b, description="response B", rows=2, **WIDE)
    return Explorer(partial(token_gap_view, model, prompt), texts, Button(description="Score"))


def explore_steps(
    rewards: Mapping[int, Shaped[Tensor, " items"] | Numbers],
    teacher: Shaped[Tensor, " items"] | Numbers,
    labels: Sequence[str],
    beta: float = 10.0,
) -> Explorer:
    """Slider over the steps of a training: how do one prompt's responses move?

    Args:
        rewards: number of a step -> the student's n rewards after it, nats/token; collect them with
            `distill(..., on_step=...)`.
        teacher: the teacher's n rewards, nats/token.
        labels: n texts of the responses.
        beta: factor from rewards to scores, 0 or more.

    Raises:
        ValueError: no step, or as `explore_step_view.step_view`.

    >>> explore_steps({0: [-2.0, -1.0], 4: [-1.0, -2.0]}, [-0.5, -3.0], ["yes", "no"]).named["step"].options
    (0, 4)
    """
    if not rewards:
        raise ValueError("rewards: no step; give the student's rewards by step, e.g. {0: [-1.0, -2.0]}")
    steps = sorted(rewards)
    slider = SelectionSlider(options=steps, value=steps[-1], description="training step", **WIDE)
    return Explorer(partial(step_view, rewards, teacher=teacher, labels=labels, beta=beta), {"step": slider})
