"""Where memory runs out: the same numbers in smaller pieces, and an error with numbers and remedies at the end."""

import copy
import sys
import weakref

import pytest
import torch

import padlab
from padlab.cli import main
from padlab.lm import generate
from padlab.lm.chat import encode_chat, end_of_turn_id
from padlab.lm.fast.memory import attempt, in_halves
from padlab.lm.fast.prefill import cache_is_exact
from padlab.lm.fast.scoring import can_pack, score_ids
from padlab.phases.distillation import distill
from padlab.phases.multiple_choice import multiple_choice_question
from padlab.training.config import PADConfig
from padlab.training.trainer import PADTrainer

REFUSALS = {
    "gpu": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nSee the documentation"),
    "cpu": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: 9"),
    "python": MemoryError,
}
PROMPTS = ["Hi", "Name a colour.", "Please. Please. Please. Name two things."]
ROWS = [{"prompt": p, "responses": [f"{w} and so on" for w in ("red", "a walk", "seven", "no")]} for p in PROMPTS]
SAMPLING = {"n": 4, "max_new_tokens": 10, "seed": 3}


@pytest.fixture(scope="module")
def table(tiny):
    drawn = padlab.sample_responses(tiny.student, PROMPTS, **SAMPLING)
    return padlab.add_rewards(drawn, tiny.teacher)


@pytest.fixture
def limited(monkeypatch):
    """Function: from now on a forward pass of more than so many rows x tokens (those in a cache too) is refused."""

    def limit(model, most, refusal="gpu"):
        sizes, kind = [], type(model.model.get_decoder())
        plain = kind.forward

        def forward(self, input_ids=None, past_key_values=None, **others):
            held = 0 if past_key_values is None else past_key_values.get_seq_length()
            sizes.append(input_ids.shape[0] * (input_ids.shape[1] + held))
            if sizes[-1] > most:
                raise REFUSALS[refusal]()
            return plain(self, input_ids=input_ids, past_key_values=past_key_values, **others)

        monkeypatch.setattr(kind, "forward", forward)
        return sizes

    return limit


# --- the same in smaller pieces


@pytest.mark.parametrize("refusal", REFUSALS)
def test_work_is_halved_and_the_size_that_fits_is_kept(refusal):
    sizes = []

    def work(items):
        sizes.append(len(items))
        if len(items) > 2:
            raise REFUSALS[refusal]()
        return [-item for item in items]

    assert in_halves(work, range(11), str) == [-k for k in range(11)]
    assert sizes == [11, 5, 2, 2, 2, 2, 2, 1]


def test_other_errors_are_raised_at_once():
    tries = []

    def work(items):
        tries.append(items)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        in_halves(work, range(4), str)
    assert len(tries) == 1


def test_the_tensors_of_what_did_not_fit_are_freed_before_the_next_try():
    held = []

    def work():
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        raise REFUSALS["gpu"]()

    assert attempt(work) == (None, "CUDA out of memory. Tried to allocate 9 GiB.")
    assert held[0]() is None


@pytest.mark.parametrize("cached", [True, False])
def test_sampling_in_pieces_draws_the_same_responses(tiny, limited, shouting, monkeypatch, cached):
    """Memory for two rows of the longest prompt with its answer, of twelve: some rows end sooner than others."""
    student = shouting(tiny.student, [end_of_turn_id(tiny.student.tokenizer)], by=4.0)
    monkeypatch.setattr(generate, "cache_is_exact", lambda model: cached)
    wanted = padlab.sample_responses(student, PROMPTS, **SAMPLING)["response_ids"]
    assert len({len(ids) for row in wanted for ids in row}) > 3
    longest = max(len(encode_chat(student.tokenizer, p)) for p in PROMPTS) + SAMPLING["max_new_tokens"]
    sizes = limited(student, 2 * longest)
    assert padlab.sample_responses(student, PROMPTS, **SAMPLING)["response_ids"] == wanted
    assert max(sizes) > 2 * longest


@pytest.mark.parametrize("options", [{"pack": True}, {"pack": False}, {"exact": True}], ids=str)
def test_scoring_splits_the_responses_of_one_prompt(tiny, limited, options):
    """Memory for one prompt with one response, packed or not."""
    model = tiny.teacher.model
    prompts, responses = [[5, 6, 7], [8] * 10, [9]], [[[20] * k, [21] * 4, [22] * 5, [23]] for k in (9, 6, 3)]
    wanted = score_ids(model, prompts, responses, **options)
    sizes = limited(tiny.teacher, 16)
    found = score_ids(model, prompts, responses, **options)
    for group, expected in zip(found, wanted, strict=True):
        for logps, others in zip(group, expected, strict=True):
            assert logps == pytest.approx(others, abs=1e-5)
    assert max(sizes) > 16


@pytest.mark.parametrize("reply", ["letter", "text"])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_selection_questions_are_asked_one_by_one(tiny, limited, reply, refusal):
    wanted = padlab.add_selection_probs(ROWS, tiny.teacher, reply=reply)
    longest = max(map(len, questions(tiny.teacher))) + 20
    sizes = limited(tiny.teacher, longest, refusal)
    found = padlab.add_selection_probs(ROWS, tiny.teacher, reply=reply)
    for row, expected in zip(found["selection_prob"], wanted["selection_prob"], strict=True):
        assert row == pytest.approx(expected, abs=1e-5)
    assert max(sizes) > longest


def questions(model):
    """Ids of the question about the first two responses to each prompt."""
    texts = [multiple_choice_question(row["prompt"], row["responses"][:2]) for row in ROWS]
    return [encode_chat(model.tokenizer, text) for text in texts]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_training_step_in_pieces_has_the_same_gradient(tiny, table, limited, tmp_path, refusal):
    def gradient():
        student = tiny.student.with_weights(copy.deepcopy(tiny.student.model), "")
        trainer = PADTrainer(student, PADConfig(str(tmp_path), per_device_train_batch_size=3), table)
        trainer.current_gradient_accumulation_steps = 1
        batch = trainer._collate(trainer.train_dataset)
        trainer.forward_backward(student.model, batch, None)
        return torch.cat([p.grad.flatten() for p in student.model.parameters()]), batch["tokens"].input_ids.numel()

    wanted, tokens = gradient()
    sizes = limited(tiny.student, tokens // 2, refusal)
    found, _ = gradient()
    assert float((found - wanted).norm() / wanted.norm()) < 1e-5
    assert max(sizes) == tokens


@pytest.mark.parametrize("probe", [can_pack, cache_is_exact])
def test_memory_that_runs_out_while_a_model_is_tried_out_says_nothing_about_the_model(limited, monkeypatch, probe):
    fresh = padlab.load_pair("tiny").teacher
    limited(fresh, 6, "cpu")
    with pytest.raises(RuntimeError, match="allocate memory"):
        probe(fresh.model)
    monkeypatch.undo()
    assert probe(fresh.model)


# --- where nothing can be split


def messages(tiny, table):
    """What is done -> (call, words of its message: row, numbers, what to lower)."""
    prompt = len(encode_chat(tiny.student.tokenizer, PROMPTS[2]))
    asked = len(questions(tiny.teacher)[2])
    one = table.select([2])
    return {
        "sampling": (
            lambda: padlab.sample_responses(tiny.student, PROMPTS[2:], **SAMPLING),
            rf"row 0: .*{SAMPLING['max_new_tokens']} tokens.*prompt of {prompt}\b.*max_new_tokens",
        ),
        "scoring": (lambda: padlab.add_rewards(one, tiny.student), rf"row 0: .*tokens.*prompt of {prompt}\b.*shorter"),
        "selection": (
            lambda: padlab.add_selection_probs(ROWS[2:], tiny.teacher),
            rf"question of {asked} tokens.*max_response_tokens",
        ),
        "replies": (
            lambda: padlab.add_selection_probs(ROWS[2:], tiny.teacher, reply="text"),
            r"selection question \d+: .*max_response_tokens",
        ),
        "training": (
            lambda: distill(tiny.student, one, num_train_epochs=1),
            r"1 prompt.*4 responses, \d+ tokens.*gradient_checkpointing=True.*LoRA",
        ),
    }


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("case", ["sampling", "scoring", "selection", "replies", "training"])
def test_what_cannot_be_split_says_how_large_it_is_and_what_helps(tiny, table, limited, case, refusal):
    call, words = messages(tiny, table)[case]
    for model in tiny:
        limited(model, 24, refusal)  # enough to try a model out
    first_line = (str(REFUSALS[refusal]()) or "MemoryError").splitlines()[0]
    with pytest.raises(torch.OutOfMemoryError, match=words) as caught:
        call()
    assert first_line in str(caught.value)
    assert "documentation" not in str(caught.value)  # the second line


def test_the_command_line_ends_with_one_message(tiny, limited, capsys, tmp_path):
    limited(tiny.student, 24)
    assert main(["sample", str(tmp_path), "--preset", "tiny", "--limit", "2"]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert "row 1: sampling" in error[-1]
    assert "Traceback" not in " ".join(error)


# --- memory that is really short

SHORT = """
import ctypes, resource
from padlab.lm.fast import memory
from padlab.lm.fast.scoring import score_ids
from padlab.lm.models import LanguageModel
from padlab.lm.tiny import tiny_model

model = LanguageModel(tiny_model(student.tokenizer, 2, seed=0, width=512), student.tokenizer, "wide")
refusals, attempt = [], memory.attempt

def counting(*arguments):
    result, refusal = attempt(*arguments)
    if refusal:
        refusals.append(refusal)
    return result, refusal

memory.attempt = counting

def under(megabytes, run):
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # gives back what was freed: it would not count as new
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + megabytes * 2**20, resource.RLIM_INFINITY))
    try:
        return run()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

def sample(n=64):
    table = padlab.sample_responses(model, ["word " * 30, "word " * 60], n=n, max_new_tokens=4)
    return table["response_ids"]

def scores(n=64):
    return score_ids(model.model, [[5] * 100], [[[7, 8, 9 + k] * 30 for k in range(n)]], tokens_per_batch=10**9)[0]

sample(2), scores(2)
found = under(48, sample)
assert refusals and all("DefaultCPUAllocator" in line for line in refusals), refusals
assert found == sample()
refusals.clear()
found = under(48, scores)
assert refusals
worst = max(abs(a - b) for one, other in zip(found, scores()) for a, b in zip(one, other))
assert worst < 1e-4, worst
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, which Linux does")
def test_sampling_and_scoring_go_on_in_a_process_with_little_memory(killer):
    assert killer.run(SHORT)[0] == 0
