"""JupyterLab on a port of its own, notebooks in it, and a chromium to look at them; skipped where one is missing.

Nothing of the user's is touched: settings, data, history and notebooks of the server lie in a temporary folder.
"""

import importlib.util
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 120_000  # ms for anything that is expected to happen
SETTINGS = {  # of JupyterLab
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are in the page, too
}


class Lab:
    """A JupyterLab server and its folder.

    Args:
        base: temporary folder for everything that the server writes.
    """

    def __init__(self, base):
        self.folder, self.token = base / "notebooks", secrets.token_hex(16)
        settings = base / "config" / "lab" / "user-settings" / "@jupyterlab"
        for name, value in SETTINGS.items():
            path = settings / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value), encoding="utf-8")
        self.folder.mkdir()
        folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
        folders["IPYTHONDIR"] = "ipython"
        environment = {**os.environ, **{name: str(base / folder) for name, folder in folders.items()}}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1"}
        environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore"}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"]
        options += [f"--ServerApp.port={self.port}", f"--IdentityProvider.token={self.token}"]
        options += [f"--ServerApp.root_dir={self.folder}", "--LabApp.extension_manager=readonly"]
        self.log = base / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=log, stderr=log, cwd=self.folder
            )

    def ask(self, path, method="GET"):
        """What the server's API answers; None for an empty answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/{path}", method=method)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def wait(self):
        """Wait until the server answers."""
        deadline = time.monotonic() + PATIENCE / 1000
        while True:
            try:
                return self.ask("status")
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-3000:]}") from None
                time.sleep(0.2)

    def address(self, name):
        """Where a notebook is seen, by itself."""
        return f"http://127.0.0.1:{self.port}/doc/tree/{name}?token={self.token}"

    def write(self, name, sources, saved=None):
        """A notebook with these cells; one that begins with # is Markdown, all others are code. Or one as it is."""
        from nbformat import v4, write

        cells = [(v4.new_markdown_cell if s.startswith("# ") else v4.new_code_cell)(s.strip()) for s in sources]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        write(saved or v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), self.folder / name)

    def kernel_is_idle(self, name):
        """Whether the notebook's kernel has started and has nothing to do."""
        return any(s["path"] == name and s["kernel"]["execution_state"] == "idle" for s in self.ask("sessions"))

    def end_kernels(self):
        """End all kernels."""
        for session in self.ask("sessions"):
            self.ask(f"sessions/{session['id']}", "DELETE")

    def stop(self):
        """End the server and its kernels."""
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Record:
    """What a page asked for and complained about. JupyterLab itself, set as above, complains of nothing."""

    def __init__(self, page):
        self.requests, self.complaints = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("console", self._on_console)

    def _on_console(self, message):
        if message.type == "error":
            self.complaints.append(f"console: {message.text} ({message.location.get('url', '')})")


class Notebook:
    """A notebook in JupyterLab, as its user sees it."""

    def __init__(self, lab, page, record, name):
        self.lab, self.page, self.record, self.name = lab, page, record, name
        page.goto(lab.address(name), timeout=PATIENCE)
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=PATIENCE)
        self.until(lambda: lab.kernel_is_idle(name), "the kernel starts")

    def until(self, check, what, seconds=PATIENCE / 1000, pause=20):
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not check():
            assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain: {what}"
            self.page.wait_for_timeout(pause)

    def cell(self, number):
        """The code cell of that number, from 0."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def output(self, number):
        """A cell's output."""
        return self.cell(number).locator(".jp-OutputArea").first

    def errors(self):
        """The texts of failed cells and of widgets that cannot be shown."""
        stderr = "[data-mime-type='application/vnd.jupyter.stderr']"  # JupyterLab's type for a traceback, too
        failed = self.page.locator(f"{stderr}:has-text('Traceback'), .jupyter-widgets-error")
        return failed.all_inner_texts()

    def run_all(self, seconds=PATIENCE / 1000):
        """Run > Run All Cells, and wait for all of them; a cell that fails ends the waiting."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        prompts = self.page.locator(".jp-Notebook .jp-CodeCell .jp-InputArea-prompt")
        finished = re.compile(r"\[\d+\]")
        done = lambda: self.errors() or all(map(finished.search, prompts.all_inner_texts()))  # noqa: E731
        self.until(done, "all cells have run", seconds)
        assert self.errors() == []
        outputs = self.page.locator(".jp-OutputArea-output")
        loading = lambda: any("Loading widget" in text for text in outputs.all_inner_texts())  # noqa: E731
        self.until(lambda: not loading(), "the widgets are there")

    def run(self, number):
        """Run one cell by keyboard; the seconds that it took, and what it printed."""
        cell = self.cell(number)
        prompt, output = cell.locator(".jp-InputArea-prompt"), self.output(number)
        before, began = prompt.inner_text(), time.monotonic()
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        changed = lambda: prompt.inner_text() != before and re.search(r"\[\d+\]", prompt.inner_text())  # noqa: E731
        self.until(changed, "the cell has run", pause=5)
        took = time.monotonic() - began
        self.until(lambda: output.inner_text().strip(), "the cell has printed something")
        return took, output.inner_text().strip()


def _need(*modules):
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A JupyterLab server, one for all tests."""
    _need("jupyterlab", "ipywidgets", "playwright")
    server = Lab(tmp_path_factory.mktemp("lab"))
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def browser():
    """Chromium. One per file: playwright keeps an event loop running, which other tests' notebooks must not meet."""
    _need("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def new_page(browser):
    """Makes (page, record of its requests and complaints); further arguments as of playwright's `new_context`."""
    contexts = []

    def make(width=1280, height=900, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        return page, Record(page)

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def notebook(lab, new_page):
    """Opens a notebook of the given cells, or one that was saved, in JupyterLab."""

    def make(name, sources, saved=None, **options):
        lab.write(name, sources, saved)
        return Notebook(lab, *new_page(**options), name)

    yield make
    lab.end_kernels()
