"""Model text on a web page: the one escape function, and the tables and cards that use it.

Every text that a model or a data set wrote passes through `escape` before it becomes HTML, and none is ever handed
to Markdown. There is no JavaScript, all styling is inline, and colours work on light and on dark pages.
"""

import html as _html
import re
from dataclasses import dataclass
from typing import Any

# Control characters, bidirectional overrides, zero-width marks, tags, lone surrogates: what a reader could not see.
# Newline and tab stay, and so do the joiners U+200C and U+200D, which emoji and several scripts need.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_IN_TEXT = str.maketrans({"$": "<span>$</span>", "\\": "<span>\\</span>", "`": "&#96;", "\n": "<br>"})
_IN_ATTRIBUTE = str.maketrans({"$": "&#36;", "\\": "&#92;", "`": "&#96;", "\n": "&#10;", "\t": "&#9;"})

WRAP = "white-space:pre-wrap;overflow-wrap:anywhere"
LINE = "1px solid rgba(128,128,128,0.4)"
CELL = f"padding:4px 10px;border-bottom:{LINE};vertical-align:top;{WRAP};"


def visible(text: Any) -> str:
    r"""Text with every control, bidirectional and zero-width character written out as its code point.

    Args:
        text: anything; str() is taken of it.

    Returns:
        the text; newline, tab and the joiners U+200C and U+200D stay as they are.

    >>> visible("a\x00b")
    'a⟨U+0000⟩b'
    """
    return _HIDDEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", str(text))


def escape(text: Any, attribute: bool = False) -> str:
    r"""Any text as HTML that shows exactly that text and does nothing.

    Markup and quotes become entities, hidden characters become visible, a newline becomes <br>. Dollar sign and
    backslash stand in an element of their own, so that MathJax finds no formula, not even over several of them.

    Args:
        text: anything; str() is taken of it.
        attribute: True inside a quoted attribute value, where entities stand in the place of elements.

    Returns:
        HTML in which the only elements are <br> and bare <span>; none of either when attribute is True.

    >>> escape('<b>"5 $"</b>')
    '&lt;b&gt;&quot;5 <span>$</span>&quot;&lt;/b&gt;'
    """
    return _html.escape(visible(text), quote=True).translate(_IN_ATTRIBUTE if attribute else _IN_TEXT)


@dataclass(frozen=True)
class Html:
    """HTML for a notebook, with the same content as plain text for a terminal or a file.

    Args:
        html: safe HTML: model text in it went through `escape`.
        text: the plain text that repr() and print() show.

    >>> Html("<b>1</b>", "1")
    1
    """

    html: str
    text: str

    def _repr_html_(self) -> str:
        return f'<div class="tex2jax_ignore mathjax_ignore" style="max-width:100%;overflow-x:auto">{self.html}</div>'

    def __repr__(self) -> str:
        return self.text


def shorten(text: Any, limit: int) -> str:
    """Text cut to at most `limit` characters, saying how many are left out.

    Args:
        text: anything; str() is taken of it.
        limit: characters kept, at least 1.

    >>> shorten("abcdef", 4)
    'abcd… (2 more characters)'
    """
    text = str(text)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def letter(index: int) -> str:
    """The name of a response: A, B, ...; a number after Z.

    >>> letter(1)
    'B'
    """
    return chr(65 + index) if index < 26 else str(index + 1)


def num(value: Any, digits: int = 2) -> str:
    """A number with a true minus sign.

    >>> num(-0.5)
    '−0.50'
    """
    return f"{value:.{digits}f}".replace("-", "−") if round(value, digits) else f"{0:.{digits}f}"
