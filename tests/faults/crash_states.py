"""Every state that a power cut could have left of the data file: does each hold a whole prefix?

    tools/crash-states --states 1000

A server under the load of `tools/crash` runs with a recorder in its process (`recorder.c`): which
bytes went where, when a sync had returned, and what its clients were told. From that record files
are made as a disk could have them after a cut at any moment. What was synced, or written through
O_DSYNC, is there; of what was not, any part may be, page by page (4 KiB) or sector by sector (512
bytes), the write under way included. Each file is opened as a server would, in a child:

opens              it opens, and a server can start from it
whole_commits      it holds exactly what one of the commits left, row by row
acked_is_there     that commit is no earlier than the last one whose answer had begun to leave
not_from_later     and no later than the one under way

That the commits themselves left sealed rows and right indexes is looked at once for each of them
(`sound_commits`).
Source: ALICE (Pillai et al., OSDI 2014).
"""

import argparse
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from uuid import UUID

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1] / "trust"))
sys.path.insert(0, str(Path(__file__).parents[1] / "store"))
sys.path.insert(0, str(Path(__file__).parent))

import figures
from apart import FILES_A_CHILD, looked_at
from campaign import FLAGS, Clients
from indexes import check_indexes
from processes import LYING, Server, free_port

from headrace.store import layout, open_store
from headrace.store.contract import walk
from headrace.store.layout import MetaKey
from headrace.store.lmdb import DATA_FILE, LmdbKeyValue

RECORDER = Path(__file__).with_name("recorder.c")
RECORD_S = 3.0
PAGE = 4_096
SECTOR = 512
HEAD = struct.Struct("=BB6xQQ")
POSITION = re.compile(rb"Commit-Position: \d+:(\d+):(\d+)\r\n")
JOB = re.compile(rb'"job_id":"([0-9a-f-]{36})"')
MEMORY = Path("/dev/shm")
NEVER = sys.maxsize
ROWS_AT_ONCE = 4_096
DEFECTS = {"no-sync": (), "ack-before-commit": ("acked_is_there",), "syncs-ignored": ()}
"""Servers, or disks, that lie; and the rules of which one must name it, any where there is none."""
WAYS = ("none", "all", "pages", "sectors", "one page", "all but one page", "first pages")
"""What is kept of what was not synced."""


class Written(msgspec.Struct, frozen=True):
    offset: int
    data: bytes
    dsync: bool


class Told(msgspec.Struct, frozen=True):
    """Bytes that went out to a client."""

    at: tuple[int, int]
    """Epoch and number of the last commit in it."""
    jobs: tuple[bytes, ...]
    """Those whose submit it answers, or which it shows."""


class Record(msgspec.Struct):
    """What a server did, in order; None is a sync."""

    ops: list[Written | Told | None]

    @property
    def answers(self) -> int:
        return sum(isinstance(op, Told) for op in self.ops)


class State(msgspec.Struct, frozen=True):
    """One file as a cut could have left it."""

    cut: int
    way: str
    image: bytes
    key: bytes
    """Files with the same key are the same."""
    acked: tuple[int, int]
    """Epoch and number of the last commit that a client was told of."""
    jobs: tuple[bytes, ...]
    """All that clients were told of."""
    earliest: int
    """Of the commits that were durable by what the record says."""
    latest: int
    """The one under way."""


class Found(msgspec.Struct, frozen=True):
    """A state that breaks a rule."""

    rule: str
    cut: int
    way: str
    detail: str


class Report(msgspec.Struct):
    seed: int
    states: int = 0
    files: int = 0
    """That differ: what cuts leave alike is looked at once, and judged by each of them."""
    commits: int = 0
    answers: int = 0
    ways: Counter[str] = msgspec.field(default_factory=Counter)
    found: list[Found] = []
    seconds: float = 0.0


# The record -------------------------------------------------------------------------------------


def compiled(dir_: Path) -> Path:
    library = dir_ / "recorder.so"
    command = ["cc", "-O2", "-shared", "-fPIC", "-o", library, RECORDER, "-ldl"]
    subprocess.run(command, check=True)
    return library


def recorded(seed: int, dir_: Path, *, defect: str = "", seconds: float = RECORD_S) -> bytes:
    """Run a server under load and return what the recorder wrote."""
    file = dir_ / "record"
    env = {
        "LD_PRELOAD": str(compiled(dir_)),
        "RECORD": str(file),
        "RECORD_OF": str(dir_.resolve() / "data" / DATA_FILE),
    }
    lies = defect in ("no-sync", "ack-before-commit")
    command = LYING if lies else None
    port = free_port()
    server = Server(dir_ / "data", port, *FLAGS, command=command, env={**env, "DEFECT": defect})
    clients = Clients(port, dir_, seed, "mixed")
    try:
        server.wait_ready()
        time.sleep(seconds)
        clients.check()
    finally:
        server.kill()
        clients.kill()
    return file.read_bytes()


def parse(data: bytes, *, syncs: bool = True) -> Record:
    """`syncs`: heed them; without, the record is that of a disk that does not."""
    ops: list[Written | Told | None] = []
    at = 0
    while at + HEAD.size <= len(data):
        kind, dsync, offset, length = HEAD.unpack_from(data, at)
        at += HEAD.size
        if at + length > len(data):
            break  # the kill met the recorder
        told = data[at : at + length]
        at += length
        if kind == ord("W"):
            ops.append(Written(offset, told, bool(dsync)))
        elif kind == ord("S"):
            if syncs:
                ops.append(None)
        else:
            positions = [(int(epoch), int(seq)) for epoch, seq in POSITION.findall(told)]
            jobs = tuple(UUID(text.decode()).bytes for text in JOB.findall(told))
            ops.append(Told(max(positions, default=(0, 0)), jobs))
    return Record(ops)


# The states -------------------------------------------------------------------------------------


def put(image: bytearray, offset: int, data: bytes) -> None:
    if len(image) < offset + len(data):
        image.extend(bytes(offset + len(data) - len(image)))
    image[offset : offset + len(data)] = data


def parts_of(write: Written, size: int) -> Iterator[tuple[int, bytes]]:
    """Cut a write where a page, or a sector, of the file ends."""
    at, end = write.offset, write.offset + len(write.data)
    while at < end:
        stop = min(end, (at // size + 1) * size)
        yield at, write.data[at - write.offset : stop - write.offset]
        at = stop


def commits_of(record: Record) -> Iterator[tuple[int, bytes]]:
    """Yield for each commit where it is whole and what the file is then; first for the new file."""
    image = bytearray()
    for at, op in enumerate(record.ops):
        if isinstance(op, Written):
            put(image, op.offset, op.data)
            if op.dsync:
                yield at, bytes(image)


def states_of(record: Record, count: int, dice: random.Random) -> Iterator[State]:
    """Yield states at random cuts, in the order of the cuts."""
    ops = record.ops
    commits = [at for at, _ in commits_of(record)]
    image = bytearray()
    pending: list[Written] = []
    acked = (0, 0)
    jobs: list[bytes] = []
    done = 0
    durable = 0
    """Writes that are in the image."""
    for cut in sorted(dice.randrange(1, len(ops)) for _ in range(count)):
        for op in ops[done:cut]:
            if isinstance(op, Told):
                acked = max(acked, op.at)
                jobs.extend(op.jobs)
            elif op is None:
                for write in pending:
                    put(image, write.offset, write.data)
                durable += len(pending)
                pending.clear()
            elif op.dsync:
                put(image, op.offset, op.data)
                durable += 1
            else:
                pending.append(op)
        done = cut
        under_way = ops[cut]
        maybe = [*pending, under_way] if isinstance(under_way, Written) else pending
        way = dice.choice(WAYS)
        found = bytearray(image)
        key = blake2b(b"%d" % durable, digest_size=16)
        for offset, data in kept(maybe, way, dice):
            put(found, offset, data)
            key.update(b"%d %d " % (offset, len(data)) + data)
        whole = bisect_right(commits, cut - 1) - 1
        begun = whole + (isinstance(under_way, Written) and under_way.dsync)
        yield State(cut, way, bytes(found), key.digest(), acked, tuple(jobs), whole, begun)


def kept(writes: list[Written], way: str, dice: random.Random) -> Iterable[tuple[int, bytes]]:
    size = SECTOR if way == "sectors" else PAGE
    parts = [part for write in writes for part in parts_of(write, size)]
    if not parts or way == "none":
        return []
    if way in ("pages", "sectors"):
        return [part for part in parts if dice.random() < 0.5]
    one = dice.randrange(len(parts))
    if way == "one page":
        return [parts[one]]
    if way == "all but one page":
        return parts[:one] + parts[one + 1 :]
    return parts[:one] if way == "first pages" else parts


# Looking at one ---------------------------------------------------------------------------------


class Seen(msgspec.Struct, frozen=True):
    """A file as a server finds it."""

    digest: bytes
    """Of all rows."""
    at: tuple[int, int]
    """Epoch and number of its last commit."""
    jobs: list[bytes] = []
    """All there are, if it was looked at closely."""


def look(dir_: Path, *, closely: bool = False) -> Seen:
    """Open the file as a server would, begin from it, and return what was in it."""
    kv = LmdbKeyValue(dir_, accept_any_filesystem=True)
    digest = blake2b(digest_size=16)
    for table in layout.Table:
        digest.update(b"table %d" % table)
        for packed in kv.walk_packed(table, ROWS_AT_ONCE):
            digest.update(packed)
    at = (0, 0)
    if (value := kv.get(layout.META, MetaKey.COMMIT)) is not None:
        commit = layout.commit_unpack(layout.unseal(layout.META, MetaKey.COMMIT, value))
        at = commit.epoch, commit.seq
    jobs: list[bytes] = []
    if closely:
        check_indexes(kv)
        jobs = [key for key, _ in walk(kv, layout.SPEC)]
    kv.close()
    store = open_store(dir_, accept_any_filesystem=True)
    restored = store.restore()
    for _ in restored.live():
        pass
    assert not restored.corrupt, f"{restored.corrupt}"
    store.close()
    return Seen(digest.digest(), at, jobs)


# A campaign -------------------------------------------------------------------------------------


def check(record: Record, states: int, seed: int) -> Report:
    """Make states of a record and look at each, in memory if there is room."""
    room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 1 << 30
    with tempfile.TemporaryDirectory(dir=MEMORY if room else None, prefix="states-") as name:
        return _check(record, states, seed, Path(name) / "state")


def _check(record: Record, states: int, seed: int, dir_: Path) -> Report:
    report = Report(seed, answers=record.answers)
    commits: list[Seen] = []
    images = (image for _, image in commits_of(record))
    for at, seen in enumerate(looked_at(dir_, images, partial(look, closely=True), Seen)):
        if isinstance(seen, str):
            report.found.append(Found("sound_commits", at, "", seen))
            seen = Seen(b"", (0, 0))
        commits.append(seen)
    report.commits = len(commits) - 1
    numbers: dict[bytes, tuple[int, int]] = {}
    for number, seen in enumerate(commits):
        if seen.digest:  # one that changes no row is as the one before
            numbers[seen.digest] = numbers.get(seen.digest, (number,))[0], number
    born: dict[bytes, int] = {}
    for number, seen in enumerate(commits):
        for job_id in seen.jobs:
            born.setdefault(job_id, number)
    made = states_of(record, states, random.Random(seed))
    known: dict[bytes, Seen | str] = {}
    """What was seen in a file, for those that are the same."""
    while batch := list(islice(made, FILES_A_CHILD)):
        new = {state.key: state.image for state in batch if state.key not in known}
        known.update(zip(new, looked_at(dir_, new.values(), look, Seen), strict=True))
        for state in batch:
            report.ways[state.way] += 1
            if violation := _judge(state, known[state.key], numbers, born):
                report.found.append(violation)
        report.states += len(batch)
    report.files = len(known)
    return report


def _judge(
    state: State, seen: Seen | str, numbers: dict[bytes, tuple[int, int]], born: dict[bytes, int]
) -> Found | None:
    if isinstance(seen, str):
        return Found("opens", state.cut, state.way, seen)
    if seen.digest not in numbers:
        return Found("whole_commits", state.cut, state.way, f"no commit left what is at {seen.at}")
    first, number = numbers[seen.digest]
    if seen.at < state.acked:
        detail = f"{state.acked} was told, {seen.at} is there"
        return Found("acked_is_there", state.cut, state.way, detail)
    told = max((born.get(job_id, NEVER) for job_id in state.jobs), default=0)
    if number < told:
        detail = f"a job of commit {told} was told, {number} commits are there"
        return Found("acked_is_there", state.cut, state.way, detail)
    if number < state.earliest:
        detail = f"{state.earliest} commits were durable, {number} are there"
        return Found("acked_is_there", state.cut, state.way, detail)
    if first > state.latest:
        detail = f"{state.latest} commits had begun, {first} are there"
        return Found("not_from_later", state.cut, state.way, detail)
    return None


def run(states: int, seed: int, base: Path, *, defect: str = "") -> Report:
    """Record a server, then look at so many states. The directory stays if something is found."""
    began_s = time.monotonic()
    dir_ = Path(tempfile.mkdtemp(prefix="states-", dir=base))
    data = recorded(seed, dir_, defect=defect)
    report = check(parse(data, syncs=defect != "syncs-ignored"), states, seed)
    report.seconds = time.monotonic() - began_s
    if defect or not report.found:
        shutil.rmtree(dir_)
    return report


def found_out(report: Report, defect: str) -> set[str]:
    """Return the rules that named a defect."""
    rules = {found.rule for found in report.found}
    return rules & set(DEFECTS[defect]) if DEFECTS[defect] else rules


def show(report: Report) -> None:
    ways = ", ".join(f"{count} {way}" for way, count in sorted(report.ways.items()))
    print(
        f"{report.states} states ({ways}), {report.files} different files, of a record of"
        f" {report.commits} commits and {report.answers} answers"
    )
    rate = report.states / report.seconds
    print(
        f"{len(report.found)} violations, seed {report.seed}, {report.seconds:.0f} s,"
        f" {rate:.0f} states/s",
        flush=True,
    )
    shown: Counter[str] = Counter()
    for found in report.found:
        shown[found.rule] += 1
        if shown[found.rule] <= 3:
            print(f"    {found.rule}: cut {found.cut}, {found.way}: {found.detail}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/crash-states", description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=None, help="repeats the dice, not the record")
    parser.add_argument("--processes", type=int, default=1, help="each makes a record of its own")
    parser.add_argument("--dir", type=Path, default=None, help="on a disk; default: build/states")
    figures.offer(parser, DEFECTS)
    args = parser.parse_args()
    if shutil.which("cc") is None:
        print("skipped: there is no C compiler for the recorder")
        return 0
    seed = int(time.time()) if args.seed is None else args.seed
    base = args.dir or Path(__file__).resolve().parents[2] / "build" / "states"
    base.mkdir(parents=True, exist_ok=True)
    if args.control:
        report = run(args.states, seed, base, defect=args.control)
        show(report)
        rules = found_out(report, args.control)
        print(f"found out by {', '.join(sorted(rules))}" if rules else "NOT FOUND OUT")
        told = (args.figures, "crash-states", report.states, len(rules), seed, report.seconds)
        figures.leave(*told, control=args.control)
        return 0 if rules else 1
    each = -(-args.states // args.processes)
    seeds = range(seed, seed + args.processes)
    failed = False
    with ProcessPoolExecutor(args.processes) as pool:
        for report in pool.map(partial(run, each, base=base), seeds):
            show(report)
            failed |= bool(report.found)
            told = (report.states, len(report.found), report.seed, report.seconds)
            figures.leave(args.figures, "crash-states", *told)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
