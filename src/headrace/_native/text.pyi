"""Text that every job has: its id in digits, and JSON that need not be decoded to be trusted."""

def id_text(job_id: bytes) -> str:
    """Return an id as clients see it."""

def json_is_plain(data: bytes, depth_max: int) -> bool:
    """Return whether this is JSON without anything that takes thought.

    True: one valid value, ASCII, no escapes, no exponents, numbers of at most 15 digits, nested at
    most `depth_max` deep (at most 64). False: it may still be good JSON; a decoder has to say.
    Cost: O(n), about a nanosecond a byte.
    """
