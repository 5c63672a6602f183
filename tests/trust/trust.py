"""Run the campaigns of the test programme, in pieces, and print one table of what they reached.

    tools/trust --quick                 a little of each
    tools/trust --full --minutes 60     what is left of the whole programme, for an hour
    tools/trust kill-9 --amount 300     one of them
    tools/trust --list                  what there is
    tools/trust --table [--keep]        the table; with --keep for good, in src/RELIABILITY.md

Each run of a campaign's command is a piece, with seeds of its own, and leaves a file of figures.
So a programme can be broken off and continued; what counts is summed by the commit that was tested.
Exits 1 if anything was violated, or a planted defect was not found out.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

sys.path.insert(0, str(Path(__file__).parent))

import figures
import table
from campaigns import BY_NAME, CAMPAIGNS, Campaign

OUT: Final = figures.ROOT / "build" / "trust"
TAIL_LINES: Final = 15


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
    seed = max((one.seed + one.seeds for one in ran), default=1)
    left = campaign.full - sum(one.amount for one in ran) if amount is None else amount
    controls = [Piece(campaign, defect=name) for name in campaign.defects if name not in seen]
    return controls + list(pieces(campaign, left, seed))


def plan_quick(campaign: Campaign, done: Sequence[figures.Figures]) -> list[Piece]:
    """Return a little of it, and one control."""
    found = plan(campaign, campaign.quick, done)
    controls = [piece for piece in found if piece.defect]
    return controls[:1] + [piece for piece in found if not piece.defect]


# Runs -------------------------------------------------------------------------------------------


class Runs:
    """Pieces under way, some at a time."""

    def __init__(self, out: Path, processes: int, minutes: float) -> None:
        self.out = out
        self.failed: list[Piece] = []
        self._processes = processes
        self._until_s = time.monotonic() + 60 * minutes if minutes else float("inf")
        self._lock = threading.Lock()
        self._began_s = time.monotonic()
        self._over = 0
        self._left_out = 0
        (out / "logs").mkdir(parents=True, exist_ok=True)

    def all(self, planned: list[Piece]) -> None:
        with ThreadPoolExecutor(self._processes) as pool:
            futures = [pool.submit(self._one, piece, len(planned)) for piece in planned]
            for future in futures:
                future.result()
        if self._left_out:
            print(f"{self._left_out} runs are left for another time")

    def _one(self, piece: Piece, planned: int) -> None:
        if time.monotonic() > self._until_s:
            self._left_out += 1
            return
        with tempfile.TemporaryDirectory(dir=self.out, prefix="run-") as new:
            words = [*piece.words(), "--figures", new]
            log = self.out / "logs" / f"{Path(new).name}.log"
            with log.open("wb") as told:
                done = subprocess.run(
                    words,
                    cwd=figures.ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=told,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
            left = figures.collected(Path(new))
            for file in Path(new).glob("*.json"):
                file.rename(self.out / file.name)
        said = log.read_text(errors="replace").splitlines()
        with self._lock:
            self._over += 1
            passed_s = time.monotonic() - self._began_s
            print(f"{passed_s:6.0f} s {self._over:>4}/{planned} {piece}: ", end="")
            if done.returncode != 0:
                self.failed.append(piece)
                print(f"FAILED, see {log}\n    " + "\n    ".join(said[-TAIL_LINES:]), flush=True)
                return
            log.unlink()
            if not left:
                print(said[-1] if said else "no figures", flush=True)
            elif piece.defect:
                print("found out", flush=True)
            else:
                amount = sum(one.amount for one in left)
                took_s = sum(one.seconds for one in left)
                print(f"{amount:,} without a violation, {took_s:.0f} s", flush=True)


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
            clean = [one for one in figures.collected(out) if not one.commit.endswith("+")]
            figures.keep(figures.KEPT, clean)
            table.write(table.PAGE, table.of(figures.kept(figures.KEPT)))
        print(table.of(figures.in_order(set(found))))
        return 0
    out.mkdir(parents=True, exist_ok=True)
    done = [
        one
        for one in {*figures.kept(figures.KEPT), *figures.collected(out)}
        if one.commit == figures.commit() and one.machine == figures.machine()
    ]
    chosen = [BY_NAME[name] for name in arguments.campaigns] or CAMPAIGNS
    planned: list[Piece] = []
    for campaign in chosen:
        if arguments.quick:
            planned += plan_quick(campaign, done)
        else:
            planned += plan(campaign, arguments.amount, done)
    if arguments.no_controls:
        planned = [piece for piece in planned if not piece.defect]
    runs = Runs(out, arguments.processes, arguments.minutes)
    runs.all(planned)
    print(table.of(figures.collected(out)))
    for piece in runs.failed:
        print(f"FAILED: {shlex.join(piece.words())}")
    return 1 if runs.failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/trust", description=__doc__.split("\n")[0])
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=", ".join(BY_NAME))
    parser.add_argument("--quick", action="store_true", help="a little of each, or of those named")
    parser.add_argument("--full", action="store_true", help="what is left of the whole programme")
    parser.add_argument("--amount", type=int, help="so much more of those named")
    parser.add_argument("--no-controls", action="store_true", help="no planted defects")
    parser.add_argument("--minutes", type=float, default=0, help="begin nothing after so long")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--out", type=Path, default=OUT, help="where figures go")
    parser.add_argument("--list", action="store_true", help="what there is, and how much is enough")
    parser.add_argument("--table", action="store_true", help="print what was reached")
    parser.add_argument("--keep", action="store_true", help=f"and keep it in {table.PAGE.name}")
    arguments = parser.parse_args()
    if unknown := set(arguments.campaigns) - BY_NAME.keys():
        parser.error(f"there is no campaign {', '.join(sorted(unknown))}")
    whole = arguments.list or arguments.table or arguments.quick or arguments.full
    if not whole and not (arguments.campaigns and arguments.amount):
        parser.error("say --quick, --full, or campaigns and an --amount")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
