"""What schemathesis has to know of this API: its media types, and that long polls take long.

How many requests were answered is written to the file that the variable REQUESTS_FILE names.
"""

import atexit
import os
from pathlib import Path
from typing import Any

import msgspec
import schemathesis
from hypothesis import strategies as st

WAIT_S_MAX = 0.05
_answered = 0

schemathesis.openapi.media_type("application/wasm", st.binary(max_size=200))


@schemathesis.serializer("application/msgpack")
def packed(ctx: Any, value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError):  # it has no form in MessagePack
        return b"\xc1"


@schemathesis.deserializer("application/msgpack")
def unpacked(ctx: Any, response: Any) -> Any:
    return msgspec.msgpack.decode(response.content)


@schemathesis.hook
def before_call(ctx: Any, case: Any, kwargs: Any) -> None:
    """Have no request parked for long."""
    for held in (case.query, case.body):
        if isinstance(held, dict) and "wait" in held:
            wait = held["wait"]
            if isinstance(wait, int | float) and not isinstance(wait, bool) and wait > WAIT_S_MAX:
                held["wait"] = WAIT_S_MAX
            elif isinstance(wait, str) and wait[:1].isdigit():
                held["wait"] = f"{WAIT_S_MAX}s"
    if isinstance(case.query, dict):
        case.query.pop("follow", None)


@schemathesis.hook
def after_call(ctx: Any, case: Any, response: Any) -> None:
    global _answered
    _answered += 1


@atexit.register
def tell() -> None:
    Path(os.environ["REQUESTS_FILE"]).write_text(str(_answered))
