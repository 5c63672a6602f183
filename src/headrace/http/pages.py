"""`/docs`: the pages of the package, from Markdown to HTML; no script, no network.

Markup in the Markdown is shown as text. Each page is made once, when it is first asked for.
"""

import base64
import hashlib
import re
from functools import cache
from html import escape
from typing import Final

from headrace.docs import API, HOME, PAGES, read, style
from headrace.http.docs import POLICY, page

_STYLE: Final = style()
_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'"
)
_MARKER: Final = re.compile(r"^<!-- .*? -->\n", re.MULTILINE)
"""For tools and tests: what is generated, what runs where."""
_PICTURE: Final = re.compile(r"^```mermaid\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_EDGE: Final = re.compile(r"^ *(\S+) --> (\S+?)(?:: (.*))?$", re.MULTILINE)
_LINK: Final = re.compile(r'href="([\w-]+)\.md(#[\w-]+)?"')
_HEADING: Final = re.compile(r"<h([23])>(.*?)</h\1>")
CARD_COLUMNS: Final = 4
"""Of words, without numbers: too many for a phone."""
_WIDE: Final = re.compile(r"<table>.*?</table>", re.DOTALL)


@cache
def rendered(name: str) -> tuple[bytes, str]:
    """Return a page and its `Content-Security-Policy`."""
    from markdown_it import MarkdownIt  # 20 ms that a start need not wait for

    if name == API:
        return page(), POLICY
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(_source(name))
    body = body.replace(' style="text-align:right"', " class=number")
    body = _HEADING.sub(_with_id, body)
    body = _LINK.sub(lambda found: f'href="{place(found[1], name)}{found[2] or ""}"', body)
    body = _WIDE.sub(_as_scrolled, body)
    links = "".join(
        f'<li><a href="{place(other, name)}"{" aria-current=page" if other == name else ""}>'
        f"{escape(title)}</a></li>"
        for other, title in PAGES.items()
    )
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{escape(PAGES[name])}: headrace</title><style>{_STYLE}</style></head><body>"
        f"<div class=page><nav aria-label=Pages><strong>headrace</strong><ul>{links}</ul></nav>"
        f"<main>{body}</main></div></body></html>\n"
    ).encode(), _POLICY


def place(name: str, seen_from: str) -> str:
    """Return where a page is, seen from another; right below a proxy's path, too."""
    if name == HOME:
        return "../docs" if seen_from != HOME else "docs"
    return name if seen_from != HOME else f"docs/{name}"


def _as_scrolled(found: "re.Match[str]") -> str:
    """Let a table be scrolled where it is too wide; one of many words is a list on a phone."""
    words = found[0].count("<th>") >= CARD_COLUMNS
    kind = '"table cards"' if words else "table"
    return f"<div class={kind} tabindex=0>{found[0]}</div>"


def _source(name: str) -> str:
    return _MARKER.sub("", _PICTURE.sub(_as_table, read(name)))


def _as_table(picture: "re.Match[str]") -> str:
    """Tell a state diagram as a table: drawing it would take a script."""
    rows = [
        f"| {_state(start)} | {by or ''} | {_state(end)} |"
        for start, end, by in _EDGE.findall(picture[1])
    ]
    return "\n".join(["| from | by | to |", "|---|---|---|", *rows, ""])


def _state(word: str) -> str:
    return {"[*]": "", "leased": "in a worker's hands"}.get(word, f"`{word}`")


def _with_id(heading: "re.Match[str]") -> str:
    words = re.sub(r"<.*?>|&\w+;", "", heading[2]).lower()
    anchor = re.sub(r"\W+", "-", words).strip("-")
    return f'<h{heading[1]} id="{anchor}">{heading[2]}</h{heading[1]}>'
