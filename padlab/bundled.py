"""Where the data that padlab brings along lies, in a checkout or in an installed wheel."""

from pathlib import Path


def bundled(name: str) -> Path:
    """Path of a file or folder under data/.

    Raises:
        FileNotFoundError: it is not there (a broken installation).

    >>> bundled("prompts/train.jsonl").name
    'train.jsonl'
    """
    here = Path(__file__).parent
    places = (here / "_data" / name, here.parent / "data" / name)
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f"{name} is in none of {[str(p) for p in places]}; reinstall padlab")
