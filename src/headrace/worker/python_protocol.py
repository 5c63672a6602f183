"""What the worker and a child process that runs Python handlers say to each other.

Shape: a frame is four bytes of length, little endian, then one msgpack object. The worker sends
`Hello` once and hears `Ready` or `Broken`. For each job it sends `Start`, perhaps `Stop`, and hears
any number of `Progress`, `Log`, `Saved` and `Emitted`, then one `Ended`. One job at a time.
"""

import struct
from typing import Final

import msgspec

from headrace.wire import limits
from headrace.worker.attempt import Ending, StopReason

LENGTH: Final = struct.Struct("<I")
FRAME_BYTES_MAX: Final = 8 * limits.MIB
assert limits.SPEC_BYTES_MAX + 2 * limits.OUTPUT_BYTES_MAX < FRAME_BYTES_MAX


class Hello(msgspec.Struct, frozen=True, tag=1):
    target: str
    """Where the `Worker` is: `module:attribute` or `file.py:attribute`."""
    sys_path: list[str]


class Start(msgspec.Struct, frozen=True, tag=2):
    lease: str
    spec: bytes
    """JSON of a `wire.schema.Spec`."""
    attempt: int
    checkpoint: bytes


class Stop(msgspec.Struct, frozen=True, tag=3):
    reason: StopReason


class Ready(msgspec.Struct, frozen=True, tag=11):
    pass


class Broken(msgspec.Struct, frozen=True, tag=12):
    """The worker's module cannot be imported."""

    error: str


class Progress(msgspec.Struct, frozen=True, tag=13):
    fraction: float | None
    details: str | None


class Log(msgspec.Struct, frozen=True, tag=14):
    text: str


class Saved(msgspec.Struct, frozen=True, tag=15):
    """A checkpoint, as JSON."""

    value: bytes


class Ended(msgspec.Struct, frozen=True, tag=16):
    ending: Ending


class Emitted(msgspec.Struct, frozen=True, tag=17):
    """An event of the handler's own."""

    name: str
    data: bytes
    """JSON, or nothing."""


ToChild = Hello | Start | Stop
FromChild = Ready | Broken | Progress | Log | Saved | Ended | Emitted


def frame(message: ToChild | FromChild) -> bytes:
    body = msgspec.msgpack.encode(message)
    assert len(body) <= FRAME_BYTES_MAX, "what goes into a frame is bounded before"
    return LENGTH.pack(len(body)) + body
