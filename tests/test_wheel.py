"""The wheel holds all that padlab needs: installed into an empty environment, outside the checkout, it works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command, folder):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(tmp_path):
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT, folder=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "env", folder=tmp_path)
    python, padlab = tmp_path / "env" / "bin" / "python", tmp_path / "env" / "bin" / "padlab"
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{wheel}[lab]", folder=tmp_path)
    code = "import padlab; print(padlab.__file__, len(padlab.load_prompts('train')))"
    where = run(python, "-c", code, folder=tmp_path)
    assert str(tmp_path / "env") in where
    assert "selection questions" in run(padlab, "doctor", "toy", folder=tmp_path)
    printed = run(padlab, "demo", "--preset", "tiny", folder=tmp_path)
    page = Path(printed.strip().splitlines()[-1].removeprefix("HTML page").strip())
    assert page.is_relative_to(tmp_path)
    assert page.read_text(encoding="utf-8").count("data:image/png") >= 3
