"""The documentation site: built without a warning, its links hold, its pages load nothing from elsewhere and fit."""

import importlib.util
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 60  # of one core, for building it
SHOWN = ("index.html", "course/00_quickstart.html", "reference/rankings.html", "howto/my-model.html", "results.html")
ADDRESS = re.compile(r"""<(\w+)\b[^>]*?\s(?:src|href|srcset|data|poster)=["']([^"']+)["']""")
LOADED = re.compile(r"""@import[^;]*|url\((?!\s*["']?(?:data:|#))[^)]+\)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does."""
    for module in ("sphinx", "furo", "myst_nb", "latex2mathml"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install -c constraints.txt -e '.[docs]'")
    out, before = tmp_path_factory.mktemp("site"), os.times()
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(out / "scratch"), "docs"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "https_proxy": "http://127.0.0.1:9"}  # nothing is fetched
    built = subprocess.run([*command, str(out / "html")], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-4000:]
    assert sum(os.times()[2:4]) - sum(before[2:4]) < SECONDS
    return out / "html"


@pytest.fixture(scope="module")
def pages(site):
    """Page -> its HTML."""
    return {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}


def test_every_page_and_notebook_is_there(site):
    sources = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    sources += [Path("course", path.stem + ".html") for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert len(sources) > 40
    assert [str(source) for source in sources if not (site / source).exists()] == []


def test_links_within_the_site_hold(site, pages):
    ids = {page: set(re.findall(r'\s(?:id|name)="([^"]+)"', text)) for page, text in pages.items()}
    broken, reached = [], set()
    for page, text in pages.items():
        for _, address in ADDRESS.findall(text):
            scheme, host, path, _, anchor = urlsplit(unescape(address))
            if scheme or host:
                continue
            goal = (page.parent / unquote(path)).resolve() if path else page
            reached |= {goal} - {page}
            if not goal.exists() or (anchor and goal in ids and unquote(anchor) not in ids[goal]):
                broken.append(f"{page.relative_to(site)}: {address}")
    assert broken == []
    assert set(pages) - reached <= {site / "_modules" / "index.html"}, "no page links there"


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for page, text in pages.items():
        loaded = [url for tag, url in ADDRESS.findall(text) if tag != "a" and re.match(r"(\w+:)?//", url)]
        assert loaded == [], page
        assert re.findall(r"<base\b|http-equiv=.refresh|\bimport\(", text) == [], page
    for sheet in site.rglob("*.css"):
        assert LOADED.findall(sheet.read_text(encoding="utf-8")) == [], sheet
    for script in site.rglob("*.js"):
        assert not re.search(r"cdn|unpkg|jsdelivr|googleapis", script.read_text(encoding="utf-8")), script


def test_figures_formulas_and_signatures_are_shown(site, pages):
    quickstart = pages[site / "course" / "00_quickstart.html"]
    assert quickstart.count("<img") >= 5
    assert "<math" in quickstart
    assert "$" not in re.sub(r"<(pre|script|style).*?</\1>|<[^>]*>", "", quickstart, flags=re.S), "a formula as text"
    rankings, training = (as_text(pages[site / "reference" / name]) for name in ("rankings.html", "training.html"))
    assert "vpd_loss(student_scores: Float[Tensor, '*prompts items'] | Numbers," in rankings
    assert "PADConfig(loss: str = 'ppd'," in training


def as_text(page):
    """What a page says, without line breaks."""
    return re.sub(r"\s*\n\s*", "", unescape(re.sub(r"<[^>]+>", "", page)))


def check(new_page, address, width):
    """A page at a width: no error, no other host, no scrolling sideways, nothing too small to read."""
    page, record = new_page(width, 844)
    page.goto(address)
    page.wait_for_load_state("load")
    assert record.complaints == [], address
    assert {urlsplit(url).scheme for url in record.requests} <= {"file", "data"}, address
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width, address
    small = "() => Math.min(...[...document.querySelectorAll('article p, article td, article pre, article li')]"
    small += ".filter(e => e.checkVisibility()).map(e => parseFloat(getComputedStyle(e).fontSize)))"
    assert page.evaluate(small) >= 11, address
    return page


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", SHOWN)
def test_a_page_fits_and_is_complete(name, width, site, new_page):
    check(new_page, (site / name).as_uri(), width)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_fits_and_is_complete(width, site, pages, new_page):
    for page in pages:
        check(new_page, page.as_uri(), width).close()


def test_the_search_finds_a_function(site, new_page):
    page = check(new_page, (site / "search.html").as_uri() + "?q=ppd_loss", 1280)
    page.locator("#search-results li a", has_text="ppd_loss").first.wait_for()
    assert page.locator("#search-results li a").count() > 1
