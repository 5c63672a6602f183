"""The JSON of polls: reports of completions in, leased jobs out, many at a time."""

def reports_read(
    data: bytes, result_bytes_max: int, depth_max: int
) -> list[tuple[bytes, list[bytes]] | bytes] | None:
    """Split the array of a poll's reports into runs of plain completions, and the others.

    Returns in their order: (tokens, bodies) of each run, the tokens joined; and each other report
    as its own JSON, not looked at. None if this is no array, or not one that can be split.
    `data` is known to be well-formed JSON.

    A plain completion has the members `lease` (a text as long as a token), `outcome`
    ("completed"), and perhaps a `result` that `json_is_plain` and is not too long; each once. Its
    body is what is kept of it: `{"result":…}`, or nothing.
    """

def acks_json(tokens: bytes, before: bytes, behind: bytes) -> bytes:
    """Write each of the joined tokens between two texts, apart by commas."""

def work_json(
    tokens: bytes,
    records: bytes,
    deadlines_at_ms: list[int],
    specs: list[bytes | None],
    checkpoints: dict[int, bytes],
) -> bytes:
    """Write `wire.schema.Work` of each job that has a spec, apart by commas.

    Shape: tokens and records joined, checkpoints by position; specs and checkpoints are JSON.
    """
