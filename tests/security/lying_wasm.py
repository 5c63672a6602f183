"""A server or a worker without some of its limits: the control of the abuse by WASM modules.

    DEFECTS=door-open,server-compiles python tests/security/lying_wasm.py serve …
    DEFECTS=limits-off python tests/security/lying_wasm.py work …

door-open         what is refused is kept like any module
server-compiles   a module is compiled where it is checked
limits-off        jobs get all the memory, time and output that there is
"""

import os
import sys
from typing import Any, Final

import msgspec
import wasmtime

from headrace.cli import main
from headrace.http import modules
from headrace.runtime.modules import _engine
from headrace.wire.wasm import ModuleInfo, ModuleRefused
from headrace.worker import wasm_job, wasm_runner

DEFECTS: Final = os.environ["DEFECTS"].split(",")
COMPILED: Final[list[wasmtime.Module]] = []
_checked = modules._validated
_job_of = wasm_job.job_of


def keep_all(data: bytes) -> ModuleInfo:
    try:
        return _checked(data)
    except (modules.Problem, ModuleRefused):
        return ModuleInfo(
            size_bytes=len(data),
            functions=0,
            imports=(),
            exports={"_start": "function"},
            function_exports={"_start": (0, 0)},
            memory_pages_min=0,
            memory_pages_max=None,
            has_start=False,
        )


def compile_too(data: bytes) -> ModuleInfo:
    COMPILED.append(wasmtime.Module(_engine(), "(module (func))"))
    return keep_all(data) if "door-open" in DEFECTS else _checked(data)


def without_limits(*args: Any) -> wasm_runner.WasmJob:
    return msgspec.structs.replace(
        _job_of(*args),
        memory_mb=4_096,
        timeout_ms=3_600_000,
        output_bytes_max=wasm_runner.OUTPUT_BYTES_MAX,
    )


if "door-open" in DEFECTS:
    modules._validated = keep_all
if "server-compiles" in DEFECTS:
    modules._validated = compile_too
if "limits-off" in DEFECTS:
    wasm_job.job_of = without_limits

if __name__ == "__main__":
    sys.exit(main())
