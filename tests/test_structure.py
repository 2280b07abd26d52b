"""The layout holds: imports point down, files and functions stay small, the README's tree is true, versions agree.

python tests/test_structure.py        prints the counts that are checked here
"""

import ast
import io
import re
import statistics
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest

import padlab

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "padlab").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
README = (ROOT / "README.md").read_text(encoding="utf-8")

RANKED = {"ranked", "ranked_fields", "ranked_shapes", "trl_formats"}
BASE = {
    "bundled",
    "candidates",
    "conversations",
    "progress",
    "prompts",
    "runs",
    "safe_files",
    "shards",
    "data_files",
} | RANKED
COMMANDS = {"inspect_command", "benchmark_command", "import_command", "grade_command"}
MAY_IMPORT = {  # folder or module of padlab -> what of padlab it may import beside itself
    "bundled": set(),
    "data_files": set(),
    "progress": set(),
    "conversations": set(),
    "ranked_fields": {"conversations"},
    "ranked_shapes": {"conversations", "ranked_fields"},
    "candidates": {"conversations", "ranked_shapes"},
    "ranked": {"candidates", "conversations", "ranked_fields", "ranked_shapes"},
    "trl_formats": {"candidates", "conversations", "ranked_fields", "ranked_shapes"},
    "safe_files": set(),
    "runs": {"candidates", "safe_files"},
    "shards": {"progress", "runs", "safe_files"},
    "prompts": {"bundled", "candidates", "conversations", "data_files"},
    "rankings": set(),
    "worlds": set(),
    "lm": {"bundled", "conversations", "safe_files", "worlds"},
    "training": BASE | {"rankings", "lm"},
    "phases": BASE | {"rankings", "lm", "training"},
    "study": BASE | {"rankings", "lm", "worlds", "training", "phases"},
    "show/plots": {"rankings", "show"},  # of show the other drawing modules only, see below
    "show/html": {"rankings", "show"},
    "run_models": BASE | {"lm"},
    "show": BASE | {"run_models", "rankings", "lm", "phases", "study"},
    "checks": {"rankings", "lm", "worlds", "phases", "study", "show"},  # of show the HTML only, see test_checks.py
    "grading": {"checks", "demo", "show"},  # of show the HTML only
    "grade_command": {"grading"},
    "demo": BASE,
    "lab": {"demo", "safe_files"},
    "inspect_command": {"run_models", "show"},
    "benchmark_command": {"run_models", "safe_files", "study"},
    "import_command": BASE | {"lm", "run_models"},
    "cli": BASE | {"lm", "demo", "lab", "run_models"} | COMMANDS,  # the rest through the public names
}
CODE_LINES, FUNCTION_LINES, MEDIAN_LINES, FILE_LINES = 13650, 50, 7, 300  # 310 are the reading world's texts,
# 1,600 the course's exercises and their grading, 470 models on a server, 650 that nothing is lost


def imported(path: Path) -> set[str]:
    """padlab modules a file imports anywhere, TYPE_CHECKING included; public names count as their modules."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "padlab":
            modules |= {padlab._MODULE_OF.get(alias.name, f"padlab.{alias.name}") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("padlab"):
            modules.add(node.module)
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names if alias.name.startswith("padlab")}
    return modules


def forbidden(own: str, modules: set[str]) -> list[str]:
    """Imports of padlab's own modules that do not point down."""
    folders = {module: module.split(".")[1] for module in modules - {"padlab"}}
    return sorted(module for module, folder in folders.items() if folder not in MAY_IMPORT[own] | {own})


@pytest.mark.parametrize("path", [f for f in FILES if f.stem not in ("__init__", "__main__")], ids=str)
def test_imports_point_down(path):
    parts = path.relative_to(ROOT / "padlab").parts
    own = "/".join(parts[:2]) if parts[:-1] in (("show", "plots"), ("show", "html")) else parts[0].removesuffix(".py")
    assert forbidden(own, imported(path)) == []
    if own.startswith("show/"):  # what draws knows no models
        of_show = {module for module in imported(path) if module.startswith("padlab.show.")}
        assert {module.split(".")[2] for module in of_show} <= {"plots", "html", "arrays"}


def test_the_import_rule_can_fail():
    assert forbidden("rankings", {"padlab.lm.models"})
    assert forbidden("show/plots", {"padlab.phases.rewards"})
    assert forbidden("phases", {"padlab.show.inspection"})
    assert forbidden("training", {"padlab.phases.rewards"})
    assert not forbidden("study", {"padlab.phases.rewards"})


def test_worlds_import_nothing_of_padlab_but_each_other():
    for path in (f for f in FILES if f.parent.name == "worlds"):
        assert not [m for m in imported(path) if not m.startswith("padlab.worlds")], path


def test_nothing_in_the_library_uses_tests_or_notebooks():
    for path in FILES:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}
        assert not [n for n in names if n.startswith(("tests", "notebooks", "bench"))], path


# --- sizes


def code_lines(text: str) -> set[int]:
    """Numbers of the lines that hold code: neither blank, nor comment, nor docstring."""
    noise = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in noise:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        has_doc = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if has_doc and ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def function_sizes(folder: Path) -> dict[str, int]:
    """Code lines of every function, its signature included, nested functions too."""
    sizes = {}
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = code_lines(text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                own = {line for line in lines if node.lineno <= line <= node.end_lineno}
                sizes[f"{path.relative_to(folder)}:{node.lineno} {node.name}"] = len(own)
    return sizes


def total_code_lines(folder: Path) -> int:
    return sum(len(code_lines(p.read_text(encoding="utf-8"))) for p in folder.rglob("*.py"))


def test_the_library_stays_small():
    assert total_code_lines(ROOT / "padlab") <= CODE_LINES
    for path in FILES:
        assert path.read_text(encoding="utf-8").count("\n") <= FILE_LINES, path
    sizes = function_sizes(ROOT / "padlab")
    assert {name: size for name, size in sizes.items() if size > FUNCTION_LINES} == {}
    assert statistics.median(sizes.values()) <= MEDIAN_LINES


def test_lines_are_counted_without_docstrings_comments_and_blanks():
    text = '"""Doc."""\n\n\ndef f():\n    """Doc\n    more."""\n    x = """a\n    b"""  # c\n    # c\n    return x\n'
    assert code_lines(text) == {4, 7, 8, 10}


# --- README


def tree_paths(readme: str) -> set[str]:
    """Paths of the files in the README's tree, from its indentation."""
    paths, folders = set(), []
    for line in readme.split("```text\n")[1].split("```")[0].strip("\n").split("\n"):
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        folders = [*folders[:depth], name]
        if not name.endswith("/"):
            paths.add("".join(folders))
    return paths


def test_readme_tree_names_every_module_and_notebook_by_path():
    named = tree_paths(README)
    modules = {f for f in FILES if f.name != "__init__.py" or f.parent == ROOT / "padlab"}
    there = {str(f.relative_to(ROOT)) for f in (*modules, *NOTEBOOKS)}
    assert there - named == set(), "not in the README's tree"
    assert {p for p in named if not (ROOT / p).exists()} == set(), "in the README's tree but not there"


def test_readme_phase_table_names_every_phase_and_notebook_by_path():
    table = README.split("## From the paper to the code")[1].split("\n## ")[0]
    named = set(re.findall(r"`([\w/]+\.(?:py|ipynb))`", table))
    assert {p for p in named if not (ROOT / p).exists()} == set()
    phases = [f for f in FILES if f.parent.name == "phases" and f.name != "__init__.py"]
    assert {str(f.relative_to(ROOT)) for f in (*phases, *NOTEBOOKS)} <= named


def test_readme_is_short():
    prose = re.sub(r"```.*?```", "", README, flags=re.S)
    assert len(prose.split()) <= 900


# --- versions and imports


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
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["lab"], *extras["dev"], *extras["docs"]]:
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
    for name in padlab.__all__:
        assert getattr(padlab, name) is not None, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        padlab.nonsense  # noqa: B018


def test_every_public_name_is_listed_in_the_help():
    assert [name for name in padlab.__all__ if name not in (padlab.__doc__ or "") and name not in UNLISTED] == []


UNLISTED = {"__version__", "LanguageModel", "Pair", "Preset", "Divergence", "Interval"}  # what functions return


if __name__ == "__main__":
    sizes = function_sizes(ROOT / "padlab")
    print(f"code lines in padlab/ (no docstrings, comments, blank lines): {total_code_lines(ROOT / 'padlab')}")
    print(f"functions: {len(sizes)}, median {statistics.median(sizes.values())} code lines, longest:")
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:8]:
        print(f"  {size:3} {name}")
    print("longest files:")
    for path in sorted(FILES, key=lambda p: -p.read_text(encoding="utf-8").count("\n"))[:8]:
        print(f"  {path.read_text(encoding='utf-8').count(chr(10))} {path.relative_to(ROOT)}")
