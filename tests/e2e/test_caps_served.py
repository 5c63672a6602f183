"""Caps of results and output, as an operator sets them: told to workers, and held by the server."""

import base64
import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import wasmtime
from processes import HEADRACE, Process, Server

pytestmark = pytest.mark.e2e

HANDLERS = Path(__file__).with_name("hostile_handlers.py")
CAP = 1_024
WRITES_2000_BYTES = wasmtime.wat2wasm("""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 2000))
    (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))""")


def test_a_worker_and_a_stranger_are_held_to_the_caps(
    serve: Callable[..., Server], disk: Path
) -> None:
    server = serve("--result-max", "1KiB", "--output-max", "1KiB")
    asked = {"worker": "stranger", "wait": "10s", "serve": {"types": ["strange"]}}
    polled = {**asked, "free": {"cpu_cores": 1, "memory_mb": 1_000}, "max_jobs": 1}
    strange = server.submit(type="strange")
    status, answer = server.ask("POST", "/api/v1/work/poll", polled)
    assert (status, answer["result_max"], answer["output_max"]) == (200, CAP, CAP)
    lease = answer["jobs"][0]["lease"]
    output = base64.b64encode(bytes(2_000)).decode()
    large = {"result": "x" * CAP, "output": output}
    status, answer = server.ask("POST", f"/api/v1/leases/{lease}/complete", large)
    assert (status, answer["status"]) == (200, "failed"), answer
    with ExitStack() as stack:
        command = [*HEADRACE, "work", str(HANDLERS), "--url", server.url]
        worker = Process([*command, "--cache", str(disk / "cache")], disk / "worker.log")
        stack.callback(worker.kill)
        sha256 = hashlib.sha256(WRITES_2000_BYTES).hexdigest()
        kind = {"Content-Type": "application/wasm"}
        put = server.ask("PUT", f"/api/v1/modules/{sha256}", bytes(WRITES_2000_BYTES), headers=kind)
        assert put[0] in (200, 201)
        writer = server.submit(wasm_sha256=sha256, requirements={"cpu_cores": 0.1, "memory_mb": 64})
        fits = server.submit(type="good-thread", params="x" * (CAP - 2))
        beyond = server.submit(type="good-thread", params="x" * (CAP - 1))
        assert server.wait_status(fits, "completed", "failed")["job"]["status"] == "completed"
        for job_id in (beyond, strange):
            ended = server.wait_status(job_id, "completed", "failed")
            told = (ended["job"]["status"], ended["result"]["code"], ended["job"]["attempt"])
            assert told == ("failed", "result_too_large", 1)
            assert ended["result"].get("result") is None
        for job_id, ends in ((writer, "completed"), (strange, "failed")):
            ended = server.wait_status(job_id, "completed", "failed")
            assert (ended["job"]["status"], ended["result"]["output_cut"]) == (ends, True)
            assert len(base64.b64decode(ended["result"]["output"])) == CAP
