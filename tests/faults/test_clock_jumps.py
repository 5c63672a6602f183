"""The wall clock jumps under a running server: what follows it, and what does not."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from grounds import Jumping, set_clock, with_clock
from processes import LYING, Server, disk_dir, free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(Jumping.lacking), reason=Jumping.lacking),
]
HOUR_S = 3_600
PATIENCE_S = 30.0


def begun(disk: Path, lease: str, *, defect: str = "") -> Server:
    set_clock(disk / "clock", 0)
    command, env = (LYING, {"DEFECT": defect}) if defect else (None, None)
    prefix = with_clock(disk / "clock")
    server = Server(
        disk / "data", free_port(), "--lease", lease, prefix=prefix, command=command, env=env
    )
    return server.wait_ready()


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with disk_dir() as path:
        yield path


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    server = begun(place, "2s")
    yield server
    server.kill()


def lease_of(server: Server, job_type: str) -> str:
    poll = {"worker": "w", "serve": {"types": [job_type]}, "max_jobs": 1}
    return str(server.ask("POST", "/api/v1/work/poll", poll)[1]["jobs"][0]["lease"])


def jumped(server: Server, disk: Path, seconds: int) -> None:
    """Put the clock so far off, and wait until the server has noticed."""
    due_s = time.monotonic() + PATIENCE_S
    lines = server.output().count("the wall clock moved")
    set_clock(disk / "clock", seconds)
    while server.output().count("the wall clock moved") == lines:
        assert time.monotonic() < due_s, server.output()
        time.sleep(0.01)


@pytest.mark.parametrize("seconds", [HOUR_S, -HOUR_S])
def test_leases_and_delays_do_not_follow_a_jump_of_the_wall_clock(
    server: Server, place: Path, seconds: int
) -> None:
    held = server.submit(type="held")
    lease = lease_of(server, "held")
    near = server.submit(type="near", delay=3)
    far = server.submit(type="far", delay=60)
    jumped(server, place, seconds)
    assert server.job(far)["job"]["status"] == "scheduled"
    beat = {"worker": "w", "max_jobs": 0, "running": [lease]}
    assert server.ask("POST", "/api/v1/work/poll", beat)[1]["control"] == []
    job = server.job(held)["job"]
    assert (job["crashes"], job["attempt"]) == (0, 1), "a lease ended early"
    server.wait_status(near, "queued")
    # Nobody speaks for it any more: its lease ends in true time.
    server.wait_status(held, "queued")
    assert server.ask("POST", f"/api/v1/jobs/{held}/cancel")[0] == 200


def test_a_schedule_follows_the_wall_clock(server: Server, place: Path) -> None:
    at = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    job_id = server.submit(type="t", scheduled_at=at)
    jumped(server, place, -2 * HOUR_S)
    assert server.job(job_id)["job"]["status"] == "scheduled"
    jumped(server, place, HOUR_S)
    server.wait_status(job_id, "queued")


def test_leases_that_follow_the_wall_clock_are_found_out(disk: Path) -> None:
    server = begun(disk, "10m", defect="leases-by-wall")
    try:
        job_id = server.submit(type="held")
        lease_of(server, "held")
        set_clock(disk / "clock", HOUR_S)
        assert server.wait_status(job_id, "queued")["job"]["crashes"] == 1
    finally:
        server.kill()
