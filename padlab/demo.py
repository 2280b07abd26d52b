"""`padlab demo`: execute a notebook headless, keep it and an HTML page, print the headline figures."""

from __future__ import annotations

import copy
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from padlab.bundled import bundled
from padlab.safe_files import as_folder

NOTEBOOK = "00_quickstart.ipynb"
CELL_TIMEOUT = 1800  # seconds
WIDGET = "application/vnd.jupyter.widget-view+json"
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$`])\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\d)", re.DOTALL)  # $$...$$, $...$
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>padlab</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere }
body { font: 16px/1.5 system-ui, sans-serif }
pre { white-space: pre-wrap; background: #f6f6f6; padding: .6rem; border-radius: 4px; font-size: 13px; margin: .4rem 0 }
summary { color: #666; font-size: 13px; cursor: pointer }
img { max-width: 100%; height: auto } .anchor-link { display: none }
math[display=block] { margin: 1rem 0; font-size: 1.15em; overflow-x: auto }
table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { padding: .2rem .6rem; border-bottom: 1px solid #ddd; overflow-wrap: break-word !important }
@media (max-width: 40rem) { body { margin: 1rem auto } math[display=block] { font-size: .95em } }
STYLE</style></head><body>"""
FOLDED = """{% extends 'basic/index.html.j2' %}
{% block input_group %}<details open><summary>code</summary>{{ super() }}</details>{% endblock input_group %}"""


def notebook_folder() -> Path:
    """Where the notebooks lie, in a checkout or in an installed wheel."""
    return bundled(NOTEBOOK, "notebooks").parent


def run_demo(out: str | Path = "demo-out", preset: str | None = None, name: str = NOTEBOOK) -> Path:
    """Execute a notebook and write `<name>.ipynb` and a self-contained `<name>.html` into `out`.

    Args:
        out: folder, made if need be.
        preset: put into the notebook's first code cell in place of its PRESET = "..." line; None keeps that.
        name: which notebook, a file name in `notebook_folder()`.

    Returns:
        path of the HTML page.

    Raises:
        ValueError: not the name of a notebook in that folder.
        RuntimeError: a cell failed; the notebook up to that cell is written first.
    """
    try:
        import nbformat
        from nbclient.exceptions import CellExecutionError
    except ImportError:
        raise RuntimeError("the demo needs the `lab` extra: pip install 'padlab[lab]'") from None
    source, executed = notebook_folder() / name, as_folder(out) / name
    known = sorted(path.name for path in notebook_folder().glob("*.ipynb"))
    if name not in known:  # a path would be written outside of `out`
        raise ValueError(f"there is no notebook {name!r}; there are: {', '.join(known)}")
    executed.parent.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(source, as_version=4)
    if preset:
        _set_preset(notebook, preset)
    try:
        execute(notebook, executed.parent)
    except CellExecutionError as error:
        last = str(error).strip().splitlines()[-1]
        raise RuntimeError(f"a cell failed: {last}\nThe notebook as far as it went is {executed}") from None
    finally:
        nbformat.write(notebook, executed)
    page = write_html(notebook, executed.with_suffix(".html"))
    print(_headline(notebook))
    print(f"\nexecuted notebook  {executed.resolve()}\nHTML page          {page.resolve()}")
    return page


def execute(notebook: Any, folder: Path) -> None:
    """Run all cells in order, printing on the terminal the heading of each and the minutes so far."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient

    began, heading, number = time.monotonic(), "", 0
    total = sum(cell.cell_type == "code" for cell in notebook.cells)

    def print_progress(cell, cell_index):
        nonlocal heading, number
        if cell.cell_type == "code":
            number += 1
            minutes = (time.monotonic() - began) / 60
            print(f"[{minutes:4.1f} min] cell {number:2} of {total}  {heading}", file=sys.stderr, flush=True)
        elif cell.source.startswith("#"):
            heading = cell.source.splitlines()[0].lstrip("# ")

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    this_python = KernelSpecManager(kernel_dirs=[])  # without the kernels that the user has installed elsewhere
    NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=this_python),
        timeout=CELL_TIMEOUT,
        resources={"metadata": {"path": str(folder)}},
        on_cell_start=print_progress,
        store_widget_state=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    ).execute()
    for cell in notebook.cells:  # a widget shows nothing without a kernel: its view as HTML stays, if it has one
        if cell.cell_type == "code":
            for output in (output for output in cell.outputs if "text/html" in output.get("data", {})):
                output.data.pop(WIDGET, None)
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]


def write_html(notebook: Any, path: Path) -> Path:
    """A page that needs nothing else: figures inside, formulas as MathML, code that folds, no foreign scripts."""
    from latex2mathml.converter import convert
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    def mathml(formula: re.Match) -> str:
        block, inline = formula.groups()
        return convert(block or inline, display="block" if block else "inline")

    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(mathml, cell.source)
    exporter = HTMLExporter(raw_template=FOLDED, exclude_input_prompt=True, exclude_output_prompt=True)
    body, _ = exporter.from_notebook_node(notebook)
    head = PAGE.replace("STYLE", HtmlFormatter(style="friendly").get_style_defs(".highlight"))
    path.write_text(f"{head}{body}</body></html>", encoding="utf-8")
    return path


def _set_preset(notebook: Any, preset: str) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code" and "PRESET = " in cell.source:
            cell.source = re.sub("^PRESET = .*", lambda _: f"PRESET = {preset!r}", cell.source, flags=re.MULTILINE)
            return
    raise RuntimeError("this notebook has no PRESET = ... line to change")


def _headline(notebook: Any) -> str:
    """What the cell tagged `headline` printed."""
    tagged = [cell for cell in notebook.cells if "headline" in cell.metadata.get("tags", [])]
    printed = [output.text for cell in tagged for output in cell.get("outputs", []) if output.get("name") == "stdout"]
    return "\n" + "".join(printed).strip() if printed else ""
