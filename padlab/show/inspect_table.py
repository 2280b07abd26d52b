"""A whole candidates table at once: where student and teacher disagree most, and what their rewards go with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from padlab.candidates import as_dataset, check_candidates
from padlab.lm.encoding import candidate_ids
from padlab.lm.models import LanguageModel
from padlab.phases.rewards import add_rewards
from padlab.rankings.calibration import log_selection
from padlab.safe_files import write_json
from padlab.show.html import Html, escape, table, visible
from padlab.show.html.page import folded, image, page
from padlab.show.html.safe import num
from padlab.show.inspector_views import as_numbers, moving_view, prompt_view, stacked
from padlab.show.plots import Figure, plot_scatter
from padlab.show.snapshot import Preferences, Snapshot, preferences, snapshot_of_row

Disagreement = tuple[
    int, Snapshot, Preferences
]  # the row's number, what the models said, what alpha and beta make of it


def rank_by_disagreement(source: Any, alpha: float | None = None, beta: float = 10.0) -> list[Disagreement]:
    """The table's rows, those with the largest Jensen-Shannon divergence of student and teacher first.

    Args:
        source: a table with `student_reward` and `teacher_reward`.
        alpha: None: 0.5 where every row has selection probabilities, else 0.
        beta: above 0.

    Raises:
        ValueError: a column is missing, with what adds it.

    >>> row = {"prompt": "?", "responses": ["a", "b"], "student_reward": [-1, -2], "teacher_reward": [-2, -1]}
    >>> round(rank_by_disagreement([row], beta=1.0)[0][2].agreement["jsd"], 3)
    0.111
    """
    candidates = check_candidates(as_dataset(source), ("student_reward", "teacher_reward"))
    if alpha is None:
        asked = "selection_prob" in candidates.column_names and None not in list(candidates["selection_prob"])
        alpha = 0.5 if asked else 0.0
    found = []
    for row, entry in enumerate(candidates):
        if len(entry["responses"]) > 1:
            snapshot = snapshot_of_row(entry)
            try:
                found.append((row, snapshot, preferences(snapshot, alpha, beta)))
            except ValueError as error:
                raise ValueError(f"row {row}: {error}") from None
    return sorted(found, key=lambda item: -item[2].agreement["jsd"])


def inspect_table(
    source: Any,
    student: LanguageModel | None = None,
    teacher: LanguageModel | None = None,
    *,
    most: int = 10,
    alpha: float | None = None,
    beta: float = 10.0,
    path: str | Path | None = None,
    note: str = "",
) -> Html:
    """Where student and teacher disagree most, with texts, and what the rewards go with; in a notebook or on a page.

    Args:
        source: a candidates table; rewards that it lacks are added by the models.
        student, teacher: for those rewards, and for lengths in tokens; None: lengths in characters.
        most: number of rows shown with their texts; all others stand in the table.
        alpha, beta: as in `rank_by_disagreement`.
        path: also write one self-contained page there, and its content as JSON beside it.
        note: stands under the heading, before the models' names, alpha and beta; e.g. the name of the file.

    Raises:
        ValueError: rewards are missing and the model that could add them is not given.
    """
    candidates = check_candidates(as_dataset(source))
    who = []
    for role, model in (("student", student), ("teacher", teacher)):
        scored = " (rewards as in the table)" if f"{role}_reward" in candidates.column_names else ""
        who.append(f"{role}: {model.name if model else 'not named'}{scored}")
        if model is not None and f"{role}_reward" not in candidates.column_names:
            candidates = add_rewards(candidates, model, f"{role}_reward")
    ranked = rank_by_disagreement(candidates, alpha, beta)
    look = f"alpha {ranked[0][2].alpha:g}, beta {beta:g}" if ranked else f"beta {beta:g}"
    about = f"{note}; " * bool(note) + f"{', '.join(who)}; {look}"
    listed = _list(ranked)
    figures = _figures(candidates, ranked, student or teacher)
    shown = [(f"Row {k}", stacked([prompt_view(s), moving_view(s, found)])) for k, s, found in ranked[:most]]
    if path is not None:
        _write(Path(path).expanduser(), about, candidates, ranked, listed, figures, shown)
    pictures = [Html(image(figure.png(), figure.alt_text), figure.alt_text) for figure in figures]
    headed = [Html(f"<b>{escape(name)}</b>{view.html}", f"{name}\n{view.text}") for name, view in shown]
    return stacked([Html(escape(about), visible(about)), listed, *pictures, *headed])


def _list(ranked: Sequence[Disagreement]) -> Html:
    """One line per row: how far apart the models are, and what each would choose."""
    rows = []
    for row, snapshot, found in ranked:
        best = {role: snapshot.responses[int(found.top_choice[role].argmax())] for role in ("student", "teacher")}
        jsd, tau = found.agreement["jsd"], found.agreement["tau"]
        rows.append({
            "row": row, "JSD, nats": num(jsd), "tau": num(tau) if tau == tau else None,
            "prompt": snapshot.prompt, "the student's first": best["student"], "the teacher's first": best["teacher"],
        })  # fmt: skip
    return table(rows, caption="rows by disagreement (Jensen-Shannon divergence, 0 to 0.69)", limit=200)


def _figures(candidates: Any, ranked: Sequence[Disagreement], model: LanguageModel | None) -> list[Figure]:
    """Length against reward, and the teacher's reward against log p_sel; none where there are too few responses."""
    flat: dict[str, list[float]] = {"student": [], "teacher": [], "length": [], "log_selection": []}
    ids = candidate_ids(model, candidates)[1] if model is not None else None
    for row, snapshot, _ in ranked:
        for role in ("student", "teacher"):
            flat[role] += snapshot.rewards[role].tolist()
        flat["length"] += [len(r) for r in (snapshot.responses if ids is None else ids[row])]
        if snapshot.selection_prob is not None:
            flat["log_selection"] += log_selection(torch.as_tensor(snapshot.selection_prob)).tolist()
    if len(flat["length"]) < 3:
        return []
    unit = "characters" if model is None else "tokens"
    rewards = {role: flat[role] for role in ("student", "teacher")}
    figures = [plot_scatter(flat["length"], rewards, f"length, {unit}", "reward, nats/token")]
    if len(flat["log_selection"]) == len(flat["teacher"]):
        answers = {"teacher": flat["log_selection"]}
        figures.append(plot_scatter(flat["teacher"], answers, "teacher's reward, nats/token", "log p_sel, nats"))
    return figures


def _write(
    path: Path,
    about: str,
    candidates: Any,
    ranked: Sequence[Disagreement],
    listed: Html,
    figures: Sequence[Figure],
    shown: Sequence[tuple[str, Html]],
) -> None:
    mean = fmean(found.agreement["jsd"] for _, _, found in ranked) if ranked else None
    alone = len(candidates) - len(ranked)
    line = f"{len(ranked)} rows" + (f"; mean Jensen-Shannon divergence {num(mean)} nats" if ranked else "")
    line += f"; {alone} more with a single response, which cannot be ranked" if alone else ""
    sections = [("", f"<p>{escape(about)}.</p><p>{line}.</p>")]
    sections += [("Figures", "".join(image(figure.png(), figure.alt_text) for figure in figures))] if figures else []
    sections += [(name, view.html) for name, view in shown]
    sections += [("All rows", folded("open", listed.html))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page("Where student and teacher disagree", sections), encoding="utf-8")
    rows: list[Mapping[str, Any]] = [{"row": row, **as_numbers(snapshot, found)} for row, snapshot, found in ranked]
    write_json(path.with_suffix(".json"), {"about": about, "mean_jsd": mean, "rows": rows})
