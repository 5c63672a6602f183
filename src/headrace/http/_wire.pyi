"""Bytes of requests that come again and again, and of answers that are alike."""

from typing import final

from headrace.http.head import Passage

@final
class HeadForm:
    """A header that was read once, apart from the digits of its `Content-Length`."""

    def __init__(
        self,
        before: bytes,
        behind: bytes,
        passage: Passage,
        *,
        head_bytes_max: int,
        body_bytes_max: int,
    ) -> None: ...
    @property
    def before(self) -> bytes: ...
    @property
    def behind(self) -> bytes: ...
    @property
    def passage(self) -> Passage: ...
    def body(self, data: bytes) -> bytes | None:
        """Return the body if this is one whole request with such a header, and nothing else."""

def around_ids(job_ids: bytes, before: bytes, behind: bytes) -> list[bytes]:
    """Return for each id its text with something before and behind it."""
