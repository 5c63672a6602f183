"""What the runner and its sandbox process say to each other.

Shape: a frame is four bytes of length, little endian, then one msgpack array. The runner sends
`Run`; the sandbox answers with any number of `Output` frames and one `Done`. Before that it sends
`Loaded` when the module was not in its memory, or `Need` when it lacks the module's bytes and the
runner is to send the same job again with them. One job at a time, so frames carry no job id.

The sandbox runs code of strangers: the runner bounds and type-checks all that it receives.
"""

import struct
from typing import Final

import msgspec

from headrace.wire.limits import MODULE_BYTES_MAX, SPEC_BYTES_MAX

LENGTH: Final = struct.Struct("<I")
FRAME_BYTES_MAX: Final = MODULE_BYTES_MAX + 16 * SPEC_BYTES_MAX  # a module and a job's input
REPLY_BYTES_MAX: Final = 1 << 20  # a sandbox flushes its output long before this
FLUSH_BYTES: Final = 32 << 10
"""Output kept back at most; more is sent at once."""
FLUSH_S: Final = 0.02
"""Output is kept back this long at most, so that a short job answers in one frame."""
COMPILE_CPU_S_MAX: Final = 10
"""Processor time to compile one module, which the sandbox keeps to."""
COMPILE_S_MAX: Final = 60
"""And the time it may take on a busy machine, after which the runner ends the sandbox."""
ERROR_CHARS_MAX: Final = 4_096

assert FLUSH_BYTES * 4 < REPLY_BYTES_MAX

STDOUT: Final = 1
STDERR: Final = 2
STREAM_NAMES: Final = {STDOUT: "stdout", STDERR: "stderr"}


class Run(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One job. `arguments` begins with the program's name."""

    sha256: str
    module: bytes | None  # None: the sandbox is believed to have it
    entry_point: str
    arguments: list[str]
    environment: list[tuple[str, str]]
    stdin: bytes
    memory_bytes: int
    timeout_ms: int
    output_bytes_max: int  # for each stream


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=0, gc=False):
    """The process is locked down and warm, or cannot be. Said once, first."""

    wasmtime: str
    wall: list[str]  # what the kernel enforces: "landlock 6", "seccomp"
    problem: str = ""  # why it cannot be


class Need(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """The module is not here; nothing of the job has run."""


class Loaded(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """The module is ready; the job's time starts now."""

    compile_ms: float
    cache_hit: bool  # taken from the compiled-code cache on disk


class Output(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """Bytes the job wrote, in the order of writing."""

    chunks: list[tuple[int, bytes]]  # stream, bytes


class Done(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """The end of a job. `outcome`: completed, failed or timeout."""

    outcome: str
    exit_code: int | None
    code: str | None  # why, for programs; None when completed
    error: str | None  # why, for people
    returned: list[int | float]
    chunks: list[tuple[int, bytes]]  # output not sent before
    stdout_bytes: int  # written by the job, including what was cut
    stderr_bytes: int
    wall_ms: float
    cpu_ms: float
    memory_peak_bytes: int | None  # of the module's memory; None when it exports none
    process_rss_bytes: int


Reply = Ready | Need | Loaded | Output | Done
