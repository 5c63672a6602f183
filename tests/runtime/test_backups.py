"""Copies of a store: what is refused, what a look finds, and what a restored store forgets."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace import Queue, QueueConfig
from headrace.core.commands import Ack, Caller, NewJobs, Outcome, Poll, Report, Submit
from headrace.core.job import Status
from headrace.core.resources import Amounts, Requirements
from headrace.runtime import backups
from headrace.runtime.backups import BackupError, Manifest
from headrace.runtime.config import Config
from headrace.runtime.node import Node
from headrace.store import layout
from headrace.store.contract import StoreTooNew
from headrace.store.inspecting import inspect
from headrace.wire import limits
from headrace.wire.problems import ProblemCode

JOBS = 30


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a store in `data`, and a copy of it in `backup`."""
    base = tmp_path_factory.mktemp("backups")
    config = QueueConfig(path=base / "data", accept_any_filesystem=True)
    with Queue(config, lambda ctx, params: {"text": "x" * 2_000}) as queue:
        jobs = [{"params": number, "idempotency_key": f"k{number}"} for number in range(JOBS)]
        queue.enqueue_many(jobs)
        assert queue.join(20)
        queue.enqueue_many([{"params": number, "delay": "1h"} for number in range(JOBS)])
    backups.backup(base / "data", base / "backup")
    return base


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "backup", tmp_path / "backup"))


def restore(source: Path, to: Path) -> tuple[Manifest, object, int]:
    return backups.restore(source, to, accept_any_filesystem=True)


def test_a_copy_has_every_row_and_is_its_owners_alone(made: Path) -> None:
    of_store, of_copy = inspect(made / "data"), inspect(made / "backup")
    assert of_store.rows == of_copy.rows
    assert (of_copy.jobs_live, of_copy.jobs_finished, of_copy.faults_total) == (JOBS, JOBS, 0)
    manifest = backups.read_manifest(made / "backup")
    assert (manifest.position, manifest.format) == (of_store.position, layout.FORMAT)
    for path in (made / "backup", *(made / "backup").iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path


def test_jobs_results_and_keys_are_there_after_a_restore(made: Path, tmp_path: Path) -> None:
    restore(made / "backup", tmp_path / "new")
    config = QueueConfig(path=tmp_path / "new", accept_any_filesystem=True)
    with Queue(config, lambda ctx, params: None) as queue:
        assert queue.size() == JOBS
        done = queue.jobs(status="completed")
        assert len(done) == JOBS
        assert queue.get(done[0].id).value == {"text": "x" * 2_000}
        assert queue.enqueue(0, idempotency_key="k0") == done[-1].id


def test_a_directory_that_is_not_empty_is_left_alone(made: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(BackupError, match="not empty"):
        restore(made / "backup", tmp_path)
    with pytest.raises(BackupError, match="not empty"):
        backups.backup(made / "data", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def cut(backup: Path) -> None:
    with (backup / "data.mdb").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 4_096)


def flip(backup: Path) -> None:
    with (backup / "data.mdb").open("r+b") as file:
        file.seek(20_000)
        byte = file.read(1)[0]
        file.seek(20_000)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(
    ("harm", "error", "says"),
    [
        (cut, BackupError, "bytes"),
        (flip, BackupError, "SHA-256"),
        (lambda it: (it / "manifest.json").unlink(), BackupError, "cut off"),
        (lambda it: (it / "manifest.json").write_text("{}"), BackupError, "cannot be read"),
        (lambda it: (it / "data.mdb").unlink(), BackupError, "missing"),
        (
            lambda it: (it / "manifest.json").write_text(
                (it / "manifest.json").read_text().replace('"format": 1', '"format": 99')
            ),
            StoreTooNew,
            "99",
        ),
    ],
)
def test_what_is_not_as_it_was_made_is_refused_and_leaves_nothing(
    harm: Callable[[Path], object], error: type[Exception], says: str, copy: Path, tmp_path: Path
) -> None:
    harm(copy)
    with pytest.raises(error, match=says):
        restore(copy, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup"]


def test_attempts_under_way_are_given_back_and_cost_their_jobs_no_crash(tmp_path: Path) -> None:
    program = (
        "import os, sys; from headrace import Queue, QueueConfig\n"
        "config = QueueConfig(path=sys.argv[1], accept_any_filesystem=True)\n"
        "def hold(ctx): print(ctx.job.id, flush=True); ctx.sleep(60)\n"
        "queue = Queue(config, hold)\n"
        "queue.enqueue(1)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        job_id = child.stdout.readline().strip()
        backups.backup(tmp_path / "data", tmp_path / "backup")
    finally:
        child.kill()
        child.wait()
    _, _, released = restore(tmp_path / "backup", tmp_path / "new")
    assert released == 1
    config = QueueConfig(path=tmp_path / "new", accept_any_filesystem=True)
    with Queue(config, lambda ctx, params: "again") as queue:
        job = queue.wait(job_id, 20)
    assert (job.value, job.job.attempt, job.job.crashes, job.job.stops) == ("again", 2, 0, 1)


async def test_no_late_report_counts_after_a_restore(tmp_path: Path) -> None:
    """Its lease ran out, and nobody else has the job: in its own time, a late report counts."""
    job_id = (1_700_000_000_000).to_bytes(6, "big") + b"\x70\0" + bytes(8)
    need = Requirements("default", "echo", Amounts())
    job = NewJobs(job_id, [b"{}"], need, 5, 60_000, 1_000, 200, 2)

    def node_in(path: Path) -> Node:
        lease_ms = limits.LEASE_MS_MIN
        return Node(
            Config(data_dir=path, lease_ms=lease_ms, accept_any_filesystem=True, disk_reserve_mb=0)
        )

    async def late(path: Path) -> Ack:
        node = node_in(path)
        await node.start()
        told = await node.pump.ask(Poll(1, "w", reports=[Report(lease, Outcome.COMPLETED)]))
        await node.stop()
        return told.acks[0]

    node = node_in(tmp_path / "data")
    await node.start()
    await node.pump.ask(Submit(Caller("acme", "alice"), [job]))
    lease = (await node.pump.ask(Poll(1, "w", jobs_max=1))).jobs[0].lease
    while node.pump.stats().leases:
        await asyncio.sleep(0.01)
    await node.stop()
    backups.backup(tmp_path / "data", tmp_path / "backup")
    _, _, released = restore(tmp_path / "backup", tmp_path / "new")
    assert released == 0
    refused = await late(tmp_path / "new")
    assert refused.problem is not None
    assert refused.problem.code is ProblemCode.LEASE_ALREADY_REPORTED
    assert (await late(tmp_path / "data")).status is Status.COMPLETED
