"""A restart takes millions of waiting jobs into memory, a page at a time."""

from headrace._native.jobs import JobTable
from headrace._native.match import MatchIndex

def take_ready(
    jobs: JobTable, match: MatchIndex, numbers: dict[int, int], ready: bytes, rows: bytes
) -> tuple[
    bytes,
    dict[int, tuple[int, int]],
    dict[int, int],
    int,
    dict[int, int],
    dict[tuple[int, int], int],
]:
    """Put the jobs that are ready, of a known class and without a deadline to start, in place.

    Returns the rows of all others; of those taken, how many by class and the bytes of their specs,
    how many by status; the largest owner, -1 for none; the smallest order by priority, and the
    largest by class and priority.

    Shape: rows are ids and records, one after the other. numbers: the match index's number of
    each class. ready: the statuses in question.
    """
