"""Backups of a server under load, each restored and held against what clients were told."""

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest
from campaign import FLAGS, Clients, whole_store
from history import OK, read
from operator_load import BRIEF, DOOMED
from processes import HEADRACE, Server, free_port

from headrace.store.inspecting import Inspection

pytestmark = pytest.mark.e2e

BACKUPS = 2
OPS = 40
"""Answered to a client between two backups, at least."""
PATIENCE_S = 60.0
EXIT_USAGE, EXIT_DAMAGED, EXIT_BUSY = 2, 65, 75


def headrace(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [*HEADRACE, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def inspected(path: Path) -> Inspection:
    done = headrace("inspect", path, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return msgspec.json.decode(done.stdout, type=Inspection)


def wait_for_ops(clients: Clients, ops: int) -> None:
    """Wait until every client has had so many answers."""
    due_s = time.monotonic() + PATIENCE_S
    while any(
        not file.exists() or file.read_bytes().count(b"\n") < ops for file in clients.histories
    ):
        clients.check()
        assert time.monotonic() < due_s, "the load does not begin"
        time.sleep(0.01)


def modes(path: Path) -> set[int]:
    return {entry.stat().st_mode & 0o077 for entry in (path, *path.iterdir())}


def test_backups_under_load_hold_all_that_was_acknowledged_before_them(disk: Path) -> None:
    port = free_port()
    server = Server(disk / "data", port, *FLAGS).wait_ready()
    clients = Clients(port, disk, 11, "mixed")
    begun_s: list[float] = []
    try:
        for number in range(BACKUPS):
            wait_for_ops(clients, (number + 1) * OPS)
            begun_s.append(time.monotonic())
            done = headrace("backup", disk / "data", disk / f"backup-{number}")
            assert done.returncode == 0, done.stderr
        clients.check()
        clients.stop()
        assert headrace("inspect", disk / "data").returncode == EXIT_BUSY
        assert server.terminate() == 0
    finally:
        clients.kill()
        server.kill()
    ops = [op for op in read(clients.histories) if op.result == OK]
    for number, before_s in enumerate(begun_s):
        backup, data = disk / f"backup-{number}", disk / f"data-{number}"
        found = inspected(backup)
        assert found.jobs_live + found.jobs_finished > 0
        done = headrace("restore", backup, data)
        assert done.returncode == 0, done.stderr
        assert modes(backup) == modes(data) == {0}
        again = inspected(data)
        assert again.jobs_live + again.jobs_finished == found.jobs_live + found.jobs_finished
        assert again.epoch > found.epoch + 1_000
        # Nothing goes while it is read: what is kept for a moment is due at once.
        restored = Server(data, port, *FLAGS, "--cleanup-every", "1h").wait_ready()
        try:
            jobs = {job.job_id: job for job in asyncio.run(whole_store(port))}
            assert all(job.intact for job in jobs.values())
            told = [op for op in ops if op.ended_s < before_s]
            submitted = {
                job_id
                for op in told
                if op.kind == "submit"
                for name, job_id in zip(op.names, op.ids, strict=True)
                if op.tags.get(name) not in {BRIEF, DOOMED}  # these may be gone by then
            }
            assert submitted, "the load had begun"
            assert submitted <= jobs.keys()
            # A worker of that time, with a lease that it was given before or after.
            given = [given for op in ops if op.kind == "poll" for given in op.given]
            reported = {one.lease for op in ops for one in op.acked}
            for one in [one for one in given if one.lease not in reported][-20:] + given[-20:]:
                path = f"/api/v1/leases/{one.lease}/complete"
                status, answer = restored.ask("POST", path, {"result": {"value": "late"}})
                assert status in (404, 409) or (
                    one.lease in reported and jobs[one.job_id].status == "completed"
                ), (status, answer)
            assert restored.terminate() == 0
        finally:
            restored.kill()


def test_a_backup_that_is_cut_off_is_none_and_costs_the_server_nothing(disk: Path) -> None:
    port = free_port()
    with_rows = [{"type": "t", "params": {"text": "x" * 8_000}} for _ in range(2_000)]
    server = Server(disk / "data", port).wait_ready()
    try:
        for _ in range(3):
            assert server.ask("POST", "/api/v1/jobs", with_rows)[0] in (200, 201, 202)
        copy = disk / "backup"
        child = subprocess.Popen([*HEADRACE, "backup", str(disk / "data"), str(copy)])
        while not (copy / "data.mdb").exists():
            assert child.poll() is None
            time.sleep(0.0005)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert not (copy / "manifest.json").exists()
        done = headrace("restore", copy, disk / "restored")
        assert done.returncode == EXIT_USAGE
        assert "cut off" in done.stderr
        assert not (disk / "restored").exists()
        assert server.ask("POST", "/api/v1/jobs", with_rows)[0] in (200, 201, 202)
        assert server.terminate() == 0
    finally:
        server.kill()
    assert inspected(disk / "data").jobs_live == 8_000
