"""Files of the inspector: responses read, views written, and how much memory a model will take."""

from __future__ import annotations

import json
from pathlib import Path

from padlab.safe_files import write_jsonl
from padlab.show.inspection import Inspection
from padlab.show.inspection_state import MOST
from padlab.show.inspector_page import as_python, rankings_figure, write_page
from padlab.show.snapshot import preferences


def read_responses(path: str | Path) -> list[str]:
    """Responses from a file: one a line, or a JSON list of texts.

    Raises:
        ValueError: no such file, or neither of both forms.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"{path} is a folder; give a file" if path.is_dir() else f"no such file: {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 ({error.reason} at byte {error.start}); re-save it") from None
    if text.lstrip().startswith("["):
        try:
            texts = json.loads(text)
        except (ValueError, RecursionError) as error:
            if path.suffix != ".json":  # lines, of which the first begins so
                return [line for line in text.split("\n") if line.strip()]
            raise ValueError(f"{path.name} is not valid JSON: {error}") from None
        if not all(isinstance(item, str) for item in texts):
            raise ValueError(f"{path.name}: the JSON list must hold texts only")
        return texts
    return [line for line in text.split("\n") if line.strip()]


def export(inspection: Inspection, folder: Path) -> list[Path]:
    """Page, JSON, PNG, a candidates table and the Python lines of the present view, numbered; their paths."""
    number = next(k for k in range(1, 10_000) if not (folder / f"inspection-{k}.html").exists())
    page = write_page(inspection, folder / f"inspection-{number}.html")
    snapshot, state = inspection.snapshot(), inspection.state
    found = preferences(snapshot, state.alpha, state.beta)
    paths = [page, page.with_suffix(".json")]
    if len(state.responses) <= MOST:
        paths.append(page.with_suffix(".png"))
        paths[-1].write_bytes(rankings_figure(found).png())
    paths.append(page.with_suffix(".jsonl"))
    write_jsonl(paths[-1], [inspection.as_row()])
    paths.append(page.with_suffix(".py"))
    paths[-1].write_text(as_python(inspection) + "\n", encoding="utf-8")
    return paths


def memory_needed(spec: str) -> str:
    """What a model's files take, in words, where they lie in a local folder; empty where that is not known.

    >>> memory_needed("org/name")
    ''
    """
    path = Path(spec).expanduser()
    files = [path] if path.suffix == ".gguf" and path.is_file() else list(path.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    return f"({size / 1e9:.1f} GB of files; float32 takes 4 bytes a weight)" if size else ""
