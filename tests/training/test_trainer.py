"""Phase 3: the gradient against plain forwards and enumerated rankings; what training touches; how it resumes."""

import copy
import itertools
import json
import math
import random

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from transformers import TrainerCallback

import padlab
from padlab.candidates import check_candidates
from padlab.lm.adapters import trainable_copy
from padlab.lm.encoding import candidate_ids
from padlab.lm.models import LanguageModel
from padlab.phases.distillation import distill
from padlab.phases.rewards import add_rewards
from padlab.runs import save_table
from padlab.safe_files import SEAL, seal
from padlab.training import per_prompt_losses as module
from padlab.training.checkpoints import newest_whole
from padlab.training.collator import training_examples
from padlab.training.config import PADConfig
from padlab.training.trainer import PADTrainer
from tests.other_process import held_by_another

PROMPTS = [f"{'Please. ' * (k % 3)}Name {k} things." for k in range(8)]
FAST = {"learning_rate": 5e-3, "gradient_accumulation_steps": 8, "seed": 1}


@pytest.fixture(scope="module")
def table(tiny):
    student, teacher = tiny
    drawn = padlab.sample_responses(student, PROMPTS, n=4, max_new_tokens=8)
    return padlab.add_selection_probs(add_rewards(drawn, teacher), teacher)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Whatever is written by default lands in a passing folder."""
    monkeypatch.chdir(tmp_path)


def weights(model):
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def same(a, b, tolerance=0.0):
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], rtol=0, atol=tolerance) for k in a)


class Grab(TrainerCallback):
    """Keeps the gradient of every optimizer step."""

    def __init__(self):
        self.found = []

    def on_pre_optimizer_step(self, args, state, control, model, **others):
        self.found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]).clone())


def gradients(student, candidates, batch=1, accumulate=8, **settings):
    """Gradients of one epoch's optimizer steps; the weights stay where they are (learning rate 0, no clipping)."""
    network = copy.deepcopy(student.model).requires_grad_(True)
    args = PADConfig(
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulate,
        learning_rate=0.0,
        num_train_epochs=1,
        max_grad_norm=0.0,
        **settings,
    )
    grab = Grab()
    model = LanguageModel(network, student.tokenizer, "probe")
    PADTrainer(model, args, candidates, callbacks=[grab]).train()
    return grab.found


def close(a, b, tolerance):
    return float(torch.linalg.vector_norm(a - b)) < tolerance * float(torch.linalg.vector_norm(b))


def plain_loss(student, candidates, loss, beta=10.0):
    """The oracle: one forward per sequence, every ranking enumerated, in float64; the mean over the prompts."""
    prompt_ids, response_ids = candidate_ids(student, candidates)
    losses = []
    for prompt, group, entry in zip(prompt_ids, response_ids, candidates, strict=True):
        rewards = []
        for ids in group:
            logits = student.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].double()
            rewards.append(logits.log_softmax(-1)[range(len(ids)), ids].mean())
        ours = enumerate_rankings(beta * torch.stack(rewards))
        theirs = enumerate_rankings(beta * torch.tensor(entry["teacher_reward"], dtype=torch.float64))
        if loss == "vpd":
            losses.append(-ours[int(theirs.argmax())])
        else:
            middle = torch.logaddexp(ours, theirs) - math.log(2)
            kl = lambda p: (p.exp() * (p - middle)).sum()  # noqa: B023, E731
            losses.append((kl(ours) + kl(theirs)) / 2)
    return torch.stack(losses).mean()


def enumerate_rankings(scores):
    rows = []
    for order in itertools.permutations(range(len(scores))):
        s = scores[list(order)]
        rows.append(sum(s[k] - s[k:].logsumexp(0) for k in range(len(s))))
    return torch.stack(rows)


@pytest.mark.parametrize("loss", ["ppd", "vpd"])
def test_the_gradient_is_that_of_the_plain_loss(tiny, table, loss):
    network = copy.deepcopy(tiny.student.model).requires_grad_(True)
    value = plain_loss(LanguageModel(network, tiny.student.tokenizer, "plain"), table, loss)
    value.backward()
    expected = torch.cat([p.grad.flatten() for p in network.parameters()])
    (found,) = gradients(tiny.student, table, batch=1, accumulate=8, loss=loss)
    assert close(found, expected, 1e-4)


@pytest.mark.parametrize("loss", ["ppd", "vpd"])
def test_accumulation_gives_the_same_gradient(tiny, table, loss):
    (one_by_eight,) = gradients(tiny.student, table, batch=1, accumulate=8, loss=loss)
    for batch, accumulate in ((8, 1), (2, 4), (3, 3)):
        (other,) = gradients(tiny.student, table, batch, accumulate, loss=loss)
        assert close(other, one_by_eight, 1e-5)
    assert float(torch.linalg.vector_norm(one_by_eight)) > 1


@pytest.mark.parametrize(("batch", "accumulate"), [(1, 5), (5, 1), (2, 3), (4, 2)])
def test_a_smaller_last_batch_counts_its_own_prompts(tiny, table, batch, accumulate):
    """Steps of (up to) so many prompts: gradients weighted by their prompts add up to the whole table's."""
    (whole,) = gradients(tiny.student, table, 8, 1)
    found = gradients(tiny.student, table, batch, accumulate)
    sizes = [min(batch * accumulate, 8), 8 - min(batch * accumulate, 8)]
    sizes = [size for size in sizes if size]
    assert len(found) == len(sizes)
    assert close(sum(size * g for size, g in zip(sizes, found, strict=True)) / 8, whole, 1e-5)


def test_a_batch_is_the_mean_of_its_prompts_alone(tiny, table):
    (whole,) = gradients(tiny.student, table, 8, 1)
    alone = [gradients(tiny.student, table.select([k]), 1, 1)[0] for k in range(8)]
    assert close(torch.stack(alone).mean(0), whole, 1e-5)


def test_ragged_numbers_of_responses(tiny, table):
    columns = ("responses", "response_ids", "finished", "teacher_reward")
    keep = [4, 1, 2, 3, 4, 2, 1, 3]
    ragged = check_candidates(
        [
            {**row, **{c: row[c][:n] for c in columns}, "selection_prob": None}
            for row, n in zip(table, keep, strict=True)
        ]
    )
    (whole,) = gradients(tiny.student, ragged, 8, 1)
    assert close(gradients(tiny.student, ragged, 1, 8)[0], whole, 1e-5)
    network = copy.deepcopy(tiny.student.model).requires_grad_(True)
    plain_loss(LanguageModel(network, tiny.student.tokenizer, "plain"), ragged, "ppd").backward()
    assert close(whole, torch.cat([p.grad.flatten() for p in network.parameters()]), 1e-4)


def test_a_student_that_is_its_own_teacher_has_nothing_to_learn(tiny, table):
    own = add_rewards(table, tiny.student, "teacher_reward")
    (nothing,) = gradients(tiny.student, own, 8, 1)
    (something,) = gradients(tiny.student, table, 8, 1)
    assert float(torch.linalg.vector_norm(nothing)) < 1e-4 * float(torch.linalg.vector_norm(something))
    trained = distill(tiny.student, own, max_steps=1, **FAST)
    assert trained.history[0]["loss"] < 1e-8
    assert trained.history[0]["kendall_tau"] == pytest.approx(1)
    modes = distill(tiny.student, own, loss="vpd", max_steps=1, **FAST)
    expected = plain_loss(tiny.student, own, "vpd")
    assert modes.history[0]["loss"] == pytest.approx(float(expected), rel=1e-4)


def test_one_response_per_prompt_gives_loss_zero(tiny):
    rows = check_candidates([{"prompt": p, "responses": ["a word"], "teacher_reward": [-2.0]} for p in PROMPTS])
    for loss in ("ppd", "vpd"):
        trained = distill(tiny.student, rows, loss=loss, peft_config=None, max_steps=2, **FAST)
        assert trained.history[0]["loss"] == 0
        assert same(weights(trained.model), weights(tiny.student.model))


def test_gradient_checkpointing_changes_nothing(tiny, table):
    (plain,) = gradients(tiny.student, table, 8, 1)
    (saved,) = gradients(tiny.student, table, 8, 1, gradient_checkpointing=True)
    assert close(saved, plain, 1e-5)


# --- what training touches


def test_only_the_adapter_moves_and_the_input_stays(tiny, table):
    before = weights(tiny.student.model)
    trained = distill(tiny.student, table, max_steps=3, **FAST)
    assert same(weights(tiny.student.model), before)
    assert trained.weights_hash() != tiny.student.weights_hash()
    assert isinstance(trained.model, PeftModel)
    assert not isinstance(tiny.student.model, PeftModel)
    start = dict(trainable_copy(tiny.student.model, "auto", FAST["seed"]).named_parameters())
    for name, parameter in trained.model.named_parameters():
        moved = not torch.equal(parameter, start[name])
        assert moved == ("lora_" in name), name
        assert parameter.requires_grad == ("lora_" in name), name
    assert not trained.model.training


def test_the_only_step_is_not_spent_on_warming_up(tiny, table):
    trained = distill(tiny.student, table, max_steps=1, **FAST)
    untrained = trained.with_weights(trainable_copy(tiny.student.model, "auto", 1), "")
    assert trained.weights_hash() != untrained.weights_hash()
    assert trained.history[0]["learning_rate"] == FAST["learning_rate"]
    assert PADConfig("x").get_warmup_steps(20) == 2
    assert PADConfig("x", warmup_steps=5).get_warmup_steps(9) == 5


def test_heads_of_two_sizes_are_refused_before_training(tiny, table):
    wider = trainable_copy(tiny.student.model, None)
    wider.resize_token_embeddings(len(tiny.student.tokenizer) + 64)
    with pytest.raises(ValueError, match="output heads of one size"):
        distill(tiny.student, table, token_kd=1.0, teacher=tiny.student.with_weights(wider, "wider"), **FAST)


def test_the_frozen_weights_are_shared_not_copied(tiny, table):
    trained = distill(tiny.student, table, max_steps=1, **FAST)
    original = {p.data_ptr() for p in tiny.student.model.parameters()}
    frozen = {p.data_ptr() for n, p in trained.model.named_parameters() if "lora_" not in n}
    assert frozen == original


def test_full_fine_tuning_moves_all_weights_of_a_copy(tiny, table):
    before = weights(tiny.student.model)
    trained = distill(tiny.student, table, peft_config=None, max_steps=2, **{**FAST, "learning_rate": 1e-3})
    assert same(weights(tiny.student.model), before)
    after = weights(trained.model)
    assert after.keys() == before.keys()
    assert not [k for k in after if torch.equal(after[k], before[k])]
    places = [{p.data_ptr() for p in model.model.parameters()} for model in (trained, tiny.student)]
    assert not places[0] & places[1]


def test_a_student_with_an_adapter_continues_it(tiny, table):
    first = distill(tiny.student, table, max_steps=2, **FAST)
    before = weights(first.model)
    second = distill(first, table, max_steps=2, **FAST)
    assert same(weights(first.model), before)
    assert list(second.model.peft_config) == ["default"]
    assert weights(second.model).keys() == before.keys()
    moved = {k for k, v in weights(second.model).items() if not torch.equal(v, before[k])}
    assert moved
    assert all("lora_" in k for k in moved)
    assert {p.data_ptr() for n, p in second.model.named_parameters() if "lora_" not in n} == {
        p.data_ptr() for p in tiny.student.model.parameters()
    }
    assert second.history[0]["loss"] == pytest.approx(distill(first, table, max_steps=1, **FAST).history[0]["loss"])
    assert second.history[0]["loss"] < first.history[0]["loss"]


def test_full_fine_tuning_merges_an_adapter_first(tiny, table):
    adapted = distill(tiny.student, table, max_steps=2, **FAST)
    merged = trainable_copy(adapted.model, None)
    assert not isinstance(merged, PeftModel)
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, adapted.model(ids).logits, atol=1e-4)
    assert all(p.requires_grad for p in merged.parameters())


def test_the_seed_decides_and_the_callers_randomness_stays(tiny, table):
    runs = [distill(tiny.student, table, max_steps=2, **{**FAST, "seed": s}) for s in (1, 1, 2)]
    assert same(weights(runs[0].model), weights(runs[1].model))
    assert not same(weights(runs[0].model), weights(runs[2].model))


def test_another_adapter_can_be_asked_for(tiny, table):
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    trained = distill(tiny.student, table, peft_config=config, max_steps=1, **FAST)
    names = [n for n, _ in trained.model.named_parameters() if "lora_A" in n]
    assert len(names) == 2
    assert all("q_proj" in n for n in names)


def test_nothing_is_left_in_the_working_folder(tiny, table, tmp_path):
    distill(tiny.student, table, max_steps=1, **FAST)
    assert list(tmp_path.iterdir()) == []


# --- settings and data


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"loss": "orpo"}, "loss must be one of ppd, vpd, sft, token_kd, dpo, simpo, lipo, pro, rrhf, got 'orpo'"),
        ({"divergence": "kl"}, "divergence must be one of js, forward_kl, reverse_kl, released, got 'kl'"),
        ({"alpha": -0.1}, r"alpha must lie in \[0, 1\]"),
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\]"),
        ({"alpha": float("nan")}, r"alpha must lie in \[0, 1\]"),
        ({"beta": 0.0}, "beta must be a positive number, got 0.0"),
        ({"beta": -1.0}, "beta must be a positive number"),
        ({"beta": float("inf")}, "beta must be a positive number"),
        ({"beta": float("nan")}, "beta must be a positive number"),
    ],
)
def test_settings_out_of_range_are_refused(tiny, table, setting, message):
    with pytest.raises(ValueError, match=message):
        PADConfig(**setting)
    with pytest.raises(ValueError, match=message):
        distill(tiny.student, table, **setting)


def test_alpha_zero_needs_no_selection_prob(tiny, table):
    bare = table.remove_columns(["selection_prob", "option_mass", "position_bias"])
    trained = distill(tiny.student, bare, max_steps=1, **FAST)
    assert trained.history[0]["loss"] == distill(tiny.student, table, max_steps=1, **FAST).history[0]["loss"]
    with pytest.raises(ValueError, match=r"missing column.*selection_prob.*add_selection_probs.*or set alpha=0"):
        distill(tiny.student, bare, alpha=0.5)
    with pytest.raises(ValueError, match=r"missing column.*teacher_reward.*add_rewards"):
        distill(tiny.student, bare.remove_columns("teacher_reward"))


def test_the_teachers_scores_are_beta_times_the_calibrated_reward(tiny, table):
    for alpha in (0.0, 0.3, 1.0):
        found = training_examples(tiny.student, table, PADConfig(alpha=alpha, beta=4.0))
        for example, row in zip(found, table, strict=True):
            mixed = (1 - alpha) * np.array(row["teacher_reward"]) + alpha * np.log(row["selection_prob"])
            assert example["teacher_scores"] == pytest.approx(4 * mixed, rel=1e-5)


def test_standardised_selection_has_the_spread_of_the_rewards(tiny, table):
    found = training_examples(tiny.student, table, PADConfig(alpha=1.0, beta=4.0, match_scale=True))
    for example, row in zip(found, table, strict=True):
        scores, rewards, said = example["teacher_scores"], row["teacher_reward"], row["selection_prob"]
        assert np.std(scores) == pytest.approx(4 * np.std(rewards), rel=1e-4)
        assert np.corrcoef(scores, np.log(said))[0, 1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"teacher_reward": [-1.0, float("nan"), -1.0, -1.0]}, "row 2, response 1: teacher_reward is nan; score that"),
        ({"teacher_reward": [-1.0, -1.0, -1.0, float("-inf")]}, "row 2, response 3: teacher_reward is -inf"),
        ({"responses": ["a", "", "b", "c"], "response_ids": [[1], [], [1], [1]]}, "row 2, response 1: empty response"),
        ({"prompt": "word " * 900}, "row 2, response 0: prompt .* exceed the context"),
        ({"teacher_reward": [-1.0]}, "row 2: teacher_reward has 1 entries for 4 responses"),
    ],
)
def test_bad_rows_are_named_before_training(tiny, table, cells, message):
    rows = list(table)
    rows[2] = {**rows[2], **cells}
    with pytest.raises(ValueError, match=message):
        distill(tiny.student, rows)


def test_weights_that_break_stop_the_training(tiny, table):
    network = copy.deepcopy(tiny.student.model)
    network.get_decoder().norm.weight.data[3] = float("inf")
    with pytest.raises(FloatingPointError, match="NaN or infinite at step 1"):
        distill(LanguageModel(network, tiny.student.tokenizer, "broken"), table, max_steps=1)


# --- what is reported


def test_the_first_line_of_the_history_by_hand(tiny, table):
    trained = distill(tiny.student, table, max_steps=2, **FAST)
    report = padlab.rank_agreement(tiny.student, tiny.teacher, table)
    first = trained.history[0]
    ours, theirs = np.array(report.table["student_reward"]), np.array(table["teacher_reward"])
    best, worst = (ours[range(8), picked] for picked in (theirs.argmax(1), theirs.argmin(1)))
    assert first["loss"] == pytest.approx(float(plain_loss(tiny.student, table, "ppd")), rel=1e-4)
    assert first["jsd"] == pytest.approx(report.per_prompt["jsd"].mean(), rel=1e-4)
    assert first["kendall_tau"] == pytest.approx(report.per_prompt["kendall_tau"].mean(), abs=1e-6)
    assert first["top1"] == pytest.approx(report.per_prompt["top1"].mean())
    assert first["rewards/chosen"] == pytest.approx(best.mean(), abs=1e-4)
    assert first["rewards/rejected"] == pytest.approx(worst.mean(), abs=1e-4)
    assert first["rewards/margins"] == pytest.approx((best - worst).mean(), abs=1e-4)
    assert first["rewards/accuracies"] == pytest.approx((best > worst).mean())
    assert [line["step"] for line in trained.history if "loss" in line] == [1, 2]
    assert not tiny.student.history


@pytest.mark.parametrize("batch", [1, 3])
def test_used_as_a_trainer_with_an_evaluation_set(tiny, table, tmp_path, batch):
    network = copy.deepcopy(tiny.student.model)
    args = PADConfig(
        output_dir=str(tmp_path / "out"), num_train_epochs=2, eval_strategy="epoch", logging_steps=100,
        per_device_train_batch_size=2, per_device_eval_batch_size=batch, **{**FAST, "gradient_accumulation_steps": 2},
    )  # fmt: skip
    held = table.select(range(5))
    trainer = PADTrainer(
        model=network, args=args, train_dataset=table, eval_dataset=held, processing_class=tiny.student.tokenizer,
        peft_config="auto",
    )  # fmt: skip
    result = trainer.train()
    assert result.training_loss > 0
    last = [line for line in trainer.state.log_history if "eval_loss" in line][-1]
    model = LanguageModel(trainer.model, tiny.student.tokenizer, "trained")
    report = padlab.rank_agreement(model, tiny.teacher, held).per_prompt
    metrics = trainer.evaluate()
    for found in (last, metrics):  # the training steps in between leave no trace in them
        assert found["eval_loss"] == pytest.approx(report["jsd"].mean(), rel=1e-3)
        assert found["eval_jsd"] == pytest.approx(report["jsd"].mean(), rel=1e-3)
        assert found["eval_kendall_tau"] == pytest.approx(report["kendall_tau"].mean(), abs=1e-6)
        assert "eval_rewards/margins" in found
    assert trainer.evaluate(metric_key_prefix="test")["test_jsd"] == pytest.approx(report["jsd"].mean(), rel=1e-3)
    trainer.save_model(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "adapter_model.safetensors").exists()


def test_the_best_checkpoint_can_be_chosen_by_agreement(tiny, table, tmp_path):
    args = PADConfig(
        output_dir=str(tmp_path / "out"), num_train_epochs=2, eval_strategy="epoch", save_strategy="epoch",
        load_best_model_at_end=True, metric_for_best_model="eval_kendall_tau", greater_is_better=True, **FAST,
    )  # fmt: skip
    trainer = PADTrainer(tiny.student, args, table, table, peft_config="auto")
    trainer.train()
    taus = [line["eval_kendall_tau"] for line in trainer.state.log_history if "eval_kendall_tau" in line]
    assert trainer.state.best_metric == pytest.approx(max(taus))


def test_a_model_can_be_given_as_a_folder(tiny, table, tmp_path):
    tiny.student.save(tmp_path / "student")
    trainer = PADTrainer(str(tmp_path / "student"), PADConfig(max_steps=1, **FAST), table)
    trainer.train()
    assert trainer.processing_class.get_vocab() == tiny.student.tokenizer.get_vocab()


def test_evaluation_within_distill_is_in_the_history(tiny, table):
    trained = distill(tiny.student, table, eval_candidates=table.select(range(3)), num_train_epochs=2, **FAST)
    assert len([line for line in trained.history if "eval_jsd" in line]) == 2


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "vpd"},
        {"divergence": "forward_kl"},
        {"divergence": "reverse_kl"},
        {"alpha": 0.5},
        {"peft_config": None},
    ],
    ids=str,
)
def test_eight_prompts_can_be_learnt_by_heart(tiny, table, settings):
    rate = {"learning_rate": 2e-3} if "peft_config" in settings else {"learning_rate": 1e-2}
    trained = distill(tiny.student, table, num_train_epochs=12, **{**FAST, **rate, **settings})
    losses = [line["loss"] for line in trained.history if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    alpha = settings.get("alpha", 0.0)
    models = (tiny.student, trained)
    before, after = (padlab.rank_agreement(m, tiny.teacher, table, alpha=alpha).per_prompt for m in models)
    assert after["jsd"].mean() < before["jsd"].mean()
    assert after["kendall_tau"].mean() > before["kendall_tau"].mean()


# --- interruption and resuming


def interrupt(monkeypatch, at):
    """Ctrl-C in the middle of a given step (one loss per step here); returns the list of losses computed."""
    original, seen = module.ppd_loss, []

    def broken(*arguments, **named):
        seen.append(1)
        if len(seen) == at:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    monkeypatch.setattr(module, "ppd_loss", broken)
    return seen


STEPS = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 3,
    "learning_rate": 5e-3,
}


def test_interrupted_without_a_folder_what_was_learnt_is_kept(tiny, table, monkeypatch, capsys):
    interrupt(monkeypatch, at=4)
    trained = distill(tiny.student, table, **STEPS)
    assert "interrupted after 3 of 6 steps" in capsys.readouterr().out
    assert [line["step"] for line in trained.history] == [1, 2, 3]
    start = weights(trainable_copy(tiny.student.model, "auto", 42))
    assert {k for k, v in weights(trained.model).items() if not torch.equal(v, start[k])}
    assert not trained.model.training


def flip(path, byte):
    data = bytearray(path.read_bytes())
    data[byte] ^= 4
    path.write_bytes(data)


def weights_file(checkpoint):
    (file,) = checkpoint.glob("*model.safetensors")
    return file


DAMAGE = {
    "killed before the seal": lambda c: (c / SEAL).unlink(),
    "weights cut": lambda c: weights_file(c).write_bytes(weights_file(c).read_bytes()[:100]),
    "weights missing": lambda c: weights_file(c).unlink(),
    "a bit of the optimizer": lambda c: flip(c / "optimizer.pt", 4000),
    "state of nothing": lambda c: (c / "trainer_state.json").write_text("{}"),
    "seal of nothing": lambda c: (c / SEAL).write_text("[]"),
    "settings of another": lambda c: seal(c, "0123"),
}


@pytest.mark.parametrize("peft_config", ["auto", None])
@pytest.mark.parametrize("damage", ["none", *DAMAGE])
def test_training_resumes_from_the_newest_whole_checkpoint(tiny, table, tmp_path, monkeypatch, damage, peft_config):
    whole = distill(tiny.student, table, **STEPS, peft_config=peft_config)
    folder = tmp_path / "ein Lauf ü"
    call = {**STEPS, "peft_config": peft_config, "folder": folder, "save_steps": 1}
    with monkeypatch.context() as patch:
        interrupt(patch, at=5)
        with pytest.raises(KeyboardInterrupt):
            distill(tiny.student, table, **call)
    newest = folder / "checkpoints" / "checkpoint-4"
    assert newest_whole(folder / "checkpoints", json.loads((newest / SEAL).read_text())["settings"]) == str(newest)
    if damage != "none":
        DAMAGE[damage](newest)
    seen = interrupt(monkeypatch, at=99)
    resumed = distill(tiny.student, table, **call)
    assert len(seen) == (2 if damage == "none" else 3)
    assert same(weights(resumed.model), weights(whole.model), 1e-6)
    losses = [[line["loss"] for line in m.history if "loss" in line] for m in (resumed, whole)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_a_finished_training_is_not_done_again(tiny, table, tmp_path, monkeypatch):
    first = distill(tiny.student, table, **STEPS, folder=tmp_path / "run")
    seen = interrupt(monkeypatch, at=1)
    again = distill(tiny.student, table, **STEPS, folder=tmp_path / "run")
    assert not seen
    assert same(weights(again.model), weights(first.model))


def test_other_settings_or_data_are_refused_with_the_difference(tiny, table, tmp_path):
    call = {**STEPS, "folder": tmp_path / "run"}
    first = distill(tiny.student, table, **call)
    for change, said in [
        ({"beta": 5.0}, "beta: 10.0 in the folder, 5.0 now"),
        ({"loss": "vpd"}, "loss: 'ppd' in the folder, 'vpd' now"),
        ({"num_train_epochs": 4}, "num_train_epochs: 3 in the folder, 4 now"),
        ({"peft_config": None}, "peft: "),
    ]:
        with pytest.raises(ValueError, match=f"(?s)checkpoints' under other settings.*{said}.*delete"):
            distill(tiny.student, table, **{**call, **change})
    with pytest.raises(ValueError, match="candidates: "):
        distill(tiny.student, table.select(range(7)), **call)
    with pytest.raises(ValueError, match="student: "):
        distill(first, table, **call)
    assert same(weights(distill(tiny.student, table, **call).model), weights(first.model))


def test_a_folder_in_use_is_refused(tiny, table, tmp_path):
    with (
        held_by_another(tmp_path / "run" / "checkpoints"),
        pytest.raises(RuntimeError, match="another process is working in"),
    ):
        distill(tiny.student, table, **STEPS, folder=tmp_path / "run")


DISTIL = """
import torch, transformers
from safetensors.torch import save_file
for name in ("_save_optimizer_and_scheduler", "_save_rng_state"):
    setattr(transformers.Trainer, name, watched(getattr(transformers.Trainer, name)))
trained = padlab.distill(student, load_table(IN), folder=FOLDER, save_steps=1, per_device_train_batch_size=4,
                         gradient_accumulation_steps=1, num_train_epochs=3, learning_rate=5e-3)
save_file({k: v.clone() for k, v in trained.model.state_dict().items() if "lora_" in k}, OUT)
"""


@pytest.mark.slow
def test_killed_at_random_points_the_weights_are_those_of_the_unbroken_run(killer, table, tmp_path):
    """SIGKILL in steps and in the middle of writing checkpoints."""
    save_table(table, tmp_path / "in.jsonl")

    def code(name):
        places = {"IN": tmp_path / "in.jsonl", "FOLDER": tmp_path / name, "OUT": tmp_path / f"{name}.safetensors"}
        text = DISTIL
        for word, path in places.items():
            text = text.replace(f"({word})", f"({str(path)!r})").replace(f"={word},", f"={str(path)!r},")
        return text.replace(", OUT)", f", {str(places['OUT'])!r})")

    status, events = killer.run(code("whole"))
    assert status == 0
    draw = random.Random(4)
    deaths = killer.finish(code("broken"), [draw.randint(2, events - 2 * k) for k in range(4)])
    assert deaths >= 2
    assert same(load_file(tmp_path / "broken.safetensors"), load_file(tmp_path / "whole.safetensors"), 1e-6)


def test_full_training_of_bf16_weights_moves_them_at_the_papers_rate(tiny, table):
    student = tiny.student.with_weights(copy.deepcopy(tiny.student.model).to(torch.bfloat16), "bf16")
    trained = distill(student, table, peft_config=None, learning_rate=8e-7, num_train_epochs=1)
    pairs = zip(student.model.parameters(), trained.model.parameters(), strict=True)
    moved = [float((a.float() != b.float()).float().mean()) for a, b in pairs]
    assert min(moved) > 0.5
    assert student.model.dtype == torch.bfloat16


def test_a_batch_that_does_not_fit_is_halved_with_the_same_gradient(tiny, table, monkeypatch):
    """Memory for two prompts at most, lost in the middle of a backward pass."""
    (wanted,) = gradients(tiny.student, table, batch=8, accumulate=1)
    plain, refused = PADTrainer.compute_loss, []

    class Lost(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            refused.append(1)
            raise torch.OutOfMemoryError("out of memory")

    def small(self, model, inputs, *others, **more):
        loss = plain(self, model, inputs, *others, **more)
        if len(inputs["examples"]) <= 2:
            return loss
        some = next(p for p in model.parameters() if p.requires_grad)
        some.grad = torch.ones_like(some)  # half a gradient is left behind
        return Lost.apply(loss)

    monkeypatch.setattr(PADTrainer, "compute_loss", small)
    for batch, accumulate in ((8, 1), (4, 2)):
        refused.clear()
        (found,) = gradients(tiny.student, table, batch=batch, accumulate=accumulate)
        assert len(refused) == {8: 3, 4: 2}[batch]
        assert float((found - wanted).norm() / wanted.norm()) < 1e-5


def test_one_prompt_that_does_not_fit_says_what_helps(tiny, table, monkeypatch):
    def never(*arguments, **others):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(PADTrainer, "compute_loss", never)
    with pytest.raises(torch.OutOfMemoryError, match="fewer or shorter responses"):
        distill(tiny.student, table.select(range(1)), **FAST)


def test_several_gpus_in_one_process_are_refused(tiny, table, monkeypatch):
    monkeypatch.setattr(PADConfig, "n_gpu", 2)
    with pytest.raises(ValueError, match="one process works on one GPU, and there are 2"):
        PADTrainer(tiny.student, PADConfig("out"), table)


def test_evaluate_takes_a_table_like_the_constructor(tiny, table, tmp_path):
    def trainer(**more):
        student = tiny.student.with_weights(copy.deepcopy(tiny.student.model), "")
        return PADTrainer(student, PADConfig(str(tmp_path), alpha=0.5), table.select(range(4)), **more)

    heldout = table.select(range(4, 8))
    expected = trainer(eval_dataset=heldout).evaluate()
    found = trainer().evaluate(heldout)
    assert found["eval_loss"] == pytest.approx(expected["eval_loss"])
    assert found["eval_jsd"] == pytest.approx(found["eval_loss"])
    named = trainer().evaluate({"seen": table.select(range(4)), "new": heldout})
    assert named["eval_new_loss"] == pytest.approx(found["eval_loss"])


def test_predict_gives_both_models_scores(tiny, table, tmp_path):
    table = add_rewards(table, tiny.student, "student_reward")
    counts = (4, 2, 3, 4, 4, 4, 4, 4)
    whole = ("prompt", "response_tokenizer")
    uneven = [
        {**{k: row[k] for k in whole}, **{k: row[k][:n] for k in UNEVEN}} for row, n in zip(table, counts, strict=True)
    ]
    student = tiny.student.with_weights(copy.deepcopy(tiny.student.model), "")
    trainer = PADTrainer(student, PADConfig(str(tmp_path), per_device_eval_batch_size=3), table)
    result = trainer.predict(check_candidates(uneven))
    for row, ours, theirs in zip(uneven, result.predictions, result.label_ids, strict=True):
        n = len(row["responses"])
        assert ours[:n] == pytest.approx([10 * r for r in row["student_reward"]], abs=1e-3)
        assert theirs[:n] == pytest.approx([10 * r for r in row["teacher_reward"]], abs=1e-3)
        assert (ours[n:] == -100).all()
        assert (theirs[n:] == -100).all()


UNEVEN = ("responses", "response_ids", "finished", "teacher_reward", "student_reward")


def test_dpo_refuses_a_new_table_after_training(tiny, table, tmp_path):
    student = tiny.student.with_weights(copy.deepcopy(tiny.student.model), "")
    trainer = PADTrainer(student, PADConfig(str(tmp_path), loss="dpo", max_steps=1), table)
    trainer.train()
    with pytest.raises(ValueError, match="pass eval_dataset to the trainer"):
        trainer.evaluate(table)
