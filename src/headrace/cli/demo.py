"""A WASM program small enough to be written here by hand: it prints one line and exits.

    (module
      (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "\\10\\00\\00\\00<length, 4 bytes><8 bytes of 0><line>")
      (func (export "_start")
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))

Memory: at 0 one buffer for fd_write (address 16, length), at 8 the place for the number of bytes
written, at 16 the line. Each section is its id, its length, and its content (WebAssembly core
specification, chapter "Binary Format").
"""

from typing import Final

LINE_AT: Final = 16
LINE_BYTES_MAX: Final = 4_096

_TYPE, _IMPORT, _FUNCTION, _MEMORY, _EXPORT, _CODE, _DATA = 1, 2, 3, 5, 7, 10, 11
_I32: Final = 0x7F


def module_that_prints(line: str) -> bytes:
    """Return the bytes of a WASI module that writes the line to its standard output."""
    text = line.encode() + b"\n"
    assert len(text) <= LINE_BYTES_MAX
    buffer = LINE_AT.to_bytes(4, "little") + len(text).to_bytes(4, "little")
    memory = buffer.ljust(LINE_AT, b"\0") + text
    types = _vector(
        b"\x60" + _vector(*[bytes([_I32])] * 4) + _vector(bytes([_I32])),  # fd_write
        b"\x60" + _vector() + _vector(),  # _start
    )
    imports = _vector(_name("wasi_snapshot_preview1") + _name("fd_write") + b"\x00\x00")
    exports = _vector(_name("memory") + b"\x02\x00", _name("_start") + b"\x00\x01")
    code = (
        b"\x00"  # no locals
        + _const(1)  # file descriptor 1
        + _const(0)  # the buffers
        + _const(1)  # one of them
        + _const(8)  # where the count goes
        + b"\x10\x00"  # call fd_write
        + b"\x1a\x0b"  # drop, end
    )
    data = b"\x00" + _const(0) + b"\x0b" + _bytes(memory)
    return b"\0asm\x01\0\0\0" + b"".join(
        (
            _section(_TYPE, types),
            _section(_IMPORT, imports),
            _section(_FUNCTION, _vector(b"\x01")),
            _section(_MEMORY, _vector(b"\x00\x01")),
            _section(_EXPORT, exports),
            _section(_CODE, _vector(_bytes(code))),
            _section(_DATA, _vector(data)),
        )
    )


def _number(value: int) -> bytes:
    """Unsigned LEB128."""
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _const(value: int) -> bytes:
    """`i32.const` of a number below 64: one byte of signed LEB128."""
    assert 0 <= value < 64
    return bytes([0x41, value])


def _bytes(content: bytes) -> bytes:
    return _number(len(content)) + content


def _name(name: str) -> bytes:
    return _bytes(name.encode())


def _vector(*items: bytes) -> bytes:
    return _number(len(items)) + b"".join(items)


def _section(section: int, content: bytes) -> bytes:
    return bytes([section]) + _bytes(content)
