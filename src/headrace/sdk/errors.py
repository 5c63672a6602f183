"""What can go wrong for a client.

SdkError
├── UsageError          you: the call cannot be meant as it is
├── ServerProblem       the server: it answered, and the answer is no
└── ServerUnreachable   nobody: there was no answer
"""

from typing import Any


class SdkError(Exception):
    """Everything this library raises."""


class UsageError(SdkError):
    """The call is wrong in itself; nothing was sent."""


class ServerProblem(SdkError):  # noqa: N818 - RFC 9457's word
    """The server's answer, a problem of RFC 9457.

    status: of HTTP. code: for programs, such as `job_unknown`. retryable: the same request may
    succeed later, after `retry_after_s` if that is not None. pointer: into the request's body.
    members: the whole problem.
    """

    def __init__(
        self, status: int, members: dict[str, Any], retry_after_s: float | None = None
    ) -> None:
        self.status = status
        self.members = members
        self.code = str(members.get("code") or "")
        self.title = str(members.get("title") or f"HTTP status {status}")
        self.detail = str(members.get("detail") or self.title)
        self.retryable = members.get("retryable") is True
        self.retry_after_s = retry_after_s
        pointer = members.get("pointer")
        self.pointer = str(pointer) if pointer is not None else None
        super().__init__(f"{self.detail} ({status} {self.code})")


class ServerUnreachable(SdkError):  # noqa: N818 - a state
    """No answer came. Whether the request was taken is not known; one with an idempotency key may
    be sent again."""
