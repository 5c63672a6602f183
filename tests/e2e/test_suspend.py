"""A suspended job goes on from its checkpoint, wherever it is resumed."""

from collections.abc import Callable
from typing import Any

import pytest
from processes import Process, Server

pytestmark = pytest.mark.e2e

Serve = Callable[..., Server]
Work = Callable[..., Process]


def progress_of(server: Server, job_id: str, least: float) -> dict[str, Any]:
    """Wait until a job is so far."""
    while True:
        job = server.job(job_id)["job"]
        if job["progress"] >= least:
            return dict(job)


@pytest.mark.parametrize("restart", [False, True], ids=["", "over-a-restart"])
def test_a_suspended_job_goes_on_elsewhere_from_its_checkpoint(
    serve: Serve, work: Work, restart: bool
) -> None:
    server = serve("--lease", "2s")
    first = work(server, "first")
    job_id = server.submit(type="climb", params={"steps": 1_000, "pause": 0.01})
    reached = progress_of(server, job_id, 0.05)["progress"]
    assert server.ask("POST", f"/api/v1/jobs/{job_id}/suspend")[0] == 200
    suspended = server.wait_status(job_id, "suspended")["job"]
    assert (suspended["attempt"], suspended["stops"], suspended["failures"]) == (1, 1, 0)
    first.kill()
    if restart:
        server.kill()
        server = serve("--lease", "2s")
        assert server.job(job_id)["job"]["status"] == "suspended"
    work(server, "second")
    status, answer = server.ask("POST", f"/api/v1/jobs/{job_id}/resume")
    assert (status, answer["status"]) == (200, "resuming")
    ended = server.wait_status(job_id, "completed", timeout_s=60)
    assert ended["result"]["worker_id"] == "second"
    result = ended["result"]["result"]
    assert result["attempt"] == 2
    assert result["began"] >= reached * 1_000
    assert (ended["job"]["failures"], ended["job"]["crashes"]) == (0, 0)
