"""A network of a test's own: its ports are free whatever else runs on this machine.

Linux gives each thread a network namespace; what a thread starts inherits it. So the tests' calls
run on one thread that has left the machine's network for one of its own, with a loopback and
nothing beside it.
"""

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


class OwnNetwork:
    """Runs calls on a thread in a namespace. Raises: OSError where that is not allowed."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        try:
            self.call(_leave)
        except OSError:
            self._thread.shutdown()
            raise

    def call(self, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        return self._thread.submit(function, *args, **options).result()

    def close(self) -> None:
        self._thread.shutdown()


class SharedNetwork:
    """The machine's own network, where a namespace is not to be had."""

    def call(self, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        return function(*args, **options)

    def close(self) -> None: ...


def _leave() -> None:
    libc: Any = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sh", b"lo", 0).ljust(40, b"\0")
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, SIOCGIFFLAGS, asked), 16)
        fcntl.ioctl(
            any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP).ljust(40, b"\0")
        )


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
