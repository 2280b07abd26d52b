"""The inspector's pages: complete in themselves, readable on a phone, usable without a script, legible, valid HTML."""

import sys
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest

import padlab
from padlab.cli import main

PROMPT = "Which city? <b>$x$</b> " + "w" * 120
RESPONSES = ["Bergen", "Oslo is the capital, and has been for long.", "<script>window.hacked=1</script>", "z" * 400]
WIDTHS = (390, 1280)
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
BLOCK = {"div", "p", "table", "ul", "ol", "h1", "h2", "h3", "details", "pre", "section", "main"}
CONTRAST = """
() => {
    const parse = text => {
        const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
        return [r, g, b, a];
    };
    const over = (top, below) => [0, 1, 2].map(k => top[k] * top[3] + below[k] * (1 - top[3]));
    const background = element => {
        if (!element) return [255, 255, 255];
        const own = parse(getComputedStyle(element).backgroundColor);
        return own[3] === 1 ? own.slice(0, 3) : over(own, background(element.parentElement));
    };
    const light = colour => {
        const [r, g, b] = colour.map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const opacity = element => element ? +getComputedStyle(element).opacity * opacity(element.parentElement) : 1;
    const found = [];
    for (const element of document.body.querySelectorAll("*")) {
        const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join("").trim();
        if (!text || !element.checkVisibility()) continue;
        const back = background(element), colour = parse(getComputedStyle(element).color);
        colour[3] *= opacity(element);
        const [low, high] = [light(over(colour, back)), light(back)].sort((a, b) => a - b);
        found.push([(high + 0.05) / (low + 0.05), text.slice(0, 60)]);
    }
    return found;
}
"""


class Outline(HTMLParser):
    """Finds what is wrong in an HTML document that we wrote: every element closed, in order, each id once."""

    def __init__(self, text):
        super().__init__()
        self.open, self.faults, self.ids, self.wanted, self.tags = [], [], Counter(), set(), Counter()
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self.open]
        self.faults += [f"id {name} stands {times} times" for name, times in self.ids.items() if times > 1]
        self.faults += [f"no element has the id {name}" for name in self.wanted - set(self.ids)]

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.tags[tag] += 1
        if len(named) < len(attrs):
            self.faults.append(f"<{tag}> has an attribute twice")
        if tag in BLOCK and {"p", "span", "summary", "b", "label"} & set(self.open):
            self.faults.append(f"<{tag}> inside {self.open[-1]}")
        if tag == "img" and not named.get("alt"):
            self.faults.append("an image without alt text")
        self.ids.update([named["id"]] if "id" in named else [])
        self.wanted |= {named["for"]} if "for" in named else set()
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()} closes another element")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Name -> page: of `padlab inspect` on the command line, and of `inspect_table`."""
    folder, before = tmp_path_factory.mktemp("pages"), sys.argv
    responses = folder / "responses.txt"
    responses.write_text("\n".join(RESPONSES), encoding="utf-8")
    words = ["inspect", "--preset", "tiny", "--prompt", PROMPT, "--responses", str(responses), "--out", str(folder)]
    words += ["--judge", "--alpha", "0.35"]
    sys.argv = ["padlab", *words]
    try:
        assert main(words) == 0
    finally:
        sys.argv = before
    student, teacher = padlab.load_pair("tiny")
    texts = {"prompt": PROMPT, "responses": RESPONSES}
    table = padlab.add_selection_probs([texts, {**texts, "prompt": "And which river?"}], teacher)
    padlab.inspect_table(table, student, teacher, most=2, path=folder / "table.html")
    return {"inspection": folder / "inspection.html", "table": folder / "table.html"}


@pytest.fixture(params=["inspection", "table"])
def page_file(request, pages):
    """One of the pages."""
    return pages[request.param]


@pytest.fixture
def opened(new_page, page_file):
    """Opens the page at a width, without JavaScript, everything unfolded; (page, record)."""

    def make(width):
        page, record = new_page(width, 844, java_script_enabled=False)
        page.goto(page_file.as_uri())
        for summary in page.locator("summary").all():
            summary.click()
        return page, record

    return make


def test_a_page_is_complete_in_itself(opened, page_file):
    page, record = opened(1280)
    asked = {urlsplit(url).scheme: url for url in record.requests}
    assert set(asked) <= {"file", "data"}
    assert [url for url in record.requests if url.startswith("file")] == [page_file.as_uri()]
    assert page.locator("script, iframe, object, embed, link").count() == 0
    handlers = (
        "() => [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => /^on/.test(n))"
    )
    assert page.evaluate(handlers) == []
    assert record.complaints == []
    for text in (PROMPT, *RESPONSES):
        assert text in page.locator("main").inner_text()


@pytest.mark.parametrize("width", WIDTHS)
def test_no_sideways_scrolling(opened, width):
    page, _ = opened(width)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    page.mouse.move(width / 2, 400)
    page.mouse.wheel(500, 0)
    page.wait_for_timeout(300)
    assert page.evaluate("() => scrollX") == 0
    small = "() => Math.min(...[...document.querySelectorAll('body, p, div, td, th')].map(e => "
    small += "parseFloat(getComputedStyle(e).fontSize)))"
    assert page.evaluate(small) >= 12


@pytest.mark.parametrize("width", WIDTHS)
def test_text_is_legible(opened, width):
    page, _ = opened(width)
    found = page.evaluate(CONTRAST)
    assert len(found) > 50, "the page has text"
    assert [(text, round(ratio, 2)) for ratio, text in found if ratio < 4.5] == []


def test_the_document_is_valid(opened, page_file):
    source = page_file.read_text(encoding="utf-8")
    assert source.startswith("<!DOCTYPE html>")
    read = Outline(source)
    assert read.faults == []
    page, _ = opened(1280)
    count = "() => [...document.querySelectorAll('*')].map(e => e.localName)"
    built = Counter(page.evaluate(count))
    assert {tag: n for tag, n in (built - read.tags).items() if tag != "tbody"} == {}, "the browser had to mend it"
    assert read.tags - built == {}


def test_alpha_is_chosen_without_a_script(pages, new_page):
    page, _ = new_page(390, 844, java_script_enabled=False)
    page.goto(pages["inspection"].as_uri())
    buttons, views = page.locator("input[type=radio]"), page.locator(".choice > div")
    assert buttons.count() == views.count() == 12, "eleven, and the one that was asked for"
    seen = {}
    for k in range(buttons.count()):
        label = page.locator(f"label[for={buttons.nth(k).get_attribute('id')}]")
        label.click()
        shown = [view for view in views.all() if view.is_visible()]
        assert len(shown) == 1
        seen[label.inner_text()] = shown[0].inner_text()
    assert len(set(seen.values())) == 12, "each shows something else"
    assert all(f"alpha {alpha}" in text for alpha, text in seen.items())
    buttons.first.focus()
    page.keyboard.press("ArrowRight")
    assert views.nth(1).is_visible(), "the keyboard does it, too"
    assert page.locator("input:checked + label").evaluate("e => getComputedStyle(e).outlineStyle") != "none"


def test_the_view_that_was_asked_for_is_shown_first(pages, new_page):
    page, _ = new_page(java_script_enabled=False)
    page.goto(pages["inspection"].as_uri())
    (shown,) = [view.inner_text() for view in page.locator(".choice > div").all() if view.is_visible()]
    assert "alpha 0.35" in shown
