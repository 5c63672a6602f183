"""Ids of jobs and instants as text, and JSON that need not be decoded to be trusted."""

def id_text(job_id: bytes) -> str:
    """Return an id as clients see it."""

def id_texts(job_ids: bytes, before: bytes, after: bytes) -> bytes:
    """Return the text of each id, with `before` and `after` around it, apart by commas."""

def ids_after(job_id: bytes, steps: bytes) -> bytes:
    """Return an id and those that follow it, joined: each is greater by a step and one more.

    Shape: steps are u32, as they lie in memory. The low half of an id has room for their sum.
    """

def json_is_plain(data: bytes, depth_max: int) -> bool:
    """Return whether this is JSON without anything that takes thought.

    True: one valid value, ASCII, no escapes by number, no exponents, numbers of at most 15 digits,
    nested at most `depth_max` deep (at most 64). False: it may still be good JSON; a decoder has
    to say.
    """

def instant_text(at_ms: int) -> str | None:
    """Return RFC 3339 UTC with milliseconds; None for 0, which means "not yet".

    As `wire.durations.rfc3339`. Raises: ValueError beyond the years 1970 to 9999.
    """
