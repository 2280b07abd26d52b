"""Where the data and notebooks that padlab brings along lie, in a checkout or in an installed wheel."""

from pathlib import Path


def bundled(name: str, folder: str = "data") -> Path:
    """Path of a file or folder that came with padlab.

    Args:
        name: its path within the folder.
        folder: "data" or "notebooks".

    Raises:
        FileNotFoundError: it is not there (a broken installation).

    >>> bundled("prompts/train.jsonl").name
    'train.jsonl'
    """
    package = Path(__file__).parent
    places = [package / f"_{folder}" / name, package.parent / folder / name]
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f"{name} is in none of {[str(p) for p in places]}; reinstall padlab")
