"""Can this model be a teacher or a student? Template, end of turn, option letters, position bias, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import binomtest

from padlab.lm.chat import control_tokens, encode_chat, encode_text, end_of_turn_id, render_segments
from padlab.lm.models import LanguageModel
from padlab.phases.multiple_choice import LETTERS, letter_tokens, multiple_choice_question
from padlab.phases.selection import add_selection_probs

PROBE = (  # question, right answer; another question's answer is the wrong one
    ("What colour is the sky on a clear day?", "On a clear day the sky is blue."),
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("What do bees make?", "Bees make honey from the nectar of flowers."),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How do I boil an egg?", "Put the egg into boiling water for eight minutes, then cool it."),
    ("What does a thermometer measure?", "A thermometer measures temperature."),
    ("Why do people wear gloves in winter?", "Gloves keep the hands warm when it is cold outside."),
    ("What is twelve minus five?", "Twelve minus five is seven."),
    ("Where does a librarian work?", "A librarian works in a library among books."),
    ("What is ice made of?", "Ice is frozen water."),
    ("How can I thank my neighbour?", "Write a short note that says how much the help meant to you."),
    ("What do cows eat?", "Cows mostly eat grass and hay."),
)
CONFIDENT = 0.02  # one-sided error we accept when we say that the letters follow the content


@dataclass(frozen=True)
class Finding:
    """One line of an examination: what was looked at, "ok" | "note" | "problem", and what it means."""

    topic: str
    status: str
    text: str

    def __str__(self) -> str:
        return f"[{self.status:7}] {self.topic}: {self.text}"


@dataclass(frozen=True)
class Examination:
    """All findings about a model, with the numbers behind them."""

    name: str
    findings: tuple[Finding, ...]
    numbers: dict[str, float]

    def __str__(self) -> str:
        return "\n".join([f"{self.name}", *map(str, self.findings)])

    __repr__ = __str__


def examine(
    model: LanguageModel, *, n: int = 4, prompt_tokens: int = 64, response_tokens: int = 64, lora: bool = True
) -> Examination:
    """Examine a model: template, special tokens, option letters, selection questions, memory.

    Args:
        model: what `load_model` gave.
        n, prompt_tokens, response_tokens, lora: the training whose memory is estimated (one prompt per pass).

    Returns:
        Examination; printing it shows the findings in plain words, `numbers` holds selection_accuracy, option_mass,
        prob_first (P of the first option, 0.5 = no bias) and the memory estimates in GB.
    """
    findings = [_finding(topic, check, model) for topic, check in CHECKS.items()]
    numbers: dict[str, float] = {}
    if all(f.status != "problem" for f in findings):
        try:
            numbers = selection_probe(model)
            findings.append(_verdict(numbers, judged=model.judge is not None))
        except (ValueError, FloatingPointError) as error:  # a context that is too short, weights that overflow
            findings.append(Finding("selection questions", "problem", str(error)))
    memory = memory_estimate(model.model, n=n, prompt_tokens=prompt_tokens, response_tokens=response_tokens, lora=lora)
    findings.append(_memory(memory, n, prompt_tokens, response_tokens, lora))
    return Examination(model.name, tuple(findings), {**numbers, **memory})


def selection_probe(model: LanguageModel) -> dict[str, float]:
    """Ask 24 easy questions (right answer or answer to another question), each in both orders.

    Returns:
        selection_accuracy after averaging both orders, its p-value against guessing, mean probability of the right
        answer, prob_first (raw P of the option listed first) and option_mass.
    """
    rows = [
        {"prompt": PROBE[k][0], "responses": [PROBE[k][1], PROBE[(k + shift) % len(PROBE)][1]]}
        for shift in (1, 5)
        for k in range(len(PROBE))
    ]
    table = add_selection_probs(rows, model, "pairwise", question=multiple_choice_question)
    right = [p[0] for p in table["selection_prob"]]
    hits = sum(p > 0.5 for p in right)
    return {
        "selection_accuracy": hits / len(right),
        "p_value": float(binomtest(hits, len(right), 0.5, alternative="greater").pvalue),
        "prob_right": sum(right) / len(right),
        "prob_first": 0.5 + sum(table["position_bias"]) / len(right),
        "option_mass": sum(table["option_mass"]) / len(right),
    }


def memory_estimate(
    network: Any, *, n: int = 4, prompt_tokens: int = 64, response_tokens: int = 64, lora: bool = True
) -> dict[str, float]:
    """Estimated memory in GB (1e9 bytes) for scoring and for training one prompt with its n responses.

    The model's weights (`distill` leaves its input as it was, so full training holds a copy beside them); for what is
    trained float32 weight, gradient and Adam's two moments; activations kept for the backward pass (about 16
    hidden-size vectors and 3 inner-size vectors per block and token, in the weights' type); and
    three float32 copies of the response positions' logits. A rule of thumb, meant to be within a factor of two.
    """
    config, size = network.config.get_text_config(), next(network.parameters()).element_size()
    weights = sum(p.numel() for p in network.parameters())
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    trainable = sum(16 * (m.in_features + m.out_features) for m in linear) if lora else weights
    tokens = prompt_tokens + n * response_tokens
    per_block = 16 * config.hidden_size + 3 * getattr(config, "intermediate_size", 4 * config.hidden_size)
    activations = tokens * config.num_hidden_layers * per_block * size
    logits = n * response_tokens * config.vocab_size * 4
    scoring = weights * size + logits + tokens * per_block * size
    training = weights * size + trainable * 16 + activations + 3 * logits
    return {"gb_scoring": scoring / 1e9, "gb_training": training / 1e9}


def _finding(topic: str, check: Callable[[LanguageModel], tuple[str, str]], model: LanguageModel) -> Finding:
    try:
        return Finding(topic, *check(model))
    except ValueError as error:
        return Finding(topic, "problem", str(error))


def _template(model: LanguageModel) -> tuple[str, str]:
    tokenizer = model.tokenizer
    if not tokenizer.chat_template:
        return "note", "none; prompts are laid out as 'User: ... Assistant:' (a base model?)"
    ids = encode_chat(tokenizer, "Hello")
    turn = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    whole, opening = (
        "".join(text for text, _ in render_segments(tokenizer, messages, generation))
        for messages, generation in ((turn, False), (turn[:1], True))
    )
    if not whole.startswith(opening):
        return "note", "the prompt's rendering is no prefix of prompt + answer (thinking model?)"
    bos = "one BOS" if ids[:1] == [tokenizer.bos_token_id] else "no BOS"
    return "ok", f"'Hello' becomes {len(ids)} tokens, {bos}"


def _end(model: LanguageModel) -> tuple[str, str]:
    end = end_of_turn_id(model.tokenizer)
    return "ok", f"{model.tokenizer.convert_ids_to_tokens(end)!r} (id {end})"


def _pad(model: LanguageModel) -> tuple[str, str]:
    pad = model.tokenizer.pad_token
    return "ok", f"{'none' if pad is None else repr(pad)}; padlab masks by length and needs none"


def _inert(model: LanguageModel) -> tuple[str, str]:
    control = control_tokens(model.tokenizer)
    leaked = [text for text in control if set(encode_text(model.tokenizer, f"a{text}b")) & set(control.values())]
    if leaked:
        return "problem", f"in people's text these act as control: {leaked}"
    return "ok", f"{len(control)} control strings are plain characters in people's text"


def _letters(model: LanguageModel) -> tuple[str, str]:
    for letter in LETTERS[:8]:
        letter_tokens(model, letter)
    return "ok", "A to H are single tokens"


CHECKS = {
    "chat template": _template,
    "end of turn": _end,
    "pad token": _pad,
    "text is not control": _inert,
    "option letters": _letters,
}


def _verdict(numbers: dict[str, float], judged: bool = False) -> Finding:
    status = "note"
    if numbers["p_value"] > CONFIDENT:
        advice = "The letters do not follow the content: no teacher for calibration. Keep alpha = 0"
    elif numbers["option_mass"] < 0.5:
        advice = "Most answers are no letters at all, so what the letters say is not to be trusted. Keep alpha = 0"
    elif numbers["prob_right"] < 0.6:
        advice = "There is a signal, but a weak one: look at an alpha sweep before using it, with a small alpha"
    else:
        status, advice = "ok", "It can be a teacher for calibration (alpha > 0)"
    return Finding(
        "selection questions",
        status,
        f"{'its judge adapter, not the model itself, is ' if judged else ''}"
        f"right in {numbers['selection_accuracy']:.0%} of 24 easy questions once both orders are averaged "
        f"(mean p {numbers['prob_right']:.2f}); picks the first option {numbers['prob_first']:.0%} of the time; "
        f"{numbers['option_mass']:.0%} of the answers are letters. {advice}",
    )


def _memory(memory: dict[str, float], n: int, prompt: int, response: int, lora: bool) -> Finding:
    kind = "LoRA r 16" if lora else "full fine-tuning"
    text = (
        f"about {memory['gb_scoring']:.1f} GB to score and {memory['gb_training']:.1f} GB to train ({kind}) one "
        f"prompt of {prompt} tokens with {n} responses of {response}"
    )
    free = torch.cuda.mem_get_info()[0] / 1e9 if torch.cuda.is_available() else None
    if free is not None and free < memory["gb_training"]:
        return Finding("memory", "problem", f"{text}; only {free:.1f} GB are free on the GPU")
    return Finding("memory", "ok", text)
