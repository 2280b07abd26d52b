"""Execute the notebooks at full size, in place, and print how long each took: `make notebooks`.

    python bench/notebooks.py [NAME ...] [--threads 2]

Without names all of them. A notebook whose cell fails stays as it was.
"""

import argparse
import os
import time

import nbformat
from _measure import machine

from padlab.demo import execute, notebook_folder


def main() -> None:
    """Execute, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of file names, e.g. 02")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(machine(options.threads))
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # of the kernels
    for path in sorted(notebook_folder().glob("*.ipynb")):
        if options.names and not path.name.startswith(tuple(options.names)):
            continue
        notebook, begin = nbformat.read(path, as_version=4), time.monotonic()
        execute(notebook, path.parent)
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times of day, other in every run
        nbformat.write(notebook, path)
        seconds, size = time.monotonic() - begin, path.stat().st_size / 1000
        print(f"{path.name}: {seconds // 60:.0f} min {seconds % 60:.0f} s, {size:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
