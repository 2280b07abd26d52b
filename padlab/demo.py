"""`padlab demo`: execute a notebook headless, keep it and an HTML page, print the headline figures."""

from __future__ import annotations

import copy
import os
import re
import shutil
import sys
import time
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
    """Run all cells in order, saying on the terminal which heading it is at and how long it has taken."""
    from nbclient import NotebookClient

    began = time.monotonic()
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    seen = {"code": 0, "heading": ""}

    def before(cell, cell_index):
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            seen["heading"] = cell.source.splitlines()[0].lstrip("# ")
        if cell.cell_type == "code":
            seen["code"] += 1
            took = time.monotonic() - began
            print(
                f"[{took / 60:4.1f} min] cell {seen['code']:2} of {total}  {seen['heading']}",
                file=sys.stderr,
                flush=True,
            )

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        on_cell_start=before,
        store_widget_state=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    with _this_python_as_kernel(folder):
        client.execute()
    for cell in notebook.cells:  # progress bars of other libraries, which show nothing without a running kernel
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]


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


class _this_python_as_kernel:
    """Make `python3` mean this interpreter, whatever kernels the user has installed elsewhere."""

    def __init__(self, folder: Path):
        self.folder = folder / ".kernel"

    def __enter__(self) -> None:
        from ipykernel.kernelspec import write_kernel_spec

        spec = self.folder / "kernels" / "python3"
        shutil.rmtree(spec, ignore_errors=True)
        write_kernel_spec(str(spec))
        self.before = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (str(self.folder), self.before)))

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.before is None:
            del os.environ["JUPYTER_PATH"]
        else:
            os.environ["JUPYTER_PATH"] = self.before
