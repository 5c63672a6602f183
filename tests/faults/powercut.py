"""Cut the power of a loaded server's disk again and again, and check what clients saw against it.

    tools/powercut --fs ext4 --cycles 20

The disk is a file with a filesystem of its own. A cut is `xfs_io -x -c shutdown`: from that moment
nothing reaches the disk any more, not even what the kernel still holds, as if the power had failed
(`EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` without a flush of the log). The server is killed a
moment later, the filesystem is mounted anew, and its journal says what there was. Load, history
and checker are those of `tools/crash`.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "trust"))
sys.path.insert(0, str(Path(__file__).parent))

import campaign
import figures
from campaign import Ground, Report
from processes import Server

FILESYSTEMS = {"ext4": ("mkfs.ext4", "-qF"), "xfs": ("mkfs.xfs", "-qf")}
DISK_BYTES = 2 << 30
"""A sparse file."""
LIVES_ON_S = 0.05
"""At most so long a server goes on without a disk."""
UNMOUNT_TRIES = 50
CONTROL_CYCLES = 10
DEFECTS = {"no-sync": {"acked_submit_lost", "acked_end_lost", "attempt_lost", "cannot_start"}}
"""And the rules of which one at least must name it."""
MEMORY = Path("/dev/shm")


def lacking() -> str:
    """Return why this machine cannot cut power; empty if it can."""
    if os.geteuid() != 0:
        return "needs root to mount a filesystem"
    for tool in ("xfs_io", "losetup", "mount", *(words[0] for words in FILESYSTEMS.values())):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (Debian: xfsprogs, e2fsprogs, mount)"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    with tempfile.TemporaryDirectory() as name:
        image, place = Path(name, "image"), Path(name, "mount")
        with image.open("wb") as file:
            file.truncate(8 << 20)
        place.mkdir()
        subprocess.run(["mkfs.ext4", "-qF", str(image)], check=True)
        tried = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True)
        if tried.returncode != 0:
            return f"a loop device cannot be mounted: {tried.stderr.decode().strip()}"
        subprocess.run(["umount", place], check=True)
    return ""


def do(*words: str | Path) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


class Disk(Ground):
    """A filesystem in a file, whose power can be cut."""

    def __init__(self, dir_: Path, filesystem: str, seed: int, image_dir: Path | None) -> None:
        self._dice = random.Random(seed)
        self._image = (image_dir or dir_) / f"{dir_.name}.img"
        self._mount = dir_ / "mount"
        self._mount.mkdir()
        self.data = self._mount / "data"
        with self._image.open("wb") as file:
            file.truncate(DISK_BYTES)
        do(*FILESYSTEMS[filesystem], self._image)
        do("mount", "-o", "loop", self._image, self._mount)

    def strike(self, server: Server) -> None:
        do("xfs_io", "-x", "-c", "shutdown", self._mount)
        time.sleep(self._dice.random() * LIVES_ON_S)
        server.kill()
        self._unmount()
        do("mount", "-o", "loop", self._image, self._mount)

    def _unmount(self) -> None:
        for _ in range(UNMOUNT_TRIES):
            if subprocess.run(["umount", self._mount], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError(f"{self._mount} stays busy")

    def remove(self) -> None:
        self._unmount()
        self._image.unlink()


def ground(filesystem: str, seed: int) -> Callable[[Path], Ground]:
    """The image lies in memory if there is room: it is the filesystem that loses its power."""
    room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2 * DISK_BYTES
    return partial(Disk, filesystem=filesystem, seed=seed, image_dir=MEMORY if room else None)


def run(
    filesystem: str, cycles: int, seed: int, base: Path, *, defect: str = "", forks: bool = False
) -> Report:
    made = ground(filesystem, seed)
    return campaign.run(cycles, seed, base, defect=defect, ground_of=made, forks=forks)


def control(defect: str, filesystem: str, seed: int, base: Path) -> tuple[set[str], int]:
    """Cut the power of a lying server. Returns the rules that found it out, and after how many."""
    for cycle in range(CONTROL_CYCLES):
        try:
            report = run(filesystem, 1, seed + cycle, base, defect=defect)
            rules = {violation.rule for violation in report.violations}
        except AssertionError as error:
            if "the server ended" not in str(error):
                raise
            rules = {"cannot_start"}
        if found := rules & DEFECTS[defect]:
            return found, cycle + 1
    return set(), CONTROL_CYCLES


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/powercut", description=__doc__.splitlines()[0])
    parser.add_argument("--fs", choices=list(FILESYSTEMS), default="ext4")
    parser.add_argument("--cycles", type=int, default=20, help="how many cuts")
    parser.add_argument("--seed", type=int, default=None, help="repeats the dice, not the timing")
    parser.add_argument("--dir", type=Path, default=None, help="on a disk; default: build/powercut")
    figures.offer(parser, DEFECTS)
    args = parser.parse_args()
    if reason := lacking():
        print(f"skipped: {reason}")
        return 0
    seed = int(time.time()) if args.seed is None else args.seed
    base = args.dir or Path(__file__).resolve().parents[2] / "build" / "powercut"
    base.mkdir(parents=True, exist_ok=True)
    name = f"powercut-{args.fs}"
    began_s = time.monotonic()
    if args.control:
        found, cycles = control(args.control, args.fs, seed, base)
        told = f"found out by {', '.join(sorted(found))}" if found else "NOT FOUND OUT"
        print(f"{args.control} on {args.fs}, seed {seed}: {told}, after {cycles} cuts")
        seconds = time.monotonic() - began_s
        figures.leave(
            *(args.figures, name, cycles, len(found), seed, seconds), control=args.control
        )
        return 0 if found else 1
    report = run(args.fs, args.cycles, seed, base, forks=True)
    campaign.show(report, f"power cuts on {args.fs}")
    violations = len(report.violations)
    figures.leave(args.figures, name, report.cycles, violations, seed, report.seconds)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
