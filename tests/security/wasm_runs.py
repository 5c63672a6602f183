"""Hostile modules that may be run, each with the end that its job must come to.

A job that must end by its timeout has a short one. `COMPILE_BOMBS` take more to compile than there
is; where that is tried with less of it, most end the same way and some are compiled in time.
"""

from typing import Any, Final

import msgspec
from wasm_refused import (
    EMPTY,
    FULL_BYTES,
    NOTHING,
    Make,
    built,
    counted,
    leb,
    ops,
    starts,
    wat,
    wide,
)

from headrace.wire.wasm import PREVIEW1, WASI_FUNCTIONS

COMPLETED: Final = "completed"
FAILED: Final = "failed"
TIMEOUT: Final = "timeout"
SHORT_S: Final = 0.2
"""The timeout of what would never end."""
TRAP: Final = "wasm_trap_"
OUT_OF_BOUNDS: Final = f"{TRAP}memory_out_of_bounds"
NO_POINTERS: Final = ("proc_exit", "proc_raise", "sched_yield")
FLAGS: Final[dict[str, tuple[int, ...]]] = {
    "clock_res_get": (0,),
    "clock_time_get": (0,),
    "fd_advise": (3,),
    "fd_fdstat_set_flags": (1,),
    "fd_filestat_set_times": (3,),
    "fd_seek": (2,),
    "path_filestat_get": (1,),
    "path_filestat_set_times": (1, 6),
    "path_link": (1,),
    "path_open": (1, 4, 7),
    "sock_accept": (1,),
    "sock_recv": (3,),
    "sock_send": (3,),
    "sock_shutdown": (1,),
}
"""Places of flags: with a bad one a call does not come as far as its pointers."""


class Run(msgspec.Struct, frozen=True):
    name: str
    make: Make
    status: str
    """Empty: it may complete, or fail with one of its codes, or else with `wasm_error`."""
    codes: tuple[str, ...] = ()
    """Any of these; none: the job has no code."""
    job: dict[str, Any] = {}
    """Further fields of the job."""
    result: Any = None
    """What the entry point returns."""
    is_cut: bool = False
    """It writes more than is kept of its output."""


def ends(name: str, make: Make, status: str, *codes: str, **job: Any) -> Run:
    return Run(name, make, status, codes, job)


def endless(name: str, make: Make) -> Run:
    """One that only its timeout ends."""
    return Run(name, make, TIMEOUT, ("timeout",), {"timeout": SHORT_S})


def returns(name: str, make: Make, result: Any, **job: Any) -> Run:
    return Run(name, make, COMPLETED, (), {"entry_point": "go", **job}, result)


# WASI ------------------------------------------------------------------------------------------

_TYPES: Final = {"i": "i32", "I": "i64"}


def wasi(*names: str) -> str:
    """Imports of these functions, each by its own name."""
    lines = []
    for name in names:
        params, results = WASI_FUNCTIONS[name].split(">")
        params = " ".join(_TYPES[letter] for letter in params)
        results = " ".join(_TYPES[letter] for letter in results)
        kind = f"(param {params}) (result {results})"
        lines.append(f'(import "{PREVIEW1}" "{name}" (func ${name} {kind}))')
    return " ".join(lines)


def program(names: str, body: str, pages: int = 1, more: str = "") -> Make:
    """A program with some of WASI: `_start` does `body`."""
    return wat(
        f'{wasi(*names.split())} (memory (export "memory") {pages}) {more}'
        f'(func $go (export "_start") (local $n i32) {body})'
    )


def asked(names: str, body: str, pages: int = 1) -> Make:
    """A program whose `go` returns a number."""
    return wat(
        f'{wasi(*names.split())} (memory (export "memory") {pages}) '
        f'(func (export "go") (result i32) (local $n i32) (local $found i32) {body})'
    )


def call(name: str, *values: int) -> str:
    """A call with these numbers, each of the type that the function has there."""
    params = WASI_FUNCTIONS[name].partition(">")[0]
    numbers = " ".join(
        f"({_TYPES[kind]}.const {value})" for kind, value in zip(params, values, strict=True)
    )
    return f"(call ${name} {numbers})"


def wild(name: str, first: int) -> Make:
    """A call whose pointers and lengths are all nearly 4 GiB, and whose flags are good."""
    params = WASI_FUNCTIONS[name].partition(">")[0]
    flags = FLAGS.get(name, ())
    values = [
        0 if kind == "I" or place in flags else -16 if place else first
        for place, kind in enumerate(params)
    ]
    return asked(name, call(name, *values))


def descriptors(name: str, arguments: str) -> Make:
    """Count for how many of 4,096 descriptors, beginning with 3, a call succeeds."""
    return asked(
        name,
        f"""(local.set $n (i32.const 3))
        (loop $next
          (if (i32.eqz (call ${name} (local.get $n) {arguments}))
            (then (local.set $found (i32.add (local.get $found) (i32.const 1)))))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $n) (i32.const 4099))))
        (local.get $found)""",
    )


ONE_LESS: Final = "(call $a (i32.sub (local.get 0) (i32.const 1)))"
FOREVER: Final = "(loop $l {body} (br $l))"


def flood(names: str, body: str, pages: int = 1) -> Make:
    return program(names, FOREVER.format(body=f"(drop {body})"), pages)


def writes(size: int, stream: int, times: str = "(br $l)", pages: int = 32) -> Make:
    """Write so many bytes, again and again or once."""
    return program(
        "fd_write",
        f"""(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {size}))
        (loop $l (drop {call("fd_write", stream, 0, 1, 32)}) {times})""",
        pages,
    )


def sleeps(nanoseconds: int, times: int = 1) -> Make:
    """Wait for a clock, by `times` subscriptions of 48 bytes."""
    fill = f"""(loop $l
      (i32.store (i32.add (i32.const 16) (i32.mul (local.get $n) (i32.const 48))) (i32.const 1))
      (i64.store (i32.add (i32.const 24) (i32.mul (local.get $n) (i32.const 48)))
        (i64.const {nanoseconds}))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $l (i32.lt_u (local.get $n) (i32.const {times}))))"""
    wait = f"(drop {call('poll_oneoff', 0, 1 << 22, times, 32)})"
    return program("poll_oneoff", f"{fill} (loop $w {wait} (br $w))", 128)


WIDE_RECURSION: Final = f"""(func $f (local {"i64 " * 1_000})
  {" ".join(f"(local.set {n} (i64.load (i32.const {n})))" for n in range(1_000))} (call $f)
  {" ".join(f"(i64.store (i32.const {n}) (local.get {n}))" for n in range(1_000))})"""
PATH: Final = "(i32.const 256) (i32.const 11)"

# The table -------------------------------------------------------------------------------------

ENDLESS: Final = (
    endless("a loop", starts("(loop br 0)")),
    endless("a loop that starts by itself", starts("nop", "(func $s (loop br 0)) (start $s)")),
    ends(
        "a loop in a reactor",
        wat('(func (export "_initialize") (loop br 0)) (func (export "go"))'),
        TIMEOUT,
        "timeout",
        timeout=SHORT_S,
        entry_point="go",
    ),
    endless("calls without end", starts("(loop (call $f) (br 0))", "(func $f)")),
    endless(
        "calls that double",
        starts(
            "(call $a (i32.const 60))",
            f"(func $a (param i32) (if (local.get 0) (then {ONE_LESS} {ONE_LESS})))",
        ),
    ),
    endless("calls in the place of calls", starts("(return_call $go)")),
    endless(
        "a table of branches that goes round", starts("(loop $l (br_table $l $l $l (i32.const 9)))")
    ),
    endless(
        "memory asked for without end", starts("(loop (drop (memory.grow (i32.const 1))) (br 0))")
    ),
    endless(
        "memory filled without end",
        starts("(loop (memory.fill (i32.const 0) (i32.const 7) (i32.const 65536)) (br 0))"),
    ),
    endless(
        "a table grown without end",
        starts(
            "(loop (drop (table.grow (ref.null func) (i32.const 1))) (br 0))", "(table 1 funcref)"
        ),
    ),
    endless("a year of sleep", sleeps(31_536_000_000_000_000)),
    endless("a sleep of 584 years", sleeps(-1)),
    endless("10,000 clocks", sleeps(-1, 10_000)),
    endless("sleeps of no time", sleeps(0)),
    endless("a flood of output", writes(65_536, 1)),
    endless("a flood of errors", writes(65_536, 2)),
    endless("a flood of single bytes", writes(1, 1)),
    endless("a flood of nothing", writes(0, 1)),
    endless("a flood of random numbers", flood("random_get", call("random_get", 0, 65_536))),
    endless(
        "a flood of questions for the time",
        flood("clock_time_get", call("clock_time_get", 0, 0, 0)),
    ),
    endless("a flood of turns given up", flood("sched_yield", "(call $sched_yield)")),
    endless("a flood of bad descriptors", flood("fd_write", call("fd_write", 99, 0, 1, 32))),
    endless(
        "a flood of files that are not there",
        flood("path_open", call("path_open", 3, 0, 0, 1, 0, 0, 0, 0, 0)),
    ),
    endless("an input that is read for ever", flood("fd_read", call("fd_read", 0, 0, 1, 32))),
)

TRAPS: Final = (
    ends("unreachable", starts("unreachable"), FAILED, f"{TRAP}unreachable"),
    ends(
        "a division by nothing",
        starts("(drop (i32.div_s (i32.const 1) (i32.const 0)))"),
        FAILED,
        f"{TRAP}integer_division_by_zero",
    ),
    ends(
        "a division that overflows",
        starts("(drop (i32.div_s (i32.const -2147483648) (i32.const -1)))"),
        FAILED,
        f"{TRAP}integer_overflow",
    ),
    ends(
        "a number that is none",
        starts("(drop (i32.trunc_f32_s (f32.const nan)))"),
        FAILED,
        f"{TRAP}bad_conversion_to_integer",
    ),
    ends("a load out of bounds", starts("(drop (i32.load (i32.const -4)))"), FAILED, OUT_OF_BOUNDS),
    ends(
        "a load beyond 4 GiB",
        starts("(drop (i32.load offset=4294967295 (i32.const -1)))"),
        FAILED,
        OUT_OF_BOUNDS,
    ),
    ends(
        "a store out of bounds",
        starts("(i64.store (i32.const 65532) (i64.const 1))"),
        FAILED,
        OUT_OF_BOUNDS,
    ),
    ends(
        "a copy out of bounds",
        starts("(memory.copy (i32.const 0) (i32.const 1) (i32.const -1))"),
        FAILED,
        OUT_OF_BOUNDS,
    ),
    ends(
        "data beyond the memory", starts("nop", '(data (i32.const -1) "x")'), FAILED, OUT_OF_BOUNDS
    ),
    ends(
        "a call of nothing",
        starts("(call_indirect (i32.const 0))", "(table 4 funcref)"),
        FAILED,
        f"{TRAP}indirect_call_to_null",
    ),
    ends(
        "a call beyond the table",
        starts("(call_indirect (i32.const -1))", "(table 4 funcref)"),
        FAILED,
        f"{TRAP}table_out_of_bounds",
    ),
    ends(
        "a call of the wrong type",
        starts(
            "(drop (call_indirect (result i64) (i32.const 0)))",
            "(table 4 funcref) (elem (i32.const 0) $go)",
        ),
        FAILED,
        f"{TRAP}bad_signature",
    ),
    ends(
        "elements beyond the table",
        starts("nop", "(table 1 funcref) (elem (i32.const 9) $go)"),
        FAILED,
        f"{TRAP}table_out_of_bounds",
    ),
    ends("recursion without end", starts("(call $go)"), FAILED, "wasm_stack_overflow"),
    ends(
        "recursion of two without end",
        starts("(call $b)", "(func $b (call $go))"),
        FAILED,
        "wasm_stack_overflow",
    ),
    ends(
        "recursion with 1,000 values",
        starts("(call $f)", WIDE_RECURSION),
        FAILED,
        "wasm_stack_overflow",
    ),
    ends(
        "a start that traps",
        starts("nop", "(func $s unreachable) (start $s)"),
        FAILED,
        f"{TRAP}unreachable",
    ),
)

BOUNDS: Final = (
    ends(
        "more memory than the job has",
        wat('(memory 4096) (func (export "_start"))'),
        FAILED,
        "wasm_memory_limit",
        requirements={"memory_mb": 64},
    ),
    ends(
        "4 GiB of memory",
        wat('(memory 65536) (func (export "_start"))'),
        FAILED,
        "wasm_memory_limit",
    ),
    returns(
        "4 GiB more memory",
        wat('(memory 1) (func (export "go") (result i32) (memory.grow (i32.const 65535)))'),
        -1,
    ),
    returns(
        "a table of 2^32",
        wat(
            '(table 1 funcref) (func (export "go") (result i32) '
            "(table.grow (ref.null func) (i32.const -1)))"
        ),
        -1,
    ),
    ends("exit code 0", program("proc_exit", "(call $proc_exit (i32.const 0))"), COMPLETED),
    ends(
        "exit code 1", program("proc_exit", "(call $proc_exit (i32.const 1))"), FAILED, "exit_code"
    ),
    ends(
        "exit code 125",
        program("proc_exit", "(call $proc_exit (i32.const 125))"),
        FAILED,
        "exit_code",
    ),
    ends(
        "exit code 126",
        program("proc_exit", "(call $proc_exit (i32.const 126))"),
        FAILED,
        "wasm_exit_code_invalid",
    ),
    ends(
        "exit code -1",
        program("proc_exit", "(call $proc_exit (i32.const -1))"),
        FAILED,
        "wasm_exit_code_invalid",
    ),
    ends(
        "an exit before it starts",
        program("proc_exit", "nop", 1, "(func $s (call $proc_exit (i32.const 3))) (start $s)"),
        FAILED,
        "exit_code",
    ),
    ends(
        "a signal that is not there",
        program("proc_raise", f"(drop {call('proc_raise', 9)})"),
        COMPLETED,
    ),
    Run("output of 32 MiB", writes(32 << 20, 1, "", 1_024), COMPLETED, is_cut=True),
    ends("errors of 32 MiB", writes(32 << 20, 2, "", 1_024), COMPLETED),
    ends(
        "1,000 results",
        wat(f'(func (export "_start") (result {"i64 " * 1_000}) {"(i64.const -1) " * 1_000})'),
        COMPLETED,
    ),
    ends(
        "results that JSON lacks",
        wat('(func (export "_start") (result f64 f32) (f64.const nan) (f32.const inf))'),
        COMPLETED,
    ),
    ends(
        "1,024 arguments of 500 bytes",
        program(
            "args_sizes_get args_get",
            f"(drop {call('args_sizes_get', 0, 4)}) (drop {call('args_get', 4096, 65536)})",
            32,
        ),
        COMPLETED,
        arguments=["a" * 500] * 1_024,
    ),
    ends(
        "arguments without room for them",
        program("args_get", f"(drop {call('args_get', 0, 65_000)})"),
        FAILED,
        "wasm_error",
        arguments=["a" * 500] * 1_024,
    ),
    ends(
        "256 variables of 2,000 bytes",
        program(
            "environ_sizes_get environ_get",
            f"(drop {call('environ_sizes_get', 0, 4)}) (drop {call('environ_get', 4096, 65536)})",
            32,
        ),
        COMPLETED,
        environment={f"V{n}": "v" * 2_000 for n in range(256)},
    ),
    ends("input that nobody reads", starts("nop"), COMPLETED, stdin="i" * 900_000),
    ends(
        "random numbers of 1 GiB",
        program("random_get", f"(drop {call('random_get', 0, 1 << 30)})", 16_384),
        FAILED,
        "wasm_error",
        timeout=1,
        requirements={"memory_mb": 1_100},
    ),
    ends(
        "20,000,000 subscriptions",
        program("poll_oneoff", f"(drop {call('poll_oneoff', 0, 0, 20_000_000, 0)})", 16_384),
        COMPLETED,
        timeout=1,
        requirements={"memory_mb": 1_100},
    ),
    ends("a clock and 10,000 of nothing", sleeps(1, 10_000), TIMEOUT, "timeout", timeout=SHORT_S),
    ends(
        "10,000 exports",
        starts("nop", " ".join(f'(export "f{n}" (func $go))' for n in range(9_998))),
        COMPLETED,
    ),
    ends("10,000 blocks in each other", ops(b"\x02\x40" * 10_000 + b"\x0b" * 10_000), COMPLETED),
    ends(
        "100,000 pieces of data",
        lambda: built({5: b"\x01\0\x01", 11: counted([b"\0\x41\0\x0b\x01x"] * 100_000)}),
        COMPLETED,
    ),
)

SELF: Final = (
    returns(
        "no arguments but its name",
        asked("args_sizes_get", f"(drop {call('args_sizes_get', 0, 4)}) (i32.load (i32.const 0))"),
        1,
    ),
    returns(
        "nothing of the worker's environment",
        asked(
            "environ_sizes_get",
            f"(drop {call('environ_sizes_get', 0, 4)}) (i32.load (i32.const 0))",
        ),
        0,
    ),
    returns("no preopened directories", descriptors("fd_prestat_get", "(i32.const 0)"), 0),
    returns(
        "no names of directories",
        descriptors("fd_prestat_dir_name", "(i32.const 0) (i32.const 8)"),
        0,
    ),
    returns("no open files", descriptors("fd_fdstat_get", "(i32.const 0)"), 0),
    returns(
        "no files to read", descriptors("fd_read", "(i32.const 0) (i32.const 1) (i32.const 32)"), 0
    ),
    returns(
        "no files to write",
        descriptors("fd_write", "(i32.const 0) (i32.const 1) (i32.const 32)"),
        0,
    ),
    returns("no files to close", descriptors("fd_close", ""), 0),
    returns(
        "no directories to list",
        descriptors("fd_readdir", "(i32.const 64) (i32.const 64) (i64.const 0) (i32.const 32)"),
        0,
    ),
    returns(
        "no files to open",
        descriptors(
            "path_open",
            f"(i32.const 0) {PATH} (i32.const 0) (i64.const 0) (i64.const 0) "
            "(i32.const 0) (i32.const 32)",
        ),
        0,
    ),
    returns(
        "no files to make",
        descriptors("path_create_directory", "(i32.const 256) (i32.const 11)"),
        0,
    ),
    returns(
        "no files to remove", descriptors("path_unlink_file", "(i32.const 256) (i32.const 11)"), 0
    ),
    returns(
        "no links to follow",
        descriptors(
            "path_readlink",
            "(i32.const 256) (i32.const 11) (i32.const 512) (i32.const 64) (i32.const 32)",
        ),
        0,
    ),
    returns(
        "no files to ask about",
        descriptors(
            "path_filestat_get", "(i32.const 1) (i32.const 256) (i32.const 11) (i32.const 512)"
        ),
        0,
    ),
    returns(
        "no sockets to accept from", descriptors("sock_accept", "(i32.const 0) (i32.const 32)"), 0
    ),
    returns(
        "no sockets to read",
        descriptors(
            "sock_recv", "(i32.const 0) (i32.const 1) (i32.const 0) (i32.const 32) (i32.const 36)"
        ),
        0,
    ),
    returns(
        "no sockets to write",
        descriptors("sock_send", "(i32.const 0) (i32.const 1) (i32.const 0) (i32.const 32)"),
        0,
    ),
    returns("no sockets to shut", descriptors("sock_shutdown", "(i32.const 3)"), 0),
)

WILD: Final = tuple(
    Run(f"{name} of {first} with wild pointers", wild(name, first), "", (), {"entry_point": "go"})
    for name in WASI_FUNCTIONS
    if name not in NO_POINTERS
    for first in ((1, -16) if name.startswith(("fd_", "path_", "sock_")) else (-16,))
)

RUNS: Final = (*ENDLESS, *TRAPS, *BOUNDS, *SELF, *WILD)


# Modules of a few bytes or megabytes that no compiler is through with in time.


def many_locals() -> bytes:
    """20,000 functions of eight bytes, each with 50,000 locals."""
    return built(bodies=[b"\x01" + leb(50_000) + b"\x7e\x0b"] * 19_000)


def deep_blocks() -> bytes:
    depth = FULL_BYTES // 3
    return built(bodies=[b"\0" + b"\x02\x40" * depth + b"\x0b" * depth + b"\x0b"] * 15)


def long_sums() -> bytes:
    return built(bodies=[b"\0\x41\1" + b"\x41\1\x6a" * (FULL_BYTES // 3) + b"\x1a\x0b"] * 15)


def loops_of_locals(values: int, loops: int, *, nested: bool) -> bytes:
    """Each local may change in each loop: a table of both is filled."""
    moves = b"".join(b"\x20" + leb((n + 1) % values) + b"\x21" + leb(n) for n in range(values))
    again = b"\x20\0\x0d\0\x0b"
    inner = b"\x03\x40" * loops + moves + again * loops
    if not nested:
        inner = b"\x03\x40" + moves + (b"\x03\x40" + again) * loops + again
    return built(bodies=[b"\x01" + leb(values) + b"\x7f" + inner + b"\x0b"])


def blocks_of_values() -> bytes:
    values = 32
    blocks = b"\x02\x01\x0b" * (FULL_BYTES // 3)
    body = b"\0" + b"\x41\0" * values + blocks + b"\x1a" * values + b"\x0b"
    return built({1: counted([NOTHING, wide(values, values)])}, [body] * 15)


LIMIT: Final = "module_compile_limit"
COMPILE_BOMBS: Final = (
    ends("a billion locals", many_locals, FAILED, LIMIT),
    # A quick machine is through with these two in seven seconds.
    ends("80,000 blocks in each other", deep_blocks, "", LIMIT),
    ends("sums of 80,000 numbers", long_sums, "", LIMIT),
    ends(
        "30,000 loops over 1,000 locals",
        lambda: loops_of_locals(1_000, 30_000, nested=False),
        FAILED,
        LIMIT,
    ),
    ends(
        "30,000 nested loops over 1,000 locals",
        lambda: loops_of_locals(1_000, 30_000, nested=True),
        FAILED,
        LIMIT,
    ),
    ends(
        "1,000 loops over 10,000 locals",
        lambda: loops_of_locals(10_000, 1_000, nested=True),
        FAILED,
        LIMIT,
    ),
    ends("80,000 blocks of 32 values", blocks_of_values, FAILED, LIMIT),
    ends("20,000 functions", lambda: built(bodies=[EMPTY] * 19_999), COMPLETED),
)
