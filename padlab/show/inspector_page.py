"""The inspector's view without a kernel: a figure-free view for notebooks, a page, and the same content as JSON."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

import padlab
from padlab.candidates import as_dataset, check_candidates
from padlab.safe_files import write_json
from padlab.show.html import Html, escape
from padlab.show.html.page import choice, folded, image, page, wide
from padlab.show.inspection import Inspection
from padlab.show.inspection_state import State, comparable
from padlab.show.inspector_views import (
    NAMES,
    answers_view,
    as_numbers,
    fixed_view,
    moving_view,
    pairs_view,
    prompt_view,
    stacked,
    tokens_view,
)
from padlab.show.plots import Figure, plot_rankings
from padlab.show.snapshot import ENUMERATED, Preferences, Snapshot, preferences, snapshot_of_row

READING = (
    "<p>Reward: mean log-probability per token, nats; one nat less is 2.7 times less likely per token. P(first): the "
    "probability of standing first in a ranking drawn from the model's distribution; in brackets its 95 % interval, "
    "from resampling the response's tokens (and the teacher's answers). log p_sel: log of the probability that the "
    "teacher chooses the response when asked, in both orders of each pair. Jensen-Shannon divergence: distance of two "
    "distributions over rankings, 0 to 0.69. Kendall's tau: agreement of two orders, -1 to 1. Entropy: how undecided a "
    "distribution is. Option mass: the probability that the teacher's answer is one of the options at all. Position "
    "bias: how far it prefers an option for its place. A Plackett-Luce distribution draws the best response with "
    "probability proportional to exp(score), then the best of the rest, and so on; answers in a circle (A over B, B "
    "over C, C over A) fit none.</p>"
)
ALPHAS = tuple(k / 10 for k in range(11))  # that the page can switch between


def inspect_static(source: Any, row: int = 0, *, alpha: float | None = None, beta: float | None = None) -> Html:
    r"""The inspector's view without a kernel, in a notebook that is saved and opened elsewhere.

    Args:
        source: a scored `Inspection`, or a candidates table with rewards.
        row: of the table.
        alpha: None: the inspection's own; of a table's row 0.5 with selection probabilities, else 0.
        beta: None: the inspection's own; of a table's row 10.

    Raises:
        ValueError: nothing is scored yet, or a row that is not there.

    >>> row = {"prompt": "Hi", "responses": ["a", "b"], "teacher_reward": [-1.0, -2.0]}
    >>> print(inspect_static([row], beta=1.0).text.split("\n")[3])
       teacher: reward −1.00 nats/token, P(first) 0.73
    """
    if isinstance(source, Inspection):
        snapshot, state = source.snapshot(), source.state
        alpha, beta = state.alpha if alpha is None else alpha, state.beta if beta is None else beta
        earlier = earlier_preferences(source, alpha, beta)
    else:
        snapshot, earlier = snapshot_of_row(row_of(source, row)), None
        alpha = (0.0 if snapshot.selection_prob is None else 0.5) if alpha is None else alpha
        beta = 10.0 if beta is None else beta
    found = preferences(snapshot, alpha, beta)
    return stacked(
        [prompt_view(snapshot), moving_view(snapshot, found, earlier), pairs_view(found), fixed_view(snapshot)]
    )


def row_of(table: Any, row: int) -> dict[str, Any]:
    """A row of a candidates table; ValueError where there is none of that number."""
    table = check_candidates(as_dataset(table))
    if not -len(table) <= row < len(table):
        raise ValueError(f"there is no row {row}: the table has rows 0 to {len(table) - 1}")
    return table[row]


def write_page(inspection: Inspection, path: str | Path, note: str = "") -> Path:
    """One self-contained page of a scored inspection, and the same content as JSON beside it.

    The page has no script and fetches nothing; buttons switch between eleven alphas, if the teacher was asked.

    Args:
        inspection: scored.
        path: of the page; the JSON's name ends in .json instead.
        note: a line below the title, e.g. the command that made the page.

    Returns:
        the page's path.
    """
    path, snapshot, state = Path(path).expanduser(), inspection.snapshot(), inspection.state
    now = preferences(snapshot, state.alpha, state.beta)
    sections = [("", f"<p>{escape(note)}</p>" if note else ""), ("Prompt", prompt_view(snapshot).html)]
    sections += [("Preferences", _switch(inspection, snapshot, state)), *_figure(snapshot, now)]
    at = f"at alpha {state.alpha:g}, beta {state.beta:g}"
    sections += [(f"Pairs and ranks {at}", folded("open", wide(pairs_view(now))))]
    if snapshot.votes is not None:
        sections.append(("Answers to each pair", folded("open", wide(answers_view(snapshot)))))
    sections.append(("Tokens", folded("open", tokens_view(snapshot).html)))
    sections.append(("How to read this", folded("open", READING)))
    described = {role: model.describe() for role, model in inspection.models.items()}
    sections.append(("Models", "".join(_model_line(role, d) for role, d in described.items())))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page("What both models prefer", sections), encoding="utf-8")
    write_json(path.with_suffix(".json"), {**as_numbers(snapshot, now), "models": described, "versions": versions()})
    return path


def versions() -> dict[str, str]:
    """Versions that decide numbers."""
    found = {"padlab": padlab.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
    return {**found, "python": platform.python_version()}


def as_python(inspection: Inspection) -> str:
    """The lines that make this view again.

    >>> student, teacher = load_pair("tiny")
    >>> print(as_python(Inspection(student, teacher, "Hi", ["a", "b"])).splitlines()[0])
    import padlab
    """
    state, typed = inspection.state, all(not (r.finished or r.ids) for r in inspection.state.responses)
    texts = ",\n    ".join(repr(r.text if typed else r) for r in state.responses)
    prompt = [*state.row.get("previous_messages", []), {"role": "user", "content": state.row["prompt"]}]
    shown = repr(state.row["prompt"]) if len(prompt) == 1 else repr([dict(m) for m in prompt])
    lines = ["import padlab", *([] if typed else ["from padlab.show.inspection_state import Response"])]
    for role, model in inspection.models.items():
        lines.append(f"{role} = padlab.load_model({model.source or model.name!r})  # or as it was made")
    return "\n".join([
        *lines,
        f"padlab.inspect(student, teacher, {'before=before, ' if 'before' in inspection.models else ''}"
        f"alpha={state.alpha!r}, beta={state.beta!r}, judge={state.judge!r},",
        f"    prompt={shown}, responses=[\n    {texts}])",
    ])  # fmt: skip


def earlier_preferences(
    inspection: Inspection, alpha: float | None = None, beta: float | None = None
) -> Preferences | None:
    """The pinned state, else the one before the last edit, at this alpha and beta; None where nothing compares."""
    state, look = inspection.pinned or inspection.previous, inspection.state
    if state is None or not comparable(look, state):
        return None
    alpha, beta = look.alpha if alpha is None else alpha, look.beta if beta is None else beta
    try:
        return preferences(inspection.snapshot(replace(state, judge=look.judge)), alpha, beta)
    except ValueError:  # never scored
        return None


def _switch(inspection: Inspection, snapshot: Snapshot, state: State) -> str:
    """The view at eleven alphas, where the teacher was asked; else at the state's own."""

    def at(alpha: float) -> str:
        earlier = earlier_preferences(inspection, alpha)
        return moving_view(snapshot, preferences(snapshot, alpha, state.beta), earlier).html

    if snapshot.selection_prob is None:
        return at(state.alpha)
    alphas = sorted({*ALPHAS, state.alpha})
    line = "<p>alpha, the weight of the selection probability in the teacher's reward:</p>"
    return line + choice("alpha", {f"{alpha:g}": at(alpha) for alpha in alphas}, f"{state.alpha:g}")


def _figure(snapshot: Snapshot, found: Preferences) -> list[tuple[str, str]]:
    if len(snapshot.responses) > ENUMERATED or not {"student", "teacher"} <= set(found.scores):
        return []
    drawn = rankings_figure(found)
    return [(f"Rankings at alpha {found.alpha:g}, beta {found.beta:g}", image(drawn.png(), drawn.alt_text))]


def rankings_figure(found: Preferences) -> Figure:
    """The distribution over rankings as a matplotlib figure, for a PNG."""
    return plot_rankings(found.scores["student"], found.scores["teacher"], before=found.scores.get("before"))


def _model_line(role: str, described: Mapping[str, str]) -> str:
    facts = ", ".join(f"{name} {described[name]}" for name in ("source", "weights", "dtype") if described.get(name))
    return f"<p><b>{escape(NAMES[role])}</b>: {escape(described['name'])} ({escape(facts)})</p>"
