"""Users run without the annotation checker: wrong shapes must give them the ValueErrors written for them.

The calls run in a process of their own, in which nothing checks the annotations.
"""

import json
import re
import subprocess
import sys

import pytest

CALLS = {
    "vpd_loss(zeros(2, 3), zeros(2, 4))": r"student_scores \(2, 3\), teacher_scores \(2, 4\)",
    "ppd_loss(zeros(2, 3), zeros(2, 4))": r"student_scores \(2, 3\), teacher_scores \(2, 4\)",
    "ppd_loss(zeros(1, 3), zeros(2, 3))": r"student_scores \(1, 3\), teacher_scores \(2, 3\)",
    "ppd_loss(zeros(3), zeros(2, 3))": r"student_scores \(3,\), teacher_scores \(2, 3\)",
    "loss_diagnostics(zeros(1, 3), zeros(2, 3))": r"student_scores \(1, 3\), teacher_scores \(2, 3\)",
    "vpd_loss(zeros(()), zeros(()))": r"student_scores: scores have shape \(\): expected at least one item",
    "ppd_loss(zeros(()), zeros(()))": r"student_scores: scores have shape \(\): expected at least one item",
    "PlackettLuce(zeros(()))": r"scores have shape \(\): expected at least one item",
    "PlackettLuce(zeros(2, 0))": r"scores have shape \(2, 0\): expected at least one item",
    "PlackettLuce(zeros(2, 3), ones(2, 4).bool())": r"mask has shape \(2, 4\), scores have \(2, 3\)",
    "PlackettLuce(zeros(3), ones(2, 3).bool())": r"mask has shape \(2, 3\), scores have \(3,\)",
    "ppd_loss(zeros(2, 3), zeros(2, 3), mask=ones(3, 2).bool())": r"mask has shape \(3, 2\), scores have \(2, 3\)",
    "PlackettLuce(zeros(2, 3)).log_prob(arange(3).expand(4, 3))": r"batch shapes \(4,\) and \(2,\) do not broadcast",
    "js_divergence(zeros(3), zeros(4))": "one distribution ranks 3 items, the other 4",
    "js_divergence(zeros(2, 3), zeros(4, 3))": r"batch shapes \(2,\) and \(4,\) do not broadcast",
    "dpo_loss(zeros(3), zeros(3), zeros(1), zeros(3))": r"reference_chosen \(1,\)",
    "simpo_loss(zeros(3), zeros(1))": r"chosen \(3,\), rejected \(1,\)",
    "kendall_tau(zeros(3), zeros(4))": r"\(3,\), the reference \(4,\)",
    "goodness_of_fit(zeros(2, 3))": r"pairwise has shape \(2, 3\): expected n x n",
    "fit_plackett_luce(zeros(3))": r"pairwise has shape \(3,\): expected n x n",
    "bootstrap_selection(zeros(2, 3))": r"selection_votes \(2, 3\): expected n x n",
}
SCRIPT = """
import json, sys
from torch import arange, ones, zeros
from padlab.rankings.diagnostics import loss_diagnostics
from padlab.rankings.goodness_of_fit import fit_plackett_luce, goodness_of_fit
from padlab.rankings.large_n import js_divergence
from padlab.rankings.losses import dpo_loss, ppd_loss, simpo_loss, vpd_loss
from padlab.rankings.metrics import kendall_tau
from padlab.rankings.plackett_luce import PlackettLuce
from padlab.rankings.uncertainty import bootstrap_selection

errors = {}
for call in json.load(sys.stdin):
    try:
        errors[call] = ["no error", repr(eval(call))]
    except Exception as error:
        errors[call] = [type(error).__name__, str(error)]
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def errors():
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(list(CALLS)), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(("call", "message"), CALLS.items(), ids=CALLS)
def test_wrong_shapes_give_the_message_written_for_them(errors, call, message):
    kind, text = errors[call]
    assert kind == "ValueError", text
    assert re.search(message, text), text
