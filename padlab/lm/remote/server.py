"""A model on a server in the place of a network: it scores, gives next-token probabilities and writes.

What differs between servers (token ids or text, names of fields) is in `padlab.lm.remote.dialects`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Event, Thread
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from padlab.lm.chat import decode_answer, encode_chat, end_of_turn_id, stop_ids
from padlab.lm.plain_text import plain_text
from padlab.lm.remote.client import Client, RemoteError

AT_ONCE = 8  # requests under way at a time
DRAWS = 4  # a response without visible text, or with control tokens in it, is drawn again this often
TOLERANCE = 0.5  # nats by which a token's log-probability may differ between two ways to ask for it
LEAST, MOST = -9999, 1e-3  # of a log-probability: vLLM writes -9999 for minus infinity; rounding may pass 0
FIRST, FIRST_QUESTION = "first question", "Name a colour."
Reply = dict[str, Any]


class NoWeights(AttributeError, ValueError):
    """Something that needs weights was asked of a model on a server; `hasattr` and `getattr` take it for a "no"."""


class Server:
    """A model on a server.

    Args:
        client: where it is.
        model: its name there.
        tokenizer: the same model's, on this machine: the server renders and encodes nothing.
        max_length: tokens of prompt and response together that it takes.
    """

    def __init__(self, client: Client, model: str, tokenizer: Any, max_length: int) -> None:
        self.client, self.name, self.tokenizer, self.max_length = client, model, tokenizer, max_length

    def __repr__(self) -> str:
        return f"<{self.name} at {self.client.address}>"

    def __getattr__(self, name: str) -> Any:
        raise NoWeights(
            f"{self.__dict__.get('name')} is a model on a server: its weights are not here ({name} was asked for), so "
            "it cannot be trained, pruned, given an adapter or read for token-level distillation (token_kd=0 leaves "
            "that out). It can write, score and select"
        )

    def score_ids(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[Sequence[int]]],
        *,
        exact: bool = False,
        row_numbers: Sequence[int] | None = None,
        name: str = "row",
    ) -> list[list[list[float]]]:
        """Token log-probabilities, as `padlab.lm.fast.scoring.score_ids`; one request per response.

        Raises:
            RemoteError: the server cannot be reached or replies something else; names the row.
        """
        if exact:
            self.__getattr__("the plain reference")
        rows = row_numbers or range(len(prompts))
        unique = dict.fromkeys((k, tuple(ids)) for k, group in enumerate(responses) for ids in group)
        sequences = [[*prompts[k], *ids] for k, ids in unique]
        names = [f"{name} {rows[k]}, response {list(map(tuple, responses[k])).index(ids)}" for k, ids in unique]
        starts = [len(prompts[k]) for k, _ in unique]
        read = lambda job, reply: self._read_scores(sequences[job], starts[job], reply)  # noqa: E731
        scores = dict(zip(unique, self._each(names, map(self._scoring, sequences), read), strict=True))
        return [[list(scores[k, tuple(ids)]) for ids in group] for k, group in enumerate(responses)]

    def next_token_logprobs(
        self, prompts: Sequence[Sequence[int]], wanted: Sequence[int]
    ) -> Float[Tensor, "prompts vocabulary"]:
        """Log-probabilities of some tokens as the next one; those of all others are left at -inf.

        Tokens that are not among those the server lists are scored one by one, as a response of one token.
        """
        logps = torch.full((len(prompts), len(self.tokenizer)), -torch.inf)
        names = ["selection question"] * len(prompts)
        bodies = [self._asking(ids, list(wanted)) for ids in prompts]
        listed = self._each(names, bodies, lambda _, reply: self._read_top(reply))
        others = [[[i] for i in wanted if i not in top] for top in listed]
        scored = self.score_ids(prompts, others, name="selection question")
        for row, top, ids, found in zip(logps, listed, others, scored, strict=True):
            known = {i: value for i, value in top.items() if i in wanted}
            known |= {i: value for (i,), (value,) in zip(ids, found, strict=True)}
            row[list(known)] = torch.tensor(list(known.values()))
        return logps

    def draw(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[str],
        numbers: Sequence[Sequence[int]],
        *,
        seed: int,
        names: Sequence[str] | None = None,
        max_new_tokens: int,
        **sampling: float,
    ) -> list[list[dict[str, Any]]]:
        """Responses, as `padlab.phases.sampling.draw_responses`; as reproducible as the server is by its seed.

        Raises:
            RemoteError: as in `score_ids`; or nothing but white space in all of several draws.
        """
        names = names or [f"prompt {k}" for k in range(len(prompts))]
        jobs = [(k, number) for k, group in enumerate(numbers) for number in group]
        drawn: dict[tuple[int, int], dict[str, Any]] = {}
        for draw in range(DRAWS):
            open_jobs = [job for job in jobs if job not in drawn]
            bodies = [
                self._writing(
                    prompts[k], {**sampling, "max_tokens": max_new_tokens, "seed": _seed(seed, number, draw, keys[k])}
                )
                for k, number in open_jobs
            ]
            asked = [prompts[k] for k, _ in open_jobs]
            read = lambda job, reply, asked=asked: self._response(asked[job], reply, max_new_tokens)  # noqa: E731
            responses = self._each([names[k] for k, _ in open_jobs], bodies, read)
            drawn |= {job: response for job, response in zip(open_jobs, responses, strict=True) if response}
        for k, number in jobs:
            if (k, number) not in drawn:
                raise RemoteError(
                    f"{names[k]}: {self.name} wrote nothing visible {DRAWS} times; drop the row or shorten its prompt"
                )
        return [[drawn[k, number] for number in group] for k, group in enumerate(numbers)]

    def check(self) -> None:
        """Ask for one token's log-probability in two ways.

        Raises:
            RemoteError: the server does not give what padlab needs in this form, or two different numbers.
        """
        ids = encode_chat(self.tokenizer, FIRST_QUESTION)
        (top,) = self._each([FIRST], [self._asking(ids, [])], lambda _, reply: self._read_top(reply))
        likely = max(top, key=top.__getitem__, default=ids[-1])
        prompt = ids if top else ids[:-1]  # nothing is listed where the answer ends at once
        (((scored,),),) = self.score_ids([prompt], [[[likely]]], name=FIRST)
        if top and abs(scored - top[likely]) > TOLERANCE:
            raise RemoteError(
                f"the server gives {top[likely]:.3f} and {scored:.3f} nats for one token, as next token and as "
                "response: its log-probabilities of a prompt cannot be used"
            )

    def _each(self, names: Sequence[str], bodies: Any, read: Callable[[int, Reply], Any]) -> list[Any]:
        """What `read` makes of the reply to each request; several are under way at a time, the order is kept."""
        futures, stop, done = [Future() for _ in names], Event(), []
        jobs = iter(list(zip(bodies, futures, strict=True)))
        for _ in names[:AT_ONCE]:  # daemons: a process that is interrupted does not wait for their replies
            Thread(target=self._work, args=(jobs, stop), daemon=True).start()
        try:
            for job, (name, future) in enumerate(zip(names, futures, strict=True)):
                try:
                    done.append(read(job, future.result()))
                except RemoteError as error:
                    raise type(error)(f"{name}: {error}") from None
                except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                    form = f"{type(error).__name__}: {error}"
                    raise RemoteError(f"{name}: the reply of {self!r} lacks what was asked for ({form})") from error
        finally:
            stop.set()
        return done

    def _work(self, jobs: Any, stop: Event) -> None:
        """Take requests until none is left; several threads do so."""
        for body, future in jobs:
            if stop.is_set():
                return
            try:
                future.set_result(self._choice(body, stop))
            except Exception as error:
                future.set_exception(error)

    def _choice(self, body: Reply, stop: Event) -> Reply:
        reply = self.client.post("/completions", {"model": self.name, "n": 1, **body}, stop)
        choices = reply.get("choices")
        if not isinstance(choices, list) or len(choices) != 1:
            count = len(choices) if isinstance(choices, list) else "no list of"
            raise RemoteError(f"{self!r} replies {count} choices, expected one")
        return {**choices[0], "usage": reply.get("usage")}

    def _response(self, prompt: Sequence[int], reply: Reply, max_new_tokens: int) -> dict[str, Any] | None:
        """ids, text and finished of a reply; None where it has no visible text or a control token in it."""
        stops, control = stop_ids(self, self.tokenizer), plain_text(self.tokenizer).ids
        ids = self._read_ids(prompt, reply)
        last = ids.pop() if ids and ids[-1] in control | stops else None
        finished = reply["finish_reason"] == "stop" or last in stops
        written = (reply["usage"] or {}).get("completion_tokens", max_new_tokens)
        if not finished and written < max_new_tokens:
            raise RemoteError(
                f"the server stopped after {written} of {max_new_tokens} tokens ({reply['finish_reason']}); is its "
                "context too short (--n_ctx)?"
            )
        if finished:
            ids.append(last if last in stops else end_of_turn_id(self.tokenizer))
        text = decode_answer(self.tokenizer, prompt, ids, stops)
        inside = set(ids[:-1] if finished else ids) & control
        return None if inside or not text.strip() else {"ids": ids, "text": text, "finished": finished}


def number(value: Any, what: str) -> float:
    """A log-probability out of a reply."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not LEAST < value < MOST:
        raise RemoteError(f"{what}: the server gives no finite log-probability but {value!r}")
    return float(value)


def _seed(*parts: Any) -> int:
    """31 bits that belong to one response."""
    key = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=4).digest()
    return int.from_bytes(key, "little") >> 1
