"""Ways for a server to get into trouble, each a `Ground` of the campaign `tools/crash`.

points    killed at a named moment, such as between its commit and its answer
pauses    stopped for longer than a lease, it or its workers, and continued
clock     its wall clock jumps by hours, forth and back
memory    killed by the kernel, since it may have no more memory
block     its disk answers writes with errors, below the filesystem

A ground says in `lacking` why a machine cannot have it, and in `violations` what was wrong with the
lives of servers, whatever clients saw.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import ClassVar

import msgspec

sys.path.insert(0, str(Path(__file__).parent))

from campaign import SERVE_S, Ground
from checker import Violation
from processes import EXIT_BROKEN_DISK, Server, running_children

from headrace.store.lmdb import DATA_FILE, DRAFT_DIR

PATIENCE_S = 30.0
POINT_S = 2.0
"""So long is waited for a named moment, once the server is ready."""


def is_root() -> str:
    return "" if os.geteuid() == 0 else "needs root"


def missing(*tools: str) -> str:
    gone = [tool for tool in tools if shutil.which(tool) is None]
    return f"not installed: {', '.join(gone)}" if gone else ""


class Troubled(Ground):
    """What these grounds have in common."""

    lacking: ClassVar[str] = ""

    def __init__(self, dir_: Path) -> None:
        super().__init__(dir_.resolve())
        self.dir = dir_.resolve()
        self.met: Counter[str] = Counter()
        """Lives by what befell them."""
        self._found: list[Violation] = []

    def violate(self, rule: str, what: str, server: Server) -> None:
        said = server.output()[-300:].replace("\n", " | ")
        self._found.append(Violation(rule, what, f"exit code {server.popen.poll()}; {said}"))

    def violations(self) -> list[Violation]:
        return self._found


# Named moments ----------------------------------------------------------------------------------


class Point(msgspec.Struct, frozen=True):
    """A call before which the server is killed, and which of its occurrences."""

    call: str
    first: int = 1
    last: int = 1
    path: str = ""
    """Of the data, if it is not any."""
    stopping: bool = False
    """While it stops in good order."""


POINTS = {
    "directory locked": Point("flock"),
    "store opened": Point("openat", 1, 4),
    "header read": Point("pread64", 1, 2),
    "readers' file opened": Point("fcntl", 1, 3),
    "file mapped": Point("mmap", 1, 2),
    "directory synced": Point("fsync"),
    "epoch to be written": Point("pwrite64"),
    "epoch to be synced": Point("fdatasync"),
    "epoch to be committed": Point("pwrite64", 2, 2),
    "pages to be written": Point("writev", 2, 40),
    "page or header to be written": Point("pwrite64", 3, 80),
    "pages to be synced": Point("fdatasync", 2, 40),
    "committed, loop not told": Point("write", 1, 40, "anon_inode:[eventfd]"),
    "answer to be sent": Point("write", 12, 200, "*"),
    "answers to be sent together": Point("writev", 4, 60, "*"),
    "free space asked for": Point("statfs", 2, 9),
    "store closed": Point("close", 1, 2, DATA_FILE, stopping=True),
    "last pages to be synced": Point("fdatasync", 1, 1, DATA_FILE, stopping=True),
}


class AtPoints(Troubled):
    """Kills the server at a named moment, another one in each life."""

    lacking = missing("strace")

    def __init__(self, dir_: Path, names: tuple[str, ...] = tuple(POINTS)) -> None:
        super().__init__(dir_)
        self._names = names
        self._dice = random.Random(dir_.name)
        self._lives = 0

    def prefix(self) -> tuple[str, ...]:
        name = self._names[self._lives % len(self._names)]
        return killed_at(POINTS[name], self.data, self._dice)

    def life(self, server: Server, dice: random.Random) -> float | None:
        name = self._names[self._lives % len(self._names)]
        self._lives += 1
        until_s = time.monotonic()
        if server.is_ready():
            until_s = time.monotonic() + POINT_S
            if POINTS[name].stopping:
                time.sleep(dice.uniform(*SERVE_S))
                for child in running_children(server.pid)[:1]:
                    os.kill(child, signal.SIGTERM)
                until_s += PATIENCE_S
        while server.popen.poll() is None and time.monotonic() < until_s:
            time.sleep(0.01)
        self.met[name if server.popen.poll() == -signal.SIGKILL else f"not at: {name}"] += 1
        if server.popen.poll() not in (None, 0, -signal.SIGKILL):
            self.violate("ended_otherwise", name, server)
        server.kill()
        return None


def killed_at(point: Point, data: Path, dice: random.Random) -> tuple[str, ...]:
    """Return words before a command that is killed there."""
    paths = [data, data / DATA_FILE, data / "lock.mdb", data / DRAFT_DIR]
    if point.path == DATA_FILE:
        paths = [data / DATA_FILE]
    elif point.path:
        paths = [Path(point.path)] if point.path != "*" else []
    only = [word for path in paths for word in ("-P", str(path))]
    when = dice.randint(point.first, point.last)
    return (
        *(
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            *only,
        ),  # a filter in the kernel sends no signals
        *("-e", f"trace={point.call}", "-e", f"inject={point.call}:signal=KILL:when={when}"),
    )


# Pauses -----------------------------------------------------------------------------------------


class Pausing(Troubled):
    """Stops the server, or one of its clients with the workers in it, and continues it.

    The clock of the leases stands still with the server, and not with a worker.
    """

    PAUSE_S = (0.1, 5.0)

    def life(self, server: Server, dice: random.Random) -> float | None:
        server.wait_ready()
        time.sleep(dice.uniform(*SERVE_S))
        clients = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _runs_load(entry, server.port)
        ]
        of_server = dice.random() < 0.5
        paused = [server.pid] if of_server else dice.sample(clients, 1)
        self.met["server paused" if of_server else "workers paused"] += 1
        for pid in paused:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(dice.uniform(*self.PAUSE_S))
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
        time.sleep(dice.uniform(*SERVE_S))
        if dice.random() < 0.5:
            server.kill()
        elif (code := server.terminate()) != 0:
            self.violate("exit_code", f"{code} after SIGTERM", server)
        return None


def _runs_load(process: Path, port: int) -> bool:
    with contextlib.suppress(OSError):
        words = (process / "cmdline").read_bytes().split(b"\0")
        return len(words) > 2 and words[1].endswith(b"load.py") and words[2] == str(port).encode()
    return False


# The clock on the wall --------------------------------------------------------------------------

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
JUMPS_S = (3_600, -3_600, 86_400, -86_400, 7, -7, 0)


class Jumping(Troubled):
    """The wall clock of the server jumps, again and again; its monotonic clock does not."""

    lacking = "" if FAKETIME else "libfaketime is not installed"
    keeps_time = False

    def prefix(self) -> tuple[str, ...]:
        self.jump(0)
        return with_clock(self._file)

    @property
    def _file(self) -> Path:
        return self.dir / "clock"

    def jump(self, seconds: int) -> None:
        """Set the server's wall clock so far off."""
        set_clock(self._file, seconds)

    def life(self, server: Server, dice: random.Random) -> float | None:
        server.wait_ready()
        for _ in range(3):
            seconds = dice.choice(JUMPS_S)
            self.met[f"{seconds:+} s"] += 1
            self.jump(seconds)
            time.sleep(dice.uniform(*SERVE_S))
        server.kill()
        return None


def with_clock(file: Path) -> tuple[str, ...]:
    """Return words before a command whose wall clock is as far off as the file says."""
    return (
        "env",
        f"LD_PRELOAD={FAKETIME}",
        f"FAKETIME_TIMESTAMP_FILE={file}",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "FAKETIME_DISABLE_SHM=1",  # which a kill would leave behind
    )


def set_clock(file: Path, seconds: int) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(f"{seconds:+}")
    draft.rename(file)


# Memory -----------------------------------------------------------------------------------------

GROUP = Path("/sys/fs/cgroup/memory")
LIMIT_BYTES = 160 << 20
BODY_BYTES = 60 << 20


def _groups() -> str:
    if reason := is_root():
        return reason
    if not (GROUP / "memory.limit_in_bytes").exists():
        return "there are no control groups of memory (version 1)"
    return ""


class Starving(Troubled):
    """The server may have so much memory, and is then asked for more."""

    lacking = _groups()

    def __init__(self, dir_: Path) -> None:
        super().__init__(dir_)
        self._group = GROUP / f"headrace-{dir_.name}"
        self._group.mkdir()
        (self._group / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))

    def prefix(self) -> tuple[str, ...]:
        enter = f'echo $$ > "{self._group}/cgroup.procs"; exec "$@"'
        return ("sh", "-c", enter, "sh")

    def life(self, server: Server, dice: random.Random) -> float | None:
        server.wait_ready()
        time.sleep(dice.uniform(*SERVE_S))
        until_s = time.monotonic() + PATIENCE_S
        large = b'[{"type":"t","params":"' + b"p" * BODY_BYTES + b'"}]'
        while server.popen.poll() is None and time.monotonic() < until_s:
            with contextlib.suppress(OSError):
                server.ask("POST", "/api/v1/jobs", large)
        if server.popen.poll() == -signal.SIGKILL:
            self.met["killed by the kernel"] += 1
        else:
            self.violate("outlived_its_memory", f"{LIMIT_BYTES} bytes", server)
        server.kill()
        return None

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self._group.rmdir()


# Errors below the filesystem --------------------------------------------------------------------

BLOCK_BYTES = "3G"
"""More than the reserve below which submits are refused."""


class Blocks(Troubled):
    """A filesystem on a device that answers writes with EIO as soon as a file says so.

    nbdkit serves the device from memory, nbdfuse makes a file of it, and a loop device a disk.
    """

    lacking = is_root() or missing("nbdkit", "nbdfuse", "losetup", "mkfs.ext4")

    def __init__(self, dir_: Path) -> None:
        super().__init__(dir_)
        self._mount, self._served = dir_ / "mount", dir_ / "served"
        self._inject = dir_ / "inject"
        self._mount.mkdir()
        self._served.touch()
        self.data = self._mount / "data"
        kit = ("nbdkit", "-s", "--filter=error", "memory", BLOCK_BYTES)
        errors = ("error-pwrite-rate=100%", f"error-file={self._inject.resolve()}", "error=EIO")
        with (dir_ / "nbd.log").open("wb") as log:
            self._nbd = subprocess.Popen(
                ["nbdfuse", self._served, "--command", *kit, *errors], stdout=log, stderr=log
            )
        until_s = time.monotonic() + PATIENCE_S
        while not self._served.stat().st_size:
            assert self._nbd.poll() is None, (dir_ / "nbd.log").read_text()
            assert time.monotonic() < until_s, "the device is not served"
            time.sleep(0.01)
        told = subprocess.run(
            ["losetup", "-f", "--show", self._served], check=True, capture_output=True, text=True
        )
        self._device = told.stdout.strip()
        subprocess.run(["mkfs.ext4", "-q", self._device], check=True)
        self._do("mount", self._device, self._mount)

    def _do(self, *words: str | Path) -> None:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    def life(self, server: Server, dice: random.Random) -> float | None:
        server.wait_ready()
        time.sleep(dice.uniform(*SERVE_S))
        self._inject.touch()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(PATIENCE_S)
        if server.popen.poll() == EXIT_BROKEN_DISK:
            self.met["ended by itself"] += 1
        else:
            self.violate("lives_on", "the disk fails", server)
        server.kill()
        self._inject.unlink()
        self._unmount()
        # The errors are noted on the filesystem: what it holds is sound, if its journal says so.
        subprocess.run(["e2fsck", "-p", self._device], check=False, stdout=subprocess.DEVNULL)
        self._do("mount", self._device, self._mount)
        return None

    def _unmount(self) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while subprocess.run(["umount", self._mount], capture_output=True).returncode != 0:
            assert time.monotonic() < until_s, f"{self._mount} stays busy"
            time.sleep(0.1)

    def remove(self) -> None:
        self._unmount()
        self._do("losetup", "-d", self._device)
        self._do("umount", self._served)
        self._nbd.wait(PATIENCE_S)


# All together -----------------------------------------------------------------------------------

GROUNDS: dict[str, type[Troubled]] = {
    "points": AtPoints,
    "pauses": Pausing,
    "clock": Jumping,
    "memory": Starving,
    "block": Blocks,
}
HERE = tuple(name for name, ground in GROUNDS.items() if ground is not Blocks)
"""Those that need no disk of their own."""


class Mixed(Troubled):
    """Each life is of another ground."""

    keeps_time = False

    def __init__(
        self, dir_: Path, names: tuple[str, ...] = HERE, points: tuple[str, ...] = tuple(POINTS)
    ) -> None:
        super().__init__(dir_)
        names = tuple(name for name in names if not GROUNDS[name].lacking)
        made: dict[str, Troubled] = {
            name: GROUNDS[name](dir_) for name in names if name != "points"
        }
        if "points" in names:
            made["points"] = AtPoints(dir_, points)
        for ground in made.values():
            ground.met, ground._found = self.met, self._found
        self._grounds = [made[name] for name in names]
        self._lives = 0

    @property
    def _ground(self) -> Troubled:
        return self._grounds[self._lives % len(self._grounds)]

    def prefix(self) -> tuple[str, ...]:
        return self._ground.prefix()

    def life(self, server: Server, dice: random.Random) -> float | None:
        ready_s = self._ground.life(server, dice)
        self._lives += 1
        return ready_s

    def remove(self) -> None:
        for ground in set(self._grounds):
            ground.remove()
