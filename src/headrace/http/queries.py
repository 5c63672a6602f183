"""Query parameters and headers, read into values; what cannot be read is a `Problem`."""

import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from msgspec.structs import replace

from headrace.core.commands import Caller
from headrace.core.job import STATUS_WORDS, Status
from headrace.http.cursors import cursor_id
from headrace.store.contract import ListQuery
from headrace.wire import limits
from headrace.wire.durations import duration_ms, instant_ms
from headrace.wire.problems import Problem, ProblemCode

WASM_TYPE_WORD: Final = "wasm"
"""How a filter names WASM jobs, whose type is empty."""
RETRYING: Final = "retrying"
"""A filter word beside `STATUS_WORDS`: SCHEDULED with an attempt behind it."""
ORDERS: Final = {
    "created_at": False,
    "+created_at": False,
    " created_at": False,  # a plus sign that was not escaped
    "-created_at": True,
    "scheduled_at": False,
    "+scheduled_at": False,
    " scheduled_at": False,
    "-scheduled_at": True,
}
"""Word → newest first. Both words order by submit, the one order that pages stay true in."""
FILTER_NAMES_MAX: Final = 100
_PREFER_WAIT: Final = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?(?:$|[,;\s])")
_DIGITS: Final = re.compile(r"\d{1,9}")
_TRUE: Final = frozenset({"1", "true", "yes", ""})
_FALSE: Final = frozenset({"0", "false", "no"})


def malformed(detail: str) -> Problem:
    return Problem(ProblemCode.REQUEST_MALFORMED, detail)


def one(request: web.Request, name: str) -> str | None:
    values = request.query.getall(name, None)
    if values is None:
        return None
    if len(values) > 1:
        raise malformed(f"{name} was given more than once")
    return str(values[0])


def number(request: web.Request, name: str, least: int, most: int) -> int | None:
    text = one(request, name)
    if text is None:
        return None
    if _DIGITS.fullmatch(text) is None or not text.isascii() or not least <= int(text) <= most:
        raise malformed(f"{name} is a number from {least} to {most}")
    return int(text)


def flag(request: web.Request, name: str) -> bool:
    text = one(request, name)
    if text is None or text.lower() in _FALSE:
        return False
    if text.lower() in _TRUE:
        return True
    raise malformed(f"{name} is 1 or 0")


def instant(request: web.Request, name: str) -> int | None:
    text = one(request, name)
    if text is None:
        return None
    try:
        return instant_ms(float(text) if text.replace(".", "", 1).isdigit() else text)
    except (ValueError, OverflowError) as error:
        raise malformed(f"{name}: {error}") from None


def names(request: web.Request, name: str) -> frozenset[str] | None:
    """Return the words of a list, given as `a,b` or by repeating the parameter."""
    values = request.query.getall(name, None)
    if values is None:
        return None
    found = {word for value in values for word in value.split(",") if word}
    if len(found) > FILTER_NAMES_MAX:
        raise malformed(f"{name} takes at most {FILTER_NAMES_MAX} words")
    return frozenset(found) or None


def types(request: web.Request) -> frozenset[str] | None:
    """Return the job types asked for, as specs name them."""
    found = names(request, "type")
    return found and frozenset("" if word == WASM_TYPE_WORD else word for word in found)


def for_s(request: web.Request) -> float | None:
    """Return after how long a stream is to end."""
    text = one(request, "for")
    if text is None:
        return None
    try:
        return duration_ms(text) / 1000
    except (ValueError, OverflowError) as error:
        raise malformed(f"for: {error}") from None


def wait_ms(request: web.Request) -> int:
    """Return how long the client lets itself be parked: `?wait=30s` or `Prefer: wait=30`.

    A preference beyond the bound is cut to it, as RFC 7240 allows; a parameter is refused.
    """
    text = one(request, "wait")
    if text is not None:
        try:
            ms = duration_ms(text)
        except (ValueError, OverflowError) as error:
            raise malformed(f"wait: {error}") from None
        if ms > limits.WAIT_MS_MAX:
            raise malformed(f"wait is at most {limits.WAIT_MS_MAX // 1000}s; ask again after it")
        return ms
    prefer = request.headers.get("Prefer")
    if prefer is not None and (preferred := _PREFER_WAIT.search(prefer)) is not None:
        return min(int(preferred[1]) * 1000, limits.WAIT_MS_MAX)
    return 0


def statuses(
    request: web.Request, meanings: Mapping[str, frozenset[Status]]
) -> tuple[frozenset[Status] | None, bool]:
    """Return the statuses asked for, and whether SCHEDULED counts only as a retry."""
    words = names(request, "status")
    if words is None:
        return None, False
    found: set[Status] = set()
    for word in words - {RETRYING}:
        known = meanings.get(word.lower())
        if known is None:
            raise malformed(f"status is one of {', '.join([*meanings, RETRYING])}")
        found |= known
    retrying = RETRYING in words and Status.SCHEDULED not in found
    if RETRYING in words:
        found.add(Status.SCHEDULED)
    return frozenset(found), retrying


def list_query(
    request: web.Request,
    caller: Caller,
    owner_id: int | None,
    words: Mapping[str, frozenset[Status]] = STATUS_WORDS,
) -> ListQuery:
    """Read the filters of `GET /jobs`. `owner_id` None: all of the caller's tenant."""
    wanted, retrying_only = statuses(request, words)
    order = one(request, "order")
    if order is not None and order not in ORDERS:
        raise malformed("order is created_at or scheduled_at, with - before it for newest first")
    query = ListQuery(
        owner_id=owner_id,
        tenant=caller.tenant,
        statuses=wanted,
        retrying_only=retrying_only,
        types=types(request),
        queues=names(request, "queue"),
        name=one(request, "name"),
        tags=names(request, "tag") or frozenset(),
        submitted_after_ms=instant(request, "submitted_after"),
        submitted_before_ms=instant(request, "submitted_before"),
        newest_first=True if order is None else ORDERS[order],
        limit=number(request, "limit", 1, limits.LIST_LIMIT_MAX) or limits.LIST_LIMIT_DEFAULT,
    )
    cursor = one(request, "cursor")
    if cursor is None:
        return query
    return replace(query, after_id=cursor_id(cursor, caller, query))
