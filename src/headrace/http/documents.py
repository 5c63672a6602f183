"""What the routes of all kinds of documents share: names, conditions, pages, changes."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import web

from headrace.core.commands import Caller, DropDocument, Expect, PutDocument
from headrace.core.documenting import unknown_document
from headrace.core.intake import printable
from headrace.http.identity import caller
from headrace.http.queries import malformed, number, one
from headrace.http.site import Site, site_of
from headrace.wire import limits
from headrace.wire.documents import Document, Kind
from headrace.wire.problems import Problem, ProblemCode

TRIES_MAX: Final = 8
"""Of a change of a part, when others change the same document all the time."""
_ETAG: Final = re.compile(r'(?:W/)?"([1-9][0-9]{0,15})"')


def path_name(request: web.Request) -> str:
    """Return the name in the path; what can be no name is the name of nothing."""
    name = request.match_info["name"]
    try:
        printable(name, "")
    except Problem:
        raise unknown_document() from None
    if len(name) > limits.NAME_CHARS_MAX:
        raise unknown_document()
    return name


def etag(version: int) -> dict[str, str]:
    return {"ETag": f'"{version}"'} if version else {}


def expected(request: web.Request) -> int:
    """Return what the conditions of a request say of the version that it changes."""
    match, none_match = request.headers.get("If-Match"), request.headers.get("If-None-Match")
    if match is not None and none_match is not None:
        raise malformed("send If-Match or If-None-Match, not both")
    if none_match is not None:
        if none_match.strip() != "*":
            raise malformed("If-None-Match is *")
        return Expect.ABSENT
    if match is None:
        return Expect.ANYTHING
    if match.strip() == "*":
        return Expect.PRESENT
    found = _ETAG.fullmatch(match.strip())
    if found is None:
        raise malformed("If-Match is the ETag of an answer, or *")
    return int(found[1])


def page_of(request: web.Request, names: Iterable[str]) -> tuple[list[str], str | None]:
    """Return the names of the page asked for, in order, and where the next one begins."""
    limit = number(request, "limit", 1, limits.LIST_LIMIT_MAX) or limits.LIST_LIMIT_DEFAULT
    after = one(request, "after")
    rest = sorted(name for name in names if after is None or name > after)
    page = rest[:limit]
    return page, page[-1] if len(rest) > limit else None


async def put(request: web.Request, kind: Kind, name: str, body: bytes) -> Document:
    document: Document = await site_of(request).pump.ask(
        PutDocument(caller(request), kind, name, body, expected(request))
    )
    return document


async def drop(request: web.Request, kind: Kind, name: str) -> Document:
    document: Document = await site_of(request).pump.ask(
        DropDocument(caller(request), kind, name, expected(request))
    )
    return document


async def change(
    site: Site,
    who: Caller,
    kind: Kind,
    name: str,
    changed: Callable[[Document | None], bytes],
) -> Document:
    """Change a part of a document: whatever it is by then, nothing else of it is overwritten."""
    for _ in range(TRIES_MAX):
        known = site.store.documents.get(kind, name)
        version = Expect.ABSENT if known is None else known.version
        try:
            document: Document = await site.pump.ask(
                PutDocument(who, kind, name, changed(known), version)
            )
        except Problem as problem:
            if problem.code is not ProblemCode.PRECONDITION_FAILED:
                raise
        else:
            return document
    raise Problem(ProblemCode.PRECONDITION_FAILED, "others change it all the time; ask again")
