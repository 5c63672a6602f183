"""Bits, bytes and pages of a store's file that change while no server runs: is each told?

    tools/bit-flips --flips 1000

A server under the load of `tools/crash` makes a store. Each flip changes a copy of its file at a
random place: one bit, one byte, or a page, which is then empty, noise, or another page. A server
starts from that (all of it but its doors), is asked for all that was there, and so is
`headrace inspect`, each in a child with a bound. What may come of it:

refused      it does not start, or ends at a page that it cannot read, and says why
named        jobs, keys or documents are told as damaged; all others are as they were
overlooked   a server misses a row that it looks for by what the flip changed, an idempotency key or
             a place in a list, and does not notice; a look at the file tells
hidden       another page of the store lies in a page's place, as a disk leaves it that writes to a
             wrong one, and jobs are gone from all answers; a look at the file tells
inspected    all answers are as they were, but a look at the file finds what is wrong
unread       nothing differs: the place is free, or of an older commit

All else is a violation:

changed      a job or a document that is asked for differs, or is gone and not told as damaged; or
             a row is missed and nobody tells
raises       an error that a start does not tell as a refusal
ended        another signal ended it
circles      it was not over in time
"""

import argparse
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1] / "trust"))
sys.path.insert(0, str(Path(__file__).parent))

import figures
from apart import FILES_A_CHILD, looked_at
from campaign import FLAGS, Clients
from processes import Server, free_port

from headrace.cli.serve import EXIT_STORE, EXIT_STORE_DAMAGED
from headrace.runtime.config import Config
from headrace.runtime.node import Node
from headrace.store import layout
from headrace.store.contract import ListQuery, RecordCorrupt, StoreError, walk
from headrace.store.inspecting import inspect
from headrace.store.lmdb import DATA_FILE, LmdbKeyValue
from headrace.store.store import Store
from headrace.wire.documents import Document, Kind

LOADS_S = (2.0, 0.3)
"""By seed. In a small store more flips meet headers, roots and the free list."""
PAGE = 4_096
SEAL_BYTES = 4
LIST_LIMIT = 1_000
MEMORY = Path("/dev/shm")
HARMLESS = ("refused", "named", "overlooked", "hidden", "inspected", "unread")
MISPLACED = "another page"
DEFECTS = {"checksums-ignored": {"changed"}}
"""And the ways of which one at least must name it."""
REASONED = {f"the child ended with {code}" for code in (EXIT_STORE_DAMAGED, EXIT_STORE)}
"""Where LMDB cannot go on, and at a page that the system cannot read; both with a reason."""
SHOWN = 3
Job = tuple[int, bytes, bytes | None, bytes | None, bytes | None]


class Truth(msgspec.Struct):
    """What is in a store that is whole."""

    jobs: dict[bytes, Job]
    keys: dict[bytes, tuple[bytes, bytes]]
    documents: dict[Kind, dict[str, Document]]


class Flip(msgspec.Struct, frozen=True):
    what: str
    at: int
    image: bytes


class Start(msgspec.Struct, frozen=True):
    """What came of a start from a file."""

    refused: str = ""
    named: int = 0
    """Rows, jobs and kinds of documents that are told as damaged."""
    changed: list[str] = []
    gone: list[str] = []
    """Jobs that are not found."""
    missed: list[str] = []
    """Keys, and places in the list, that a server does not find and has no reason to miss."""


class Look(msgspec.Struct, frozen=True):
    """What `headrace inspect` says of a file; empty: all is well."""

    says: str = ""


class Found(msgspec.Struct, frozen=True):
    way: str
    flip: str
    detail: str


class Report(msgspec.Struct):
    seed: int
    flips: int = 0
    jobs: int = 0
    ways: Counter[str] = msgspec.field(default_factory=Counter)
    inspected: int = 0
    """Of what the server refused or named, so many are told by `headrace inspect`, too."""
    found: list[Found] = []
    seconds: float = 0.0


# A store ----------------------------------------------------------------------------------------


def made(seed: int, dir_: Path) -> bytes:
    """Return the file of a server that was under load and stopped in good order."""
    port = free_port()
    server = Server(dir_ / "data", port, *FLAGS)
    clients = Clients(port, dir_, seed, "mixed")
    try:
        server.wait_ready()
        time.sleep(LOADS_S[seed % len(LOADS_S)])
        clients.check()
        code = server.terminate()
        assert code == 0, server.output()[-1_000:]
    finally:
        clients.kill()
        server.kill()
    return (dir_ / "data" / DATA_FILE).read_bytes()


def flips_of(image: bytes, count: int, dice: random.Random) -> Iterator[Flip]:
    for _ in range(count):
        found = bytearray(image)
        at = dice.randrange(len(image))
        dice_of_kind = dice.random()
        if dice_of_kind < 0.6:
            what = f"bit {at % 8}"
            found[at] ^= 1 << at % 8
        elif dice_of_kind < 0.8:
            what = "byte"
            found[at] ^= dice.randrange(1, 256)
        else:
            at -= at % PAGE
            what = dice.choice(("empty page", "noise", MISPLACED))
            other = dice.randrange(len(image) // PAGE) * PAGE
            pages = {"empty page": bytes(PAGE), "noise": dice.randbytes(PAGE)}
            found[at : at + PAGE] = pages.get(what, image[other : other + PAGE])
        yield Flip(what, at, bytes(found))


# Looking ----------------------------------------------------------------------------------------


def job_of(store: Store, job_id: bytes) -> Job | None:
    job = store.job(job_id)
    if job is None:
        return None
    body = job.finished.body if job.finished is not None else None
    return job.owner_id, job.spec, job.live, job.done, body


def keys_of(dir_: Path) -> list[bytes]:
    kv = LmdbKeyValue(dir_, accept_any_filesystem=True)
    found = [key for key, _ in walk(kv, layout.KEYS)]
    kv.close()
    return found


def begun(dir_: Path) -> Node:
    return Node(Config(data_dir=dir_, accept_any_filesystem=True))


def truth_of(image: bytes, dir_: Path) -> Truth:
    dir_.mkdir()
    (dir_ / DATA_FILE).write_bytes(image)
    keys = keys_of(dir_)
    node = begun(dir_)
    store = node.store
    truth = Truth({}, {}, {kind: dict(store.documents.of(kind)) for kind in Kind})
    for job_id in listed(store, []):
        job = job_of(store, job_id)
        assert job is not None
        truth.jobs[job_id] = job
    for digest in keys:
        told = store.key(digest)
        assert told is not None
        truth.keys[digest] = told
    store.close()
    return truth


def listed(store: Store, corrupt: list[bytes]) -> Iterator[bytes]:
    """Yield the id of each job in the list; note those that it tells as damaged."""
    after = None
    while True:
        page = store.list_jobs(ListQuery(limit=LIST_LIMIT, after=after))
        corrupt += page.corrupt
        yield from (job.job_id for job in page.jobs)
        if page.next is None:
            return
        after = page.next


def started(truth: Truth, dir_: Path) -> Start:
    """Start from a file and ask for all that was there."""
    logging.disable()
    try:
        node = begun(dir_)
    except (StoreError, OSError) as error:  # what `headrace serve` tells as a refusal
        return Start(refused=f"{type(error).__name__}: {error}"[:200])
    store = node.store
    changed: list[str] = []
    gone: list[str] = []
    missed: list[str] = []
    corrupt: list[bytes] = []
    try:
        listed_ids = set(listed(store, corrupt))
        for job_id, job in truth.jobs.items():
            try:
                seen = job_of(store, job_id)
            except RecordCorrupt:
                corrupt.append(job_id)
                continue
            if seen is None:
                gone.append(f"job {job_id.hex()} is gone")
            elif seen != job:
                changed.append(f"job {job_id.hex()} differs")
            elif job_id not in listed_ids and job_id not in corrupt:
                missed.append(f"job {job_id.hex()} is in no list")
        if more := listed_ids - truth.jobs.keys():
            changed.append(f"{len(more)} jobs are new")
        for digest, value in truth.keys.items():
            try:
                if (told := store.key(digest)) is None:
                    missed.append(f"key {digest.hex()}")
                elif told != value:
                    changed.append(f"key {digest.hex()}")
            except RecordCorrupt:
                corrupt.append(digest)
        for kind, documents in truth.documents.items():
            if kind not in store.documents.damaged and store.documents.of(kind) != documents:
                changed.append(f"documents {kind.name}")
    except StoreError as error:
        told = f"later: {type(error).__name__}: {error}"[:200]
        return Start(refused=told, changed=changed[:SHOWN], gone=gone[:SHOWN])
    named = store.stats().corrupt_records + len(corrupt)
    store.close()
    return Start(named=named, changed=changed[:SHOWN], gone=gone[:SHOWN], missed=missed[:SHOWN])


def inspected(dir_: Path) -> Look:
    try:
        return Look("; ".join(inspect(dir_).faults[:SHOWN]))
    except StoreError as error:
        return Look(f"{type(error).__name__}: {error}"[:200])


def way_of(start: Start | str, look: Look | str, what: str = "") -> tuple[str, str]:
    """Return what came of a flip, and more of it."""
    for seen in (start, look):
        if isinstance(seen, str):
            who = "the start" if seen is start else "the look"
            if not seen.startswith("the child ended"):
                return "raises", f"{who}: {seen}"
            if seen not in REASONED:
                circles = seen.endswith(f" {-signal.SIGPROF}")
                return "circles" if circles else "ended", f"{who}: {seen}"
    says = look.says if isinstance(look, Look) else look
    if isinstance(start, str):
        return ("refused", "") if says else ("ended", f"the start: {start}; a look says nothing")
    untold = [] if says else [*start.gone, *start.missed]
    if start.changed or untold or (start.gone and what != MISPLACED):
        told = "; ".join([*start.changed, *start.gone, *start.missed])
        return "changed", f"{told}; a look says: {says or 'nothing'}"
    if start.gone:
        return "hidden", ""
    if start.missed:
        return "overlooked", ""
    if start.refused:
        return "refused", start.refused
    if start.named:
        return "named", ""
    return ("inspected", says) if says else ("unread", "")


# A campaign -------------------------------------------------------------------------------------


def trusting(unseal: Callable[[int, bytes, bytes], bytes]) -> Callable[[int, bytes, bytes], bytes]:
    """Return the defect: a payload is taken whatever its checksum says."""

    def taken(table: int, key: bytes, value: bytes) -> bytes:
        try:
            return unseal(table, key, value)
        except RecordCorrupt:
            return value[SEAL_BYTES:]

    return taken


def check(image: bytes, flips: int, seed: int, *, defect: str = "") -> Report:
    """Flip so much, and look at each file, in memory if there is room."""
    room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 1 << 30
    unseal = layout.unseal
    with tempfile.TemporaryDirectory(dir=MEMORY if room else None, prefix="flips-") as name:
        truth = truth_of(image, Path(name) / "whole")
        try:
            if defect:
                layout.unseal = trusting(unseal)
            return _check(image, truth, flips, seed, Path(name) / "flipped")
        finally:
            layout.unseal = unseal


def _check(image: bytes, truth: Truth, flips: int, seed: int, dir_: Path) -> Report:
    report = Report(seed, jobs=len(truth.jobs))
    made = flips_of(image, flips, random.Random(seed))
    while batch := list(islice(made, FILES_A_CHILD)):
        images = [flip.image for flip in batch]
        starts = looked_at(dir_, images, partial(started, truth), Start)
        looks = looked_at(dir_, images, inspected, Look)
        for flip, start, look in zip(batch, list(starts), list(looks), strict=True):
            report.flips += 1
            way, detail = way_of(start, look, flip.what)
            report.ways[way] += 1
            if way in ("refused", "named") and look != Look():
                report.inspected += 1
            if way not in HARMLESS:
                report.found.append(Found(way, f"{flip.what} at {flip.at}", detail))
    return report


def run(flips: int, seed: int, base: Path, *, defect: str = "") -> Report:
    """Make a store, then flip. The store stays if something is found."""
    began_s = time.monotonic()
    dir_ = Path(tempfile.mkdtemp(prefix="flips-", dir=base))
    report = check(made(seed, dir_), flips, seed, defect=defect)
    report.seconds = time.monotonic() - began_s
    if defect or not report.found:
        shutil.rmtree(dir_)
    return report


def show(report: Report) -> None:
    ways = ", ".join(f"{count} {way}" for way, count in sorted(report.ways.items()))
    told = report.ways["refused"] + report.ways["named"]
    print(
        f"{report.flips} flips of a store of {report.jobs} jobs: {ways}; of {told} that a server"
        f" refused or named, `headrace inspect` tells {report.inspected}"
    )
    print(f"{len(report.found)} violations, seed {report.seed}, {report.seconds:.0f} s", flush=True)
    shown: Counter[str] = Counter()
    for found in report.found:
        shown[found.way] += 1
        if shown[found.way] <= SHOWN:
            print(f"    {found.way}: {found.flip}: {found.detail}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/bit-flips", description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=None, help="repeats the dice, not the store")
    parser.add_argument("--dir", type=Path, default=None, help="on a disk; default: build/flips")
    parser.add_argument(
        "--control",
        choices=list(DEFECTS),
        help="a server with this defect instead: exit 0 only if it is found out",
    )
    figures.offer(parser)
    args = parser.parse_args()
    seed = int(time.time()) if args.seed is None else args.seed
    base = args.dir or Path(__file__).resolve().parents[2] / "build" / "flips"
    base.mkdir(parents=True, exist_ok=True)
    report = run(args.flips, seed, base, defect=args.control or "")
    show(report)
    found = len(report.found)
    if args.control:
        ways = {one.way for one in report.found} & DEFECTS[args.control]
        print(f"found out by {', '.join(sorted(ways))}" if ways else "NOT FOUND OUT")
        found = len(ways)
    told = (args.figures, "bit-flips", report.flips, found, seed, report.seconds)
    figures.leave(*told, control=args.control or "")
    return 0 if bool(found) == bool(args.control) else 1


if __name__ == "__main__":
    sys.exit(main())
