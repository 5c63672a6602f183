"""The trace that a submit is part of, as W3C Trace Context tells it in two headers.

It is kept with the job and handed on, and means nothing to the server. What is malformed begins no
trace and is no mistake of the client's: things in between write these headers, too.
Source: https://www.w3.org/TR/trace-context/
"""

import re
from typing import Final, NamedTuple

PARENT_HEADER: Final = "traceparent"
STATE_HEADER: Final = "tracestate"
STATE_CHARS_MAX: Final = 512
"""So many must be passed on; with more the whole is left out, as the standard allows."""
_PARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_PARENT_CHARS: Final = 55
_STATE: Final = re.compile(r"[ -~\t]*")


class Trace(NamedTuple):
    parent: str = ""
    state: str = ""


NO_TRACE: Final = Trace()


def trace_of(parent: str | None, state: str | None) -> Trace:
    """Return the trace that two headers tell."""
    if parent is None:
        return NO_TRACE
    parent = parent.strip()
    known = parent[:_PARENT_CHARS]
    longer = parent[_PARENT_CHARS:]
    if _PARENT.fullmatch(known) is None or (longer and (known[:2] == "00" or longer[0] != "-")):
        return NO_TRACE
    state = (state or "").strip()
    if len(state) > STATE_CHARS_MAX or _STATE.fullmatch(state) is None:
        state = ""
    return Trace(known, state)
