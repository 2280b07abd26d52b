"""Can this model be a teacher or a student? Template, end of turn, option letters, position bias, reading, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from scipy.stats import binomtest

from padlab import LanguageModel, add_selection_probs
from padlab.lm.chat import answer_space, encode_chat, encode_text, end_of_turn_id
from padlab.lm.plain_text import control_tokens
from padlab.phases.multiple_choice import LETTERS, letter_tokens, multiple_choice_question
from padlab.study.agreement import evaluate_samples
from padlab.worlds import reading

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
READING_PROMPTS, READING_TOKENS = 24, 12
CONFIDENT = 0.02  # one-sided error we accept when we say that the letters follow the content


@dataclass(frozen=True)
class Finding:
    """One line of an examination.

    Args:
        topic: what was looked at.
        status: "ok", "note" or "problem".
        text: what was found and what it means.
        numbers: name -> what was measured.
    """

    topic: str
    status: str
    text: str
    numbers: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"[{self.status:7}] {self.topic}: {self.text}"


@dataclass(frozen=True)
class Examination:
    """All findings about a model; printing it shows them.

    Args:
        name: the model's.
        findings: in the order in which they were looked at.
    """

    name: str
    findings: list[Finding]

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers behind all findings."""
        return {name: value for finding in self.findings for name, value in finding.numbers.items()}

    def __str__(self) -> str:
        return "\n".join([self.name, *map(str, self.findings)])

    __repr__ = __str__


def examine(
    model: LanguageModel, *, n: int = 4, prompt_tokens: int = 64, response_tokens: int = 64, lora: bool = True
) -> Examination:
    """Examine a model: template, special tokens, option letters, selection questions, reading, memory.

    Args:
        model: what `load_model` gave.
        n, prompt_tokens, response_tokens, lora: the training whose memory is estimated (one prompt per pass).

    Returns:
        Examination; printing it shows the findings in plain words, `numbers` holds selection_accuracy, option_mass,
        prob_first (P of the first option, 0.5 = no bias), reading_accuracy and the memory estimates in GB.
    """
    checks = (_chat_template, _end_of_turn, _text_is_not_control, _option_letters)
    findings = [_finding(check, model) for check in checks]
    if all(finding.status != "problem" for finding in findings):
        findings += [_finding(_selection_questions, model), _finding(_reading, model)]
    if isinstance(model.model, torch.nn.Module):
        findings.append(_finding(_memory, model, n, prompt_tokens, response_tokens, lora))
    return Examination(model.name, findings)


def _finding(check: Callable[..., tuple], *arguments: Any) -> Finding:
    """What a check says of its topic, the function's name; an error is a problem."""
    topic = check.__name__.strip("_").replace("_", " ")
    try:
        return Finding(topic, *check(*arguments))
    except (
        ValueError,
        FloatingPointError,
        RuntimeError,
    ) as error:  # e.g. a context that is too short, weights that overflow
        return Finding(topic, "problem", str(error))


def selection_probe(model: LanguageModel) -> dict[str, float]:
    """Ask 24 easy questions (right answer or answer to another question), each in both orders.

    Args:
        model: any model with a chat template and single-token letters.

    Returns:
        selection_accuracy after averaging both orders, its p-value against guessing, mean probability of the right
        answer, prob_first (raw P of the option listed first) and option_mass.
    """
    rows = []
    for shift in (1, 5):
        others = PROBE[shift:] + PROBE[:shift]
        for (prompt, right), (_, wrong) in zip(PROBE, others, strict=True):
            rows.append({"prompt": prompt, "responses": [right, wrong]})
    table = add_selection_probs(rows, model, "pairwise", question=partial(multiple_choice_question, reply=model.reply))
    p_right = [p_sel[0] for p_sel in table["selection_prob"]]
    hits = sum(p > 0.5 for p in p_right)
    return {
        "selection_accuracy": hits / len(rows),
        "p_value": float(binomtest(hits, len(rows), 0.5, alternative="greater").pvalue),
        "prob_right": sum(p_right) / len(rows),
        "prob_first": 0.5 + sum(table["position_bias"]) / len(rows),
        "option_mass": sum(table["option_mass"]) / len(rows),
    }


def memory_estimate(
    network: Any, n: int, prompt_tokens: int, response_tokens: int, lora: bool = True
) -> dict[str, float]:
    """Estimated memory in GB (1e9 bytes) for scoring and for training one prompt with its n responses.

    The model's weights (`distill` leaves its input as it was, so full training holds a copy beside them); for what is
    trained float32 weight, gradient and Adam's two moments; activations kept for the backward pass (about 16
    hidden-size vectors and 3 inner-size vectors per block and token, in the weights' type); and
    three float32 copies of the response positions' logits. A rule of thumb, meant to be within a factor of two.

    Args:
        network: a transformers model.
        n: responses per prompt.
        prompt_tokens, response_tokens: lengths, in tokens; of each response.
        lora: train an adapter (True) or all weights (False).
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


def _chat_template(model: LanguageModel) -> tuple[str, str]:
    tokenizer = model.tokenizer
    if not tokenizer.chat_template:
        return "note", "none; prompts are laid out as 'User: ... Assistant:' (a base model?)"
    ids = encode_chat(tokenizer, "Hello")
    answer_space(tokenizer)
    bos = "one BOS" if ids[:1] == [tokenizer.bos_token_id] else "no BOS"
    text = f"'Hello' becomes {len(ids)} tokens, {bos}"
    own = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
    if never := [name for name in control_tokens(tokenizer) if name in own]:
        return "note", f"{text}; the template names {', '.join(never)}: padlab never samples them"
    return "ok", text


def _end_of_turn(model: LanguageModel) -> tuple[str, str]:
    end, pad = end_of_turn_id(model.tokenizer), model.tokenizer.pad_token
    token = model.tokenizer.convert_ids_to_tokens(end)
    return "ok", f"{token!r} (id {end}); pad token {pad!r}: padlab masks by length and needs none"


def _text_is_not_control(model: LanguageModel) -> tuple[str, str]:
    control = control_tokens(model.tokenizer)
    leaked = [text for text in control if set(encode_text(model.tokenizer, f"a{text}b")) & set(control.values())]
    if leaked:
        return "problem", f"in people's text these act as control: {leaked}"
    return "ok", f"{len(control)} control strings are plain characters in people's text"


def _option_letters(model: LanguageModel) -> tuple[str, str]:
    for letter in LETTERS[:8]:
        letter_tokens(model, letter)
    return "ok", "A to H are single tokens"


def _selection_questions(model: LanguageModel) -> tuple[str, str, dict[str, float]]:
    numbers = selection_probe(model)
    status, advice = "note", "There is a signal, but a weak one: look at an alpha sweep first; use a small alpha"
    if numbers["p_value"] > CONFIDENT:
        advice = "Its choices do not follow the content: no teacher for calibration. Keep alpha = 0"
    elif numbers["option_mass"] < 0.5:
        advice = "Most answers are no option at all: do not trust its choices. Keep alpha = 0"
    elif numbers["prob_right"] >= 0.6:
        status, advice = "ok", "It can be a teacher for calibration (alpha > 0)"
    text = (
        "right in {selection_accuracy:.0%} of 24 easy questions once both orders are averaged (mean p "
        "{prob_right:.2f}); picks the first option {prob_first:.0%} of the time; {option_mass:.0%} of the answers are "
        "{replies}. "
    ).format(**numbers, replies="letters" if model.reply == "letter" else "one of the two texts")
    judge = "its judge adapter, not the model itself, is " if model.judge is not None else ""
    return status, judge + text + advice, numbers


def _reading(model: LanguageModel) -> tuple[str, str, dict[str, float]] | tuple[str, str]:
    prompts = reading.prompts(READING_PROMPTS, heldout="names")
    sampling = {"n": 2, "max_new_tokens": READING_TOKENS, "quality": reading.quality}
    try:
        right = evaluate_samples(model, None, prompts, temperature=0.01, **sampling).per_prompt["right"].mean()
    except (ValueError, RuntimeError) as error:  # a context or vocabulary that is too small, a server's refusal
        return "note", f"the notes of the reading world cannot be put to this model: {error}"
    text = f"answers {right:.0%} of {len(prompts)} questions about short notes right, greedily, word by word"
    return "ok" if right >= 0.5 else "note", f"{text} (padlab.worlds.reading)", {"reading_accuracy": float(right)}


def _memory(
    model: LanguageModel, n: int, prompt_tokens: int, response_tokens: int, lora: bool
) -> tuple[str, str, dict[str, float]]:
    memory = memory_estimate(model.model, n, prompt_tokens, response_tokens, lora)
    needed = "about {gb_scoring:.1f} GB to score and {gb_training:.1f} GB to train".format(**memory)
    kind = "LoRA r 16" if lora else "full fine-tuning"
    text = f"{needed} ({kind}) one prompt of {prompt_tokens} tokens with {n} responses of {response_tokens}"
    free = torch.cuda.mem_get_info()[0] / 1e9 if torch.cuda.is_available() else float("inf")
    if memory["gb_training"] > free:
        return "problem", f"{text}; only {free:.1f} GB are free on the GPU", memory
    return "ok", text, memory
