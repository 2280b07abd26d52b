"""A process that holds a lock, for tests of what others do meanwhile."""

import subprocess
import sys
from contextlib import contextmanager

HOLDER = """
import sys, time, pathlib
from padlab.safe_files import lock
with lock(pathlib.Path(sys.argv[1]), sys.argv[2]):
    print("in", flush=True)
    time.sleep(float(sys.argv[3]))
"""


@contextmanager
def held_by_another(folder, name=".lock", seconds=60.0):
    """Another process holds a lock, for so many seconds or until the block ends."""
    command = [sys.executable, "-c", HOLDER, str(folder), name, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "in\n"
            yield
        finally:
            holder.kill()
