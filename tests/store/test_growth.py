"""A store of jobs that come and go does not grow."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from store_samples import commit, finished, job_id_at, stored

from headrace.core.effects import JobDeleted
from headrace.store import open_store
from headrace.store.store import Store

JOBS = 50
"""Of a commit."""
WARM_ROUNDS = 12
ROUNDS = 40
KEPT = 3
"""Rounds that a finished job is kept."""
SPEC = b'{"id":"x","name":"n","params":"' + b"p" * 200 + b'"}'
READER = """
import lmdb, sys
with lmdb.open(sys.argv[1], readonly=True, max_dbs=32) as env, env.begin():
    print("reads", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """In memory: it is pages that are counted, and not the disk that is tried."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def rotate(store: Store, rounds: range) -> None:
    """Submit, finish and delete jobs, first in first out, in commits of their own."""
    for at in rounds:
        jobs = [job_id_at(1_000 + at, number) for number in range(JOBS)]
        commit(store, *(stored(job_id, spec=SPEC) for job_id in jobs))
        commit(store, *(finished(job_id, body=b'"r"') for job_id in jobs))
        if at >= KEPT:
            old = [job_id_at(1_000 + at - KEPT, number) for number in range(JOBS)]
            commit(store, *(JobDeleted(job_id, 1) for job_id in old))


def test_a_file_whose_jobs_come_and_go_does_not_grow(place: Path) -> None:
    """I20: pages that are given back are used again, also those of the free list itself."""
    store = open_store(place / "store", accept_any_filesystem=True)
    store.restore()
    rotate(store, range(WARM_ROUNDS))
    warm_bytes = store.stats().bytes_used
    rotate(store, range(WARM_ROUNDS, ROUNDS))
    assert store.stats().bytes_used <= warm_bytes * 1.1
    store.close()


def test_pages_that_nobody_can_have_back_are_noticed(place: Path) -> None:
    """The same with a reader that never ends: the control of the test before."""
    store = open_store(place / "store", accept_any_filesystem=True)
    store.restore()
    rotate(store, range(WARM_ROUNDS))
    warm_bytes = store.stats().bytes_used
    command = [sys.executable, "-c", READER, str(place / "store")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reads\n"
        rotate(store, range(WARM_ROUNDS, ROUNDS))
    assert store.stats().bytes_used > warm_bytes * 2
    store.close()
