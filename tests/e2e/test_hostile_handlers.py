"""What a handler does to itself it does to its own job: the worker and the others go on."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from processes import HEADRACE, Process, Server, running_children

pytestmark = pytest.mark.e2e

HANDLERS = Path(__file__).with_name("hostile_handlers.py")
ODD = (
    "unprintable",
    "no exception",
    "surrogate",
    "long",
    "exit",
    "generator exit",
    "interrupt",
    "deep",
    "checkpoint",
    "no json",
    "permanent",
    "snooze",
    "surrogates everywhere",
)
ENDS = {
    # type: (statuses, the code or ""), with a timeout of 1.5 s and 64 MB reserved
    "deaf": ({"timeout"}, ""),
    "leak": ({"failed"}, "memory_limit"),
    "print": ({"timeout"}, ""),
    "fork": ({"timeout"}, ""),
    "vanish": ({"failed"}, "handler_crashed"),
    "segfault": ({"failed"}, "handler_crashed"),
    "close": ({"failed", "timeout"}, ""),
    "threads": ({"completed"}, ""),
    "interpreter": ({"completed", "failed"}, ""),
    "fork-and-return": ({"completed"}, ""),
}


def is_over(pid: int) -> bool:
    """Say whether nothing of a process is left but its number, which its parent never asked for."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def working(serve: Callable[..., Server], disk: Path) -> Iterator[tuple[Server, Process]]:
    with ExitStack() as stack:
        server = serve()
        command = [*HEADRACE, "work", str(HANDLERS), "--url", server.url, "--no-wasm"]
        worker = Process([*command, "--concurrency", "4"], disk / "worker.log")
        stack.callback(worker.kill)
        yield server, worker


def test_no_exception_is_too_odd_for_its_job_to_end(working: tuple[Server, Process]) -> None:
    server, worker = working
    ids = {odd: server.submit(type="odd", params=odd, max_retries=0, timeout=30) for odd in ODD}
    for odd, job_id in ids.items():
        ended = server.wait_status(job_id, "completed", "failed", "timeout", "cancelled")
        assert ended["job"]["status"] == "failed", odd
        assert ended["job"]["crashes"] == 0, odd
    good = server.submit(type="good-thread", params=1)
    assert server.wait_status(good, "completed")["result"]["result"] == 1
    assert worker.popen.poll() is None


def test_what_would_end_the_workers_process_ends_one_attempt(
    working: tuple[Server, Process],
) -> None:
    server, worker = working
    slow = server.submit(type="slow-thread", max_retries=0)
    server.wait_status(slow, "running")
    ends = {
        ("leave-thread", "exit"): "handler_exited",
        ("leave-thread", "abort"): "handler_exited",
        ("leave-thread", "exec"): "handler_exited",
        ("leave-thread", "fork"): None,
        ("leave-thread", "fork and exit"): None,
        ("leave-thread", "thread"): None,
        ("leave-async", "exit"): "handler_exited",
        ("leave-async", "fork"): None,
    }
    ids = {end: server.submit(type=end[0], params=end[1], max_retries=0) for end in ends}
    good = [server.submit(type="good-thread", params=n, max_retries=0) for n in range(50)]
    for end, job_id in ids.items():
        ended = server.wait_status(job_id, "completed", "failed")
        code = ended["result"].get("code")
        assert (ended["job"]["attempt"], code) == (1, ends[end]), (end, ended)
    for number, job_id in enumerate(good):
        ended = server.wait_status(job_id, "completed")
        assert (ended["job"]["attempt"], ended["result"]["result"]) == (1, number)
    assert server.wait_status(slow, "completed")["job"]["attempt"] == 1
    assert worker.popen.poll() is None
    ends_s = time.monotonic() + 20
    while copies := [pid for pid in running_children(worker.pid) if not is_over(pid)]:
        assert time.monotonic() < ends_s, f"copies of the worker are left: {copies}"
        time.sleep(0.05)
    assert worker.terminate() == 0, worker.output()


def test_what_ruins_a_process_ruins_one_of_its_own(working: tuple[Server, Process]) -> None:
    server, worker = working
    hostile = {
        kind: server.submit(
            type=kind,
            max_retries=0,
            timeout=1.5,
            # What a thread may need for its stack counts, whether it needs it or not.
            requirements={"memory_mb": 1_024 if kind == "threads" else 64},
        )
        for kind in ENDS
    }
    good = [server.submit(type="good", params=number, max_retries=0) for number in range(20)]
    for kind, (statuses, code) in ENDS.items():
        ended = server.wait_status(hostile[kind], *statuses, timeout_s=60)
        assert ended["job"]["crashes"] == 0, kind
        assert not code or ended["result"]["code"] == code, (kind, ended)
    for number, job_id in enumerate(good):
        assert server.wait_status(job_id, "completed")["result"]["result"] == number
    last = server.submit(type="good", params="last")
    assert server.wait_status(last, "completed")["job"]["attempt"] == 1
    log = server.ask("GET", f"/api/v1/jobs/{hostile['print']}/logs")[1]
    assert len(log) <= 2 << 20, "a log has its bound"
    assert worker.terminate() == 0, worker.output()
    ends = time.monotonic() + 20
    while left := running_children(worker.pid):
        assert time.monotonic() < ends, left
        time.sleep(0.05)
