"""The text of lease tokens: a SipHash-2-4 of 128 bits, and base64url."""

from typing import Final, Self, final

TOKEN_CHARS: Final = 54

@final
class Tokens:
    """Makes the tokens of one key of 16 bytes."""

    def __new__(cls, key: bytes) -> Self: ...
    def text(self, job_id: bytes, attempt: int, epoch: int) -> str:
        """Return the token of an attempt."""
    def parse(self, text: str) -> tuple[bytes, int, int] | None:
        """Return (job id, attempt, epoch) of a token that this key made; None for any other text.

        Whether and where it differs from the right one makes no difference in time.
        """
