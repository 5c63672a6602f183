"""Validation of uploads by wasmtime, with the sandbox's features."""

import threading
from pathlib import Path

import pytest
import wasmtime

from headrace.runtime.modules import validate_bytes
from headrace.wire.wasm import ModuleRefused


def test_valid_module_is_accepted_with_its_outline() -> None:
    data = bytes(wasmtime.wat2wasm('(module (func (export "_start")))'))
    assert validate_bytes(data).function_exports == {"_start": (0, 0)}


def test_published_modules_are_accepted(wasm_dir: Path) -> None:
    for file in ("quickjs.wasm", "boolector.wasm", "pipe_reverse.wasm"):
        validate_bytes((wasm_dir / file).read_bytes())


def test_wrong_instructions_are_refused() -> None:
    data = bytearray(wasmtime.wat2wasm('(module (func (export "_start") i32.const 1 drop))'))
    data[-4] = 0x45  # `i32.const` becomes `i32.eqz` with nothing to test
    with pytest.raises(ModuleRefused) as caught:
        validate_bytes(bytes(data))
    assert caught.value.code == "module_malformed"


def test_instructions_of_a_feature_that_is_off_are_refused() -> None:
    text = """(module (func (export "_start")
      (drop (f32x4.relaxed_min (v128.const i32x4 0 0 0 0) (v128.const i32x4 0 0 0 0)))))"""
    with pytest.raises(ModuleRefused) as caught:
        validate_bytes(bytes(wasmtime.wat2wasm(text)))
    assert caught.value.code == "module_malformed"


def test_outline_is_checked_first() -> None:
    with pytest.raises(ModuleRefused) as caught:
        validate_bytes(b"(module)")
    assert caught.value.code == "module_not_wasm"


def test_threads_may_validate_at_the_same_time() -> None:
    data = bytes(wasmtime.wat2wasm('(module (func (export "_start")))'))
    passed = []

    def validate() -> None:
        for _ in range(20):
            validate_bytes(data)
        passed.append(True)

    threads = [threading.Thread(target=validate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 4
