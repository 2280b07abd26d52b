"""`padlab grade`: right functions pass, each mistake is named, and no notebook can fake its mark."""

import ast
import contextlib
import csv
import io
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from padlab import checks
from padlab.cli import main
from padlab.demo import notebook_folder
from padlab.grading import messages, worker
from padlab.grading.grade import Grade, grade_exercise
from padlab.grading.messages import Channel, decode, encode
from padlab.grading.process import StudentProcess
from padlab.grading.report import student_line, write_csv
from padlab.grading.submissions import course_exercises, find_submissions
from padlab.grading.used_code import CHECK, find_check, parse, used_code

SETTINGS = """PRESET = "reading"
import itertools
import math

import torch

import padlab

student, teacher = padlab.load_pair(PRESET)
"""
HELPERS = """LN2 = math.log(2)
HALF = 1 / 2


def logit(p):
    return math.log(p) - math.log(1 - p)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def log_prob(scores, ranking, start=0):
    s = scores[torch.as_tensor(ranking)]
    return sum(s[k] - s[k + start :].logsumexp(0) for k in range(len(s) - 1))


def modes(scores):
    return scores.sort(descending=True).indices


def mean_log_prob(student, rankings):
    return sum(log_prob(*row) for row in zip(student, rankings)) / len(student)


def nucleus(probs, p):
    ordered, order = probs.sort(descending=True)
    kept = ordered.double().cumsum(0) - ordered < p
    return torch.zeros_like(probs).scatter(0, order, torch.where(kept, ordered, 0.0))


def furthest(distances, n, gap):
    kept = [0]
    while len(kept) < n:
        left = [i for i in range(len(distances)) if i not in kept]
        kept.append(max(left, key=lambda i: gap([float(distances[i, k]) for k in kept])))
    return kept


def kl_from(log_m, log_p):
    return (log_p.exp() * (log_p - log_m)).sum()


def mixture(log_p, log_q):
    return torch.logaddexp(log_p, log_q) - LN2


def noise(u):
    return -(-u.log()).log()


def rows(logits, ids, positions, shift=1):
    return logits.log_softmax(-1)[positions - shift, ids[positions]]
"""
ARGUMENTS = {
    "mean_log_probability": "x, ids, s, n",
    "top_p": "probs, p",
    "max_min_selection": "d, n",
    "debias": "a, b",
    "calibrate": "r, p, alpha",
    "option_mass": "probs, letters",
    "ranking_log_probability": "s, r",
    "pairwise_probability": "s, i, j",
    "gumbel_ranking": "s, u",
    "vpd": "s, t",
    "jsd": "p, q",
    "batch_loss": "passes",
}
RIGHT = {
    "mean_log_probability": "rows(x, ids, torch.arange(s, n)).mean()",
    "top_p": "nucleus(probs, p) / nucleus(probs, p).sum()",
    "max_min_selection": "sorted(furthest(d, n, min))",
    "debias": "sigmoid((logit(a) - logit(b)) * HALF)",
    "calibrate": "(1 - alpha) * r + alpha * p.log()",
    "option_mass": "sum(v for k, v in probs.items() if k.removeprefix(' ') in letters)",
    "ranking_log_probability": "log_prob(s, r)",
    "pairwise_probability": "sigmoid(float(s[i] - s[j]))",
    "gumbel_ranking": "modes(s + noise(u))",
    "vpd": "-mean_log_prob(s, modes(t))",
    "jsd": "(kl_from(mixture(p, q), p) + kl_from(mixture(p, q), q)) * HALF",
    "batch_loss": "torch.cat(passes).mean()",
}
WRONG = {
    "mean_log_probability": {
        "unshifted": "rows(x, ids, torch.arange(s, n), 0).mean()",
        "padding": "rows(x, ids, torch.arange(s, len(ids))).mean()",
        "summed": "rows(x, ids, torch.arange(s, n)).sum()",
    },
    "top_p": {
        "not_renormalised": "nucleus(probs, p)",
        "sorted_order": "(nucleus(probs, p) / nucleus(probs, p).sum()).sort(descending=True).values",
    },
    "max_min_selection": {
        "max_mean": "sorted(furthest(d, n, sum))",
        "last_only": "sorted(furthest(d, n, lambda gaps: gaps[-1]))",
        "unsorted": "furthest(d, n, min)",
    },
    "debias": {
        "letters_followed": "a",
        "not_flipped": "sigmoid((logit(a) + logit(b)) / 2)",
        "log_odds_returned": "(logit(a) - logit(b)) / 2",
    },
    "calibrate": {
        "weights_swapped": "alpha * r + (1 - alpha) * p.log()",
        "no_log": "(1 - alpha) * r + alpha * p",
        "reward_at_full_weight": "r + alpha * p.log()",
    },
    "option_mass": {
        "space_forgotten": "sum(probs.get(k, 0) for k in letters)",
        "any_white_space": "sum(v for k, v in probs.items() if k.strip() in letters)",
        "renormalised": "1.0",
    },
    "ranking_log_probability": {
        "picked_removed_early": "log_prob(s, r, 1)",
        "worst_first": "log_prob(s, r.flip(0))",
        "probability": "log_prob(s, r).exp()",
    },
    "pairwise_probability": {
        "top_choice": "s.softmax(0)[i]",
        "other_order": "sigmoid(float(s[j] - s[i]))",
        "no_exp": "s[i] / (s[i] + s[j])",
    },
    "gumbel_ranking": {
        "one_noise_for_all": "modes(s + noise(u[0])).expand(len(u), -1)",
        "uniform_noise": "modes(s + u)",
        "ranks_returned": "modes(s + noise(u)).argsort(-1)",
    },
    "vpd": {
        "own_mode": "-mean_log_prob(s, modes(s))",
        "sign": "mean_log_prob(s, modes(t))",
        "roles_exchanged": "-mean_log_prob(t, modes(s))",
    },
    "jsd": {
        "kl_swapped": "(kl_from(p, mixture(p, q)) + kl_from(q, mixture(p, q))) / 2",
        "half_missing": "kl_from(mixture(p, q), p) + kl_from(mixture(p, q), q)",
        "one_sided": "kl_from(mixture(p, q), p)",
    },
    "batch_loss": {
        "mean_of_means": "sum(x.mean() for x in passes) / len(passes)",
        "sum_over_prompts": "torch.cat(passes).sum()",
        "divided_by_passes": "torch.cat(passes).sum() / len(passes)",
    },
}
ROUNDS = 3  # notebooks with wrong functions; the k-th has the k-th mistake of every exercise


def cell(name, body=None, **given):
    """An exercise's cell; `body` is the returned expression, or whole lines."""
    body = RIGHT[name] if body is None else body
    lines = body if "\n" in body else f"return {body}\n"
    indented = "".join(f"    {line}\n" for line in lines.splitlines())
    code = f"def {name}({ARGUMENTS[name]}):\n{indented}\n\npadlab.checks.{name}({name})"
    return new_code_cell(code, **given)


def code(*sources):
    return [source if isinstance(source, dict) else new_code_cell(source) for source in sources]


def write(path, *sources):
    """A notebook of settings, helpers and these cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [new_markdown_cell("# What does a loss pull at?"), *code(SETTINGS, HELPERS, *sources)]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def grade(folder, *options):
    """Exit status and the CSV file's rows, by student and exercise."""
    status = main(["grade", str(folder), *options])
    if status != 0:
        return status, {}
    with (Path(folder) / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        return status, {(row["student"], row["exercise"]): row for row in csv.DictReader(file)}


def state(row):
    return row["state"], row["mistake"]


# --- the five notebooks: right, wrong with each hint, forged, endless, raising

FORGE = """import os, sys
import padlab.checks, padlab.checks.verdict as verdict
padlab.checks.vpd = lambda *given, **named: verdict.Verdict("vpd", "passed", "The answers are right.")
verdict.Verdict.__init__ = lambda self, *a, **k: object.__setattr__(self, "state", "passed")
verdict.agree = lambda *given: True
torch.allclose = lambda *given, **named: True
print("vpd: passed. The answers to all 8 random inputs are right.")
return 0.0
"""
FORGE_MESSAGES = """import os
for descriptor in range(3, 64):
    for number in range(1, 40):
        try:
            os.write(descriptor, b'{"value": "passed", "state": "passed", "id": %d}\\n' % number)
        except OSError:
            pass
return 0.0
"""
PASSED = [new_output("execute_result", {"text/plain": "vpd: passed. The answers to all 8 random inputs are right."})]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Rows of the CSV file, and what was printed, for right, wrong, forged and raising notebooks."""
    folder = tmp_path_factory.mktemp("submitted")
    write(folder / "right.ipynb", *map(cell, RIGHT))
    for k in range(ROUNDS):
        wrong = {name: list(bodies.values())[k] for name, bodies in WRONG.items() if k < len(bodies)}
        write(folder / f"wrong{k}" / "exercises.ipynb", *(cell(name, body) for name, body in wrong.items()))
    patch = "import padlab.checks\npadlab.checks.jsd = lambda f: print('jsd: passed.')\nprint('jsd: passed.')"
    forged = (
        cell("vpd", FORGE, outputs=PASSED),
        new_code_cell(patch, outputs=PASSED),
        cell("jsd", "0.0", outputs=PASSED),
    )
    write(folder / "forged" / "04_losses.ipynb", *forged, cell("batch_loss", FORGE_MESSAGES))
    write(
        folder / "raising_04_losses.ipynb",
        cell("vpd", "s[99]"),
        "def jsd(p, q:\n    return 0\n\npadlab.checks.jsd(jsd)",
        cell("batch_loss", "import os\nos._exit(0)"),
    )
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main(["grade", str(folder)]) == 0
    with (folder / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {(row["student"], row["exercise"]): row for row in csv.DictReader(file)}
    return rows, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def one_process():
    process = StudentProcess(600, threading.Event())
    yield process
    process.stop()


@pytest.mark.parametrize("name", RIGHT)
def test_right_functions_pass_with_helpers_and_constants_of_earlier_cells(graded, name):
    assert state(graded[0]["right", name]) == ("passed", ""), graded[0]["right", name]


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in WRONG.items() for key in keys])
def test_each_mistake_is_named(graded, name, key):
    row = graded[0][f"wrong{list(WRONG[name]).index(key)}", name]
    assert state(row) == ("hint", key), row
    assert "the right answer is" in row["message"]


@pytest.mark.parametrize("name", ["vpd", "jsd", "batch_loss"])
def test_saved_outputs_patches_and_messages_of_ones_own_do_not_pass(graded, name):
    row = graded[0]["forged", name]
    assert row["state"] == ("error" if name == "batch_loss" else "hint"), row
    assert ("nobody asked for" if name == "batch_loss" else "the right answer is") in row["message"]


def test_a_syntax_error_an_exception_and_the_end_of_the_process_are_errors_of_one_exercise(graded):
    rows = graded[0]
    assert state(rows["raising", "vpd"]) == ("error", "IndexError")
    assert "index 99 is out of bounds" in rows["raising", "vpd"]["message"]
    assert state(rows["raising", "jsd"]) == ("error", "SyntaxError")
    assert "line 1" in rows["raising", "jsd"]["message"]
    assert state(rows["raising", "batch_loss"]) == ("error", "")
    assert "process ended" in rows["raising", "batch_loss"]["message"]


def test_one_line_per_student_and_the_progress_elsewhere(graded):
    lines = graded[1].splitlines()
    assert [line.split()[0] for line in lines[:6]] == ["forged", "raising", "right", "wrong0", "wrong1", "wrong2"]
    assert lines[1] == "raising  0/3  04: 0/3 (all: error)"
    assert lines[2].split()[1] == "12/12"
    assert "jsd: kl_swapped" in lines[3]
    assert lines[7].startswith("6 students, 6 notebooks, 12 of ")
    assert lines[7].endswith("grades.csv")
    assert "[6 of 6] wrong2" in graded[2]


# --- time, memory, noise

FLOOD_AND_CHILD = """import subprocess
child = subprocess.Popen(["sleep", "600"])
open(PIDS, "w").write(f"{child.pid} ")
while True:
    print("passed " * 10000)
"""


def test_endless_loops_stop_at_the_limit_and_the_others_go_on(tmp_path):
    pids = tmp_path / "pids"
    write(
        tmp_path / "subs" / "eve_04_losses.ipynb",
        f"PIDS = {str(pids)!r}",
        cell("vpd", FLOOD_AND_CHILD),
        cell("jsd"),
    )
    began = time.monotonic()
    _, rows = grade(tmp_path / "subs", "--timeout", "3")
    assert state(rows["eve", "vpd"]) == ("timeout", "")
    assert state(rows["eve", "jsd"]) == ("passed", "")
    assert 3 <= float(rows["eve", "vpd"]["seconds"]) < 20
    assert time.monotonic() - began < 60
    assert not alive(int(pids.read_text()))


def alive(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


LOOK = """import os, sys, tempfile
open("left here", "w").write("x")
secret = "PADLAB_TEST_SECRET" in os.environ
same = tempfile.gettempdir() == os.getcwd()
raise ValueError(f"{os.listdir()} {secret} {torch.get_num_threads()} {same} {os.getcwd()}")
"""


def test_the_process_has_an_empty_folder_one_thread_and_no_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("PADLAB_TEST_SECRET", "1")
    memory = "0.0 * torch.empty(5 * 2**28).numel()"  # 5 GiB, never touched
    large = "torch.zeros(10**7)"
    write(tmp_path / "ann" / "04_losses.ipynb", cell("vpd", LOOK), cell("jsd", memory), cell("batch_loss", large))
    _, rows = grade(tmp_path)
    said = rows["ann", "vpd"]["message"].split("ValueError: ")[1]
    assert said.startswith("['left here'] False 1 True ")
    assert not Path(said.split("True ")[1].strip().rstrip(".")).exists()
    assert state(rows["ann", "jsd"]) == ("error", "RuntimeError")
    assert "can't allocate memory" in rows["ann", "jsd"]["message"]
    assert "10,000,000 numbers" in rows["ann", "batch_loss"]["message"]


def test_a_memorised_table_fails_on_new_inputs(one_process):
    table = {}

    def record(passes):
        answer = torch.cat(passes).mean()
        table[repr([x.tolist() for x in passes])] = float(answer)
        return answer

    checks.batch_loss(record, seed=7)
    body = "TABLE.get(repr([x.tolist() for x in passes]), 0.0)"
    cells = [parse(f"TABLE = {table!r}"), parse(cell("batch_loss", body).source)]
    states = [grade_exercise(cells, "batch_loss", one_process, 30, seed).state for seed in (7, None, None)]
    assert states == ["passed", "hint", "hint"]


def test_interrupting_keeps_what_was_graded_and_leaves_no_process(tmp_path):
    write(tmp_path / "ann" / "04_losses.ipynb", "x = 1")
    pids = tmp_path / "pids"
    write(tmp_path / "bob" / "04_losses.ipynb", f"PIDS = {str(pids)!r}", cell("vpd", FLOOD_AND_CHILD))
    command = [sys.executable, "-m", "padlab", "grade", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not pids.exists() or not pids.read_text().endswith(" "):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out.splitlines() == ["ann  0/3  04: 0/3 (all: missing)"]
    assert f"interrupted; what was graded is in {tmp_path / 'grades.csv'}" in err
    assert (tmp_path / "grades.csv").read_text(encoding="utf-8-sig").count("missing") == 3
    assert not alive(int(pids.read_text()))


# --- what of a notebook is run


def test_nothing_but_what_the_function_uses_is_run(tmp_path):
    marker = tmp_path / "trained"
    train = f"def train():\n    open({str(marker)!r}, 'w')\n    return 0.5\n\ntrain()\nweight = 2 * train()"
    write(tmp_path / "subs" / "ann.ipynb", train, cell("jsd"), cell("vpd", "weight * s"), cell("batch_loss"))
    _, rows = grade(tmp_path / "subs")
    assert not marker.exists()
    assert state(rows["ann", "jsd"]) == ("passed", "")
    assert state(rows["ann", "vpd"]) == ("error", "NameError")
    assert "`weight` is left out when exercises are graded: it is not computed with" in rows["ann", "vpd"]["message"]
    assert state(rows["ann", "batch_loss"]) == ("passed", "")


@pytest.mark.parametrize("path", sorted(notebook_folder().glob("0[1-7]*.ipynb")), ids=lambda path: path.stem)
def test_the_courses_own_solutions_pass(one_process, path):
    """The folded solution of each exercise, put into its cell."""
    found = nbformat.read(path, as_version=4).cells
    for given, text in pairwise(found):
        name = CHECK.search(given.source) if given.cell_type == "code" else None
        if name and "NotImplementedError" in given.source and name[1] != "hypothesis":  # which trains for minutes
            solution = re.search(r"```python\n(.*?)```", text.source, re.DOTALL)[1]
            given.source = re.sub(
                r"def .*NotImplementedError\n", lambda _, new=solution: new, given.source, flags=re.DOTALL
            )
    cells = [parse(c.source) for c in found if c.cell_type == "code"]
    for name in {*course_exercises()[path.stem]} - {"hypothesis"}:
        assert state(grade_exercise(cells, name, one_process, 30, None)._asdict()) == ("passed", ""), name


def used(*sources, expression="f"):
    """Statements that are run for an expression of the last cell, and the names that are left out."""
    cells = [parse(source) for source in sources]
    found = used_code(cells, len(cells) - 1, ast.parse(expression, mode="eval").body)
    return found.statements, found.left_out


@pytest.mark.parametrize(
    "kept",
    [
        "x = 1", "x = y = [1, 2]", "x: float = 0.5", "x = math.pi / 2", "x = [k for k in range(3)]",
        "x = torch.arange(4).float().log()", "x = sorted('abc', key=lambda c: -ord(c))", "x = lambda z: train(z)",
        "x = torch.float32", "x, y = (1, 2)", "class x(torch.nn.Module):\n    pass", "def x():\n    return train()",
        "async def x():\n    pass", "from padlab.worlds import reading as x", "import numpy.linalg as x",
    ],
)  # fmt: skip
def test_definitions_and_constants_are_kept(kept):
    statements, left_out = used("import math, torch", kept, "f = lambda z: x")
    assert ast.unparse(ast.parse(kept)) in statements
    assert "x" not in left_out


@pytest.mark.parametrize(
    "dropped",
    [
        "x = train()", "x = [train() for k in range(3)]", "x = list(map(train, [1]))", "x = padlab.load_pair('toy')",
        "x = student.score(1)", "x = (lambda: train())()", "x = math.log(train())", "x = y = print(train())",
        "for x in range(3):\n    pass", "with open('a') as x:\n    pass", "x = await train()", "x = again()",
        "x = 1\nx += train()", "x = 0\nfor k in range(3):\n    x += k",
    ],
)  # fmt: skip
def test_what_a_model_may_compute_is_left_out(dropped):
    start = "import math, padlab\ndef train():\n    return 1\nagain = train\nstudent = padlab.PRESETS"
    statements, left_out = used(start, dropped, "f = lambda z: x")
    assert statements == ["f = lambda z: x"]
    assert "x" in left_out


def test_names_are_followed_in_the_order_of_the_cells():
    cells = (
        "import torch\nunused = torch.zeros(3)",
        "def g():\n    return N\nN = 1",
        "N += 1\nunused2 = 3",
        "f = lambda: g()",
    )
    assert used(*cells)[0] == ["def g():\n    return N", "N = 1", "N += 1", "f = lambda: g()"]


def test_names_inside_a_function_are_its_own():
    function = "def f(rows):\n    total = [k for k in rows]\n    return [total, len(rows), other]"
    statements, _ = used("rows = [1]\ntotal = 2\nk = 3\nother = 4", function)
    assert statements == ["other = 4", function]


def test_for_training_exercises_anything_may_compute_a_constant():
    cells = [
        parse("import padlab\nworlds = {n: padlab.load_pair(n) for n in ['toy']}\nhard = train()"),
        parse("f = lambda: worlds"),
    ]
    found = used_code(cells, 1, ast.parse("f", mode="eval").body, anything=True)
    assert found.statements == [
        "import padlab",
        "worlds = {n: padlab.load_pair(n) for n in ['toy']}",
        "f = lambda: worlds",
    ]


def test_imports_of_all_cells_and_definitions_of_earlier_ones():
    cells = [parse(source) for source in ("f = lambda x: math.log(h(x))", "import math", "def h(x):\n    return x")]
    found = used_code(cells, 0, ast.parse("f", mode="eval").body)
    assert found.statements == ["import math", "f = lambda x: math.log(h(x))"]
    assert found.left_out == {"h": "it is defined in a later cell"}


def test_lines_for_ipython_are_no_code():
    magics = "%matplotlib inline\n!pip install x\nif 1:\n    %time 1\nprint?\n?print\nf = 1  # why?"
    assert [ast.unparse(s) for s in parse(magics).tree.body][-1] == "f = 1"
    assert parse("%%time\nx = 1").tree.body
    for other in ("%%bash\nls -l", "%%writefile a.py\nx = 1"):
        assert parse(other).tree.body == []
        assert parse(other).error == ""
    assert parse("s = '''\n%d '''\nx = 1").tree.body[0].value.value == "\n%d "
    assert "line 2" in parse("x = 1\ny = = 2").error
    for deep in ("(" * 5000, "x = " + "1 + " * 50_000 + "1", "x = " + "-" * 50_000 + "1", "x" + ".y" * 50_000, "\0"):
        assert parse(deep).error


def test_the_last_cell_that_checks_an_exercise_counts():
    cells = [parse("checks.vpd(a)"), parse("padlab.checks.vpd(b)"), parse("# checks.vpd(c)"), parse("'checks.vpd(d)'")]
    at, call = find_check(cells, "vpd")
    assert (at, call.args[0].id) == (1, "b")
    assert find_check([*cells, parse("checks.vpd(e")], "vpd") == (4, None)
    assert find_check(cells, "jsd") is None


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("padlab.checks.vpd(function=other, seed=3)", ("passed", "")),
        ("padlab.checks.vpd(other, 3)", ("passed", "")),
        ("padlab.checks.vpd(lambda s, t: -mean_log_prob(s, modes(t)))", ("passed", "")),
        ("verdict = padlab.checks.vpd(other)\nverdict", ("passed", "")),
        ("padlab.checks.vpd(other(1))", ("error", "TypeError")),
        ("padlab.checks.vpd(3)", ("hint", "call")),
        ("padlab.checks.vpd()", ("error", "TypeError")),
        ("padlab.checks.vpd(*other)", ("error", "SyntaxError")),
        ("padlab.checks.vpd(unknown)", ("error", "NameError")),
        ("def vpd(s, t):\n    raise NotImplementedError\npadlab.checks.vpd(vpd)", ("not attempted", "")),
        ("def vpd(s, t):\n    ...\npadlab.checks.vpd(vpd)", ("not attempted", "")),
        ("padlab.checks.vpd(lambda s, t: 'text')", ("hint", "type")),
        ("padlab.checks.vpd(lambda s, t: s)", ("hint", "shape")),
        ("padlab.checks.vpd(lambda s, t: float('nan'))", ("hint", "nan")),
        ("def again(*a):\n    return again(*a)\npadlab.checks.vpd(again)", ("error", "RecursionError")),
        ("import sys\npadlab.checks.vpd(lambda *a: sys.exit(0))", ("error", "SystemExit")),
    ],
)
def test_forms_of_the_call_and_of_the_answer(one_process, call, expected):
    cells = [
        parse(SETTINGS),
        parse(HELPERS),
        parse("def other(s, t):\n    return -mean_log_prob(s, modes(t))"),
        parse(call),
    ]
    found = grade_exercise(cells, "vpd", one_process, 30, None)
    assert (found.state, found.mistake) == expected, found
    assert "\n" not in found.message


@pytest.mark.skipif(not hasattr(checks, "hypothesis"), reason="the exercise is not there yet")
def test_a_hypothesis_is_run_and_its_claim_read(one_process):
    draw = "float(torch.rand(1, generator=torch.Generator().manual_seed(seed)))"
    body = f"def experiment(seed):\n    x = {draw}\n    return x + 1, x\n"
    for claim, expected in (('"a is better"', "passed"), ("CLAIM", "hint"), ("CLAIM.upper()", "error"), ("", "error")):
        cells = [
            parse("import torch"),
            parse(f"{body}CLAIM = 'not clear'\npadlab.checks.hypothesis(experiment, {claim})"),
        ]
        found = grade_exercise(cells, "hypothesis", one_process, 30, None)
        assert found.state == expected, found


# --- whose notebook, and which exercises


def test_students_notebooks_and_exercises_are_found(tmp_path):
    for name in (
        "alice/04_losses.ipynb",
        "bob.ipynb",
        "carl_04_losses.ipynb",
        "dora/ps1/mine.ipynb",
        "04_losses.ipynb",
    ):
        write(tmp_path / name, cell("jsd"))
    write(tmp_path / "alice" / "04_losses-Copy1.ipynb", cell("jsd"))
    write(tmp_path / "alice" / ".ipynb_checkpoints" / "04_losses-checkpoint.ipynb", cell("jsd"))
    write(tmp_path / ".hidden.ipynb", cell("jsd"))
    write(tmp_path / "alice" / "essay.ipynb", "x = 1")
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / "04_losses.ipynb")
    found = [(s.student, s.notebook, s.exercises) for s in find_submissions(tmp_path)]
    three = ("vpd", "jsd", "batch_loss")
    assert found == [
        ("alice", "04_losses-Copy1.ipynb", three),
        ("alice", "04_losses.ipynb", three),
        ("alice", "essay.ipynb", ()),
        ("bob", "04_losses", three),
        ("carl", "04_losses", three),
        ("dora", "04_losses", three),
        (tmp_path.name, "04_losses", three),
    ]


def test_the_course_has_three_exercises_in_a_notebook():
    course = {name: exercises for name, exercises in course_exercises().items() if exercises}
    assert len(course) >= 4
    assert {len(exercises) for exercises in course.values()} == {3}
    assert {"vpd", "jsd", "batch_loss"} == set(course["04_losses"])


BROKEN = {
    "not json": (b"this is no notebook", "is not JSON"),
    "empty": (b"", "is an empty file"),
    "a list": (b"[]", "has no nbformat"),
    "old": (json.dumps({"nbformat": 3, "worksheets": []}).encode(), "has notebook format 3"),
    "no cells": (json.dumps({"nbformat": 4, "cells": []}).encode(), "has no code cell"),
    "nested": (b"[" * 100_000, "is not JSON"),
    "latin": ('{"nbformat": 4, "cells": "ä"}'.encode("latin-1"), "is not JSON"),
}


def test_broken_notebooks_get_a_line_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    for name, (content, _) in BROKEN.items():
        (tmp_path / f"{name}_04_losses.ipynb").write_bytes(content)
    write(tmp_path / "huge" / "04_losses.ipynb", "#" * 1_100_000)
    write(tmp_path / "good" / "04_losses.ipynb", *map(cell, ("vpd", "batch_loss")))
    monkeypatch.setattr("padlab.grading.submissions.LARGEST", 1_000_000)
    status, rows = grade(tmp_path)
    out = capsys.readouterr().out
    assert status == 0
    for name, (_, reason) in BROKEN.items():
        assert rows[name, "jsd"]["state"] == "unreadable"
        assert reason in rows[name, "jsd"]["message"]
        line = next(line for line in out.splitlines() if line.startswith(name))
        assert "0/3  04: 0/3 (The notebook " in line
    assert "is larger than" in rows["huge", "vpd"]["message"]
    assert [rows["good", name]["state"] for name in ("vpd", "jsd", "batch_loss")] == ["passed", "missing", "passed"]
    assert "good      2/3  04: 2/3 (jsd: missing)" in out


def test_no_folder_or_no_notebook_is_one_message(tmp_path, capsys):
    assert main(["grade", str(tmp_path / "none")]) == 1
    assert main(["grade", str(tmp_path)]) == 1
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2
    assert err[0].startswith("padlab grade: there is no folder ")
    assert err[1].startswith("padlab grade: no notebook in ")
    write(tmp_path / "ann" / "04_losses.ipynb", "x = 1")
    assert main(["grade", str(tmp_path), "--csv", str(tmp_path / "none" / "a.csv")]) == 1
    assert "choose another place with --csv" in capsys.readouterr().err
    for wrong in (["--timeout", "0"], ["--jobs", "9"]):
        with pytest.raises(SystemExit):
            main(["grade", str(tmp_path), *wrong])


@pytest.mark.slow
def test_two_at_a_time(tmp_path, capsys):
    write(
        tmp_path / "ann" / "04_losses.ipynb", cell("vpd"), cell("jsd", "SECONDS = 1\nimport time\ntime.sleep(0.1)\n...")
    )
    write(tmp_path / "bob" / "04_losses.ipynb", cell("vpd"), cell("jsd", WRONG["jsd"]["one_sided"]))
    assert grade(tmp_path, "--seed", "1", "--jobs", "2")[0] == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "ann  1/3  04: 1/3 (jsd: not attempted, batch_loss: missing)",
        "bob  1/3  04: 1/3 (jsd: one_sided, batch_loss: missing)",
    ]


# --- the file and the lines


def test_csv_cells_never_begin_a_formula_and_keep_their_text(tmp_path):
    texts = ["=1+1", "+1", "-1", "@x", "\tx", 'quote " and, comma', "ü\n"]
    write_csv(tmp_path / "grades.csv", [Grade(text, "n", "vpd", "error", "", text, 1.26) for text in texts])
    raw = (tmp_path / "grades.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbfstudent,notebook,exercise,state,mistake,message,seconds\r\n")
    rows = list(csv.DictReader(raw.decode("utf-8-sig").splitlines(keepends=True)))
    assert [row["student"] for row in rows] == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", *texts[5:]]
    assert rows[0]["message"] == "'=1+1"
    assert rows[0]["seconds"] == "1.3"
    assert list(tmp_path.iterdir()) == [tmp_path / "grades.csv"]


def test_what_an_exception_says_is_one_line_with_nothing_hidden(one_process):
    body = "raise type('=A', (Exception,), {})('\\x1b[31m\\n=1' + 'x' * 1000)\n"
    found = grade_exercise([parse(cell("vpd", body).source)], "vpd", one_process, 30, None)
    assert found.mistake == "=A"
    assert "raised =A: ⟨U+001B⟩[31m =1xxx" in found.message
    assert len(found.message) < 1200


def test_lines_name_what_is_wrong():
    def line(*found):
        return student_line([Grade("ann", notebook, *rest) for notebook, *rest in found], 5)

    jsd = ("04_losses", "jsd", "hint", "kl_swapped")
    assert line(("04_losses", "vpd", "passed"), jsd) == "ann    1/2  04: 1/2 (jsd: kl_swapped)"
    assert (
        line(("04_losses", "vpd", "timeout"), ("04_losses", "jsd", "timeout")) == "ann    0/2  04: 0/2 (all: timeout)"
    )
    assert line(("00_quickstart", "", "no exercise"), ("x.ipynb", "vpd", "passed")) == "ann    1/1  x.ipynb: 1/1"
    assert line(("x.ipynb", "", "no exercise", "", "No check.")) == "ann    0/0  x.ipynb: 0/0 (No check)"
    assert line(("04_losses", "vpd", "hint", "value")) == "ann    0/1  04: 0/1 (vpd: wrong value)"


# --- messages


def test_messages_keep_numbers_exactly():
    value = [
        torch.tensor([[0.1, -math.inf]]),
        torch.tensor([3, 2]),
        torch.empty(0, 3),
        {"A": 0.1, " b": (1, None)},
        "ü",
        True,
    ]
    back = decode(json.loads(json.dumps(encode(value))))
    assert repr(back) == repr(value)
    assert back[0].dtype == torch.float32
    assert math.isnan(decode(json.loads(json.dumps(encode(torch.tensor(math.nan))))))
    for value in (np.float32(0.5), np.array([[1, 2]]), torch.tensor([0.5]).bfloat16(), torch.tensor([1]).to_sparse()):
        assert (
            decode(encode(value)).double().tolist()
            == np.asarray(value.to_dense().double() if isinstance(value, torch.Tensor) else value).tolist()
        )
    with pytest.raises(TypeError, match="cannot be sent"):
        encode(object())
    with pytest.raises(ValueError, match="10,001 numbers"):
        encode(torch.zeros(10_001))


def test_messages_are_bounded_in_size_and_time():
    ours, theirs = map(Channel, socket.socketpair())
    with pytest.raises(TimeoutError):
        ours.receive(time.monotonic() + 0.05)
    theirs._end.sendall(b'{"a":')
    with pytest.raises(TimeoutError):
        ours.receive(time.monotonic() + 0.05)
    theirs._end.sendall(b" 1}\n[1]\n" + b"[" * 9000 + b"\n")
    assert ours.receive() == {"a": 1}
    for _ in range(2):
        with pytest.raises(ValueError, match="no answer"):
            ours.receive()
    with pytest.raises(TimeoutError):
        theirs.send({"a": "x" * 10**7}, time.monotonic() + 0.2)  # nobody reads
    ours, theirs = map(Channel, socket.socketpair())

    def flood():
        with contextlib.suppress(OSError):
            theirs.send({"a": "x" * 10**7})

    threading.Thread(target=flood, daemon=True).start()
    with pytest.raises(ValueError, match="more than 1,000,000 bytes"):
        ours.receive()
    ours.close()
    ours, theirs = map(Channel, socket.socketpair())
    theirs.close()
    with pytest.raises(EOFError):
        ours.receive()


def test_the_worker_describes_what_happened_and_never_raises():
    assert worker.answer(lambda: ..., []) == {"value": None}
    assert worker.answer(lambda: {1}, []) == {"unsuitable": "set"}
    for value in (object(), 1j, torch.tensor(1j), torch.empty(2, device="meta"), np.array([None, 1]), (x for x in "a")):
        assert worker.answer(lambda value=value: value, []) == {"unsuitable": type(value).__name__}
    circular = []
    circular.append(circular)
    assert worker.answer(lambda: circular, []) == {"unsuitable": "list"}

    class Unprintable(Exception):
        def __str__(self):
            raise RuntimeError

    def unprintable():
        raise Unprintable

    assert worker.answer(unprintable, []) == {"raised": ["Unprintable", ""]}
    assert messages.LIMIT > 40 * messages.NUMBERS
