"""Every row of `raw_cases`, with the lane and without, on one server each.

Beside the answer, checked after each: the server answers others, holds nothing open, and is not
larger than before. At the end, nothing of it all is in the log.
"""

import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from raw_cases import CASES, LIVE, Case

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from processes import Server, free_port

pytestmark = pytest.mark.e2e
LAST = LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
WAIT_S = 20
GROWTH_BYTES_MAX = 64 << 20
"""Of all rows together."""


class Raw:
    """A server, and what is measured of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.process = psutil.Process(server.pid)
        assert self.talk(Case(LIVE, "200 open")) == "200 open"
        self.rss_bytes = self.process.memory_info().rss
        self.open_fds = self.process.num_fds()

    def talk(self, case: Case) -> str:
        """Send a row; return the statuses that come, and how the connection stands."""
        wanted = case.want.split()
        with socket.create_connection(("127.0.0.1", self.server.port), WAIT_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            came = b""
            try:
                for piece in [case.sent] if isinstance(case.sent, bytes) else case.sent:
                    connection.sendall(piece)
                if case.half_closes:
                    while len(statuses(came).split()) < len(wanted) - 1:
                        came += connection.recv(1 << 16)
                    connection.shutdown(socket.SHUT_WR)
                if wanted[-1] == "closed":
                    return f"{statuses(came + until_end(connection))} closed".strip()
                while len(statuses(came).split()) < len(wanted) - 1:
                    part = connection.recv(1 << 16)
                    if not part:
                        return f"{statuses(came)} closed".strip()
                    came += part
                if wanted[-1] == "unread":
                    return f"{statuses(came)} unread"
                connection.sendall(LAST)
                came += until_end(connection)
            except TimeoutError:
                return f"{statuses(came)} silent".strip()
            found = statuses(came)
            is_open = found.endswith("200") and len(found.split()) == len(wanted)
            return f"{found[:-4]} open" if is_open else f"{found} closed"

    def check_health(self, name: str) -> None:
        """See that others are served, and wait until all that was opened is closed."""
        assert self.server.popen.poll() is None, f"{name}: {self.server.output()[-4_000:]}"
        assert self.talk(Case(LIVE, "200 open")) == "200 open", name
        due = time.monotonic() + WAIT_S
        while self.process.num_fds() > self.open_fds:
            assert time.monotonic() < due, f"{name}: connections stay open"
            time.sleep(0.001)
        assert self.process.memory_info().rss < self.rss_bytes + GROWTH_BYTES_MAX, name


def statuses(came: bytes) -> str:
    """Return the statuses of answers. What is refused is refused in our words."""
    assert b"Traceback" not in came
    assert b"aiohttp" not in came
    for answer in re.findall(rb"HTTP/1\.[01] (?:[45]\d\d [^\r]+)((?:\r\n[^\r]+)*)\r\n\r\n", came):
        assert b"\r\nContent-Type: application/problem+json\r\n" in answer
    return b" ".join(re.findall(rb"HTTP/1\.[01] (\d{3}) ", came)).decode()


def until_end(connection: socket.socket) -> bytes:
    came = b""
    try:
        while part := connection.recv(1 << 16):
            came += part
    except ConnectionResetError:  # of what was sent behind the end, nothing was read
        pass
    return came


@pytest.fixture(params=["--lane", "--no-lane"])
def raw(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Raw]:
    flags = ("--memory", "--disk-reserve", "0", request.param)
    server = Server(tmp_path / "unused", free_port(), *flags, log=tmp_path / "log")
    try:
        yield Raw(server.wait_ready())
    finally:
        server.kill()


def test_each_row_is_answered_as_the_table_says_harms_nobody_and_is_in_no_log(raw: Raw) -> None:
    found = {}
    for name, case in CASES.items():
        found[name] = raw.talk(case)
        raw.check_health(name)
    assert found == {name: case.want for name, case in CASES.items()}
    said = raw.server.output()
    assert len(said.splitlines()) < 4, said
