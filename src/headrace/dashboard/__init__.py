"""The dashboard's files: what a browser gets under `/ui`, read once and named by their contents.

`static/` is written by hand and served as it is: one page, with its style in it, so that a single
answer is enough to paint; a module of plain JavaScript for each view. `static/vendor/` has the
plotting library, with its licence. What is larger packed is sent as it is.
"""

import base64
import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

PAGE: Final = "index.html"
STYLES: Final = ("uplot.css", "style.css", "parts.css")
"""They stand in the page, in this order."""
STYLE_MARK: Final = b"{{style}}"
VERSION_MARK: Final = b"{{version}}"
"""Stands in the page for the version of the files that belong to it."""
VERSION_CHARS: Final = 16
MEDIA: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


class File(NamedTuple):
    body: bytes
    packed: bytes
    """The same by gzip; empty if that is no smaller."""
    media: str
    etag: str


class Files(NamedTuple):
    version: str
    """Changes with any of them, so that a browser may keep what it got under it for ever."""
    page: File
    style_hash: str
    """Of the style in the page, as a policy names it."""
    by_name: dict[str, File]
    """All others; a name has no folder in it."""


@cache
def load() -> Files:
    """Read the files of the package. They are the same for every server of this version."""
    bodies = dict(sorted(_bodies(Path(__file__).parent / "static")))
    digest = hashlib.sha256()
    for name, body in bodies.items():
        digest.update(name.encode() + b"\0" + hashlib.sha256(body).digest())
    version = digest.hexdigest()[:VERSION_CHARS]
    style = b"".join(bodies.pop(name) for name in STYLES)
    style_hash = base64.b64encode(hashlib.sha256(style).digest()).decode()
    page = bodies.pop(PAGE).replace(VERSION_MARK, version.encode()).replace(STYLE_MARK, style)
    return Files(
        version,
        _file(PAGE, page),
        f"sha256-{style_hash}",
        {name: _file(name, body) for name, body in bodies.items()},
    )


def _bodies(folder: Path) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        found += _bodies(entry) if entry.is_dir() else [(entry.name, entry.read_bytes())]
    return found


def _file(name: str, body: bytes) -> File:
    suffix = name[name.rindex(".") :]
    packed = gzip.compress(body, mtime=0)
    etag = hashlib.sha256(body).hexdigest()[:VERSION_CHARS]
    return File(body, packed if len(packed) < len(body) else b"", MEDIA[suffix], etag)
