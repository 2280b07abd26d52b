"""All methods at equal budget, measured on the same prompts: what is measured, shown, and taken up again."""

import numpy as np
import pytest

import padlab
from padlab.show.plots import plot_students
from padlab.study import compare_students as module
from padlab.study.benchmarks import gsm8k
from padlab.study.compare_students import StudentComparison, compare_students

SETTINGS = {"sampling": {"n": 3, "max_new_tokens": 6, "top_p": 1.0}, "learning_rate": 5e-3, "epochs": 1}
PROMPTS, HELDOUT = [f"Name {k} things." for k in range(4)], ["Why?", "And now?", "Who?"]
EGGS = gsm8k.load_questions([{"question": "2 eggs and 1?", "answer": "#### 3"}])


def long_is_good(prompt, response):
    return min(len(response) / 20, 1.0)


@pytest.fixture(scope="module")
def models(tiny):
    """A pair with one tokenizer."""
    blocks = tiny.teacher.model.config.num_hidden_layers
    return padlab.Pair(padlab.prune_blocks(tiny.teacher, blocks - 1), tiny.teacher)


@pytest.fixture(scope="module")
def compared(models):
    more = {"quality": long_is_good, "judge": models.teacher, "gsm8k": EGGS, "max_new_tokens": 3}
    return compare_students(*models, PROMPTS, HELDOUT, methods=["ppd", "sft"], **more, **SETTINGS)


def test_every_student_has_every_measure(compared):
    measures = {
        "kendall_tau", "jsd", "truth_tau", "quality", "right", "teacher_reward", "length", "finished", "repetition",
        "kl_to_start", "local_win_rate", "gsm8k",
    }  # fmt: skip
    assert list(compared.per_prompt) == ["before", "ppd", "sft", "teacher"]
    for values in compared.per_prompt.values():
        assert set(values) == measures
        assert {len(v) for name, v in values.items() if name != "gsm8k"} == {len(HELDOUT)}
    assert set(compared.measures) == measures


def test_what_must_hold_before_training(compared, models):
    before, teacher = compared.per_prompt["before"], compared.per_prompt["teacher"]
    assert before["kl_to_start"] == pytest.approx(0, abs=1e-6)
    assert before["local_win_rate"] == pytest.approx(0.5)
    assert teacher["jsd"] == pytest.approx(0, abs=1e-9)
    assert teacher["kendall_tau"][~np.isnan(teacher["kendall_tau"])] == pytest.approx(1)
    agreement = padlab.rank_agreement(models.student, models.teacher, compared.samples["before"])
    assert before["jsd"] == pytest.approx(agreement.per_prompt["jsd"], abs=1e-6)


def test_kl_is_estimated_on_the_students_own_samples(compared, models):
    table = compared.samples["teacher"]
    scored = padlab.add_rewards(padlab.add_rewards(table, models.teacher, "a"), models.student, "b")
    expected = [np.subtract(row["a"], row["b"]).mean() for row in scored]
    assert compared.per_prompt["teacher"]["kl_to_start"] == pytest.approx(expected, abs=1e-6)


def test_differences_are_paired(compared):
    change = compared.differences()["ppd"]["length"]
    per_prompt = compared.per_prompt["ppd"]["length"] - compared.per_prompt["before"]["length"]
    assert change.estimate == pytest.approx(per_prompt.mean())
    assert change.low <= change.estimate <= change.high
    assert "before" not in compared.differences()


def test_examples_are_chosen_by_the_rule():
    quality = {"before": np.zeros(5), "ppd": np.array([0.1, 0.5, -0.2, 0.0, 0.3])}
    samples = {
        name: padlab.check_candidates([{"prompt": f"p{k}", "responses": [f"{name} {k}"]} for k in range(5)])
        for name in quality
    }
    found = StudentComparison({name: {"quality": v} for name, v in quality.items()}, samples)
    assert [row["prompt"] for row in found.examples()] == ["p2", "p0", "p1"]  # worst, median, best
    assert found.examples(count=1)[0] == {
        "prompt": "p2", "change": "quality -0.20", "before": "before 2", "ppd": "ppd 2"
    }  # fmt: skip
    assert len(found.examples(count=9)) == 5
    with pytest.raises(ValueError, match="no student 'dpo'; there are before, ppd"):
        found.examples("dpo")


def test_the_table_names_the_judge_and_the_figure_is_drawn(compared, models):
    text = str(compared)
    assert f"local judge {models.teacher.name}, not comparable with published numbers" in text
    assert text.count("teacher ") >= len(compared.measures)
    figure = repr(plot_students(compared.levels(), compared.differences()))
    assert "True quality" in figure


def test_a_second_run_reads_everything(models, tmp_path, monkeypatch):
    arguments = (*models, PROMPTS[:2], HELDOUT[:2])
    more = {"methods": ["ppd"], "folder": tmp_path, "gsm8k": EGGS, "max_new_tokens": 3, "judge": models.teacher}
    first = compare_students(*arguments, **more, **SETTINGS)
    monkeypatch.setattr("padlab.lm.generate.generate_rows", None)
    monkeypatch.setattr("padlab.phases.sampling.generate_rows", None)
    second = compare_students(*arguments, **more, **SETTINGS)
    for student, values in first.per_prompt.items():
        for name, numbers in values.items():
            np.testing.assert_allclose(second.per_prompt[student][name], numbers, atol=1e-6)


def test_with_alpha_the_target_is_the_calibrated_reward(models, monkeypatch):
    asked = []
    real = module.rank_agreement
    monkeypatch.setattr(module, "rank_agreement", lambda *a, **k: (asked.append(k), real(*a, **k))[1])
    compare_students(*models, PROMPTS[:2], HELDOUT[:2], methods=["ppd"], alpha=0.4, beta=3.0, **SETTINGS)
    assert {(k["alpha"], k["beta"]) for k in asked} == {(0.4, 3.0)}


def test_students_of_another_tokenizer_have_no_kl(tiny):
    other = compare_students(*tiny, PROMPTS[:2], HELDOUT[:2], methods=["ppd"], **SETTINGS)
    assert "kl_to_start" in other.per_prompt["ppd"]
    assert ("kl_to_start" in other.per_prompt["teacher"]) == tiny.student.shares_vocabulary(tiny.teacher)


def test_settings_for_no_method_and_prompts_on_both_sides_are_refused(models):
    with pytest.raises(ValueError, match="method_settings names dppo, not among the methods ppd"):
        compare_students(*models, PROMPTS, HELDOUT, methods=["ppd"], method_settings={"dppo": {}}, **SETTINGS)
    with pytest.raises(ValueError, match="1 of the held-out prompts are training prompts"):
        compare_students(*models, PROMPTS, [*HELDOUT, PROMPTS[0]], methods=["ppd"], **SETTINGS)
    with pytest.raises(ValueError, match=r"write \['ppd'\]"):
        compare_students(*models, PROMPTS, HELDOUT, methods="ppd", **SETTINGS)


def test_the_target_of_agreement_is_named(compared):
    assert "agreement (tau, divergence) is with the teacher's calibrated reward, alpha 0, beta 10" in str(compared)
