"""A tokenizer's copy that reads every text as plain characters, whatever control tokens the text spells.

A chat template writes control tokens (`<|im_end|>`, `<start_of_turn>`, ...) around what people wrote. Text that spells
one must stay plain characters, or a response could close its turn and vote for itself. Cutting such text in two changes
its tokens (SentencePiece puts a space before each part), so we make a copy of the tokenizer in which no text matches a
control token, and encode people's text with that.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

_UNTYPEABLE = "\ue100" + secrets.token_hex(8) + "{}\ue101"  # new names of control tokens; no text contains them
CONTEXT = 4  # tokens before, with which a token is decoded: some tokenizers write a space between tokens only
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # the pieces of characters outside the vocabulary, not control

_copies: WeakKeyDictionary[Any, tuple[Any, PlainText]] = WeakKeyDictionary()  # tokenizer -> (its state, copy)


class Piece(NamedTuple):
    """A stretch of plain text between control tokens.

    Args:
        text: what stands there.
        start: whether the whole sequence begins here; some tokenizers put a space there, and only there.
    """

    text: str
    start: bool


class PlainText:
    """Encodes plain text, and finds the control tokens that a template writes.

    Args:
        tokenizer: a transformers tokenizer.
        control: its control tokens, content to id (`control_tokens`).

    Raises:
        ValueError: a kind of tokenizer whose ids padlab cannot compute.
    """

    def __init__(self, tokenizer: Any, control: Mapping[str, int]) -> None:
        self.tokenizer, self.control = tokenizer, dict(control)
        self.ids = set(control.values())
        self._spans: dict[str, list[tuple[int, int, int]]] = {}
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None and not hasattr(tokenizer, "_tokenize"):
            raise ValueError(
                f"tokenizers of the kind {type(tokenizer).__name__} are not supported; load the model's "
                "tokenizer.json with transformers.AutoTokenizer"
            )
        self._copy = _plain_copy(backend, self.control) if backend is not None else None
        self._anchor = _UNTYPEABLE.format(min(self.ids)) if self.ids else ""

    def encode(self, piece: Piece) -> list[int]:
        """Ids of plain text."""
        if not piece.text:
            return []
        if self._copy is None:
            return self._encode_slowly(piece.text)
        if piece.start or not self._anchor:
            return self._copy.encode(piece.text, add_special_tokens=False).ids
        return self._copy.encode(self._anchor + piece.text, add_special_tokens=False).ids[1:]

    def continuation(self, before: Piece, between: str, text: str) -> list[int]:
        """Ids of `between` and `text` where they follow `before`, whose own ids stay as they are.

        They are the ids of the whole text, unless the first characters merge with the last ones before.
        """
        if (ids := self._behind(before, between + text)) is not None:
            return ids
        for neighbour in ("a", "\n", ".", "1", " "):  # a text that does not merge with what follows
            if (ids := self._behind(Piece(neighbour, False), between + text)) is not None:
                return ids
        return self.encode(Piece(between + text, False))

    def merges(self, before: Piece, text: str) -> bool:
        """Whether the first characters of a text share a token with the last ones before it."""
        return self._behind(before, text) is None

    def _behind(self, before: Piece, text: str) -> list[int] | None:
        """Ids of a text as they stand in the whole; None where its first characters merge with the last ones before."""
        fixed, whole = self.encode(before), self.encode(Piece(before.text + text, before.start))
        return whole[len(fixed) :] if whole[: len(fixed)] == fixed else None

    def prefix(self, text: str, limit: int) -> str:
        """The part of a text that its first `limit` tokens cover; no character is cut."""
        if self._copy is None:
            return self.tokenizer.decode(self._encode_slowly(text)[:limit]).rstrip("\ufffd")
        offsets = self._copy.encode(text, add_special_tokens=False).offsets
        end = max((stop for _, stop in offsets[:limit]), default=0)
        cut = any(start < end for start, _ in offsets[limit : limit + 1])  # the next token is a part of this character
        return text[: end - 1] if cut else text[:end]

    def template_control(self, text: str) -> list[tuple[int, int, int]]:
        """Control tokens in a template's text: (start, stop, id), with the white space that a token takes with it."""
        if text not in self._spans:
            self._spans = {**dict(list(self._spans.items())[-64:]), text: self._find(text)}
        return self._spans[text]

    def _find(self, text: str) -> list[tuple[int, int, int]]:
        if self._copy is None:
            return _find_slowly(text, self.tokenizer, self.control)
        found = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
        unknown, names = self.tokenizer.unk_token_id, {index: name for name, index in self.control.items()}
        spans = zip(found["input_ids"], found["offset_mapping"], strict=True)
        return [
            (start, stop, index)
            for index, (start, stop) in spans
            if index in self.ids and (index != unknown or text[start:stop].strip() == names[index])
        ]

    def _encode_slowly(self, text: str) -> list[int]:
        """For tokenizers written in Python: without their added tokens, cut where a word is a control token."""
        encode = lambda part: self.tokenizer.convert_tokens_to_ids(  # noqa: E731
            self.tokenizer.tokenize(part, split_special_tokens=True)
        )
        ids = encode(text)
        if not self.ids & (set(ids) - {self.tokenizer.unk_token_id}):
            return ids
        cuts = {m.start() + 1 for name in self.control for m in re.finditer(f"(?={re.escape(name)})", text)}
        edges = [0, *sorted(cuts), len(text)]
        ids = [i for a, b in pairwise(edges) for i in encode(text[a:b])]
        if self.ids & (set(ids) - {self.tokenizer.unk_token_id}):
            raise ValueError(f"{type(self.tokenizer).__name__} reads control tokens in the text {text[:60]!r}; drop it")
        return ids


def plain_text(tokenizer: Any) -> PlainText:
    """The tokenizer's `PlainText`, made once and made anew when its tokens or its template change."""
    state = (len(tokenizer), str(tokenizer.chat_template), str(tokenizer.special_tokens_map))
    known = _copies.get(tokenizer)
    if known is None or known[0] != state:
        known = _copies[tokenizer] = (state, PlainText(tokenizer, control_tokens(tokenizer)))
    return known[1]


def control_tokens(tokenizer: Any) -> dict[str, int]:
    """The added tokens that act as control: special ones, and those the chat template writes (no words, no space)."""
    template, special = str(tokenizer.chat_template), set(tokenizer.all_special_tokens)
    return {
        token.content: index
        for index, token in tokenizer.added_tokens_decoder.items()
        if not _BYTE.fullmatch(token.content)
        and (token.special or token.content in special or (_is_sign(token.content) and token.content in template))
    }


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Each token's text; a character spread over several tokens stands at the last of them, the others are empty."""
    texts, begin = [], 0  # `begin`: where the text decoded so far ended with a whole character
    for stop in range(1, len(ids) + 1):
        before = tokenizer.decode(ids[max(0, begin - CONTEXT) : begin], clean_up_tokenization_spaces=False)
        until = tokenizer.decode(ids[max(0, begin - CONTEXT) : stop], clean_up_tokenization_spaces=False)
        whole = not until.endswith("\ufffd") or stop == len(ids)
        texts.append(until[len(before) :] if whole else "")
        begin = stop if whole else begin
    return texts


def _is_sign(text: str) -> bool:
    return bool(text.strip()) and not text.strip().isalnum()


def _plain_copy(backend: Any, control: Mapping[str, int]) -> Any:
    """A copy of a `tokenizers.Tokenizer` in which control tokens have names that no text contains."""
    from tokenizers import Tokenizer

    state = json.loads(backend.to_str())
    model, names = state["model"], {name: _UNTYPEABLE.format(index) for name, index in control.items()}
    vocabulary = model["vocab"]
    known = set(vocabulary) if isinstance(vocabulary, dict) else {piece for piece, _ in vocabulary}
    plain = {"special": True, "normalized": False, "lstrip": False, "rstrip": False, "single_word": False}
    state["added_tokens"] = [
        {**token, "content": names[token["content"]], **plain} if token["content"] in names else token
        for token in state["added_tokens"]
        if not (_BYTE.fullmatch(token["content"]) and token["content"] in known)
    ]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): index for piece, index in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if not _makes(pair, names)]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    state.update(post_processor=None, truncation=None, padding=None)
    return Tokenizer.from_str(json.dumps(state))


def _makes(pair: Sequence[str] | str, names: Mapping[str, str]) -> bool:
    """Whether a merge needs or gives a renamed token."""
    parts = pair.split(" ") if isinstance(pair, str) else pair
    return "".join(parts) in names or any(part in names for part in parts)


def _find_slowly(text: str, tokenizer: Any, control: Mapping[str, int]) -> list[tuple[int, int, int]]:
    """Control tokens by their text, the leftmost and longest first, for tokenizers without offsets."""
    if not control:
        return []
    pattern = "|".join(
        _with_space(name, tokenizer.added_tokens_decoder[index])
        for name, index in sorted(control.items(), key=lambda item: -len(item[0]))
    )
    by_text = {**{name.strip(): index for name, index in control.items()}, **control}
    found = [(m.span(), m.group()) for m in re.finditer(pattern, text)]
    return [(*span, by_text.get(word, by_text.get(word.strip()))) for span, word in found]


def _with_space(name: str, token: Any) -> str:
    return (r"\s*" if token.lstrip else "") + re.escape(name) + (r"\s*" if token.rstrip else "")
