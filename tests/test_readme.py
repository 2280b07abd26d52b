"""The README's Python example runs as it stands and prints what it says it prints."""

import re
from pathlib import Path

import pytest

import padlab

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def run_example(capsys):
    """(measure, estimate, low, high) of each line that it prints, and of each line that the README shows."""
    code, shown = re.search(r"```python\n(.*?)```.*?```text output\n(.*?)```", README, re.S).groups()
    exec(compile(code, "README.md", "exec"), {})
    return [
        [(line.split()[0], *map(float, re.findall(r"[-+]\d\.\d+", line))) for line in text.strip().split("\n")]
        for text in (capsys.readouterr().out, shown)
    ]


def test_the_example_runs_and_prints_the_measures_shown(capsys, tmp_path, monkeypatch, tiny):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(padlab, "load_pair", lambda preset: tiny)  # random weights: the measures, not the numbers
    printed, shown = run_example(capsys)
    assert [line[0] for line in printed] == [line[0] for line in shown]
    assert all(len(line) == 4 for line in shown)


@pytest.mark.slow
def test_the_example_prints_the_numbers_shown(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for printed, shown in zip(*run_example(capsys), strict=True):
        assert printed[0] == shown[0]
        if printed[0] == "right":  # machines differ in the last bits, samples and training follow
            assert printed[1:] == pytest.approx(shown[1:], abs=0.1)
