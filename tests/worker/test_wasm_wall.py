"""The kernel's wall, tried from inside by a process that has it around itself."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.worker import wasm_wall

PROGRAM = """
import ctypes, errno, json, os, signal, socket, sys, threading
from pathlib import Path
from headrace.worker import wasm_wall

inside = Path(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
stands = wasm_wall.put_up(inside)

def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def libc_call(name, *arguments):
    def attempt():
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)
    return attempt

def write_and_rename():
    (inside / "a").write_bytes(b"x")
    (inside / "a").rename(inside / "b")
    assert (inside / "b").read_bytes() == b"x"
    os.utime(inside / "b")
    (inside / "b").unlink()

def thread():
    done = []
    one = threading.Thread(target=done.append, args=(1,))
    one.start()
    one.join()
    assert done == [1]

print(json.dumps([stands, {
    "read outside": outcome(lambda: open("/etc/passwd").close()),
    "write outside": outcome(lambda: open(inside.parent / "x", "w").close()),
    "list outside": outcome(lambda: os.listdir("/")),
    "make a directory inside": outcome(lambda: (inside / "d").mkdir()),
    "link inside": outcome(lambda: (inside / "l").symlink_to("/etc")),
    "work inside": outcome(write_and_rename),
    "socket": outcome(lambda: socket.socket()),
    "socket pair": outcome(lambda: socket.socketpair()),
    "fork": outcome(os.fork),
    "execute": outcome(lambda: os.execv("/bin/sh", ["sh"])),
    "signal parent": outcome(lambda: os.kill(os.getppid(), 0)),
    "trace parent": outcome(libc_call("ptrace", 16, os.getppid(), 0, 0)),
    "unshare": outcome(libc_call("unshare", 0x10000000)),
    "limits of parent": outcome(libc_call("prlimit", os.getppid(), 7, None, None)),
    "own limits": outcome(libc_call("prlimit", 0, 7, None, None)),
    "thread": outcome(thread),
}]))
sys.stdout.flush()
os.abort()  # a process may still end itself
"""


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, str], int]:
    inside = tmp_path_factory.mktemp("wall") / "inside"
    inside.mkdir()
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(inside)],
        capture_output=True,
        env={"PYTHONPATH": str(source)},
        check=False,
    )
    assert done.stdout, done.stderr.decode()
    stands, outcomes = json.loads(done.stdout)
    return stands, outcomes, done.returncode


def test_files_are_out_of_reach_except_in_the_one_directory(
    tried: tuple[list[str], dict[str, str], int],
) -> None:
    stands, outcomes, _ = tried
    if not any(name.startswith("landlock") for name in stands):
        pytest.skip("this kernel has no Landlock")
    for attempt in ("read outside", "write outside", "list outside", "make a directory inside"):
        assert outcomes[attempt] == "EACCES"
    assert outcomes["link inside"] == "EACCES"
    assert outcomes["work inside"] == "done"


def test_sockets_processes_and_signals_are_denied(
    tried: tuple[list[str], dict[str, str], int],
) -> None:
    stands, outcomes, _ = tried
    if "seccomp" not in stands:
        pytest.skip("this kernel has no seccomp, or the machine is unknown")
    for attempt in (
        "socket",
        "socket pair",
        "fork",
        "execute",
        "signal parent",
        "trace parent",
        "unshare",
        "limits of parent",
    ):
        assert outcomes[attempt] == "EPERM", attempt


def test_what_a_sandbox_needs_still_works(tried: tuple[list[str], dict[str, str], int]) -> None:
    _, outcomes, status = tried
    assert (outcomes["thread"], outcomes["own limits"]) == ("done", "done")
    assert status == -6


CAPABILITIES = """
import ctypes, errno, sys
from headrace.worker import wasm_child, wasm_wall

libc = ctypes.CDLL(None, use_errno=True)
if "drop" in sys.argv:
    wasm_child.drop_capabilities(libc)
assert libc.prctl(38, 1, 0, 0, 0) == 0
wasm_wall._DENIED = {"capset": (126, 91)}
assert wasm_wall._filter_calls(libc)
try:
    wasm_child.drop_capabilities(libc)
except OSError as error:
    print(errno.errorcode[error.errno])
else:
    print("well")
"""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["drop"], "well"),
        pytest.param(
            *([], "EPERM"),
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="has no capabilities"),
        ),
    ],
)
def test_where_capset_is_denied_only_who_has_capabilities_cannot_begin(
    words: list[str], told: str
) -> None:
    if platform.machine() not in wasm_wall._MACHINES:
        pytest.skip("the filter does not know this machine")
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-c", CAPABILITIES, *words],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(source)},
        check=False,
    )
    assert done.stdout == f"{told}\n", done.stderr
