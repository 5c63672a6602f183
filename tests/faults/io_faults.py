"""Every call that a server makes on its data, failing in every way, once and for ever.

    tools/io-faults                     all cells of the matrix
    tools/io-faults --cells 100         some of them, drawn by the seed

A cell is a call, an error, which of its occurrences fails, and whether all later ones do, too
(strace puts the error in the place of the call). Each life of a server under the load of
`tools/crash` meets one cell. What must follow:

an I/O error    nothing more is acknowledged, and the process ends with exit code 74; so does one
                that has no space to begin with
no space        the server lives on; the commit is written again, and counts, when there is space
a slow call     the server lives on; so it does without a page that it reads to fetch others ahead

The history of all lives together is then checked: nothing acknowledged was lost, nothing that was
refused is there. A cell whose occurrence no life of a second reaches is told as not reached.
"""

import argparse
import contextlib
import http.client
import itertools
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1] / "trust"))
sys.path.insert(0, str(Path(__file__).parent))

import campaign
import figures
from campaign import Ground
from checker import Violation
from processes import EXIT_BROKEN_DISK, Server, free_port

from headrace.store.lmdb import DATA_FILE, DRAFT_DIR

BROKEN = ("EIO", "EROFS")
FULL = ("ENOSPC", "EDQUOT")
SHORT = "short"
SLOW = "slow"
SLOW_MICROS = 1_500_000
SLOW_MICROS_EACH = 150_000
"""Where all calls from one on are slow. A commit makes up to 60, and an answer waits for two: the
one under way when it is asked for, and its own. Both fit in the patience, or it proves nothing."""
ERRORS = (*BROKEN, *FULL, SHORT, SLOW)
WRITES = ("fdatasync", "writev", "pwrite64")
STARTS = ("openat", "pread64", "mmap", "fcntl", "fsync", "rename")
"""Made a few times, when a store is opened or made."""
CALLS = (*WRITES, *STARTS)
OCCURRENCES = 50
OCCURRENCES_START = 8
WAIT_S = 2.0
"""So long is waited for the occurrence, once the server is ready."""
PATIENCE_S = 30.0
CELLS_A_RUN = 25
HEADER = re.compile(r"pwrite64\(.*, \d{1,3}, \d+\) .*INJECTED")
"""LMDB's header, which is there already: to have no space for it is another failure."""
ADVICE = re.compile(r"pread64\(.*, 4096, \d+\) .*INJECTED")
"""A whole page: LMDB maps them; who reads one looks for what to fetch ahead (`store/ahead.py`)."""
DEFECTS = {
    "errors-ignored": {"lives_on", "acked_submit_lost"},
    "full-ignored": {"acked_submit_lost", "acked_end_lost"},
    "full-ends": {"does_not_live_on", "does_not_recover"},
}
"""And the rules of which one at least must name it."""


class Cell(msgspec.Struct, frozen=True):
    call: str
    error: str
    occurrence: int
    for_ever: bool
    new: bool = False
    """A store that is not made yet."""

    def __str__(self) -> str:
        at = f"{self.occurrence}{'+' * self.for_ever}{' of a new store' * self.new}"
        return f"{self.call} {self.error} at {at}"

    def words(self) -> str:
        """Say it as strace takes it."""
        how = f"error={self.error}"
        if self.error == SHORT:
            how = "retval=1"
        elif self.error == SLOW:
            how = f"delay_enter={SLOW_MICROS_EACH if self.for_ever else SLOW_MICROS}"
        return f"inject={self.call}:{how}:when={self.occurrence}{'+' * self.for_ever}"


def matrix() -> list[Cell]:
    """Return all cells. Only writes can be short; and a slow start is nothing but that."""
    cells = []
    for call, error in itertools.product(CALLS, ERRORS):
        if (error == SHORT and call not in ("writev", "pwrite64")) or (
            error == SLOW and call not in WRITES
        ):
            continue
        for occurrence, for_ever in itertools.product(range(1, OCCURRENCES + 1), (False, True)):
            if call in WRITES:
                cells.append(Cell(call, error, occurrence, for_ever))
            elif occurrence <= OCCURRENCES_START:
                cells += [Cell(call, error, occurrence, for_ever, new) for new in (False, True)]
    return cells


def injected(cell: Cell, data: Path, trace: Path) -> tuple[str, ...]:
    """Return words before a command in which the cell's call on the data fails."""
    directories = (data, data / DRAFT_DIR)
    files = [directory / name for directory in directories for name in (DATA_FILE, "lock.mdb")]
    only = [word for path in (*directories, *files) for word in ("-P", str(path))]
    return (
        *("strace", "-f", "-qq", "--seccomp-bpf", "-s", "1", "-o", str(trace), *only),
        *("-e", f"trace={cell.call}", "-e", cell.words()),
    )


class Faulty(Ground):
    """A disk on which a call fails, another one in each life."""

    def __init__(self, dir_: Path, cells: list[Cell]) -> None:
        super().__init__(dir_)
        self._trace = dir_ / "trace"
        self._cells = cells
        self._lives = 0
        self._found: list[Violation] = []
        self.reached: Counter[str] = Counter()
        """By call: lives that met their cell."""
        self.longest_end_s = 0.0
        """From an I/O error to the end of the process."""

    def prefix(self) -> tuple[str, ...]:
        self._trace.unlink(missing_ok=True)
        return injected(self._cells[self._lives], self.data, self._trace)

    def life(self, server: Server, dice: random.Random) -> float | None:
        cell = self._cells[self._lives]
        self._lives += 1
        ready = server.is_ready()
        until_s = time.monotonic() + WAIT_S
        while not self._failures() and server.popen.poll() is None:
            if time.monotonic() > until_s:
                break
            time.sleep(0.01)
        if self._failures():
            self.reached[cell.call] += 1
            self._judge(cell, server, ready=ready)
        elif server.popen.poll() is not None:
            self._violate("ended_without_cause", cell, server)
        server.kill()
        return None

    def _failures(self) -> list[str]:
        if not self._trace.exists():
            return []
        lines = self._trace.read_text(errors="replace").splitlines()
        return [line for line in lines if "INJECTED" in line or "DELAYED" in line]

    def _judge(self, cell: Cell, server: Server, *, ready: bool) -> None:
        header = any(HEADER.search(line) for line in self._failures())
        advice = all(ADVICE.search(line) for line in self._failures())
        if cell.error == SLOW or advice:
            right = acknowledges(server)
            rule = "does_not_live_on"
        elif cell.error in FULL and ready and not header:
            right = answers(server) if cell.for_ever else acknowledges(server)
            rule = "does_not_live_on" if cell.for_ever else "does_not_recover"
        else:
            began_s = time.monotonic()
            right = ended(server) == EXIT_BROKEN_DISK
            rule = "lives_on" if server.popen.poll() is None else "wrong_exit_code"
            if right and ready:
                self.longest_end_s = max(self.longest_end_s, time.monotonic() - began_s)
        if not right:
            self._violate(rule, cell, server)

    def _violate(self, rule: str, cell: Cell, server: Server) -> None:
        code = server.popen.poll()
        said = server.output()[-300:].replace("\n", " | ")
        self._found.append(Violation(rule, str(cell), f"exit code {code}; {said}"))

    def violations(self) -> list[Violation]:
        return self._found


def ended(server: Server) -> int | None:
    """Wait until it has, for a while; return its exit code."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return server.wait(PATIENCE_S)
    return None


def acknowledges(server: Server) -> bool:
    """Ask again and again, until a change is durable, for a while."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s and server.popen.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if server.ask("PUT", "/api/v1/tenants/asker", {"weight": 2})[0] == 200:
                return True
        time.sleep(0.05)
    return False


def answers(server: Server) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return server.ask("GET", "/livez", timeout_s=PATIENCE_S)[0] == 200
    return False


# A campaign -------------------------------------------------------------------------------------


BROKEN_CELLS = [Cell("fdatasync", "EIO", 10, True), Cell("writev", "EIO", 5, False)]
FULL_CELLS = [
    Cell("writev", "ENOSPC", occurrence, for_ever)
    for occurrence in (5, 8)
    for for_ever in (True, False)
]
CONTROLS = {"errors-ignored": BROKEN_CELLS, "full-ignored": FULL_CELLS, "full-ends": FULL_CELLS}
"""The cells that find a defect out."""
assert CONTROLS.keys() == DEFECTS.keys()


class Report(msgspec.Struct):
    seed: int
    cells: int = 0
    reached: Counter[str] = msgspec.field(default_factory=Counter)
    violations: list[Violation] = []
    jobs_acked: int = 0
    longest_end_s: float = 0.0
    seconds: float = 0.0

    def add(self, other: "Report") -> None:
        self.cells += other.cells
        self.reached += other.reached
        self.violations += other.violations
        self.jobs_acked += other.jobs_acked
        self.longest_end_s = max(self.longest_end_s, other.longest_end_s)
        self.seconds += other.seconds


def run(cells: list[Cell], seed: int, base: Path, *, defect: str = "") -> Report:
    """Let servers meet these cells, one after the other."""
    report = Report(seed)
    if old := [cell for cell in cells if not cell.new]:
        report.add(_run_lives(old, seed, base, defect))
    for cell in cells:
        if cell.new:
            report.add(_run_new(cell, base))
    return report


def _run_lives(cells: list[Cell], seed: int, base: Path, defect: str) -> Report:
    grounds: list[Faulty] = []

    def ground_of(dir_: Path) -> Ground:
        grounds.append(Faulty(dir_, cells))
        return grounds[0]

    found = campaign.run(len(cells), seed, base, defect=defect, ground_of=ground_of)
    ground = grounds[0]
    return Report(
        seed,
        len(cells),
        ground.reached,
        found.violations,
        found.counts.jobs_acked,
        ground.longest_end_s,
        found.seconds,
    )


def _run_new(cell: Cell, base: Path) -> Report:
    """Begin where there is no store yet: whatever fails, the next start finds its way."""
    began_s = time.monotonic()
    dir_ = Path(tempfile.mkdtemp(prefix="new-", dir=base))
    ground = Faulty(dir_, [cell])
    port = free_port()
    server = Server(ground.data, port, prefix=ground.prefix(), log=dir_ / "server.log")
    try:
        ground.life(server, random.Random(0))
        server = Server(ground.data, port, log=dir_ / "server.log")
        if not server.is_ready() or not acknowledges(server):
            ground._violate("cannot_begin_again", cell, server)
    finally:
        server.kill()
    if not ground.violations():
        shutil.rmtree(dir_)
    seconds = time.monotonic() - began_s
    return Report(0, 1, ground.reached, ground.violations(), seconds=seconds)


def show(report: Report) -> None:
    reached = ", ".join(f"{count} {call}" for call, count in sorted(report.reached.items()))
    print(
        f"{report.cells} cells, {report.reached.total()} reached ({reached});"
        f" {report.jobs_acked} jobs acknowledged; longest end after an I/O error"
        f" {report.longest_end_s:.2f} s"
    )
    print(f"{len(report.violations)} violations, seed {report.seed}, {report.seconds:.0f} s")
    for line in campaign.summary(report.violations):
        print(line)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/io-faults", description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=0, help="how many; default: all")
    parser.add_argument("--skip", type=int, default=0, help="so many that an earlier run has had")
    parser.add_argument("--seed", type=int, default=1, help="the order of the cells")
    parser.add_argument("--dir", type=Path, default=None, help="on a disk; default: build/faults")
    figures.offer(parser, DEFECTS)
    args = parser.parse_args()
    if shutil.which("strace") is None:
        print("skipped: strace is not installed")
        return 0
    base = args.dir or Path(__file__).resolve().parents[2] / "build" / "faults"
    base.mkdir(parents=True, exist_ok=True)
    cells = matrix()
    random.Random(args.seed).shuffle(cells)
    if args.control:
        cells = CONTROLS[args.control]
        report = run(cells, args.seed, base, defect=args.control)
        show(report)
        rules = {violation.rule for violation in report.violations} & DEFECTS[args.control]
        print(f"found out by {', '.join(sorted(rules))}" if rules else "NOT FOUND OUT")
        told = (len(cells), len(rules), 0, report.seconds)
        figures.leave(args.figures, "io-faults", *told, control=args.control)
        return 0 if rules else 1
    cells = cells[args.skip :][: args.cells or None]
    print(f"{len(cells)} of {len(matrix())} cells")
    total = Report(args.seed)
    for at in range(0, len(cells), CELLS_A_RUN):
        part = cells[at : at + CELLS_A_RUN]
        report = run(part, args.seed + at, base)
        total.add(report)
        show(report)
        told = (len(part), len(report.violations), args.skip + at + 1, report.seconds)
        figures.leave(args.figures, "io-faults", *told, seeds=len(part))
    show(total)
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
