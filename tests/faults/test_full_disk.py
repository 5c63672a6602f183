"""A disk that is really full: submits are refused, what ends jobs goes on, and space is enough."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import powercut
import pytest
from processes import Server, free_port

pytestmark = pytest.mark.e2e

DISK_BYTES = 40 << 20
BLOCK_BYTES = 4_096
RESERVE = "16MiB"
PATIENCE_S = 30.0
LARGE = "p" * 500_000


@pytest.fixture
def small(disk: Path) -> Iterator[Path]:
    """A filesystem of 40 MiB."""
    if reason := powercut.lacking():
        pytest.skip(reason)
    image, place = disk / "image", disk / "mount"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-qF", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def fill(place: Path) -> Path:
    """Take all space that is left."""
    file = place / "filler"
    taken, more = 0, shutil.disk_usage(place).free
    with file.open("wb") as out:
        while more >= BLOCK_BYTES:
            try:
                os.posix_fallocate(out.fileno(), taken, more)
                taken += more
            except OSError:
                more //= 2
    assert shutil.disk_usage(place).free < BLOCK_BYTES
    return file


def complete(server: Server, lease: str) -> tuple[int, Any]:
    return server.ask("POST", f"/api/v1/leases/{lease}/complete", {"result": LARGE})


def test_a_full_disk_refuses_jobs_lets_them_end_and_recovers_by_itself(small: Path) -> None:
    server = Server(small / "data", free_port(), "--disk-reserve", RESERVE)
    acked: list[str] = []
    try:
        server.wait_ready()
        while True:
            status, answer = server.ask("POST", "/api/v1/jobs", {"type": "t", "params": LARGE})
            if status != 200:
                break
            acked.append(answer["job_id"])
        assert (status, answer["code"], answer["outcome"]) == (507, "storage_full", "not_applied")
        assert len(acked) > 10

        poll = {"worker": "w", "max_jobs": 2}
        leases = [one["lease"] for one in server.ask("POST", "/api/v1/work/poll", poll)[1]["jobs"]]
        assert complete(server, leases[0])[0] == 200, "below the reserve jobs still end"

        filler = fill(small)
        status, answer = complete(server, leases[1])
        assert (status, answer["outcome"]) == (503, "unknown")
        assert server.ask("GET", "/livez")[0] == 200
        assert server.ask("POST", "/api/v1/jobs", {"type": "t"})[0] == 507
        filler.unlink()
        due_s = time.monotonic() + PATIENCE_S
        while (status := complete(server, leases[1])[0]) == 503 and time.monotonic() < due_s:
            time.sleep(0.05)
        assert status == 200, "it does not recover though there is space"
        assert server.terminate() == 0
    finally:
        server.kill()

    again = Server(small / "data", free_port(), "--disk-reserve", "0")
    try:
        again.wait_ready()
        found = [again.job(job_id)["job"]["status"] for job_id in acked]
        assert sorted(found)[:2] == ["completed"] * 2
        stored = again.ask("GET", "/api/v1/stats")[1]["store"]
        assert stored["jobs_live"] + stored["jobs_finished"] == len(acked), "a refused one is there"
    finally:
        again.kill()
