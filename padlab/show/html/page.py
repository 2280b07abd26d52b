"""A page that stands alone: text, figures and tables in one file, no script, nothing fetched, readable on a phone."""

import base64
from collections.abc import Mapping, Sequence

from padlab.show.html.safe import Html, escape

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:76em;margin:0 auto;padding:12px}
h1{font-size:1.5em;line-height:1.25;margin:.4em 0}h2{font-size:1.15em;margin:1.4em 0 .3em}
p{overflow-wrap:anywhere}img{max-width:100%;height:auto}.wide{overflow-x:auto;max-width:100%}
.wide td,.wide th{white-space:nowrap!important;overflow-wrap:normal!important}
summary{cursor:pointer;font-weight:bold;padding:6px 0}
.choice label{display:inline-block;padding:4px 9px;border:1px solid #767676;border-radius:4px;margin:2px;cursor:pointer}
.choice>input{position:absolute;opacity:0}.choice>div{display:none}
.choice>input:checked+label{background:#1a1a1a;color:#fff}
CASES
.choice>input:focus-visible+label{outline:3px solid #0b57d0}
@media print{details>*{display:block}}
"""
STYLE = STYLE.replace(
    "CASES",
    "".join(f".choice>input:nth-of-type({k}):checked~div:nth-of-type({k}){{display:block}}" for k in range(1, 17)),
)


def page(title: str, sections: Sequence[tuple[str, str]], language: str = "en") -> str:
    """A whole HTML document.

    Args:
        title: plain text.
        sections: heading (plain text; "" for none) and safe HTML, in their order.
        language: of the headings.

    >>> page("A <b>", [("One", "<p>1</p>")]).count("<b>")
    0
    """
    body = "".join(f"{f'<h2>{escape(heading)}</h2>' if heading else ''}{html}" for heading, html in sections)
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    return (
        f'<!DOCTYPE html>\n<html lang="{language}"><head>{meta}<title>{escape(title, attribute=True)}</title>'
        f"<style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )


def wide(view: Html) -> str:
    """A view that scrolls sideways by itself where the screen is narrow."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="table or picture">{view.html}</div>'


def folded(summary: str, html: str) -> str:
    """HTML behind a line that opens it.

    >>> folded("more", "<p>1</p>")
    '<details><summary>more</summary><p>1</p></details>'
    """
    return f"<details><summary>{escape(summary)}</summary>{html}</details>"


def image(png: bytes, alt: str) -> str:
    """A PNG inside the page, with a text for those who do not see it."""
    return f'<img alt="{escape(alt, attribute=True)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def choice(name: str, cases: Mapping[str, str], chosen: str) -> str:
    """Radio buttons that show one of several views, by the page's style alone.

    Args:
        name: letters only, of its own on the page.
        cases: label -> safe HTML; up to 16.
        chosen: the label that is shown at first.

    >>> choice("a", {"0": "<p>zero</p>", "1": "<p>one</p>"}, "1").count(" checked>")
    1
    """
    buttons = ""
    for k, label in enumerate(cases):
        checked = " checked" if label == chosen else ""
        buttons += f'<input type="radio" name="{name}" id="{name}{k}"{checked}>'
        buttons += f'<label for="{name}{k}">{escape(label)}</label>'
    return f'<div class="choice">{buttons}{"".join(f"<div>{html}</div>" for html in cases.values())}</div>'
