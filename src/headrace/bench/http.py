"""headrace's requests and answers, as bytes."""

import re
from typing import Final

from headrace.bench.connection import Connection, Crowd, OnAnswer
from headrace.bench.process import BenchError

PARAMS_BYTES: Final = 200
LEASE: Final = re.compile(rb'"lease":"([\w-]{54})","job"')
"""A lease in the answer to a poll."""
JOB_ID: Final = re.compile(rb'"job_id":"([\w-]+)"')
_COMPLETED: Final = b'{"lease":"%s","outcome":"completed"}'


class HttpConnection(Connection):
    """HTTP/1.1 with keep-alive, and answers that say how long they are."""

    def __init__(self, crowd: Crowd, on_answer: OnAnswer) -> None:
        super().__init__(crowd, on_answer)
        self._need = 0

    def take(self, data: bytes) -> None:
        if len(data) < self._need:
            self._partial = data
            return
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            self._partial = data
            return
        at = data.find(b"ontent-Length: ", 0, head_end) + 15
        self._need = head_end + 4 + int(data[at : data.find(b"\r", at)])
        if len(data) < self._need:
            self._partial = data
            return
        self._partial, self._need = b"", 0
        if data[9:12] != b"200":
            raise BenchError(f"the server answered {data[:500]!r}")
        self.answered(data, head_end + 4)


def request(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def params() -> bytes:
    """About 200 bytes of JSON, the same for every system."""
    return b'{"text":"%s"}' % (b"x" * (PARAMS_BYTES - 11))


def job(type_: str = "noop") -> bytes:
    return b'{"name":"bench","type":"%s","params":%s}' % (type_.encode(), params())


def submit(number: int = 1, type_: str = "noop") -> bytes:
    """One job as such, more as an array."""
    one = job(type_)
    body = one if number == 1 else b"[" + b",".join([one] * number) + b"]"
    return request("POST", "/api/v1/jobs", body)


def poll(worker: str, jobs_max: int, wait: str, reports: bytes = b"", type_: str = "noop") -> bytes:
    body = b'{"worker":"%s","serve":{"types":["%s"]},"max_jobs":%d,"wait":"%s","reports":[%s]}' % (
        worker.encode(),
        type_.encode(),
        jobs_max,
        wait.encode(),
        reports,
    )
    return request("POST", "/api/v1/work/poll", body)


def completed(leases: list[bytes]) -> bytes:
    """Return the reports that end these attempts."""
    return b",".join([_COMPLETED % lease for lease in leases])


def result(job_id: str, wait: str) -> bytes:
    return request("GET", f"/api/v1/jobs/{job_id}/result?wait={wait}")
