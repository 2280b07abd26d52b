"""`padlab.inspect`: the inspector over given texts or a row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from padlab.conversations import Message
from padlab.lm.models import LanguageModel
from padlab.show.inspection import Inspection
from padlab.show.inspection_state import responses_of_row
from padlab.show.inspector_page import row_of
from padlab.show.widgets import Inspector


def inspect(
    student: LanguageModel,
    teacher: LanguageModel,
    *,
    prompt: str | Sequence[Message] = "",
    responses: Sequence[str] = (),
    table: Any = None,
    row: int = 0,
    before: LanguageModel | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    judge: bool | None = None,
    sampling: Mapping[str, Any] | None = None,
) -> Inspector:
    """Look at what two models prefer among responses to a prompt, and change prompt, responses, alpha and beta.

    Args:
        student, teacher: the models; others can be loaded in the widget.
        prompt, responses: what to inspect, or a candidates `table` and its `row`.
        before: the untrained student, as a third model.
        alpha: weight of the selection probability, 0 to 1; None: the student's preset's, else 0.
        beta: scale from nats/token to scores, > 0; None: the student's preset's, else 10.
        judge: ask the teacher which response is better; None: if alpha is above 0.
        sampling: of responses that the student draws, as in `sample_responses`; None: 48 tokens at temperature 1.

    Returns:
        the widget; in a saved notebook its last view stays readable without a kernel.

    Raises:
        ImportError: ipywidgets is missing.
        ValueError: a table without such a row, more than 8 responses.
    """
    if table is not None:
        if prompt or responses:
            raise ValueError("give either prompt and responses, or a table")
        entry = row_of(table, row)
        prompt = [*(entry.get("previous_messages") or []), {"role": "user", "content": entry["prompt"]}]
        responses = responses_of_row(entry)
    inspection = Inspection(student, teacher, prompt, responses, alpha=alpha, beta=beta, judge=judge, before=before)
    return Inspector(inspection, table, row, sampling)
