"""The inspector's controls: fields, sliders and buttons, and which action each of them calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log10
from typing import Any

from padlab.show.html.safe import letter
from padlab.show.inspection import Inspection
from padlab.show.inspection_state import MOST

try:
    from ipywidgets import (
        HTML,
        Accordion,
        BoundedIntText,
        Button,
        Checkbox,
        Combobox,
        FloatLogSlider,
        FloatSlider,
        HBox,
        Layout,
        Text,
        Textarea,
        VBox,
    )  # fmt: skip
except ImportError as error:
    raise ImportError("padlab.inspect needs ipywidgets: pip install padlab[lab]") from error

WIDE = {"layout": {"width": "auto"}, "style": {"description_width": "initial"}}


class Controls:
    """All widgets of the inspector.

    Args:
        inspection: whose models and state they show at first.
        rows: of the candidates table; 0: there is none.
        actions: the object whose methods the controls call.
        on: (place of the error, method) -> a callback whose errors are shown there.
    """

    def __init__(self, inspection: Inspection, rows: int, actions: Any, on: Callable) -> None:
        self.errors = {name: HTML() for name in ("models", "texts", "look")}
        self.status, self.view, self.fixed = HTML(), HTML(), HTML()
        self.details = Accordion([self.fixed], titles=("answers to each pair, and every token",))
        self._make_texts(inspection, rows, actions, on)
        self._make_look(inspection, on, actions)

    def in_order(self) -> list[Any]:
        """The widgets from top to bottom: models, then texts beside the view, then tokens."""
        column = Layout(flex="1 1 27em", min_width="0", margin="0 8px 0 0")
        texts = [self.row_box, self.prompt, self.number_box, self.rows, self.errors["texts"], self.buttons, self.status]
        view = [self.look, self.errors["look"], self.view]
        columns = HBox([VBox(texts, layout=column), VBox(view, layout=column)], layout=Layout(flex_flow="row wrap"))
        return [self.pickers, self.errors["models"], columns, self.details]

    def _make_texts(self, inspection: Inspection, rows: int, actions: Any, on: Callable) -> None:
        self.pick = {
            role: Combobox(value=model.name, description=role, ensure_option=False, **WIDE)
            for role, model in inspection.models.items()
        }
        load = button(
            "Load", on("models", actions.load), "load the models that were typed: a folder, a .gguf file, a Hub id"
        )
        self.pickers = HBox([*self.pick.values(), load])
        self.prompt = Textarea(description="prompt", rows=4, **WIDE)
        self.prompt.observe(on("texts", actions.mark), "value")
        self.number = BoundedIntText(
            min=2,
            max=MOST,
            value=4,
            description="responses",
            style={"description_width": "initial"},
            layout={"width": "8.5em"},
        )
        self.number.observe(on("texts", actions.number_changed), "value")
        self.file = Text(placeholder="file: one response a line, or a JSON list", layout={"width": "17em"})
        self.number_box = HBox([
            self.number, button("Draw", on("texts", actions.draw), "let the student write them"),
            self.file, button("Read file", on("texts", actions.read), "take the responses from a file"),
        ], layout=Layout(flex_flow="row wrap"))  # fmt: skip
        last = max(0, rows - 1)
        self.row = BoundedIntText(min=0, max=last, description="row", layout={"width": "9em"})
        self.row.observe(on("texts", actions.take_row), "value")
        next_row = button("Next disagreement", on("texts", actions.next_row), "the row where both models differ most")
        self.row_box = HBox([] if not rows else [self.row, next_row])
        self.rows = VBox([])
        self.changed = on("texts", actions.mark)

    def _make_look(self, inspection: Inspection, on: Callable, actions: Any) -> None:
        state = inspection.state
        self.alpha = FloatSlider(
            state.alpha, min=0, max=1, step=0.01, description="alpha (weight of selection)", **WIDE
        )
        self.beta = FloatLogSlider(
            state.beta,
            base=10,
            min=min(-1, log10(state.beta)),
            max=max(2, log10(state.beta)),
            step=0.02,
            description="beta (scale)",
            **WIDE,
        )
        self.judge = Checkbox(value=state.judge, description="ask the teacher", indent=False)
        self.look = VBox([self.alpha, self.beta, self.judge])
        for control in (self.alpha, self.beta, self.judge):
            control.observe(on("look", actions.look_changed), "value")
        self.score_button = button("Score", on("texts", actions.start), "ask the models what is missing", "primary")
        self.cancel_button = button("Cancel", on("texts", actions.cancel), "stop after the present batch")
        self.undo_button = button("Undo", on("texts", actions.undo), "back to before the last edit")
        self.pin_button = button("Pin", on("texts", actions.pin), "compare with the present state from now on")
        self.export_button = button("Export", on("texts", actions.export_files), "page, JSON, PNG, table, Python lines")
        self.buttons = HBox([
            self.score_button, self.cancel_button, self.undo_button, self.pin_button, self.export_button,
        ], layout=Layout(flex_flow="row wrap"))  # fmt: skip

    def texts(self) -> list[str]:
        """What stands in the responses' fields."""
        return [field.value for _, field, _ in self.parts()]

    def parts(self) -> list[tuple[HTML, Textarea, HTML]]:
        """Per response: its letter, its field, and its numbers."""
        return [(*row.children[0].children, row.children[1]) for row in self.rows.children]

    def set_texts(self, texts: Sequence[str]) -> None:
        """One field per text."""
        self.rows.children = [self._text_row(k, text) for k, text in enumerate(texts)]

    def _text_row(self, index: int, text: str) -> VBox:
        field = Textarea(text, rows=2, tooltip=f"response {letter(index)}", layout={"width": "100%"})
        field.observe(self.changed, "value")
        name = HTML(f"<b>{letter(index)}</b>", layout={"width": "4.5em", "flex": "0 0 auto"})
        return VBox([HBox([name, field]), HTML()])


def button(text: str, on_click: Callable[..., None], tooltip: str, style: str = "") -> Button:
    """A button that calls something."""
    button = Button(description=text, tooltip=tooltip, button_style=style, layout=Layout(width="auto", flex="0 0 auto"))
    button.on_click(on_click)
    return button
