"""The text of lease tokens: BLAKE2b with the keyed state made once, and base64url."""

from typing import Self, final

@final
class Tokens:
    """Makes the tokens of one secret (1 to 64 bytes)."""

    def __new__(cls, secret: bytes) -> Self: ...
    def text(self, job_id: bytes, attempt: int, epoch: int) -> str:
        """Return the token of an attempt."""
