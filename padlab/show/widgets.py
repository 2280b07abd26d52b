"""The inspector in a notebook: edit a prompt or an answer, score it, and watch both models' preferences move.

Core ipywidgets only, no JavaScript. Models work in a thread of their own, so that the kernel stays usable and Cancel is
heard between batches. Sliders use what the models said already. `padlab.show.inspection` holds the state.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from padlab.candidates import as_dataset, check_candidates
from padlab.lm.loading import load_model
from padlab.show.html import Html, error_box, escape
from padlab.show.html.safe import letter
from padlab.show.inspect_table import rank_by_disagreement
from padlab.show.inspection import Inspection
from padlab.show.inspection_state import State, responses_of_row
from padlab.show.inspector_controls import Controls, Layout, VBox
from padlab.show.inspector_files import export, memory_needed, read_responses
from padlab.show.inspector_page import earlier_preferences, inspect_static
from padlab.show.inspector_views import facts_views, fixed_view, summary_view
from padlab.show.snapshot import preferences

SAMPLING = {"temperature": 1.0, "max_new_tokens": 48}
SHOWN_WITHIN = 10  # seconds that showing the widget waits for its first numbers, for the sake of saved notebooks
STALE = "opacity:0.35;filter:grayscale(1)"


class Inspector(VBox):
    """The widget of `inspect`.

    Args:
        inspection: what is shown and edited.
        table: candidates whose rows can be chosen; None: no table.
        row: of the table, to begin with.
        sampling: as in `inspect`.
    """

    def __init__(
        self, inspection: Inspection, table: Any = None, row: int = 0, sampling: Mapping[str, Any] | None = None
    ) -> None:
        self.sampling = {**SAMPLING, **(sampling or {})}
        self.sampling.pop("n", None)  # a control of its own
        self.inspection, self.table = inspection, None if table is None else check_candidates(as_dataset(table))
        self._stop, self._thread, self._shown, self._filling = threading.Event(), None, Html("", ""), False
        self._facts: list[Html] = []  # the numbers of each response
        self._state: State | None = None  # which state the view and these numbers show
        self._detailed, self._walked = None, -1  # the snapshot whose tokens are shown; the last row of `next_row`
        self.controls = Controls(inspection, 0 if self.table is None else len(self.table), self, self._guarded)
        super().__init__(self.controls.in_order(), layout=Layout(max_width="100em"))
        self._filling = True
        self.controls.row.value = row % len(self.table) if self.table is not None else 0
        self._fill()
        if inspection.state.responses and inspection.state.row["prompt"]:
            self.start()

    def _guarded(self, where: str, run: Callable[[], None]) -> Callable[..., None]:
        """A callback whose error is shown beside its field; the last good view stays."""

        def callback(*_: Any) -> None:
            if self._filling:
                return
            self.controls.errors[where].value = ""  # first, as a thread that is started may write one
            try:
                run()
            except Exception as error:  # whatever it is, it is shown: a callback has nobody else to tell
                self.controls.errors[where].value = error_box(error)

        return callback

    # --- what models do, in a thread

    def start(self) -> None:
        """Score what is missing."""
        self._check_idle()
        self._read_texts()
        self._in_thread("texts", lambda: None)

    def _check_idle(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            raise ValueError("the models are at work; Cancel stops them after the present batch")

    def _in_thread(self, where: str, first: Callable[[], object], words: str = "") -> None:
        """Do something that takes long, then score what is missing; one such thread at a time."""
        self._check_idle()
        self._stop.clear()
        self.controls.status.value = f"<div>{escape(words)}</div>"
        self._thread = threading.Thread(target=self._work, args=(where, first), daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Stop after the present batch; what was finished is kept."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the models are done; for scripts and tests."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self, where: str, first: Callable[[], object]) -> None:
        began = time.monotonic()

        def progress(name: str, share: float) -> None:
            self.controls.status.value = (
                f"<div>{escape(f'{share:.0%}, {time.monotonic() - began:.0f} s: {name}')}</div>"
            )

        try:
            if first() is not None:
                self._fill()
            if len(self.inspection.state.responses) > 1:
                self.inspection.score(self._stop.is_set, progress)
        except Exception as error:  # shown: a thread has nobody else to tell
            self.controls.errors[where].value = error_box(error)
            self.controls.status.value = "<div>stopped</div>"
        else:
            left, seconds = len(self.inspection.missing()), time.monotonic() - began
            word = f"stopped, {left} batches left," if left else "done"
            self.controls.status.value = f"<div>{word} after {seconds:.1f} s</div>"
        finally:
            self.controls.prompt.disabled = False
        self._guarded("look", self.refresh)()

    def refresh(self) -> None:
        """Draw the view again from what is known; where something is missing, the old one stays, greyed."""
        try:
            if not self.inspection.missing() and len(self.inspection.state.responses) > 1:
                self._draw_view()
        finally:
            self.mark()

    def _draw_view(self) -> None:
        snapshot, state = self.inspection.snapshot(), self.inspection.state
        found, earlier = preferences(snapshot, state.alpha, state.beta), earlier_preferences(self.inspection)
        self._shown, self._state = summary_view(snapshot, found, earlier), state
        self._facts = facts_views(snapshot, found, earlier)
        if snapshot is not self._detailed:
            self._detailed, self.controls.fixed.value = snapshot, fixed_view(snapshot)._repr_html_()

    def mark(self) -> None:
        """Mark the responses that are not scored, and grey the view where it is not that of the fields."""
        state, stale = self.inspection.state, self.inspection.stale()
        texts = [r.text for r in state.responses]
        same_prompt = self.controls.prompt.value == state.row["prompt"]
        for k, (name, field, facts) in enumerate(self.controls.parts()):
            known = same_prompt and k < len(texts) and field.value == texts[k] and k not in stale
            name.value = f"<b>{letter(k)}</b>{'' if known else ' <i>not scored</i>'}"
            facts.value = self._facts[k].html if known and state == self._state else ""
        current = self._is_read() and state == self._state
        self.controls.view.value = f'<div style="{"" if current else STALE}">{self._shown._repr_html_()}</div>'

    def _is_read(self) -> bool:
        """Whether the fields say what the state says."""
        state = self.inspection.state
        texts = [r.text for r in state.responses]
        return self.controls.prompt.value == state.row["prompt"] and self.controls.texts() == texts

    # --- what the controls do

    def _read_texts(self) -> None:
        """Take over what stands in the fields; one step of undo."""
        state, prompt, texts = self.inspection.state, self.controls.prompt.value, self.controls.texts()
        changed = [k for k, (text, r) in enumerate(zip(texts, state.responses, strict=False)) if text != r.text]
        if prompt != state.row["prompt"]:
            previous = state.row.get("previous_messages", [])
            self.inspection.ask([*previous, {"role": "user", "content": prompt}], texts)
        elif len(texts) == len(state.responses) and len(changed) == 1:
            self.inspection.edit(changed[0], texts[changed[0]])
        elif changed or len(texts) != len(state.responses):
            kept = {r.text: r for r in state.responses}
            same = zip(texts, [*state.responses, *[None] * len(texts)], strict=False)
            self.inspection.put([r if r and r.text == text else kept.get(text, text) for text, r in same])

    def _fill(self) -> None:
        """Write the state into the fields."""
        state, controls, self._filling = self.inspection.state, self.controls, True
        try:
            texts = [r.text for r in state.responses] or [""] * controls.number.value
            controls.prompt.value, controls.number.value = state.row["prompt"], max(2, len(texts))
            controls.set_texts(texts)
            controls.alpha.value, controls.beta.value, controls.judge.value = state.alpha, state.beta, state.judge
        finally:
            self._filling = False
        self.refresh()

    def number_changed(self) -> None:
        """More or fewer fields for responses."""
        texts = self.controls.texts()[: self.controls.number.value]
        self.controls.set_texts(texts + [""] * (self.controls.number.value - len(texts)))
        self.mark()

    def look_changed(self) -> None:
        """Other alpha, beta or judge: no model is called."""
        controls = self.controls
        self.inspection.look(alpha=controls.alpha.value, beta=controls.beta.value, judge=controls.judge.value)
        if self.inspection.missing():
            controls.status.value = "<div>Score asks the models what is missing</div>"
        self.refresh()

    def draw(self) -> None:
        """Let the student write the responses."""
        self._check_idle()
        self._read_texts()
        count, seed = self.controls.number.value, time.time_ns() % 2**31
        self.controls.prompt.disabled = True  # what is typed now would be lost
        draw = lambda: self.inspection.draw(count, seed, **self.sampling)  # noqa: E731
        self._in_thread("texts", draw, "the student writes ...")

    def read(self) -> None:
        """Take the responses from a file."""
        self._check_idle()
        self.inspection.put(read_responses(self.controls.file.value))
        self._fill()
        self.start()

    def take_row(self) -> None:
        """Take prompt and responses from the table's row."""
        self._check_idle()
        entry = self.table[self.controls.row.value]
        previous = entry.get("previous_messages") or []
        self.inspection.ask([*previous, {"role": "user", "content": entry["prompt"]}], responses_of_row(entry))
        self._fill()

    def next_row(self) -> None:
        """The row where both models disagree most; again: the next one."""
        self._check_idle()
        ranked = [row for row, _, _ in rank_by_disagreement(self.table, beta=self.controls.beta.value)]
        walking = self._walked == self.controls.row.value
        self.controls.row.value = ranked[(ranked.index(self._walked) + 1) % len(ranked) if walking else 0]
        self._walked = self.controls.row.value
        self.start()

    def undo(self) -> None:
        """Back to before the last edit; first, back to what was scored."""
        self._check_idle()
        if self._is_read():
            self.inspection.undo()
        self._fill()

    def pin(self) -> None:
        """Compare with the present state from now on."""
        self._check_scored()
        self.inspection.pin()
        self.controls.status.value = "<div>pinned: outlines and changes are against this state</div>"
        self.refresh()

    def _check_scored(self) -> None:
        if not self._is_read() or self.inspection.missing():
            raise ValueError("something is not scored yet; click Score first")

    def export_files(self) -> None:
        """Write page, JSON, PNG, table and Python lines into the current folder."""
        self._check_scored()
        names = export(self.inspection, Path.cwd())
        self.controls.status.value = f"<div>written: {escape(', '.join(map(str, names)))}</div>"

    def load(self) -> None:
        """Load the models whose names were changed."""
        new = {r: p.value for r, p in self.controls.pick.items() if p.value != self.inspection.models[r].name}

        def load() -> None:
            for role, spec in new.items():
                self.inspection.replace_model(role, load_model(spec))

        self._in_thread("models", load, "".join(f"loading {spec} {memory_needed(spec)} " for spec in new.values()))

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The widget, and its view of this moment for pages that run no widgets."""
        self.wait(SHOWN_WITHIN)  # the view that is saved should have numbers in it
        data = super()._repr_mimebundle_(**kwargs) or {}
        twin = Html("<div>nothing is scored yet</div>", "nothing is scored yet")
        if not self.inspection.missing() and len(self.inspection.state.responses) > 1:
            try:
                twin = inspect_static(self.inspection)
            except ValueError as error:  # alpha without answers, say
                twin = Html(error_box(error), str(error))
        return data | {"text/html": twin._repr_html_(), "text/plain": twin.text}
