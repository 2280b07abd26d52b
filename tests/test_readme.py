"""The README's Python example runs as it stands and prints what it says it prints."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_readme_shows(capsys, tmp_path, monkeypatch):
    code, shown = re.search(r"```python\n(.*?)```.*?```text output\n(.*?)```", README, re.S).groups()
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    numbers = [
        [(line.split()[0], *map(float, re.findall(r"[-+]\d\.\d+", line))) for line in text.strip().split("\n")]
        for text in (capsys.readouterr().out, shown)
    ]
    for printed, claimed in zip(*numbers, strict=True):
        assert printed[0] == claimed[0]
        assert printed[1:] == pytest.approx(claimed[1:], abs=0.05)  # machines differ in the last bits, samples follow
