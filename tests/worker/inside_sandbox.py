"""Stands in for the sandbox's program: gives up what that gives up, then tries what it may not.

Started as the runner starts a sandbox; the outcomes travel as the reason for not being ready.
"""

import ctypes
import errno
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from headrace.worker import wasm_child
from headrace.worker.wasm_protocol import Ready

cache, parent = Path(sys.argv[-2]), int(sys.argv[-1])
port, other = (int(word) for word in (cache / "told").read_text().split())
before = sorted(name for name in os.environ if name not in ("PWD", "OLDPWD", "SHLVL", "_"))
libc = ctypes.CDLL(None, use_errno=True)
channel, wall = wasm_child.lock_down(parent, cache)


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except ValueError as error:
        return str(error)
    return "done"


def call(name: str, *arguments: object) -> Callable[[], None]:
    def attempt() -> None:
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    return attempt


def read(path: str) -> Callable[[], object]:
    return lambda: Path(path).read_bytes()


def connect() -> None:
    with socket.socket() as client:
        client.connect(("127.0.0.1", port))


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


OUTCOMES = {
    "read a file": outcome(read("/etc/passwd")),
    "list the root": outcome(lambda: os.listdir("/")),
    "list the processes": outcome(lambda: os.listdir("/proc")),
    "read the parent's environment": outcome(read(f"/proc/{parent}/environ")),
    "read another's environment": outcome(read(f"/proc/{other}/environ")),
    "read the parent's memory": outcome(read(f"/proc/{parent}/maps")),
    "write a file": outcome(lambda: Path("/tmp/headrace-was-here").write_bytes(b"")),
    "connect to the server": outcome(connect),
    "fork": outcome(os.fork),
    "start a program": outcome(lambda: subprocess.run(["/bin/true"], check=False)),
    "trace the parent": outcome(call("ptrace", 16, parent, 0, 0)),
    "signal the parent": outcome(lambda: os.kill(parent, 0)),
    "signal another": outcome(lambda: os.kill(other, 0)),
    "raise a limit": outcome(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))),
    "become somebody else": outcome(lambda: os.setgroups([])),
}
channel.send(
    Ready(
        "",
        [],
        json.dumps(
            {
                "wall": wall,
                "outcomes": OUTCOMES,
                "environment": [before, sorted(os.environ)],
                "descriptors": [number for number in range(4_096) if is_open(number)],
                "core": resource.getrlimit(resource.RLIMIT_CORE),
            }
        ),
    )
)
