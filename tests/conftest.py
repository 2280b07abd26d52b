"""A server process that forks: a stage can be killed at many points without importing everything each time."""

import copy
import json
import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from padlab.lm.models import LanguageModel
from padlab.phases import multiple_choice
from padlab.phases.multiple_choice import LETTERS, letter_tokens

SERVER = '''
import contextlib, json, os, signal, sys, traceback
import torch
torch.set_num_threads(1)
import padlab, datasets, peft, scipy.stats, transformers, padlab.training.trainer
from padlab.runs import load_table, save_table
student, teacher = padlab.load_pair("tiny")
events, limit = 0, 0

def event(*ignored, **also_ignored):
    """Something happened: a forward pass, a flush to disk, a move into place. At the given one the process dies."""
    global events
    events += 1
    if events == limit:
        os.kill(os.getpid(), signal.SIGKILL)

def watched(function):
    def wrapper(*arguments, **named):
        event()
        return function(*arguments, **named)
    return wrapper

os.fsync, os.replace = watched(os.fsync), watched(os.replace)
for model in (teacher.model, student.model):
    model.get_decoder().register_forward_pre_hook(event)

for line in sys.stdin:
    job = json.loads(line)
    inside, outside = os.pipe()
    child = os.fork()
    if not child:
        limit, status = job["kill"], 1
        try:
            with contextlib.redirect_stdout(sys.stderr):
                exec(job["code"])
            os.write(outside, str(events).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)
    os.close(outside)
    status = os.waitpid(child, 0)[1]
    print(json.dumps([os.waitstatus_to_exitcode(status), int(os.read(inside, 20) or 0)]), flush=True)
    os.close(inside)
'''


class Killer:
    """Runs code in a fresh fork that knows `padlab`, the tiny `teacher` and `student`, `load_table`, `save_table`."""

    def __init__(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, code, kill=0):
        """(exit status, number of events); with kill > 0 the fork dies of SIGKILL at that event."""
        print(json.dumps({"code": code, "kill": kill}), file=self.process.stdin, flush=True)
        return tuple(json.loads(self.process.stdout.readline()))

    def finish(self, code, kills):
        """Run the code again and again, killed at the given events, at last to its end; how often it was killed."""
        deaths = [self.run(code, kill)[0] for kill in kills]
        assert set(deaths) <= {-9, 0}, deaths
        assert self.run(code)[0] == 0
        return deaths.count(-9)


@pytest.fixture(scope="session")
def shouting():
    """Makes a copy of a LanguageModel whose logits for some ids are raised."""

    def make(model, ids, by=50.0):
        network = copy.deepcopy(model.model)

        def louder(module, inputs, output):
            output.logits[..., list(ids)] += by
            return output

        network.register_forward_hook(louder)
        return LanguageModel(network, model.tokenizer, "shouting")

    return make


@pytest.fixture(scope="session")
def killer():
    made = Killer()
    yield made
    made.process.stdin.close()
    made.process.wait(timeout=30)


@pytest.fixture
def answering(monkeypatch):
    """A function that makes every model answer by a known rule."""

    def ask_by_rule(model, strength, bias=(), other=0.0):
        """Make every model answer by rule: logit of a letter = strength of the text beside it + bias of the letter.

        All other tokens together have the logit `other`. Returns the list of (letters' texts, probabilities, mass).
        """
        asked = []
        variants = [letter_tokens(model, letter) for letter in LETTERS[:8]]

        def answer(network, prompts):
            rows = []
            for ids in prompts:
                text = model.tokenizer.decode(ids)
                blocks = re.findall(r"^\[([A-Z])\]\n((?:> .*\n)+)", text, flags=re.M)
                bodies = [body.strip("\n").split("\n") for _, body in blocks]
                options = ["\n".join(line[2:] for line in body) for body in bodies]
                assert [letter for letter, _ in blocks] == list(LETTERS[: len(options)])
                logits = [strength(t) + (bias[k] if bias else 0.0) for k, t in enumerate(options)]
                total = np.exp(logits).sum() + math.exp(other)
                row = torch.full((len(model.tokenizer),), -60.0)
                for k, logit in enumerate(logits):
                    for share, token in zip((0.7, 0.3), variants[k], strict=False):
                        part = share if len(variants[k]) > 1 else 1.0
                        row[token] = logit + math.log(part) - math.log(total)
                rows.append(row)
                mass = np.exp(logits).sum() / total
                asked.append((options, np.exp(logits) / np.exp(logits).sum(), mass))
            return torch.stack(rows)

        monkeypatch.setattr(multiple_choice, "next_token_logprobs", answer)
        return asked

    return ask_by_rule
