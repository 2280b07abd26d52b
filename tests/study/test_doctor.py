"""The examination says what is true of models that were built to have one fault each."""

import copy

import pytest
import torch
from datasets import Dataset
from tokenizers import normalizers

import padlab
from padlab.lm.models import LanguageModel
from padlab.lm.tiny import tiny_model, tiny_tokenizer
from padlab.phases import multiple_choice
from padlab.phases.multiple_choice import letter_tokens
from padlab.study import agreement, doctor
from padlab.study.doctor import PROBE, Finding, examine, memory_estimate, selection_probe
from padlab.worlds import reading

TOPICS = ["chat template", "end of turn", "text is not control", "option letters"]


def statuses(examination):
    return {finding.topic: finding.status for finding in examination.findings}


def finding(examination, topic):
    return next(f for f in examination.findings if f.topic == topic)


def with_tokenizer(model, name, **changes):
    tokenizer = copy.deepcopy(model.tokenizer)
    for key, value in changes.items():
        setattr(tokenizer, key, value)
    return LanguageModel(model.model, tokenizer, name)


def answering(monkeypatch, model, strength):
    """The model prefers the right answer by `strength` nats, whatever its letter."""
    right = dict(PROBE)
    first, second = (letter_tokens(model, letter)[0] for letter in "AB")

    def answer(network, prompts):
        rows = torch.full((len(prompts), len(model.tokenizer)), -50.0)
        for row, ids in zip(rows, prompts, strict=True):
            lines = model.tokenizer.decode(ids).split("\n")
            question = next(line for line in lines if line.startswith("> "))[2:]
            options = [lines[lines.index(f"[{letter}]") + 1][2:] for letter in "AB"]
            assert (options[0] == right[question]) != (options[1] == right[question])
            row[first] = strength if options[0] == right[question] else 0.0
            row[second] = strength if options[1] == right[question] else 0.0
        return rows.log_softmax(-1)

    monkeypatch.setattr(multiple_choice, "next_token_logprobs", answer)


def test_random_weights_are_no_teacher_for_calibration(tiny):
    for model in tiny:
        found = examine(model)
        assert [statuses(found)[topic] for topic in TOPICS] == ["ok"] * len(TOPICS)
        verdict = finding(found, "selection questions")
        assert verdict.status == "note"
        assert "no teacher for calibration. Keep alpha = 0" in verdict.text
        assert found.numbers["p_value"] > 0.02
        assert str(found).startswith(model.name)
        assert str(found).count("\n") == len(found.findings)


def test_the_numbers_are_those_of_the_questions(tiny):
    found = selection_probe(tiny.teacher)
    rows = [
        {"prompt": q, "responses": [a, PROBE[(k + s) % len(PROBE)][1]]}
        for s in (1, 5)
        for k, (q, a) in enumerate(PROBE)
    ]
    asked = padlab.add_selection_probs(rows, tiny.teacher)
    assert len(asked) == 24
    assert found["prob_right"] == pytest.approx(sum(p[0] for p in asked["selection_prob"]) / 24)
    assert found["selection_accuracy"] == sum(p[0] > p[1] for p in asked["selection_prob"]) / 24
    assert found["prob_first"] == pytest.approx(0.5 + sum(asked["position_bias"]) / 24)
    assert found["option_mass"] == pytest.approx(sum(asked["option_mass"]) / 24)


def test_biased_letters_are_seen_and_are_no_signal(tiny):
    network = copy.deepcopy(tiny.teacher.model)
    letter = letter_tokens(tiny.teacher, "A")

    def louder(module, inputs, output):
        output.logits[..., letter] += 30.0
        return output

    network.register_forward_hook(louder)
    found = examine(LanguageModel(network, tiny.teacher.tokenizer, "says A"))
    assert found.numbers["prob_first"] > 0.99
    assert found.numbers["option_mass"] > 0.99
    assert finding(found, "selection questions").status == "note"
    assert "first option 100% of the time" in finding(found, "selection questions").text


@pytest.mark.parametrize(
    ("strength", "status", "text"),
    [
        (4.0, "ok", "right in 100% of 24 easy questions.*It can be a teacher for calibration"),
        (0.2, "note", r"right in 100% .*mean p 0\.55.*a weak one"),
        (-4.0, "note", "right in 0%.*do not follow the content"),
    ],
)
def test_a_model_that_knows_the_answers(tiny, monkeypatch, strength, status, text):
    answering(monkeypatch, tiny.teacher, strength)
    verdict = finding(examine(tiny.teacher), "selection questions")
    assert verdict.status == status
    assert_matches(verdict, text)


def assert_matches(found: Finding, pattern: str):
    with pytest.raises(ValueError, match=pattern):
        raise ValueError(found.text)


@pytest.mark.filterwarnings("ignore:.*no chat template")
def test_a_base_model_without_template_gets_a_note(tiny):
    found = examine(with_tokenizer(tiny.student, "base model", chat_template=None))
    assert statuses(found)["chat template"] == "note"
    assert "User: ... Assistant:" in finding(found, "chat template").text
    assert "selection questions" in statuses(found)


@pytest.mark.parametrize(
    ("template", "topic", "text"),
    [
        ("{{ messages[0]['content'] | upper }}", "chat template", "rewrites the text"),
        ("{{ bos_token }}{{ bos_token }}{{ messages[0]['content'] }}", "chat template", "BOS twice"),
        ("{{ raise_exception('no roles at all') }}", "chat template", "refuses the roles"),
    ],
)
def test_templates_with_a_fault_are_problems(tiny, template, topic, text):
    found = examine(with_tokenizer(tiny.student, "faulty", chat_template=template))
    assert statuses(found)[topic] == "problem"
    assert text in finding(found, topic).text
    assert "selection questions" not in statuses(found)
    assert "memory" in statuses(found)


def test_a_template_that_opens_a_thought_is_a_problem(tiny):
    thinking = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    found = examine(with_tokenizer(tiny.teacher, "thinks", chat_template=thinking))
    assert statuses(found)["chat template"] == "problem"
    at = len("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n")
    assert f"from character {at} on" in finding(found, "chat template").text


def test_no_end_and_no_pad(tiny):
    plain = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    found = examine(with_tokenizer(tiny.teacher, "endless", chat_template=plain, eos_token=None))
    assert statuses(found)["end of turn"] == "problem"
    assert "Set tokenizer.eos_token" in finding(found, "end of turn").text
    assert tiny.teacher.tokenizer.pad_token is None
    assert "pad token None: padlab masks by length" in finding(examine(tiny.teacher), "end of turn").text


def test_a_letter_of_two_tokens_is_a_problem(tiny):
    model = with_tokenizer(tiny.teacher, "doubled D")
    model.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("D", "DD")
    found = examine(model)
    assert statuses(found)["option letters"] == "problem"
    assert "option letter 'D' is not a single token" in finding(found, "option letters").text
    assert "selection_accuracy" not in found.numbers


def test_a_short_context_is_a_finding_not_a_crash():
    tokenizer = tiny_tokenizer("teacher")
    found = examine(LanguageModel(tiny_model(tokenizer, 1, 0, context=48), tokenizer, "short"))
    assert statuses(found)["selection questions"] == "problem"
    assert "more than the context" in finding(found, "selection questions").text


def test_broken_weights_are_a_finding_not_a_crash(tiny):
    network = copy.deepcopy(tiny.teacher.model)
    network.get_decoder().norm.weight.data[0] = float("nan")
    found = examine(LanguageModel(network, tiny.teacher.tokenizer, "broken"))
    assert statuses(found)["selection questions"] == "problem"


# --- memory


def test_memory_grows_with_what_it_should(tiny):
    network = tiny.teacher.model
    base = {"n": 4, "prompt_tokens": 64, "response_tokens": 64}
    start = memory_estimate(network, **base)
    assert 0 < start["gb_scoring"] < start["gb_training"]
    for setting in base:
        more = memory_estimate(network, **{**base, setting: 2 * base[setting]})
        assert all(more[key] > start[key] for key in start), setting
    full = memory_estimate(network, **base, lora=False)
    assert full["gb_training"] > start["gb_training"]
    assert full["gb_scoring"] == start["gb_scoring"]


def test_memory_counts_weights_by_their_size():
    """With almost no tokens what is left are the weights: 4 bytes each to score, 20 each to train in full."""
    tokenizer = tiny_tokenizer("student")
    network = tiny_model(tokenizer, 6, 0, width=256)
    count = sum(p.numel() for p in network.parameters())
    least = {"n": 1, "prompt_tokens": 1, "response_tokens": 1}
    assert memory_estimate(network, **least)["gb_scoring"] * 1e9 == pytest.approx(4 * count, rel=0.05)
    assert memory_estimate(network, **least, lora=False)["gb_training"] * 1e9 == pytest.approx(20 * count, rel=0.1)
    half = memory_estimate(copy.deepcopy(network).to(torch.bfloat16), **least)["gb_scoring"]
    assert half * 1e9 == pytest.approx(2 * count, rel=0.1)


def test_lora_memory_counts_the_adapters_weights():
    from padlab.lm.adapters import trainable_copy

    network = tiny_model(tiny_tokenizer("student"), 2, 0, width=128)
    adapter = sum(p.numel() for p in trainable_copy(network, "auto").parameters() if p.requires_grad)
    none = {"n": 0, "prompt_tokens": 0, "response_tokens": 0}
    found = memory_estimate(network, **none)
    assert (found["gb_training"] - found["gb_scoring"]) * 1e9 == pytest.approx(16 * adapter, rel=0.25)


def test_reading_is_measured_on_notes_never_seen_or_its_absence_is_said(tiny, monkeypatch):
    found = examine(tiny.teacher)
    assert found.numbers["reading_accuracy"] == 0
    short = copy.deepcopy(tiny.teacher)
    short.model.config.max_position_embeddings = 200
    assert "context" in finding(examine(short), "reading").text
    right = {prompt: reading.answers(prompt)[0] for prompt in reading.prompts(doctor.READING_PROMPTS, heldout="names")}
    monkeypatch.setattr(agreement, "sample_responses", lambda model, prompts, n, **_: _answered(right, prompts, n))
    assert examine(tiny.teacher).numbers["reading_accuracy"] == 1


def _answered(right, prompts, n):
    rows = [
        {"prompt": p, "responses": [right[p]] * n, "response_ids": [[1]] * n, "finished": [True] * n} for p in prompts
    ]
    return Dataset.from_list(rows)
