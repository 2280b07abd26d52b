"""One prompt under inspection: responses that can be edited, scored by models, undone and compared. No screen.

What a model said about a text is kept, so an edited response is scored alone, and going back costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from padlab.candidates import check_candidates
from padlab.conversations import Message, conversation, prompt_columns, transcript
from padlab.lm.encoding import candidate_ids
from padlab.lm.models import LanguageModel
from padlab.lm.plain_text import token_texts
from padlab.lm.remote.dispatch import score_ids
from padlab.phases.multiple_choice import Answers, joined, multiple_choice_question
from padlab.phases.sampling import sample_responses
from padlab.phases.selection import ASK, orders_of, selection_columns
from padlab.show.html.safe import letter
from padlab.show.inspection_state import (
    Response,
    State,
    as_responses,
    check_look,
    conversation_key,
    responses_of_row,
    scoring_row,
)
from padlab.show.snapshot import Snapshot

QUESTIONS = 8  # selection questions in one batch, after which the work can be cancelled


class Inspection:
    """Models, a prompt and its responses, and what has been asked of the models so far.

    Args:
        student, teacher: the models; the teacher's judge answers selection questions, if it has one.
        prompt: text, or messages of which the last is the user's.
        responses: texts, or `Response`s.
        alpha, beta: None takes the student's preset, else 0 and 10.
        judge: ask the teacher; None: if alpha is above 0.
        before: the student before training, as a third model.

    Attributes:
        state: what is inspected now; the methods below replace it.
        pinned: a state kept for comparison, or None.

    Raises:
        ValueError: alpha or beta out of range, alpha above 0 without judge, or more than 8 responses.

    >>> student, teacher = load_pair("tiny")
    >>> Inspection(student, teacher, "Name a colour.", ["red", "blue"]).score().snapshot().responses
    ('red', 'blue')
    """

    def __init__(
        self,
        student: LanguageModel,
        teacher: LanguageModel,
        prompt: str | Sequence[Message],
        responses: Sequence[str | Response] = (),
        *,
        alpha: float | None = None,
        beta: float | None = None,
        judge: bool | None = None,
        before: LanguageModel | None = None,
    ) -> None:
        preset = student.training
        alpha = preset.get("alpha", 0.0) if alpha is None else alpha
        beta = preset.get("beta", 10.0) if beta is None else beta
        judge = alpha > 0 if judge is None else judge
        if alpha > 0 and not judge:
            raise ValueError(f"alpha is {alpha:g}, which needs the teacher's answers: judge=True, or alpha=0")
        models = {"before": before, "student": student, "teacher": teacher}
        self.models: dict[str, LanguageModel] = {role: model for role, model in models.items() if model is not None}
        row = prompt_columns(prompt, "prompt")
        self.state = State(row, as_responses(responses), alpha, beta, judge)
        check_look(alpha, beta)
        self.pinned: State | None = None
        self._past: list[State] = []
        self._snapshots: dict[tuple, Snapshot] = {}
        self._scored: dict[tuple, tuple[tuple[str, ...], tuple[float, ...]]] = {}
        self._asked: dict[tuple[Any, str, str], Answers] = {}  # conversation, first option, second option

    def look(self, **changes: float | bool) -> Inspection:
        """Other alpha, beta or judge; not a step of `undo`."""
        state = replace(self.state, **changes)
        check_look(state.alpha, state.beta)
        self.state = state
        return self

    def edit(self, index: int, text: str) -> Inspection:
        """Another text for one response; the end of the turn counts if it did before."""
        if not 0 <= index < len(self.state.responses):
            raise ValueError(f"there is no response {index}: there are 0 to {len(self.state.responses) - 1}")
        edited = Response(text, self.state.responses[index].finished)
        return self.put([*self.state.responses[:index], edited, *self.state.responses[index + 1 :]])

    def put(self, responses: Sequence[str | Response]) -> Inspection:
        """Other responses."""
        return self._step(replace(self.state, responses=as_responses(responses)))

    def ask(self, prompt: str | Sequence[Message], responses: Sequence[str | Response] = ()) -> Inspection:
        """Another prompt, with other responses."""
        row = prompt_columns(prompt, "prompt")
        return self._step(replace(self.state, row=row, responses=as_responses(responses)))

    def draw(self, n: int, seed: int = 0, **sampling: Any) -> Inspection:
        """Responses of the student, n >= 2; further arguments as in `sample_responses`."""
        prompt = {"messages": conversation(self.state.row)}
        table = sample_responses(self.models["student"], [prompt], n, seed=seed, **sampling)
        return self.put(responses_of_row(table[0]))

    def undo(self) -> Inspection:
        """The state before the last edit; nothing where there is none."""
        if self._past:
            past = self._past.pop()
            self.state = replace(past, alpha=self.state.alpha, beta=self.state.beta, judge=self.state.judge)
        return self

    @property
    def previous(self) -> State | None:
        """The state before the last edit."""
        return self._past[-1] if self._past else None

    def pin(self) -> Inspection:
        """Keep the present state to compare others with."""
        self.pinned = self.state
        return self

    def missing(self) -> list[str]:
        """What has to be asked of models before `snapshot` works, in words; empty when nothing is missing."""
        return [name for name, _ in self._work()]

    def stale(self) -> list[int]:
        """Responses that some model has not scored."""
        return [
            k
            for k, r in enumerate(self.state.responses)
            if any(self._key(m, r) not in self._scored for m in self.models)
        ]

    def score(
        self, stop: Callable[[], bool] = lambda: False, on_progress: Callable[[str, float], None] | None = None
    ) -> Inspection:
        """Ask the models what is missing, and nothing else.

        Args:
            stop: asked between batches; True ends the work, and what was finished is kept.
            on_progress: called before each batch with its name and the share of batches that are done.

        Raises:
            ValueError: fewer than 2 responses, an empty one, or one longer than the context (named).
        """
        if len(self.state.responses) < 2:
            raise ValueError("a ranking needs at least two responses; add one, or draw some")
        if not self.state.row["prompt"].strip():
            raise ValueError("the prompt is empty; type one")
        if empty := [letter(k) for k, r in enumerate(self.state.responses) if not (r.text.strip() or r.ids)]:
            raise ValueError(f"response {', '.join(empty)} is empty; type a text, or lower the number of responses")
        work = list(self._work())
        for done, (name, run) in enumerate(work):
            if stop():
                break
            if on_progress:
                on_progress(name, done / len(work))
            run()
        return self

    def snapshot(self, state: State | None = None) -> Snapshot:
        """What the models said about the present state, or about another one that was scored.

        Raises:
            ValueError: something has not been scored yet.
        """
        state = state or self.state
        known = conversation_key(state.row), state.responses, state.judge
        if known in self._snapshots:
            return self._snapshots[known]
        if missing := [name for name, _ in self._work(state)]:
            raise ValueError(f"not scored yet: {', '.join(missing)}; score() does it")
        tokens = {m: [self._scored[self._key(m, r, state)] for r in state.responses] for m in self.models}
        rewards = {m: np.array([np.mean(logps) for _, logps in scored]) for m, scored in tokens.items()}
        columns = self._selection(state) if state.judge else {}
        finished = tuple(r.finished or (False if r.ids else None) for r in state.responses)
        texts = tuple(r.text for r in state.responses)
        found = Snapshot(transcript(state.row), texts, rewards, tokens, finished, **columns)
        self._snapshots[known] = found
        return found

    def as_row(self) -> dict[str, Any]:
        """The present state as a row of a candidates table."""
        snapshot, state = self.snapshot(), self.state
        row = {**state.row, "responses": [r.text for r in state.responses]}
        if any(r.finished or r.ids for r in state.responses):
            row["finished"] = [r.finished for r in state.responses]
        if all(r.ids for r in state.responses) and len({r.tokenizer for r in state.responses}) == 1:
            row |= {"response_ids": [list(r.ids) for r in state.responses]}
            row |= {"response_tokenizer": state.responses[0].tokenizer}
        row |= {f"{role}_reward": rewards.tolist() for role, rewards in snapshot.rewards.items()}
        if snapshot.selection_prob is not None and snapshot.votes is not None:
            row |= {"selection_prob": snapshot.selection_prob.tolist(), "selection_votes": snapshot.votes.tolist()}
            names = ("option_mass", "position_bias", "order_consistency")
            row |= {name: getattr(snapshot, name) for name in names}
        return row

    def replace_model(self, role: str, model: LanguageModel) -> Inspection:
        """Another model in a role that there is; what the old one said is forgotten, and what was pinned.

        Raises:
            ValueError: no such role.
        """
        if role not in self.models:
            raise ValueError(f"there is no {role!r}; the roles are {', '.join(self.models)}")
        self.models[role], self.pinned = model, None
        self._scored = {key: value for key, value in self._scored.items() if key[0] != role}
        if role == "teacher":
            self._asked = {}
        self._snapshots.clear()
        return self

    def _step(self, state: State) -> Inspection:
        self._past.append(self.state)
        self.state = state
        return self

    def _key(self, role: str, response: Response, state: State | None = None) -> tuple:
        return role, conversation_key((state or self.state).row), response

    def _work(self, state: State | None = None) -> Iterator[tuple[str, Callable[[], None]]]:
        """Batches of what is missing: its name, and what does it."""
        state = state or self.state
        for role in self.models:
            new = [r for r in dict.fromkeys(state.responses) if self._key(role, r, state) not in self._scored]
            if new:
                yield f"{len(new)} response(s) under the {role}", partial(self._score_new, role, new, state)
        if state.judge:
            listed = [(state.responses[i].text, state.responses[j].text) for i, j in _pairs(len(state.responses))]
            new = [order for order in dict.fromkeys(listed) if (conversation_key(state.row), *order) not in self._asked]
            for start in range(0, len(new), QUESTIONS):
                orders = new[start : start + QUESTIONS]
                yield f"{len(orders)} selection question(s)", partial(self._ask_new, orders, state)

    def _score_new(self, role: str, responses: Sequence[Response], state: State) -> None:
        model = self.models[role]
        encoded = []
        for response in responses:
            try:
                encoded.append(candidate_ids(model, check_candidates([scoring_row(state.row, response, model)])))
            except ValueError as error:
                reason = str(error).removeprefix("row 0").removeprefix(", response 0").removeprefix(": ")
                raise ValueError(f"response {letter(state.responses.index(response))}: {reason}") from None
        prompt_ids, response_ids = ([ids for pair in encoded for ids in pair[side]] for side in (0, 1))
        logps = score_ids(model.model, prompt_ids, response_ids)
        for response, ids, row in zip(responses, response_ids, logps, strict=True):
            texts = tuple(token_texts(model.tokenizer, ids[0]))
            self._scored[self._key(role, response, state)] = texts, tuple(row[0])

    def _ask_new(self, orders: Sequence[tuple[str, str]], state: State) -> None:
        teacher = self.models["teacher"]
        question = teacher.question or partial(multiple_choice_question, reply=teacher.reply)
        prompt = transcript(state.row)
        answers = ASK[teacher.reply](teacher, prompt, orders, question)
        for row, order in enumerate(orders):
            self._asked[(conversation_key(state.row), *order)] = answers.select([row])

    def _selection(self, state: State) -> dict[str, Any]:
        """The snapshot's columns on selection, from the answers to each pair in both orders."""
        texts, prompt = [r.text for r in state.responses], conversation_key(state.row)
        orders = _pairs(len(texts))
        answers = joined([self._asked[(prompt, texts[i], texts[j])] for i, j in orders])
        columns = selection_columns(answers, orders, texts)
        arrays = {"selection_prob": columns["selection_prob"], "votes": columns["selection_votes"]}
        names = ("option_mass", "position_bias", "order_consistency")
        return {**{k: np.asarray(v) for k, v in arrays.items()}, **{name: columns[name] for name in names}}


def _pairs(n: int) -> list[list[int]]:
    """Every pair of n responses, both ways."""
    return orders_of(n, "pairwise", [])
