"""The text of lease tokens: a SipHash-2-4 of 128 bits, and base64url."""

from typing import Self, final

@final
class Tokens:
    """Makes the tokens of one key of 16 bytes."""

    def __new__(cls, key: bytes) -> Self: ...
    def text(self, job_id: bytes, attempt: int, epoch: int) -> str:
        """Return the token of an attempt."""
