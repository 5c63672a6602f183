"""Run the campaigns of the test programme, in pieces, and print one table of what they reached.

    tools/trust --quick                 a little of each
    tools/trust --full --minutes 60     what is left of the whole programme, for an hour; what was
                                        never run comes first, and it stops at a violation
    tools/trust kill-9 --amount 300     one of them
    tools/trust --list                  what there is
    tools/trust --table [--keep]        the table; with --keep for good, in src/RELIABILITY.md
    tools/trust --full --keep           the same after each run

Each run of a campaign's command is a piece, with seeds of its own, and leaves a file of figures.
So a programme can be broken off, by SIGTERM or by an interrupt, and continued; what counts is
summed by the commit that was tested.
Exits 1 if anything was violated, or a planted defect was not found out.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

sys.path.insert(0, str(Path(__file__).parent))

import figures
import table
from campaigns import BY_NAME, CAMPAIGNS, Campaign

OUT: Final = figures.ROOT / "build" / "trust"
TAIL_LINES: Final = 15
POLL_S: Final = 0.1
OVER_CORES: Final = 0.5
"""So much more than the machine's cores is asked for: nothing computes all the time."""


class Piece(msgspec.Struct, frozen=True):
    """One run of a command."""

    campaign: Campaign
    amount: int = 0
    seed: int = 1
    defect: str = ""

    def __str__(self) -> str:
        if self.defect:
            return f"{self.campaign.name} with {self.defect}"
        return f"{self.campaign.name}, {self.amount:,} {self.campaign.unit} from {self.seed}"

    def words(self) -> list[str]:
        command = self.campaign.control if self.defect else self.campaign.command
        last = self.seed + self.campaign.seeds(self.amount) - 1
        return shlex.split(
            command.format(
                amount=self.amount,
                seed=self.seed,
                last=last,
                before=self.seed - 1,
                defect=self.defect,
            )
        )


def pieces(campaign: Campaign, amount: int, seed: int) -> Iterator[Piece]:
    """Cut an amount into runs, each with its own seeds."""
    while amount > 0:
        part = min(amount, campaign.piece)
        yield Piece(campaign, part, seed)
        amount -= part
        seed += campaign.seeds(part)


def plan(campaign: Campaign, amount: int | None, done: Sequence[figures.Figures]) -> list[Piece]:
    """Return what is to be run: so much more, or what is left of the whole, and the controls that
    were not found out yet. `done` is of this commit."""
    mine = [one for one in done if one.campaign == campaign.name]
    ran = [one for one in mine if not one.control]
    seen = {one.control for one in mine if one.violations}
    left = campaign.full - sum(one.amount for one in ran) if amount is None else amount
    planned = [Piece(campaign, defect=name) for name in campaign.defects if name not in seen]
    if not campaign.amount_a_seed:
        seed = max((one.seed + one.seeds for one in ran), default=1)
        return planned + list(pieces(campaign, left, seed))
    for first, count in unused(ran):
        part = min(left, count * campaign.amount_a_seed)
        planned += pieces(campaign, part, first)
        left -= part
    return planned


def unused(ran: Sequence[figures.Figures]) -> Iterator[tuple[int, int]]:
    """Yield where seeds begin that no run had, and how many they are: what was broken off leaves
    gaps."""
    at = 1
    for first, stop in sorted((one.seed, one.seed + one.seeds) for one in ran):
        if first > at:
            yield at, first - at
        at = max(at, stop)
    yield at, sys.maxsize


def hours_left(campaign: Campaign, done: Sequence[figures.Figures]) -> float:
    """Return how long the rest of a campaign takes a core, by the runs that there were."""
    ran = [one for one in done if one.campaign == campaign.name and not one.control]
    amount = sum(one.amount for one in ran)
    each_s = sum(one.seconds for one in ran) / amount if amount else campaign.each_s
    return campaign.cores * max(0, campaign.full - amount) * each_s / 3_600


def plan_full(chosen: Sequence[Campaign], done: Sequence[figures.Figures]) -> list[Piece]:
    """Return what is left of the whole: first what was never run, of that the shortest first."""
    met = {one.campaign for one in done if not one.control}
    ordered = sorted(chosen, key=lambda one: (one.name in met, hours_left(one, done)))
    return [piece for campaign in ordered for piece in plan(campaign, None, done)]


def plan_quick(campaign: Campaign, done: Sequence[figures.Figures]) -> list[Piece]:
    """Return a little of it, and one control."""
    found = plan(campaign, campaign.quick, done)
    controls = [piece for piece in found if piece.defect]
    return controls[:1] + [piece for piece in found if not piece.defect]


# Runs -------------------------------------------------------------------------------------------


class Running(msgspec.Struct):
    """A piece under way."""

    piece: Piece
    child: "subprocess.Popen[bytes]"
    new: Path
    """Where it leaves its figures."""
    log: Path


class Runs:
    """Pieces under way: as many as the machine's cores bear, those that mostly wait beside those
    that compute."""

    def __init__(
        self,
        out: Path,
        cores: float,
        minutes: float,
        *,
        stops: bool = False,
        over: Callable[[list[figures.Figures]], None] = lambda _: None,
    ) -> None:
        """`stops`: at the first violation. `over` is given what each piece has left."""
        self.out = out
        self.failed: list[Piece] = []
        self._cores = cores
        self._until_s = time.monotonic() + 60 * minutes if minutes else float("inf")
        self._began_s = time.monotonic()
        self._stops = stops
        self._over = over
        self._ended = 0
        self._stopping = False
        self._running: list[Running] = []
        (out / "logs").mkdir(parents=True, exist_ok=True)

    def all(self, planned: list[Piece]) -> None:
        waiting, whole = list(planned), len(planned)
        while waiting or self._running:
            if self._stopping or time.monotonic() > self._until_s:
                waiting, left_out = [], len(waiting)
                if left_out:
                    print(f"{left_out} runs are left for another time", flush=True)
            while (piece := self._next(waiting)) is not None:
                waiting.remove(piece)
                self._running.append(self._begun(piece))
            for one in [one for one in self._running if one.child.poll() is not None]:
                self._running.remove(one)
                if not self._is_good(one, whole):
                    # Whatever is wrong with it, more of the same tells nothing new.
                    waiting = [
                        piece for piece in waiting if piece.campaign is not one.piece.campaign
                    ]
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Begin nothing more, and have what is under way end; figures of whole pieces stay."""
        if not self._stopping:
            self._stopping = True
            for one in self._running:
                one.child.send_signal(signal.SIGINT)  # which cleans up after itself

    def _next(self, waiting: list[Piece]) -> Piece | None:
        """Return the first piece that the machine can bear beside what is under way."""
        taken = sum(one.piece.campaign.cores for one in self._running)
        for piece in waiting:
            if not self._running or taken + piece.campaign.cores <= self._cores + OVER_CORES:
                return piece
        return None

    def _begun(self, piece: Piece) -> Running:
        new = Path(tempfile.mkdtemp(dir=self.out, prefix="run-"))
        log = self.out / "logs" / f"{new.name}.log"
        with log.open("wb") as told:
            child = subprocess.Popen(
                [*piece.words(), "--figures", new],
                cwd=figures.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt from the keyboard is for this process
            )
        return Running(piece, child, new, log)

    def _is_good(self, one: Running, planned: int) -> bool:
        """Take what a piece has left, and tell of it."""
        piece, log = one.piece, one.log
        left = figures.collected(one.new)
        for file in one.new.glob("*.json"):
            file.rename(self.out / file.name)
        shutil.rmtree(one.new)
        self._over(left)
        said = log.read_text(errors="replace").splitlines()
        self._ended += 1
        passed_s = time.monotonic() - self._began_s
        print(f"{passed_s:6.0f} s {self._ended:>4}/{planned} {piece}: ", end="")
        if one.child.returncode != 0:
            violated = not piece.defect and any(figure.violations for figure in left)
            if self._stopping and not violated:
                print("broken off", flush=True)
                return False
            self.failed.append(piece)
            print(f"FAILED, see {log}\n    " + "\n    ".join(said[-TAIL_LINES:]))
            print(f"    repeat: {shlex.join(piece.words())}", flush=True)
            if violated and self._stops:
                self.stop()
            return False
        log.unlink()
        if not left:
            print(said[-1] if said else "no figures", flush=True)
        elif piece.defect:
            print("found out", flush=True)
        else:
            amount = sum(figure.amount for figure in left)
            took_s = sum(figure.seconds for figure in left)
            print(f"{amount:,} without a violation, {took_s:.0f} s", flush=True)
        return True


# The command ------------------------------------------------------------------------------------


def main() -> int:
    arguments = _arguments()
    out: Path = arguments.out
    if arguments.list:
        for campaign in CAMPAIGNS:
            amounts = f"{campaign.quick:>9,}{campaign.full:>13,} {campaign.unit}"
            print(f"{campaign.name:<16}{amounts:<36}{campaign.what}")
        return 0
    if arguments.table:
        found = figures.kept(figures.KEPT) + figures.collected(out)
        if arguments.keep:
            kept_for_good(figures.collected(out))
        print(table.of(figures.in_order(set(found))))
        return 0
    out.mkdir(parents=True, exist_ok=True)
    done = [
        one
        for one in {*figures.kept(figures.KEPT), *figures.collected(out)}
        if one.commit == figures.commit(one.campaign) and one.machine == figures.machine()
    ]
    chosen = [BY_NAME[name] for name in arguments.campaigns] or CAMPAIGNS
    planned: list[Piece] = []
    if arguments.full:
        planned = plan_full(chosen, done)
    for campaign in [] if arguments.full else chosen:
        if arguments.quick:
            planned += plan_quick(campaign, done)
        else:
            planned += plan(campaign, arguments.amount, done)
    if arguments.no_controls:
        planned = [piece for piece in planned if not piece.defect]
    runs = Runs(
        out,
        arguments.processes,
        arguments.minutes,
        stops=arguments.full,
        over=kept_for_good if arguments.keep else lambda _: None,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runs.stop())
    runs.all(planned)
    print(table.of(figures.collected(out)))
    for piece in runs.failed:
        print(f"FAILED: {shlex.join(piece.words())}")
    return 1 if runs.failed else 0


def kept_for_good(found: Sequence[figures.Figures]) -> None:
    """Add figures to those that are kept, and write the page's table anew."""
    figures.keep(figures.KEPT, [one for one in found if not one.commit.endswith("+")])
    table.write(table.PAGE, table.of(figures.kept(figures.KEPT)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/trust", description=__doc__.split("\n")[0])
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=", ".join(BY_NAME))
    parser.add_argument("--quick", action="store_true", help="a little of each, or of those named")
    parser.add_argument("--full", action="store_true", help="what is left of the whole programme")
    parser.add_argument("--amount", type=int, help="so much more of those named")
    parser.add_argument("--no-controls", action="store_true", help="no planted defects")
    parser.add_argument("--minutes", type=float, default=0, help="begin nothing after so long")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="cores to fill")
    parser.add_argument("--out", type=Path, default=OUT, help="where figures go")
    parser.add_argument("--list", action="store_true", help="what there is, and how much is enough")
    parser.add_argument("--table", action="store_true", help="print what was reached")
    parser.add_argument(
        "--keep", action="store_true", help=f"keep what each run reached in {table.PAGE.name}"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.campaigns) - BY_NAME.keys():
        parser.error(f"there is no campaign {', '.join(sorted(unknown))}")
    whole = arguments.list or arguments.table or arguments.quick or arguments.full
    if not whole and not (arguments.campaigns and arguments.amount):
        parser.error("say --quick, --full, or campaigns and an --amount")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
