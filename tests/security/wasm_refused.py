"""Hostile modules that nobody may run, each with the code that it is refused with.

They are made of bytes or of text when they are asked for. The door sees each of them, and so does
the sandbox, as if no door had been there.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import wasmtime

from headrace.wire import wasm
from headrace.wire.limits import KIB, MODULE_BYTES_MAX

Make = Callable[[], bytes]

NOT_WASM: Final = "module_not_wasm"
MALFORMED: Final = "module_malformed"
TOO_LARGE: Final = "module_too_large"
UNSUPPORTED: Final = "module_feature_unsupported"
UNKNOWN: Final = "module_import_unknown"
NO_ENTRY: Final = "module_entry_point_missing"


class Refused(msgspec.Struct, frozen=True):
    name: str
    make: Make
    code: str


# What modules are put together of --------------------------------------------------------------

HEADER: Final = b"\0asm\x01\0\0\0"
ORDER: Final = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11)
NOTHING: Final = b"\x60\0\0"
"""The type of a function that takes and gives nothing."""
EMPTY: Final = b"\0\x0b"
"""The body of one that does nothing."""
HUGE: Final = b"\xff\xff\xff\xff\x0f"
"""2^32 - 1."""
FULL_BYTES: Final = 250 * KIB
"""Of a body, nearly as many as there may be; fifteen of them make a module."""


def leb(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def counted(items: Iterable[bytes]) -> bytes:
    listed = list(items)
    return leb(len(listed)) + b"".join(listed)


def text(value: bytes) -> bytes:
    return leb(len(value)) + value


def section(number: int, body: bytes) -> bytes:
    return bytes([number]) + text(body)


def wide(params: int, results: int) -> bytes:
    """The type of a function with so many values."""
    return b"\x60" + leb(params) + b"\x7f" * params + leb(results) + b"\x7f" * results


def built(parts: dict[int, bytes] | None = None, bodies: Iterable[bytes] = ()) -> bytes:
    """A module with these sections; the others are those of one that does nothing.

    Its first function is the entry point; `bodies` come behind it.
    """
    all_bodies = [EMPTY, *bodies]
    sections = {
        1: counted([NOTHING]),
        3: counted([b"\0"] * len(all_bodies)),
        7: counted([text(b"_start") + b"\0\0"]),
        10: counted(text(body) for body in all_bodies),
        **(parts or {}),
    }
    return HEADER + b"".join(
        section(number, sections[number]) for number in ORDER if number in sections
    )


def put(number: int, body: bytes) -> Make:
    return lambda: built({number: body})


def raw(body: bytes) -> Make:
    return lambda: HEADER + body


def wat(source: str) -> Make:
    return lambda: bytes(wasmtime.wat2wasm(f"(module {source})"))


def starts(body: str, more: str = "") -> Make:
    return wat(f'(memory (export "memory") 1) {more} (func $go (export "_start") {body})')


def ops(instructions: bytes, local_groups: bytes = b"\0") -> Make:
    return lambda: built(bodies=[local_groups + instructions + b"\x0b"])


def imports(*items: bytes) -> Make:
    return put(2, counted(items))


# A minute of the server's time for each: validators look at every value of a type.


def wide_branches() -> bytes:
    values = 1_000
    targets = b"\x0e" + leb(FULL_BYTES) + bytes(FULL_BYTES + 1)
    body = b"\0\x02\x01" + b"\x41\0" * (values + 1) + targets + b"\x0b" + b"\x1a" * values + b"\x0b"
    return built({1: counted([NOTHING, wide(0, values)])}, [body] * 15)


def wide_blocks() -> bytes:
    values = 1_000
    blocks = b"\x02\x01\x0b" * (FULL_BYTES // 3)
    body = b"\0" + b"\x41\0" * values + blocks + b"\x1a" * values + b"\x0b"
    return built({1: counted([NOTHING, wide(values, values)])}, [body] * 15)


def wide_calls() -> bytes:
    """Behind `unreachable`, calls of any width need nothing on the stack."""
    body = b"\0\0" + b"\x10\0" * (FULL_BYTES // 2) + b"\x0b"
    exported = counted([text(b"_start") + b"\0\x01"])
    types = {1: counted([wide(1_000, 0), NOTHING]), 3: counted([b"\0", *[b"\x01"] * 15])}
    return built({**types, 7: exported}, [body] * 15)


WASI: Final = wasm.PREVIEW1.encode()

# The table -------------------------------------------------------------------------------------

NO_MODULES: Final = (
    Refused("only the magic number", lambda: b"\0asm", NOT_WASM),
    Refused("half of the magic number", lambda: b"\0as", NOT_WASM),
    Refused("text instead of bytes", lambda: b'(module (func (export "_start")))', NOT_WASM),
    Refused("a component", lambda: b"\0asm\x0d\0\x01\0", NOT_WASM),
    Refused("version 2", lambda: b"\0asm\x02\0\0\0", NOT_WASM),
    Refused("a program for the machine", lambda: b"\x7fELF" + bytes(200), NOT_WASM),
    Refused("a compressed module", lambda: b"\x1f\x8b\x08\0" + bytes(60), NOT_WASM),
    Refused("a module twice", lambda: built() + built(), MALFORMED),
    Refused("a byte more than any may have", lambda: HEADER.ljust(MODULE_BYTES_MAX + 1), TOO_LARGE),
)

OUTLINES: Final = (
    Refused("a section without a length", raw(b"\x01"), MALFORMED),
    Refused("a section cut short", raw(b"\x01\x05\x01"), MALFORMED),
    Refused("a section of 4 GiB", raw(b"\x01" + HUGE), MALFORMED),
    Refused("a length in six bytes", raw(b"\x01\x80\x80\x80\x80\x80\0"), MALFORMED),
    Refused("a length of 35 bits", raw(b"\x01\xff\xff\xff\xff\x7f"), MALFORMED),
    Refused("a length without an end", raw(b"\x01" + b"\x80" * 10_000), MALFORMED),
    Refused("a section that nobody knows", raw(section(14, b"")), MALFORMED),
    Refused("a section twice", raw(section(1, b"\0") * 2), MALFORMED),
    Refused("sections out of order", raw(section(3, b"\0") + section(1, b"\0")), MALFORMED),
    Refused("bytes behind the last item", put(1, counted([NOTHING]) + b"\0"), MALFORMED),
    Refused("an item too few", put(1, b"\x02" + NOTHING), MALFORMED),
    Refused("a custom section without a name", raw(section(0, b"")), MALFORMED),
    Refused("a custom name cut short", raw(section(0, b"\x05ab")), MALFORMED),
    Refused("a custom name that is not UTF-8", raw(section(0, b"\x02\xff\xfe")), MALFORMED),
    Refused("a million custom sections", lambda: HEADER + b"\0\x01\0" * 1_398_000, TOO_LARGE),
    *(Refused(f"2^32 items in section {n}", put(n, HUGE), TOO_LARGE) for n in (1, 2, 3, 4, 7, 10)),
    *(Refused(f"2^32 items in section {n}", put(n, HUGE), MALFORMED) for n in (6, 9, 11, 12)),
)

TYPES: Final = (
    Refused("a million types", lambda: built({1: counted([NOTHING] * 1_000_000)}), TOO_LARGE),
    Refused("a type of 1,001 values", put(1, counted([wide(1_001, 0)])), TOO_LARGE),
    Refused("a type with 2^32 values", put(1, b"\x01\x60" + HUGE), TOO_LARGE),
    Refused("a value type that nobody knows", put(1, b"\x01\x60\x01\x01\0"), UNSUPPORTED),
    Refused("a struct of garbage collection", wat("(type (struct (field i32)))"), UNSUPPORTED),
    Refused("types that mean each other", wat("(rec (type (func)) (type (func)))"), UNSUPPORTED),
    Refused("a reference from outside", wat("(func (param externref))"), UNSUPPORTED),
    Refused("a typed reference", wat("(type $t (func)) (func (param (ref $t)))"), UNSUPPORTED),
    Refused("branches with 1,000 values", wide_branches, TOO_LARGE),
    Refused("blocks with 1,000 values", wide_blocks, TOO_LARGE),
    Refused("calls with 1,000 values", wide_calls, TOO_LARGE),
)

IMPORTS: Final = (
    Refused("a function of nobody", wat('(import "env" "exit" (func))'), UNKNOWN),
    Refused("a function of preview 0", wat('(import "wasi_unstable" "fd_write" (func))'), UNKNOWN),
    Refused(
        "a signature that is not WASI's",
        wat('(import "wasi_snapshot_preview1" "fd_write" (func (param i64)))'),
        UNKNOWN,
    ),
    Refused("somebody's memory", wat('(import "env" "memory" (memory 1))'), UNKNOWN),
    Refused("somebody's global", wat('(import "env" "g" (global i32))'), UNKNOWN),
    Refused("somebody's table", wat('(import "env" "t" (table 1 funcref))'), UNKNOWN),
    Refused(
        "a million imports", imports(*[text(b"a") + text(b"b") + b"\0\0"] * 500_000), TOO_LARGE
    ),
    Refused("an import of no type", imports(text(WASI) + text(b"fd_write") + b"\0\x07"), MALFORMED),
    Refused("a name that is not UTF-8", imports(b"\x02\xc3\x28" + text(b"b") + b"\0\0"), MALFORMED),
    Refused("a name of 1 MiB", imports(text(b"a" * 1_000_000) + text(b"b") + b"\0\0"), TOO_LARGE),
    Refused("a name of 4 GiB", put(2, b"\x01" + HUGE), MALFORMED),
    Refused(
        "a name that writes to the terminal",
        imports(text(b"\x1b[2J\r\n\0") + text(b"b" * 4_000) + b"\0\0"),
        UNKNOWN,
    ),
)

FUNCTIONS: Final = (
    Refused("a million functions", lambda: built({3: counted([b"\0"] * 1_000_000)}), TOO_LARGE),
    Refused("20,001 functions", lambda: built(bodies=[EMPTY] * wasm.FUNCTIONS_MAX), TOO_LARGE),
    Refused("a function without a body", put(3, counted([b"\0"] * 2)), MALFORMED),
    Refused("a body without a function", put(10, counted([text(EMPTY)] * 2)), MALFORMED),
    Refused("a body cut short", put(10, b"\x01\x05" + EMPTY), MALFORMED),
    Refused("a body of 4 GiB", put(10, b"\x01" + HUGE), MALFORMED),
    Refused("a body of a MiB", ops(b"\x01" * (1 << 20)), TOO_LARGE),
    Refused("a function of no type", put(3, b"\x01\x09"), MALFORMED),
    Refused("a million locals", ops(b"", b"\x01" + leb(1_000_000) + b"\x7f"), MALFORMED),
    Refused("2^32 locals", ops(b"", b"\x01" + HUGE + b"\x7f"), MALFORMED),
    Refused("2^33 locals in parts", ops(b"", b"\x02" + (HUGE + b"\x7f") * 2), MALFORMED),
    Refused("2^32 groups of locals", ops(b"", HUGE), MALFORMED),
    Refused("a body without an end", put(10, counted([text(b"\0")])), MALFORMED),
    Refused("100,000 blocks without an end", ops(b"\x02\x40" * 100_000), MALFORMED),
    Refused("ends without blocks", ops(b"\x0b" * 1_000), MALFORMED),
    Refused("an instruction that nobody knows", ops(b"\x27"), MALFORMED),
    Refused("nothing on the stack", ops(b"\x6a"), MALFORMED),
    Refused("something left on the stack", ops(b"\x41\0"), MALFORMED),
    Refused("a number of the wrong type", ops(b"\x42\0\x41\0\x6a\x1a"), MALFORMED),
    Refused("a constant in eleven bytes", ops(b"\x42" + b"\x80" * 10 + b"\0\x1a"), MALFORMED),
    Refused("a branch to nowhere", ops(b"\x0c\x05"), MALFORMED),
    Refused("a table of 2^32 branches", ops(b"\x41\0\x0e" + HUGE), MALFORMED),
    Refused("a table of branches to nowhere", ops(b"\x41\0\x0e\x01\x07\x07"), MALFORMED),
    Refused("a call of nobody", ops(b"\x10\x63"), MALFORMED),
    Refused("a call through no table", ops(b"\x41\0\x11\0\0"), MALFORMED),
    Refused("a local that is not there", ops(b"\x20\x01\x1a"), MALFORMED),
    Refused("memory without a memory", ops(b"\x41\0\x28\x02\0\x1a"), MALFORMED),
    Refused(
        "an alignment of 2^31",
        starts("", "(func (drop (i32.load align=4 (i64.const 0))))"),
        MALFORMED,
    ),
)

SPACES: Final = (
    Refused("a memory of more than 4 GiB", put(5, b"\x01\0\x81\x80\x04"), MALFORMED),
    Refused("a memory of 2^32 pages", put(5, b"\x01\0" + HUGE), MALFORMED),
    Refused("a memory with less than its least", put(5, b"\x01\x01\x02\x01"), MALFORMED),
    Refused("2^32 memories", put(5, HUGE), UNSUPPORTED),
    Refused("two memories", wat("(memory 1) (memory 1)"), UNSUPPORTED),
    Refused("a memory of 64 bits", wat("(memory i64 1)"), UNSUPPORTED),
    Refused("a memory for threads", wat("(memory 1 2 shared)"), UNSUPPORTED),
    Refused("pages of a byte", wat("(memory 1 (pagesize 1))"), UNSUPPORTED),
    Refused("a table of 10,000,000", wat("(table 10000000 funcref)"), TOO_LARGE),
    Refused("five tables", wat("(table 1 funcref) " * 5), TOO_LARGE),
    Refused("a table of anything", wat("(table 1 externref)"), UNSUPPORTED),
    Refused("a table of 64 bits", wat("(table i64 1 funcref)"), UNSUPPORTED),
    Refused("a table with less than its least", put(4, b"\x01\x70\x01\x05\x01"), MALFORMED),
    Refused("a global that is made of nothing", put(6, b"\x01\x7f\0\x0b"), MALFORMED),
    Refused("a global made of one to come", put(6, b"\x01\x7f\0\x23\x05\x0b"), MALFORMED),
    Refused("functions in no table", put(9, b"\x01\0\x41\0\x0b\x01\0"), MALFORMED),
    Refused("2^32 functions in a table", put(9, b"\x01\x01\0" + HUGE), MALFORMED),
    Refused("a function in a table that is not there", put(9, b"\x01\x01\0\x01\x09"), MALFORMED),
    Refused("data for no memory", put(11, b"\x01\0\x41\0\x0b\x01x"), MALFORMED),
    Refused("data of 4 GiB", put(11, b"\x01\x01" + HUGE), MALFORMED),
    Refused(
        "more data than counted", lambda: built({12: b"\x01", 11: b"\x02\x01\0\x01\0"}), MALFORMED
    ),
    Refused(
        "100,001 pieces of data", lambda: built({11: counted([b"\x01\0"] * 100_001)}), MALFORMED
    ),
    Refused("a tag of exceptions", wat("(tag)"), UNSUPPORTED),
)

EXPORTS: Final = (
    Refused("a name twice", put(7, counted([text(b"m") + b"\0\0"] * 2)), MALFORMED),
    Refused("a function that is not there", put(7, counted([text(b"m") + b"\0\x09"])), MALFORMED),
    Refused(
        "a memory that is not there",
        put(7, counted([text(b"_start") + b"\0\0", text(b"m") + b"\x02\0"])),
        MALFORMED,
    ),
    Refused("a kind that is not there", put(7, counted([text(b"m") + b"\x05\0"])), MALFORMED),
    Refused("an exported tag", put(7, counted([text(b"m") + b"\x04\0"])), UNSUPPORTED),
    Refused("an exported name that is not UTF-8", put(7, b"\x01\x02\xff\xfe\0\0"), MALFORMED),
    Refused("a million exports", put(7, counted([b"\0\0\0"] * 1_000_000)), TOO_LARGE),
    Refused("no entry point", put(7, b"\0"), NO_ENTRY),
    Refused("a memory for an entry point", wat('(memory (export "_start") 1)'), NO_ENTRY),
    Refused(
        "an entry point with parameters", wat('(func (export "_start") (param i32))'), NO_ENTRY
    ),
    Refused("a start that is not there", put(8, b"\x09"), MALFORMED),
    Refused("a start with parameters", wat("(func $s (param i32)) (start $s)"), MALFORMED),
)

FEATURES: Final = (
    Refused("atomics", starts("(drop (i32.atomic.load (i32.const 0)))"), MALFORMED),
    Refused("exceptions", ops(b"\x06\x40\x19\x0b"), MALFORMED),
    Refused("a reference counted elsewhere", ops(b"\x41\0\xfb\x1c\x1a"), MALFORMED),
    Refused("a call by reference", ops(b"\x14\0"), MALFORMED),
    Refused("vectors that may round as they like", ops(b"\xfd\x80\x02"), MALFORMED),
    Refused("wide arithmetic", ops(b"\x42\0\x42\0\xfc\x15\x1a\x1a"), MALFORMED),
    Refused("another stack", ops(b"\xe0\0"), MALFORMED),
)

REFUSED: Final = (
    *NO_MODULES,
    *OUTLINES,
    *TYPES,
    *IMPORTS,
    *FUNCTIONS,
    *SPACES,
    *EXPORTS,
    *FEATURES,
)
assert len({one.name for one in REFUSED}) == len(REFUSED), "each has a name of its own"
