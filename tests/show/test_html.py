"""Model text stays text: parse what the functions made and look for anything that was not put there on purpose."""

import itertools
import re
import unicodedata
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from padlab.show.html import escape, responses, shorten, side_by_side, table, token_heatmap, visible
from padlab.show.html.cards import heat_colours

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script src=//x.example></script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</td></tr></table><h1>out</h1>",
    "<!-- comment --><![CDATA[ x ]]><?php ?>",
    "&lt;b&gt; &amp; &#36; &nbsp",
    "$x$ and $$y$$ and \\(z\\) and \\[w\\] and \\begin{align}1\\end{align}",
    "`code` ```fence``` [a](javascript:alert(1)) *b* _c_",
    "\x1b[31mred\x1b[0m \x00 \x07 \x7f \x9b",
    "abc \u202e gnp.exe \u202c \u2066 x \u2069 \u200b \ufeff \u2028",
    "\ud800 lone \udfff",
    "two\nlines\tand  spaces\r\n",
    "日本語 🥚 עברית عربى é e\u0301 👩‍👩‍👧",
    "javascript:alert(1)",
    "",
]
ALLOWED = {"div", "span", "br", "b", "table", "thead", "tbody", "tr", "th", "td", "caption"}
ATTRIBUTES = {"style", "class", "dir", "scope", "title"}


class Page(HTMLParser):
    """Collects elements, attributes and text; <br> is a newline."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts, self.others, self.open = [], [], [""], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "br":
            self.texts[-1] += "\n"
        else:
            self.open.append(tag)
            if tag != "span":
                self.texts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag != "span":
            self.texts.append("")

    def handle_data(self, data):
        self.texts[-1] += data

    def handle_comment(self, data):
        self.others.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def check(html):
    page = Page(html)
    assert not page.others
    assert not page.open
    assert set(page.tags) <= ALLOWED
    assert {name for name, _ in page.attributes} <= ATTRIBUTES
    for name, value in page.attributes:
        assert name not in ("style", "class", "dir") or not re.search(r"url|expression|@|javascript", value), value
    return page


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_has_only_br_and_span_and_comes_back(text):
    page = Page(escape(text))
    assert set(page.tags) <= {"br", "span"}
    assert not page.attributes
    assert not page.others
    assert "".join(page.texts) == visible(text)


@given(st.text(alphabet=st.characters(), max_size=60))
def test_any_text_comes_back(text):
    page = Page(escape(text))
    assert "".join(page.texts) == visible(text)
    assert set(page.tags) <= {"br", "span"}


@given(st.text(alphabet=st.characters(), max_size=60))
def test_any_text_comes_back_from_an_attribute(text):
    page = Page(f'<b title="{escape(text, attribute=True)}">x</b>')
    assert page.attributes == [("title", visible(text))]
    assert page.tags == ["b"]


def test_no_formula_delimiter_is_left_together_in_one_text_node():
    class Nodes(HTMLParser):
        nodes = ()

        def handle_data(self, data):
            self.nodes = (*self.nodes, data)

    parser = Nodes(convert_charrefs=True)
    parser.feed(escape("$x$ $$y$$ \\(z\\) \\[w\\] \\begin{align}a\\end{align} \\ref{e}"))
    assert "".join(parser.nodes).count("$") == 6
    for node in parser.nodes:
        assert node.count("$") + node.count("\\") == 0 or len(node) == 1


def test_every_hidden_character_is_written_out_and_nothing_else():
    shown_format_characters = set(range(0x600, 0x606)) | {0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
    shown_format_characters |= set(range(0x13430, 0x13440)) | {0x200C, 0x200D}  # joiners and marks of scripts
    for code in range(0x110000):
        char = chr(code)
        hidden = unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and char not in "\n\t"
        if hidden and code not in shown_format_characters:
            assert visible(char) == f"⟨U+{code:04X}⟩", hex(code)
        elif unicodedata.category(char) not in {"Cn", "Mn", "Cf"}:
            assert visible(char) == char, hex(code)


def renderings(text):
    yield table([{"a": text, text or "empty": 1.5}], caption=text)
    yield table([{"a": text}], columns={"a": text})
    yield token_heatmap([text, " x"], [-1.0, -9.5], title=text)
    yield responses(text, [text, "plain"], rewards={text: [-1.0, -2.0]}, probs=[0.25, 0.75])
    yield side_by_side(text, [text], text, ["b"], [text])


@pytest.mark.parametrize("text", HOSTILE)
def test_no_function_lets_markup_through(text):
    for shown in renderings(text):
        page = check(shown._repr_html_())
        if text:
            marked = visible(text).replace("\n", "⏎\n").replace("\t", "⇥\t")  # as a token heat map shows it
            assert visible(text) in page.texts or marked in "".join(page.texts)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", repr(shown))
        shown._repr_html_().encode("utf-8")
        repr(shown).encode("utf-8")


def test_table_shows_numbers_texts_and_gaps():
    shown = table([{"name": "tau", "value": 0.123456, "n": 1234}, {"name": "long" * 200, "value": None}], digits=2)
    texts = Page(shown._repr_html_()).texts
    assert "0.12" in texts
    assert "1,234" in texts
    assert texts.count("–") == 2
    assert any(text.endswith("… (200 more characters)") for text in texts)
    assert all(len(line) < 80 for line in repr(shown).splitlines())


def test_table_of_nothing_and_misspelt_columns():
    assert "<td" not in table([], columns=["a"])._repr_html_()
    with pytest.raises(ValueError, match=r"valu.*name.*value"):
        table([{"name": "a", "value": 1}], columns=["name", "valu"])


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_heat_colours_are_legible_and_darken_steadily():
    values = [-0.02 * i for i in range(600)]
    backs = [luminance(heat_colours(v)[0]) for v in values]
    for value, back in zip(values, backs, strict=True):
        ink = luminance(heat_colours(value)[1])
        assert (max(back, ink) + 0.05) / (min(back, ink) + 0.05) >= 4.5
    assert all(later <= earlier for earlier, later in itertools.pairwise(backs))
    assert backs[0] > 0.99
    assert backs[-1] < 0.05


def test_token_heatmap_gives_each_token_its_number_and_the_mean():
    shown = token_heatmap(["Wa", "ter", "\n"], [-0.5, -1.25, -4.0])
    page = check(shown._repr_html_())
    titles = [value for name, value in page.attributes if name == "title"]
    assert titles == ["−0.500 nats", "−1.250 nats", "−4.000 nats"]
    assert "mean −1.92 nats/token over 3 tokens" in repr(shown)
    assert "Water⏎\n" in page.texts


@pytest.mark.parametrize(("tokens", "logps"), [([], []), (["a"], [-1.0, -2.0]), (["a"], [float("nan")])])
def test_token_heatmap_refuses_what_it_cannot_show(tokens, logps):
    with pytest.raises(ValueError, match="token"):
        token_heatmap(tokens, logps)


def test_responses_and_sides_must_fit():
    with pytest.raises(ValueError, match=r"same length.*'reward': 2, 'responses': 1"):
        responses("p", ["a"], rewards=[-1.0, -2.0])
    with pytest.raises(ValueError, match=r"same length.*'texts_a': 2"):
        side_by_side("a", ["x", "y"], "b", ["x"], ["p"])


@given(st.text(max_size=50), st.integers(1, 20))
def test_shortening_counts_what_it_leaves_out(text, limit):
    short = shorten(text, limit)
    if len(text) <= limit:
        assert short == text
    else:
        assert short.startswith(text[:limit] + "…")
        assert f"({len(text) - limit} more" in short


def test_numbers_of_numpy_are_numbers_and_its_texts_are_texts():
    page = table([{"count": np.int64(12345), "word": np.str_("abc"), "yes": np.bool_(True)}])._repr_html_()
    assert "12,345" in page
    assert "abc" in page
    assert "True" in page


def test_the_legend_of_the_heat_map_keeps_its_signs():
    page = token_heatmap(["a"], [-1.0], low=-2.0)._repr_html_()
    assert re.findall(r">(−?[0-9.]+)</span>", page)[-5:] == ["0.00", "−0.50", "−1.00", "−1.50", "−2.00"]
