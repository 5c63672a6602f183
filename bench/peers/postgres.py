"""A queue in PostgreSQL: one table, SKIP LOCKED, batches, prepared statements through asyncpg.

A job is claimed by an update that is committed, and deleted when it is done. The result of W5 is a
row; clients and workers hear of rows by NOTIFY. What a server keeps in memory is no measure here.
"""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from headrace.bench import http
from headrace.bench.connection import together
from headrace.bench.process import HOST, BenchError, ServerProcess, free_port
from headrace.bench.workloads import (
    BATCH,
    SETTLE_S,
    SINGLE_CONNECTIONS,
    SUBMITTERS,
    SUBMITTERS_BESIDE_WORKERS,
    WORKERS,
    Latencies,
    Pace,
)
from peers.peer import SYNCED, Peer, first_line, program, server_core

USER = "postgres"
"""PostgreSQL refuses to run as root; as root we run it as its own user."""
SCHEMA = """
CREATE TABLE jobs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state smallint DEFAULT 0,
    params text NOT NULL);
CREATE INDEX jobs_ready ON jobs (id) WHERE state = 0;
CREATE TABLE results (id bigint PRIMARY KEY, result text)
"""
SUBMIT_ONE = "INSERT INTO jobs (params) VALUES ($1) RETURNING id"
SUBMIT_MANY = "INSERT INTO jobs (params) SELECT unnest($1::text[])"
CLAIM = """
WITH ready AS (SELECT id FROM jobs WHERE state = 0 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
UPDATE jobs SET state = 1 FROM ready WHERE jobs.id = ready.id RETURNING jobs.id, jobs.params
"""
END = "DELETE FROM jobs WHERE id = ANY($1::bigint[])"
SUBMIT_TOLD = f"WITH made AS ({SUBMIT_ONE}) SELECT id, pg_notify('jobs', '') FROM made"
END_TOLD = """
WITH ended AS (DELETE FROM jobs WHERE id = $1 RETURNING id),
    told AS (INSERT INTO results SELECT id, '1' FROM ended RETURNING id)
SELECT pg_notify('results', '') FROM told
"""
RESULT = "SELECT result FROM results WHERE id = $1"
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "max_connections": "100",
}
EMPTY_S = 0.001
"""A worker that found nothing looks again after this."""


class Postgres(Peer):
    name = "postgres"
    label = "PostgreSQL, SKIP LOCKED"
    durability = SYNCED
    client = "asyncpg, prepared statements, batches of up to 100"
    rows = frozenset({"W1", "W2", "W2k", "W3", "W4", "W5", "W7"})
    pace = Pace(single=6_500, batched=140_000, drained=40_000, both=12_000)
    programs = ("initdb", "postgres")
    packages = ("asyncpg",)
    install = "apt-get install postgresql; pip install 'headrace[bench]'"

    @classmethod
    def is_missing(cls) -> bool:
        from importlib.util import find_spec

        return not all(map(binary, cls.programs)) or find_spec("asyncpg") is None

    @classmethod
    def version(cls) -> str:
        return first_line(str(binary("postgres")), "--version")

    def start(self) -> None:
        self.user = USER if os.geteuid() == 0 else ""
        data = self.dir / "data"
        if not data.exists():
            shutil.copytree(cluster(self.dir.parent, self.user), data)
            if self.user:
                give(self.dir, self.user)
        self.port = free_port()
        settings = {**SETTINGS, "unix_socket_directories": ""}
        flags = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        command = [str(binary("postgres")), "-D", str(data), "-h", HOST, "-p", str(self.port)]
        self.server = ServerProcess(
            [*command, *flags], self.dir / "log", core=server_core(), user=self.user
        )

    def ready(self) -> "Postgres":
        self.server.wait_ready(lambda: asyncio.run(self._answers()))
        return self

    async def _answers(self) -> bool:
        import asyncpg

        with suppress(OSError, asyncpg.PostgresError):
            connection = await self._connect()
            await connection.execute("SELECT 1")
            if not await connection.fetchval("SELECT to_regclass('jobs')"):
                await connection.execute(SCHEMA)
            await connection.close()
            return True
        return False

    async def _connect(self) -> Any:
        import asyncpg

        return await asyncpg.connect(host=HOST, port=self.port, user=USER, database="postgres")

    def count(self) -> int:
        async def counted() -> int:
            connection = await self._connect()
            found = int(await connection.fetchval("SELECT count(*) FROM jobs"))
            await connection.close()
            return found

        return asyncio.run(counted())

    async def submit(self, number: int, batch: int) -> list[float]:
        connections = SINGLE_CONNECTIONS if batch == 1 else SUBMITTERS
        return await self._submit(number, batch, connections)

    async def _submit(self, number: int, batch: int, connections: int) -> list[float]:
        to_send = number // batch
        text = http.params().decode()
        sql, value = (SUBMIT_ONE, text) if batch == 1 else (SUBMIT_MANY, [text] * batch)

        async def work(statement: Callable[[str], Any]) -> list[float]:
            nonlocal to_send
            insert = await statement(sql)
            latencies_s = []
            while to_send > 0:
                to_send -= 1
                began_s = time.perf_counter()
                await insert.fetch(value)
                latencies_s.append(time.perf_counter() - began_s)
            return latencies_s

        return await self._each(min(connections, to_send), work)

    async def drain(self, number: int) -> list[float]:
        return await self._work_off(number)

    async def both(self, number: int) -> list[float]:
        submit = self._submit(number, BATCH, SUBMITTERS_BESIDE_WORKERS)
        return list((await together(submit, self._work_off(number)))[1])

    async def _work_off(self, number: int) -> list[float]:
        done = 0

        async def work(statement: Callable[[str], Any]) -> list[float]:
            nonlocal done
            claim, end = await statement(CLAIM), await statement(END)
            latencies_s = []
            while done < number:
                began_s = time.perf_counter()
                rows = await claim.fetch(BATCH)
                if not rows:
                    await asyncio.sleep(EMPTY_S)
                    continue
                await end.fetch([row[0] for row in rows])
                latencies_s.append(time.perf_counter() - began_s)
                done += len(rows)
            return latencies_s

        return await self._each(WORKERS, work)

    async def _each(
        self, connections: int, work: Callable[[Callable[[str], Any]], Awaitable[list[float]]]
    ) -> list[float]:
        """Run a worker on each of so many connections; return all latencies."""
        opened = [await self._connect() for _ in range(connections)]
        try:
            found = await together(*(work(connection.prepare) for connection in opened))
        finally:
            for connection in opened:
                connection.terminate()
        return [latency_s for latencies_s in found for latency_s in latencies_s]

    async def one_by_one(self, samples: int) -> Latencies:
        # Statements are not prepared apart: asyncpg leaves a session in a transaction after that,
        # and it would hear no NOTIFY. It keeps them prepared after their first use anyway.
        submitter, worker, reader = [await self._connect() for _ in range(3)]
        there, done = asyncio.Event(), asyncio.Event()
        await worker.add_listener("jobs", lambda *_: there.set())
        await reader.add_listener("results", lambda *_: done.set())
        found = Latencies([], [])

        async def handle() -> float:
            await there.wait()
            rows = await worker.fetch(CLAIM, 1)
            given_s = time.perf_counter()
            await worker.fetch(END_TOLD, rows[0][0])
            return given_s

        async def see(job_id: int) -> float:
            await done.wait()
            await reader.fetch(RESULT, job_id)
            return time.perf_counter()

        for _ in range(samples):
            there.clear()
            done.clear()
            await asyncio.sleep(SETTLE_S)
            began_s = time.perf_counter()
            job_id = await submitter.fetchval(SUBMIT_TOLD, http.params().decode())
            given_s, seen_s = await together(handle(), see(job_id))
            found.starts.append(given_s - began_s)
            found.results.append(seen_s - began_s)
        for connection in (submitter, worker, reader):
            connection.terminate()
        return found


def binary(name: str) -> str | None:
    """Return a program of PostgreSQL; Debian keeps its versions side by side, off the path."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(installed[-1]) if installed else program(name)


def cluster(base: Path, user: str) -> Path:
    """Return a fresh cluster to copy, made once: making one takes seconds."""
    made = base / "postgres-cluster"
    if not (made / "PG_VERSION").exists():
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(mode=0o700)
        if user:
            give(made, user)
        command = [str(binary("initdb")), "-D", str(made), "-U", USER, "--auth", "trust", "-N"]
        done = subprocess.run(
            command, user=user or None, cwd="/", capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchError(f"initdb failed: {done.stderr.strip()[-500:]}")
    return made


def give(dir_: Path, user: str) -> None:
    for path in (dir_, *dir_.rglob("*")):
        shutil.chown(path, user, user)
