"""The code in the documentation's pages: Python runs, page by page, with tiny models; commands are ones there are."""

import importlib
import pkgutil
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

import padlab
from padlab.cli import parser
from padlab.study import reading_models

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "docs" / "index.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]
TEXTS = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
REFERENCE = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))


def blocks(text, language):
    """The code blocks in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory):
    """The tiny pair as folders."""
    base = tmp_path_factory.mktemp("models")
    for role, model in tiny._asdict().items():
        model.save(base / role)
    return base


@pytest.fixture
def small(monkeypatch, tmp_path, tiny, folders):
    """An empty folder to work in; models of the Hub are the tiny ones, and training on texts takes six steps."""
    load, train = padlab.load_model, reading_models.train_on_texts

    def load_tiny(spec, **options):
        return load(spec if Path(spec).exists() else folders / ("teacher" if "1.7B" in spec else "student"), **options)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(padlab, "load_model", load_tiny)
    monkeypatch.setattr(padlab, "load_pair", lambda preset: tiny)
    monkeypatch.setitem(padlab.PRESETS, "classroom", replace(padlab.PRESETS["classroom"], max_new_tokens=16))
    monkeypatch.setattr(
        reading_models, "train_on_texts", lambda base, groups, **options: train(base, groups[:6], **options)
    )


@pytest.mark.parametrize("page", TEXTS)
def test_the_python_of_a_page_runs(page, small, capsys):
    names = {}
    for code in blocks(TEXTS[page], "python"):
        few = re.sub(r"\bprompts\((64|128)\b", "prompts(4", code)
        exec(compile(few, f"{page}.md", "exec"), names)
    assert names, "the page has code"


def test_commands_are_ones_that_there_are():
    lines = [line for text in TEXTS.values() for block in blocks(text, "sh") for line in block.splitlines()]
    commands = [found[1] for line in lines if (found := re.match(r"(?:\w+=\S+ )?padlab ([^#&]*)", line))]
    assert len(commands) > 15
    for command in commands:
        parser().parse_args(shlex.split(command))  # exits with an error where there is no such command or option
    goals = {found[1] for line in lines if (found := re.match(r"make (\w+)", line))}
    there = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[1].split()
    assert {"demo", "lab", "docs"} <= goals <= set(there)


def test_names_in_the_text_resolve():
    named = {name for text in (*TEXTS.values(), REFERENCE) for name in re.findall(r"`(padlab(?:\.\w+)+)", text)}
    assert len(named) > 8
    for name in named:
        pkgutil.resolve_name(name)


# --- the reference names everything


def documented():
    """Names that the reference's directives document, those of whole modules included."""
    names = set(re.findall(r":: (padlab(?:\.\w+)+)$", REFERENCE, re.M))
    for module in (padlab.__name__, *re.findall(r"automodule:: (\S+)", REFERENCE)):
        found = importlib.import_module(module)
        own = [n for n, value in vars(found).items() if getattr(value, "__module__", "") == module and n[0] != "_"]
        names |= {f"{module}.{name}" for name in getattr(found, "__all__", own)} if module != "padlab" else set()
    return {name.removeprefix("padlab.") for name in names}


def test_every_public_name_is_in_the_reference():
    assert set(padlab.__all__) - documented() == {"__version__"}


def test_what_notebooks_readme_and_pages_import_is_in_the_reference():
    files = [*(ROOT / "notebooks").glob("*.ipynb"), ROOT / "README.md", *PAGES]
    imports = [found for f in files for found in IMPORT.findall(f.read_text(encoding="utf-8"))]
    names = {f"{module}.{name}".removeprefix("padlab.") for module, given in imports for name in given.split(", ")}
    assert len(names) > 20
    modules = {name for name in names if any(d.startswith(f"{name}.") for d in documented())}
    assert names - documented() - modules == set()


IMPORT = re.compile(r"from (padlab[\w.]*) import ([\w, ]+?)(?=[\\\n]|\s+#)")
