"""`padlab demo`: execute a notebook headless, keep it and an HTML page, print the headline figures."""

from __future__ import annotations

import copy
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NOTEBOOK = "00_quickstart.ipynb"
CELL_TIMEOUT = 1800  # seconds
WIDGET = "application/vnd.jupyter.widget-view+json"
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$`])\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\d)", re.DOTALL)  # $$...$$, $...$


def notebook_folder() -> Path:
    """Where the notebooks lie, in a checkout or in an installed wheel."""
    here = Path(__file__).parent
    for folder in (here / "_notebooks", here.parent / "notebooks"):
        if (folder / NOTEBOOK).exists():
            return folder
    raise FileNotFoundError(f"{NOTEBOOK} is not there; reinstall padlab")


def run_demo(out: str | Path = "demo-out", preset: str | None = None, name: str = NOTEBOOK) -> Path:
    """Execute a notebook and write `<name>.ipynb` and a self-contained `<name>.html` into `out`.

    Args:
        out: folder, made if need be.
        preset: put into the notebook's first code cell in place of its PRESET = "..." line; None keeps that.
        name: which notebook, a file name in `notebook_folder()`.

    Returns:
        path of the HTML page.

    Raises:
        ValueError: no such notebook.
        RuntimeError: a cell failed; the notebook up to that cell is written first.
    """
    try:
        import nbformat
        from nbclient.exceptions import CellExecutionError
    except ImportError:
        raise RuntimeError("the demo needs the `lab` extra: pip install 'padlab[lab]'") from None
    if not (notebook_folder() / name).is_file():
        known = ", ".join(sorted(p.name for p in notebook_folder().glob("*.ipynb")))
        raise ValueError(f"there is no notebook {name!r}; there are: {known}")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(notebook_folder() / name, as_version=4)
    if preset:
        _set_preset(notebook, preset)
    executed = out / name
    try:
        execute(notebook, out)
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
    from nbclient import NotebookClient

    began = time.monotonic()
    headings = _headings(notebook)

    def print_progress(cell, cell_index):
        if cell.cell_type == "code":
            minutes = (time.monotonic() - began) / 60
            print(f"[{minutes:4.1f} min] {headings[cell_index]}", file=sys.stderr, flush=True)

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with _this_python_as_kernel(folder):
        NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            on_cell_start=print_progress,
            store_widget_state=False,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
        ).execute()
    for cell in notebook.cells:  # progress bars of other libraries, which show nothing without a running kernel
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]


def _headings(notebook: Any) -> list[str]:
    """Per cell: its number among the code cells, and the last heading before it."""
    total, number, heading, lines = sum(c.cell_type == "code" for c in notebook.cells), 0, "", []
    for cell in notebook.cells:
        number += cell.cell_type == "code"
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            heading = cell.source.splitlines()[0].lstrip("# ")
        lines.append(f"cell {number:2} of {total}  {heading}")
    return lines


def write_html(notebook: Any, path: Path) -> Path:
    """A page that needs nothing else: figures inside, formulas as MathML, no scripts from elsewhere."""
    from nbconvert import HTMLExporter

    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(_mathml, cell.source)
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    body, _ = exporter.from_notebook_node(notebook)
    style = (
        "body{max-width:60rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif}"
        "pre{white-space:pre-wrap;background:#f6f6f6;padding:.6rem;border-radius:4px;font-size:13px}"
        "img{max-width:100%}.anchor-link{display:none}math[display=block]{margin:1rem 0;font-size:1.15em}"
        "table{border-collapse:collapse}td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd}"
    )
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>padlab</title><style>{style}</style></head>'
    )
    path.write_text(f"{head}<body>{body}</body></html>", encoding="utf-8")
    return path


def _mathml(found: re.Match) -> str:
    from latex2mathml.converter import convert

    block, inline = found.groups()
    return convert(block or inline, display="block" if block else "inline")


def _set_preset(notebook: Any, preset: str) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code" and "PRESET = " in cell.source:
            lines = [f'PRESET = "{preset}"' if ln.startswith("PRESET = ") else ln for ln in cell.source.split("\n")]
            cell.source = "\n".join(lines)
            return
    raise RuntimeError("this notebook has no PRESET = ... line to change")


def _headline(notebook: Any) -> str:
    """What the cell tagged `headline` printed."""
    texts = [
        output.text
        for cell in notebook.cells
        if "headline" in cell.metadata.get("tags", [])
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stdout"
    ]
    return "\n" + "".join(texts).strip() if texts else ""


@contextmanager
def _this_python_as_kernel(folder: Path) -> Iterator[None]:
    """Make `python3` mean this interpreter, whatever kernels the user has installed elsewhere."""
    from ipykernel.kernelspec import write_kernel_spec

    kernels, before = folder / ".kernel", os.environ.get("JUPYTER_PATH")
    shutil.rmtree(kernels, ignore_errors=True)
    write_kernel_spec(str(kernels / "kernels" / "python3"))
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (str(kernels), before)))
    try:
        yield
    finally:
        shutil.rmtree(kernels, ignore_errors=True)
        os.environ.pop("JUPYTER_PATH")
        if before is not None:
            os.environ["JUPYTER_PATH"] = before
