"""Two ways in which servers give log-probabilities: by token ids (vLLM), or by text with `echo` (llama-cpp-python).

With token ids nothing is encoded twice: the server sees exactly the ids that padlab computed. With text the server
encodes for itself; its tokens are compared with padlab's one by one, and a difference is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from padlab.lm.chat import answer_space, encode_chat, stop_ids
from padlab.lm.plain_text import Piece, plain_text, token_texts
from padlab.lm.remote.client import RemoteError
from padlab.lm.remote.server import FIRST, FIRST_QUESTION, Reply, Server, number

GREEDY = {"max_tokens": 1, "temperature": 0}
MOST_LIKELY = 20  # next tokens that vLLM lists by default at most
ID = "token_id:"  # how vLLM writes a token's id in the place of its text
NO_PENALTIES = {"min_p": 0, "presence_penalty": 0, "frequency_penalty": 0}


class TokenServer(Server):
    """vLLM: prompts are token ids, `prompt_logprobs` are theirs. Written from vLLM's source, not run against it."""

    def check(self) -> None:
        """As `Server.check`; and the server's texts of a prompt's tokens are mostly those of the tokenizer."""
        ids = encode_chat(self.tokenizer, FIRST_QUESTION)
        (entries,) = self._each([FIRST], [self._scoring(ids)], lambda _, reply: _entries(reply))
        texts = [(entry or {}).get(str(i), {}).get("decoded_token") for i, entry in zip(ids, entries, strict=True)]
        pairs = [(a, b) for a, b in zip(texts, token_texts(self.tokenizer, ids), strict=True) if a and b]
        if sum(a.strip("\u2581 ") != b.strip() for a, b in pairs) > len(pairs) / 2:
            raise RemoteError(f"the tokenizer is another model's: its tokens read otherwise on the server, {pairs[:4]}")
        super().check()

    def _scoring(self, ids: Sequence[int]) -> Reply:
        return {**GREEDY, "prompt": list(ids), "prompt_logprobs": 0}

    def _read_scores(self, ids: Sequence[int], start: int, reply: Reply) -> list[float]:
        entries = _entries(reply)
        if len(entries) != len(ids):
            raise RemoteError(f"{len(ids)} tokens were sent and {len(entries)} came back")
        scores = []
        for k in range(start, len(ids)):
            if str(ids[k]) not in entries[k]:
                raise RemoteError(f"token {k} is {ids[k]}, but the reply speaks of {', '.join(entries[k])}")
            scores.append(number(entries[k][str(ids[k])]["logprob"], f"token {k}"))
        return scores

    def _asking(self, ids: Sequence[int], wanted: list[int]) -> Reply:
        asked = {"logprob_token_ids": wanted} if wanted else {}  # where vLLM knows it, else the most likely ones come
        return {**GREEDY, **asked, "prompt": list(ids), "logprobs": MOST_LIKELY, "return_tokens_as_token_ids": True}

    def _read_top(self, reply: Reply) -> dict[int, float]:
        top = reply["logprobs"]["top_logprobs"][0]
        return {int(token.removeprefix(ID)): number(value, token) for token, value in top.items()}

    def _writing(self, ids: Sequence[int], sampling: dict[str, Any]) -> Reply:
        all_tokens = {"top_k": -1, "repetition_penalty": 1, **NO_PENALTIES}  # else the model's generation_config rules
        stops = {"stop_token_ids": sorted(stop_ids(self, self.tokenizer))}
        named = {"logprobs": 1, "return_tokens_as_token_ids": True}
        return {**sampling, **all_tokens, **stops, **named, "min_tokens": 1, "prompt": list(ids)}

    def _read_ids(self, prompt: Sequence[int], reply: Reply) -> list[int]:
        return [int(token.removeprefix(ID)) for token in reply["logprobs"]["tokens"]]


class TextServer(Server):
    """llama-cpp-python's server, or the older OpenAI form: text, which `echo` repeats with log-probabilities.

    llama-cpp-python sorts the vocabulary at every position of a prompt: a tenth of a second per token of SmolLM2.
    """

    adds_bos = False  # whether the server puts a BOS before every text; `check` finds out

    def check(self) -> None:
        """As `Server.check`; before that, see who writes the BOS."""
        ids = encode_chat(self.tokenizer, FIRST_QUESTION)
        asked = {**GREEDY, "prompt": self._text(ids)}
        (read,) = self._each([FIRST], [asked], lambda _, reply: _prompt_tokens(reply))
        self.adds_bos = ids[0] == self.tokenizer.bos_token_id and read == len(ids) + 1
        texts = [self.tokenizer.decode([i]) for i in range(len(self.tokenizer))]
        count = Counter(texts)  # a text that several tokens share says nothing about one of them
        self._ids = {text: i for i, text in enumerate(texts) if count[text] == 1}
        super().check()

    def _scoring(self, ids: Sequence[int]) -> Reply:
        return {**GREEDY, "prompt": self._text(ids), "echo": True, "logprobs": 1}

    def _read_scores(self, ids: Sequence[int], start: int, reply: Reply) -> list[float]:
        found = reply.get("logprobs") or {}
        if not found.get("tokens") or not found.get("token_logprobs"):
            raise RemoteError("no log-probabilities of the prompt in the reply (`logprobs` with `echo`)")
        listed = self._listed(ids, found["tokens"], reply["usage"])
        scores = dict(zip(listed, found["token_logprobs"], strict=False))  # behind them stands what it has written
        return [number(scores.get(k), f"token {k}") for k in range(start, len(ids))]

    def _listed(self, ids: Sequence[int], tokens: Sequence[str], usage: dict[str, int]) -> Sequence[int]:
        """Which of the ids the server's tokens are; llama-cpp-python leaves out every BOS.

        Raises:
            RemoteError: its tokens are not those of the tokenizer.
        """
        texts, bos = token_texts(self.tokenizer, ids), self.tokenizer.bos_token_id
        read, written = usage["prompt_tokens"], usage["completion_tokens"]
        if read != len(ids):
            raise RemoteError(f"the server reads {read} tokens where the tokenizer has {len(ids)}; {REMEDY}")
        listed = range(len(ids))
        if len(tokens) != len(ids) + written:
            listed = [k for k in listed if ids[k] != bos]
            if ids[0] != bos or not len(listed) <= len(tokens) <= len(listed) + written:
                raise RemoteError(SHIFTED.format(len(tokens), read, written))
        for k, token in zip(listed, tokens, strict=False):
            part = k and not texts[k - 1] and texts[k].endswith(token)  # of a character spread over several tokens
            if token and texts[k] and token != texts[k] and not part:
                raise RemoteError(f"token {k} is {texts[k]!r} here and {token!r} on the server; {REMEDY}")
        return listed

    def _asking(self, ids: Sequence[int], wanted: list[int]) -> Reply:
        return {**GREEDY, "prompt": self._text(ids), "logprobs": len(self.tokenizer)}  # all: costs half a second

    def _read_top(self, reply: Reply) -> dict[int, float]:
        top = (reply["logprobs"]["top_logprobs"] or [{}])[0]  # empty where the first token ends the answer
        return {self._ids[text]: number(value, repr(text)) for text, value in top.items() if text in self._ids}

    def _writing(self, ids: Sequence[int], sampling: dict[str, Any]) -> Reply:
        return {**sampling, "top_k": 0, "repeat_penalty": 1, **NO_PENALTIES, "prompt": self._text(ids)}

    def _read_ids(self, prompt: Sequence[int], reply: Reply) -> list[int]:
        if _prompt_tokens(reply) != len(prompt):
            read = _prompt_tokens(reply)
            raise RemoteError(f"the server reads {read} tokens where the tokenizer has {len(prompt)}; {REMEDY}")
        plain, space = plain_text(self.tokenizer), answer_space(self.tokenizer)
        last = max((k for k, i in enumerate(prompt) if i in plain.ids), default=-1)
        before = Piece(self.tokenizer.decode(prompt[last + 1 :]), last < 0)
        return plain.continuation(before, space, reply["text"].removeprefix(space))

    def _text(self, ids: Sequence[int]) -> str:
        text = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return text.removeprefix(self.tokenizer.bos_token) if self.adds_bos else text


SHIFTED = (
    "the server lists {} tokens of {} read and {} written; llama-cpp-python (0.3.36 and before) does so where a prompt "
    "does not begin with BOS, and shifts its log-probabilities, which cannot be used: run this model on vLLM"
)
REMEDY = (
    "response_ids that were sampled, or text that spells control tokens, cannot be sent as text: remove the column "
    "response_ids or drop the row, or use vLLM, which takes token ids. On the first question: pass tokenizer=..."
)


def _entries(reply: Reply) -> list[dict[str, Any] | None]:
    if not reply.get("prompt_logprobs"):
        raise RemoteError("no `prompt_logprobs` in the reply")
    return reply["prompt_logprobs"]


def _prompt_tokens(reply: Reply) -> int:
    return reply["usage"]["prompt_tokens"]
