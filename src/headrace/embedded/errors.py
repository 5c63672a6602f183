"""What can go wrong for a program with a queue inside: the client library's errors, and two more.

SdkError
├── UsageError        you: the call cannot be meant as it is
├── ServerProblem     the queue: it looked, and the answer is no
│   └── QueueFull     as many jobs wait and run as may
└── QueueClosed       it is shut down, or its disk failed
"""

from headrace.sdk.errors import SdkError, ServerProblem
from headrace.wire.problems import Problem, ProblemCode


class QueueFull(ServerProblem):
    """As many jobs wait and run as `max_queue_size` allows: try again when some have ended."""


class QueueClosed(SdkError):  # noqa: N818 - a state
    """The queue takes no more calls."""


def error_of(problem: Problem) -> SdkError:
    """Return what the caller of a queue sees of a refusal."""
    if problem.code in (ProblemCode.SHUTTING_DOWN, ProblemCode.OUTCOME_UNKNOWN):
        return QueueClosed(problem.detail)
    kind = QueueFull if problem.code is ProblemCode.QUEUE_FULL else ServerProblem
    after_ms = problem.retry_after_ms
    return kind(
        problem.row.status, problem.members(), None if after_ms is None else after_ms / 1000
    )
