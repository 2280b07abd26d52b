"""Phase 2a: a language model is a reward function; the reward of a response is its mean token log-probability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from padlab.candidates import add_columns, check_candidates
from padlab.conversations import Message, prompt_columns
from padlab.lm.encoding import candidate_ids
from padlab.lm.models import LanguageModel
from padlab.lm.plain_text import token_texts
from padlab.lm.remote.dispatch import rows_per_shard, score_ids
from padlab.safe_files import fingerprint
from padlab.shards import cached_rows, in_shards

if TYPE_CHECKING:
    from datasets import Dataset


def score(
    model: LanguageModel, prompt: str | Sequence[Message], responses: Sequence[str], *, exact: bool = False
) -> list[float]:
    """Reward of each response to a prompt under a model (the reward itself, not beta times it).

    Args:
        model: any `LanguageModel`.
        prompt: the user's text, or messages of which the last is the user's; put into the model's chat template.
        responses: list of texts to score as the assistant's answer (without an end-of-turn token).
        exact: compute by the plain reference (`padlab.lm.logprobs`) instead of the fast code.

    Returns:
        one float per response: mean log-probability per token, nats/token, <= 0.

    >>> student, teacher = load_pair("tiny")
    >>> len(score(teacher, "Name a colour.", ["red", "a long walk"]))
    2
    """
    return [sum(logps) / len(logps) for _, logps in score_tokens(model, prompt, responses, exact=exact)]


def score_tokens(
    model: LanguageModel, prompt: str | Sequence[Message], responses: Sequence[str], *, exact: bool = False
) -> list[tuple[list[str], list[float]]]:
    """Per response: (tokens as text, log-probability of each in nats), for heat maps and per-token explanations.

    A character that is spread over several tokens stands at the last of them; the others are empty.

    Args:
        model, prompt, responses, exact: as in `score`.

    Returns:
        per response two lists of one length, its tokens' texts and their log-probabilities.

    >>> score_tokens(load_pair("tiny").teacher, "Hi", ["ab"])[0][0]
    ['a', 'b']
    """
    if isinstance(responses, str):
        raise ValueError(f"responses must be a list of texts, got one text: write [{responses[:20]!r}]")
    table = check_candidates([{**prompt_columns(prompt, "prompt"), "responses": list(responses)}])
    prompt_ids, response_ids = candidate_ids(model, table)
    logps = score_ids(model.model, prompt_ids, response_ids, exact=exact)[0]
    return [(token_texts(model.tokenizer, ids), row) for ids, row in zip(response_ids[0], logps, strict=True)]


def add_rewards(
    candidates: Dataset,
    model: LanguageModel,
    column: str = "teacher_reward",
    *,
    length_normalize: bool = True,
    token_logps: bool = False,
    folder: str | Path | None = None,
    shard_size: int = 64,
    cache: str | Path | None = None,
) -> Dataset:
    """Add a column with the reward of every response under a model.

    A table sampled by a model with the same tokenizer is scored on exactly the ids that were sampled; otherwise the
    text is put into this model's own template and tokens. The end-of-turn token counts where the response finished.

    Args:
        candidates: table with `prompt` and `responses`.
        model: the teacher, or the student.
        column: name of the new column, n floats per row, nats/token (nats without length normalization).
        length_normalize: True: the mean over a response's tokens (the method's reward); False: their sum, which is the
            log-probability of the whole response and falls with its length; train with the same setting then.
        token_logps: also add the column `token_logps` (n lists of nats), which bootstrap intervals need.
        folder: run folder for resuming; None keeps nothing.
        shard_size: prompts scored together.
        cache: folder in which scores are kept by model, template and tokens, for any table; the same rows again are
            read there.

    Raises:
        ValueError: an empty response, or one longer than the model's context (names row and response).
    """
    candidates = check_candidates(candidates)
    prompt_ids, response_ids = candidate_ids(model, candidates)

    def work(piece: Sequence[int]) -> list[dict[str, Any]]:
        ids = [prompt_ids[k] for k in piece], [response_ids[k] for k in piece]
        scored = score_ids(model.model, *ids, row_numbers=piece)
        return [{"logps": row} for row in scored]

    described = model.describe()
    work = cached_rows(work, lambda k: ["score", described, prompt_ids[k], response_ids[k]], cache)
    settings = {"model": described, "candidates": fingerprint(response_ids, prompt_ids)}
    stage = f"score-{quote(column, safe='')}"  # a folder's name, whatever the column is called
    size = rows_per_shard(model.model, shard_size)
    rows = in_shards(range(len(candidates)), work, stage=stage, settings=settings, folder=folder, shard_size=size)
    columns = {column: [[sum(t) / (len(t) if length_normalize else 1) for t in row["logps"]] for row in rows]}
    if token_logps:
        columns["token_logps"] = [row["logps"] for row in rows]
    return check_candidates(add_columns(candidates, columns))
