"""Hostile modules against a real server and a real worker, one after the other.

Each must be refused with its code or end as its row says, and a good job must run behind each. At
the end nothing may be left: no process, no descriptor, no file; memory has its bounds; and the
server has compiled nothing, which would show as memory that it may execute and that is no file.
"""

import argparse
import base64
import contextlib
import hashlib
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "trust"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))

import figures
from processes import HEADRACE, Process, Server, disk_dir, free_port, running_children
from wasm_refused import REFUSED, Refused, built
from wasm_runs import COMPILE_BOMBS, FAILED, RUNS, Run

ROOT: Final = Path(__file__).resolve().parents[2]
LYING: Final = [sys.executable, str(Path(__file__).with_name("lying_wasm.py"))]
DEFECTS: Final = ("door-open", "server-compiles", "limits-off")
GOOD: Final = built()
MEMORY_MB: Final = 256
"""That a job reserves unless its row says otherwise."""
OUTPUT_BYTES_MAX: Final = 1 << 20
SERVER_GROWTH_BYTES_MAX: Final = 256 << 20
"""Modules of 4 MiB come and go, and some hundred stay in the map of the store."""
WORKER_GROWTH_BYTES_MAX: Final = 192 << 20
CHILD_BYTES_MAX: Final = (1 << 30) + (256 << 20)
"""A compiler has a GiB, and a job its memory beside 256 MiB of the host's."""
DESCRIPTORS_MORE_MAX: Final = 8
"""Connections that are kept open, and the pipes of a process that starts."""


WAITS_MAX: Final = 3
"""Of a minute each: on a busy machine a bomb has a minute, and another job may be before it."""


class Told(msgspec.Struct):
    cases: int
    violations: list[str]
    seconds: float


class Site:
    """A server and a worker, and what they were before any module came."""

    def __init__(self, disk: Path, *, server_defects: str = "", worker_defects: str = "") -> None:
        self.cache = disk / "cache"
        self.server = Server(
            disk / "data",
            free_port(),
            command=LYING if server_defects else None,
            env={"DEFECTS": server_defects},
        )
        work = ["work", "--url", self.server.url, "--cache", str(self.cache), "--concurrency", "1"]
        self.worker = Process(
            [*(LYING if worker_defects else HEADRACE), *work],
            disk / "worker.log",
            {"DEFECTS": worker_defects},
        )
        self.child_bytes = 0
        """The most that any sandbox had in memory, as far as it was looked at."""

    def close(self) -> None:
        self.server.kill()
        self.worker.kill()

    def put(self, data: bytes) -> tuple[int, str]:
        sha256 = hashlib.sha256(data).hexdigest()
        kind = {"Content-Type": "application/wasm"}
        status, answer = self.server.ask("PUT", f"/api/v1/modules/{sha256}", data, headers=kind)
        return status, answer.get("code", "")

    def run(self, data: bytes, **job: Any) -> dict[str, Any]:
        """Return the result of a job on a module that the server has."""
        requirements = {"cpu_cores": 0.1, "memory_mb": MEMORY_MB, **job.pop("requirements", {})}
        sha256 = hashlib.sha256(data).hexdigest()
        job_id = self.server.submit(wasm_sha256=sha256, requirements=requirements, **job)
        for _ in range(WAITS_MAX):
            answer = self.server.job(job_id, wait="60s")
            if answer["job"]["finished_at"] is not None:
                break
        with contextlib.suppress(OSError):
            for child in running_children(self.worker.pid):
                self.child_bytes = max(self.child_bytes, most_bytes(child))
        return dict(answer["result"] or {}, status=answer["job"]["status"])

    def is_well(self) -> bool:
        return self.run(GOOD)["status"] == "completed"


def most_bytes(pid: int) -> int:
    """The most that a process has had in memory."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1_024 if found else 0


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def compiled_maps(pid: int) -> list[str]:
    """Code made while a process ran: memory that it may execute and not write, without a file.

    What may be written too is libffi's, for calls from C into Python.
    """
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in lines if re.fullmatch(r"\S+ r-x\S+ \S+ 00:00 0\s*", line)]


def refused(site: Site, row: Refused) -> str | None:
    """Say what is wrong with how a module was met, or None."""
    data = row.make()
    status, code = site.put(data)
    if code != row.code or status < 400:
        return f"the door says {status} {code or 'welcome'}, not {row.code}"
    return None


def ended(site: Site, row: Run) -> str | None:
    data = row.make()
    status, code = site.put(data)
    if status not in (200, 201):
        return f"the door says {status} {code}"
    result = site.run(data, **row.job)
    told = (result["status"], result.get("code"))
    if not row.status:
        may_be = [(FAILED, code) for code in row.codes or ("wasm_error",)]
        is_so = told in [("completed", None), *may_be]
    elif row.codes:
        is_so = told[0] == row.status and told[1] in row.codes
    else:
        is_so = told == (row.status, None)
    if not is_so:
        return f"it ends as {told}: {str(result.get('error'))[:200]}"
    if row.result is not None and result.get("result") != row.result:
        return f"it returns {result.get('result')}, not {row.result}"
    if row.is_cut:
        kept = len(base64.b64decode(result.get("output") or ""))
        if not result.get("output_cut") or kept > OUTPUT_BYTES_MAX:
            return f"of its output {kept} bytes are kept, cut: {result.get('output_cut')}"
    return None if site.is_well() else "the good job behind it does not complete"


def left_over(site: Site, before: dict[str, int]) -> Iterator[str]:
    """End the worker, and say what is not as it should be."""
    server, worker = site.server, site.worker
    if server.popen.poll() is not None or worker.popen.poll() is not None:
        yield "the server or the worker has ended"
        return
    if found := compiled_maps(server.pid):
        yield f"the server has compiled something: {found}"
    for name, pid, most in (
        ("server", server.pid, SERVER_GROWTH_BYTES_MAX),
        ("worker", worker.pid, WORKER_GROWTH_BYTES_MAX),
    ):
        grown = most_bytes(pid) - before[name]
        if grown > most:
            yield f"the {name} has grown by {grown >> 20} MiB"
        more = descriptors(pid) - before[f"{name} descriptors"]
        if more > DESCRIPTORS_MORE_MAX:
            yield f"the {name} has {more} descriptors more"
    if site.child_bytes > CHILD_BYTES_MAX:
        yield f"a sandbox had {site.child_bytes >> 20} MiB"
    children = running_children(worker.pid)
    status = worker.terminate()
    if status != 0:
        yield f"the worker ends with {status}: {worker.output()[-500:]}"
    if left := [pid for pid in children if Path(f"/proc/{pid}").exists()]:
        yield f"processes are left: {left}"
    strange = [
        file.name
        for file in (site.cache / "compiled").iterdir()
        if file.name != "key" and file.suffix != ".cwasm"
    ]
    if strange:
        yield f"files are left: {strange}"


def abuse(site: Site, rows: Iterable[Refused | Run]) -> Told:
    begun = time.monotonic()
    site.server.wait_ready()
    assert site.put(GOOD)[0] in (200, 201)
    assert site.is_well()
    before = {"server": most_bytes(site.server.pid), "worker": most_bytes(site.worker.pid)}
    before["server descriptors"] = descriptors(site.server.pid)
    before["worker descriptors"] = descriptors(site.worker.pid)
    cases, violations = 0, []
    for row in rows:
        cases += 1
        said = refused(site, row) if isinstance(row, Refused) else ended(site, row)
        if said is not None:
            violations.append(f"{row.name}: {said}")
    if not site.is_well():
        violations.append("the good job at the end does not complete")
    violations.extend(left_over(site, before))
    return Told(cases, violations, time.monotonic() - begun)


ROWS: Final = (*REFUSED, *RUNS, *COMPILE_BOMBS)
CONTROLS: Final[dict[str, tuple[Refused | Run, ...]]] = {
    "door-open": REFUSED[:3],
    "server-compiles": (),
    "limits-off": tuple(row for row in RUNS if row.name in ("more memory than the job has",)),
}
"""The rows that find a defect out."""


def control(disk: Path, defect: str) -> Told:
    """The campaign against a server or worker with a defect."""
    who = "worker_defects" if defect == "limits-off" else "server_defects"
    site = Site(disk, **{who: defect})
    try:
        return abuse(site, CONTROLS[defect])
    finally:
        site.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", metavar="WORDS", help="the rows with these words in their name")
    figures.offer(parser, DEFECTS)
    options = parser.parse_args()
    rows = [row for row in ROWS if (options.only or "") in row.name]
    with disk_dir() as disk:
        if options.control:
            told = control(disk, options.control)
        else:
            site = Site(disk)
            try:
                told = abuse(site, rows)
            finally:
                site.close()
    for line in told.violations:
        print(line)
    print(
        f"{told.cases} hostile modules, {len(told.violations)} violations, {told.seconds:.0f} s"
        + (f", with {options.control}" if options.control else "")
    )
    figures.leave(
        *(options.figures, "wasm-abuse", told.cases, len(told.violations), 1, told.seconds),
        control=options.control,
    )
    return int(bool(told.violations) != bool(options.control))


if __name__ == "__main__":
    sys.exit(main())
