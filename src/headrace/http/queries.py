"""Query parameters and headers, read into values; what cannot be read is a `Problem`."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web
from msgspec.structs import replace

from headrace.core.commands import Caller
from headrace.core.job import STATUS_WORDS, TERMINAL, Status
from headrace.http.cursors import cursor_place
from headrace.store.contract import ListQuery, Order
from headrace.wire import limits
from headrace.wire.durations import duration_ms, instant_ms
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import JobFilter

WASM_TYPE_WORD: Final = "wasm"
"""How a filter names WASM jobs, whose type is empty."""
RETRYING: Final = "retrying"
"""A filter word beside `STATUS_WORDS`: SCHEDULED with an attempt behind it."""
ORDERS: Final = {
    "created_at": Order.CREATED,
    "submitted_at": Order.CREATED,
    "scheduled_at": Order.SCHEDULED,
    "finished_at": Order.FINISHED,
    "completed_at": Order.FINISHED,
    "started_at": Order.STARTED,
    "updated_at": Order.UPDATED,
    "priority": Order.PRIORITY,
}
_SIGNS: Final = {"-": True, "+": False, " ": False}  # a plus sign that was not escaped is a space
_FILTERS: Final = frozenset(JobFilter.__struct_fields__)
_LISTS: Final = frozenset({"status", "type", "queue", "group", "tag", "label"})
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


def names(request: web.Request, name: str) -> frozenset[str] | None:
    """Return the words of a list, given as `a,b` or by repeating the parameter."""
    values = request.query.getall(name, None)
    if values is None:
        return None
    found = {word for value in values for word in value.split(",") if word}
    if len(found) > limits.FILTER_WORDS_MAX:
        raise malformed(f"{name} takes at most {limits.FILTER_WORDS_MAX} words")
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


# Lists ------------------------------------------------------------------------------------------

Refuse = Callable[[str, str], Problem]
"""Makes the problem of a filter: its name, and what is wrong with it."""


def in_parameter(name: str, detail: str) -> Problem:
    return malformed(f"{name} {detail}")


def in_body(name: str, detail: str) -> Problem:
    return Problem(ProblemCode.FIELD_INVALID, detail, pointer=f"/filter/{name}")


def filter_of(request: web.Request) -> JobFilter:
    """Return the filters among the parameters."""
    found: dict[str, Any] = {}
    for name in _FILTERS.intersection(request.query):
        if name in _LISTS:
            found[name] = [
                word for text in request.query.getall(name) for word in text.split(",") if word
            ]
        else:
            found[name] = one(request, name)
    return JobFilter(**found)


def list_query(request: web.Request, query: ListQuery, caller: Caller) -> ListQuery:
    """Add to a question in which order, how many, and from where on, as parameters say it."""
    text = one(request, "order")
    order, newest = Order.CREATED, True
    if text is not None:
        newest = _SIGNS.get(text[:1], False)
        word = text[1:] if text[:1] in _SIGNS else text
        if word not in ORDERS:
            raise malformed(
                f"order is one of {', '.join(ORDERS)}, with - before it for newest first"
            )
        order = ORDERS[word]
    live = () if query.statuses is None else query.statuses - TERMINAL
    if order is Order.FINISHED and live:
        raise malformed(
            "by finished_at only finished jobs can be ordered; leave out other statuses"
        )
    limit = number(request, "limit", 1, limits.LIST_LIMIT_MAX) or limits.LIST_LIMIT_DEFAULT
    query = replace(query, order=order, newest_first=newest, limit=limit)
    cursor = one(request, "cursor")
    if cursor is None:
        return query
    return replace(query, after=cursor_place(cursor, caller, query))


def job_query(
    asked: JobFilter,
    tenant: str,
    owner_id: int | None,
    types_of_group: Callable[[str], frozenset[str]],
    words: Mapping[str, frozenset[Status]] = STATUS_WORDS,
    refuse: Refuse = in_parameter,
) -> ListQuery:
    """Read a filter. `owner_id` None: all of the tenant. `words`: what each word of status means.

    Raises: Problem that `refuse` makes.
    """

    def names(name: str) -> frozenset[str] | None:
        value = getattr(asked, name)
        found = [word for word in value.split(",") if word] if isinstance(value, str) else value
        if len(found) > limits.FILTER_WORDS_MAX:
            raise refuse(name, f"takes at most {limits.FILTER_WORDS_MAX} words")
        return frozenset(found) or None

    def instant(name: str) -> int | None:
        value = getattr(asked, name)
        if value is None:
            return None
        try:
            return instant_ms(
                float(value)
                if isinstance(value, str) and value.replace(".", "", 1).isdigit()
                else value
            )
        except (ValueError, OverflowError) as error:
            raise refuse(name, f"is no instant: {error}") from None

    wanted, retrying_only = statuses(names("status"), words, refuse)
    types = names("type")
    if types is not None:
        types = frozenset("" if word == WASM_TYPE_WORD else word for word in types)
    groups = names("group")
    if groups is not None:
        grouped = frozenset[str]().union(*map(types_of_group, groups))
        types = grouped if types is None else types & grouped
    labels = [label.partition("=") for label in names("label") or ()]
    return ListQuery(
        owner_id=owner_id,
        tenant=tenant,
        statuses=wanted,
        retrying_only=retrying_only,
        types=types,
        queues=names("queue"),
        name=asked.name,
        name_prefix=asked.name_prefix or None,
        tags=names("tag") or frozenset(),
        labels=frozenset((key, value if equals else None) for key, equals, value in labels),
        submitted_after_ms=instant("submitted_after"),
        submitted_before_ms=instant("submitted_before"),
        finished_after_ms=instant("finished_after"),
        finished_before_ms=instant("finished_before"),
    )


def statuses(
    asked: frozenset[str] | None,
    words: Mapping[str, frozenset[Status]] = STATUS_WORDS,
    refuse: Refuse = in_parameter,
) -> tuple[frozenset[Status] | None, bool]:
    """Return the statuses of words, and whether SCHEDULED means retrying only."""
    if asked is None:
        return None, False
    folded = {word.lower() for word in asked}
    found: set[Status] = set()
    for word in folded - {RETRYING}:
        known = words.get(word)
        if known is None:
            raise refuse("status", f"is one of {', '.join([*words, RETRYING])}")
        found |= known
    retrying = RETRYING in folded and Status.SCHEDULED not in found
    if RETRYING in folded:
        found.add(Status.SCHEDULED)
    return frozenset(found), retrying
