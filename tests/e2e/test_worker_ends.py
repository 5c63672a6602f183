"""A worker dies or is told to end: its jobs go on elsewhere, and the right thing is counted."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Process, Server

pytestmark = pytest.mark.e2e

Serve = Callable[..., Server]
Work = Callable[..., Process]


def counts(job: dict[str, object]) -> tuple[object, ...]:
    return job["attempt"], job["failures"], job["crashes"], job["stops"]


def test_jobs_of_a_worker_killed_by_9_run_elsewhere_and_count_as_crashed(
    serve: Serve, work: Work
) -> None:
    server = serve("--lease", "1s")
    doomed = work(server, "doomed")
    jobs = [server.submit(type="hold_first") for _ in range(3)]
    for job_id in jobs:
        server.wait_status(job_id, "running")
    heir = work(server, "heir")
    heir_knows = server.submit(type="nap", params={"seconds": 0}, queue="other")
    server.wait_status(heir_knows, "completed")
    doomed.kill()
    for job_id in jobs:
        ended = server.wait_status(job_id, "completed")
        assert counts(ended["job"]) == (2, 0, 1, 0)
        assert ended["result"]["result"] == {"attempt": 2}
        assert ended["result"]["worker_id"] == "heir"
    assert heir.terminate() == 0


def test_a_job_whose_workers_crash_three_times_is_poison(serve: Serve, work: Work) -> None:
    server = serve("--lease", "300ms")
    job_id = server.submit(type="nap", params={"seconds": 3_600})
    for crash in range(1, 4):
        worker = work(server, f"w{crash}")
        server.wait_status(job_id, "running")
        worker.kill()
        ended = server.wait_status(job_id, "queued", "failed")
        assert ended["job"]["crashes"] == crash
    assert ended["job"]["status"] == "failed"
    assert ended["result"]["code"] == "poison"


def test_sigterm_lets_jobs_finish_and_gives_the_rest_back_without_counting_a_try(
    serve: Serve, work: Work, disk: Path
) -> None:
    server = serve()
    first = work(server, "first", "--drain", "2s")
    flag = disk / "go"
    finishing = server.submit(type="stubborn", params={"until": str(flag)})
    endless = server.submit(type="hold_first")
    for job_id in (finishing, endless):
        server.wait_status(job_id, "running")
    first.popen.send_signal(signal.SIGTERM)
    flag.touch()
    assert counts(server.wait_status(finishing, "completed")["job"]) == (1, 0, 0, 0)
    released = server.wait_status(endless, "queued")["job"]
    assert counts(released) == (1, 0, 0, 1)
    assert first.wait() == 0
    work(server, "second")
    ended = server.wait_status(endless, "completed")
    assert counts(ended["job"]) == (2, 0, 0, 1)
    assert ended["result"]["worker_id"] == "second"


def test_a_worker_outlives_a_server_killed_by_9_and_its_job_completes_once(
    serve: Serve, work: Work, disk: Path
) -> None:
    server = serve()
    work(server, "steady")
    flag = disk / "go"
    job_id = server.submit(type="stubborn", params={"until": str(flag)})
    server.wait_status(job_id, "running")
    server.kill()
    flag.touch()
    again = Server(disk / "data", server.port)
    try:
        again.wait_ready()
        ended = again.wait_status(job_id, "completed")
        assert counts(ended["job"]) == (1, 0, 0, 0)
    finally:
        again.kill()
