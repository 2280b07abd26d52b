"""The house keeps its shape: imports point down, files stay small, the README's tree is true, versions agree."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "padlab").rglob("*.py"))
LEVEL = {"prompts": 0, "candidates": 0, "runs": 0, "rankings": 0, "lm": 0, "phases": 1, "study": 2, "show": 2, "cli": 4}
LEVEL |= {"bundled": -1, "memo": 0.5, "demo": 3}


def imported(path: Path) -> set[str]:
    """padlab modules a file imports anywhere, TYPE_CHECKING included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("padlab"):
            found.add(node.module)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("padlab")}
    return found


def room(module: str) -> str:
    """The room a module is in: the first part after padlab."""
    return module.split(".")[1]


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "padlab").parts[0].removesuffix(".py")


def violations(source: Path, own: str, modules: set[str]) -> list[str]:
    """Imports that do not point down (or within the own room)."""
    bad = []
    for module in modules - {"padlab"}:
        other = room(module)
        plots_only = own == "show" and other == "rankings"
        widgets = own == "show" and other == "phases" and source.stem in ("widgets", "inspector")
        allowed = other == own or plots_only or widgets or (own != "show" and LEVEL[other] < LEVEL[own])
        if not allowed:
            bad.append(f"{source.name}: {own} imports {module}")
    return bad


@pytest.mark.parametrize(
    "path", [f for f in FILES if f.parent != ROOT / "padlab" or f.name not in ("__init__.py", "__main__.py")], ids=str
)
def test_imports_point_down(path):
    assert violations(path, room_of(path), imported(path)) == []


def test_the_import_rule_can_fail():
    assert violations(Path("x.py"), "rankings", {"padlab.lm.models"})
    assert violations(Path("plots.py"), "show", {"padlab.phases.rewards"})
    assert not violations(Path("x.py"), "study", {"padlab.phases.rewards"})


def test_nothing_in_the_library_uses_tests_or_notebooks():
    for path in FILES:
        names = {
            n.module or ""
            for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(n, ast.ImportFrom)
        }
        assert not [n for n in names if n.startswith(("tests", "notebooks", "bench"))], path


def test_files_and_functions_stay_small():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 300, f"{path} has {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 75, f"{path}:{node.lineno} {node.name}"


def test_readme_tree_names_every_module_and_nothing_else():
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("```text")[1].split("```")[0]
    named = set(re.findall(r"[\w/]+\.py\b", tree))
    names = {Path(n).name for n in named}
    there = {f.name for f in FILES if f.name != "__init__.py" or f.parent == ROOT / "padlab"}
    assert there <= names, f"not in the README's tree: {sorted(there - names)}"
    known = {f.name for folder in ("padlab", "tests", "bench") for f in (ROOT / folder).rglob("*.py")}
    assert names <= known, f"in the README's tree but not there: {sorted(names - known)}"


def test_environment_yml_agrees_with_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert f"name: {project['name']}" in text
    assert f"python{project['requires-python']}" in text
    assert "-e .[lab]" in text
    assert not re.search(r"^\s+- (torch|transformers|peft|datasets)", text, re.M), (
        "versions are stated in pyproject only"
    )


def test_constraints_lie_within_the_ranges():
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.lower().split("==") for line in lines if "==" in line)
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["lab"],
        *project["optional-dependencies"]["dev"],
    ]
    for text in wanted:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[requirement.name]), text


def test_import_is_light():
    code = (
        "import time, sys; t = time.perf_counter(); import padlab; took = time.perf_counter() - t;"
        "heavy = [m for m in ('torch', 'transformers', 'numpy', 'datasets') if m in sys.modules]; print(took, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    took, heavy = done.stdout.split(maxsplit=1)
    assert float(took) < 0.3
    assert heavy.strip() == "[]"


def test_public_names_all_load():
    import padlab

    for name in padlab.__all__:
        assert getattr(padlab, name) is not None, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        padlab.nonsense  # noqa: B018
