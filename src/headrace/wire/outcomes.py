"""Codes of attempts that server and worker give alike, whoever notices first."""

from typing import Final

RESULT_TOO_LARGE: Final = "result_too_large"


def result_too_large(result_bytes: int, bytes_max: int) -> str:
    return (
        f"the result has {result_bytes} bytes; {bytes_max} are allowed: "
        "store it elsewhere and return where"
    )
