"""`tools/crash`: the campaigns in which a server is killed, or gets into worse trouble."""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "trust"))
sys.path.insert(0, str(Path(__file__).parent))

import campaign
import embedded_campaign
import figures
from campaign import CONTROL_CYCLES, DEFECTS, DEFECTS_BELOW, Ground
from grounds import GROUNDS, Mixed, Troubled
from load import LOADS

KILLS = "kill-9"
EAGER = "ack-before-commit"
"""The defect that a program with a queue inside can have."""
ALL = {**GROUNDS, "mixed": Mixed}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=20, help="how many lives")
    parser.add_argument("--seed", type=int, default=None, help="repeats the dice, not the timing")
    parser.add_argument(
        "--load", choices=list(LOADS), default="mixed", help="batches: W4 of the benchmark"
    )
    parser.add_argument("--dir", type=Path, default=None, help="on a disk; default: build/crash")
    parser.add_argument(
        "--ground",
        choices=list(ALL),
        help="what befalls the server; default: kill -9 at any moment",
    )
    parser.add_argument(
        "--embedded", action="store_true", help="kill a program with a queue inside, not a server"
    )
    figures.offer(parser, [*DEFECTS, *DEFECTS_BELOW])
    args = parser.parse_args()
    if args.embedded and args.control not in ("", EAGER):
        parser.error(f"a queue inside a program has the defect {EAGER} alone")
    seed = int(time.time()) if args.seed is None else args.seed
    base = args.dir or Path(__file__).resolve().parents[2] / "build" / "crash"
    base.mkdir(parents=True, exist_ok=True)
    if args.embedded:
        eager = args.control == EAGER
        embedded = embedded_campaign.run(args.cycles, seed, base, eager=eager)
        embedded_campaign.show(embedded)
        found = len(embedded.violations)
        figures.leave(
            *(args.figures, "embedded", embedded.kills, found, seed, embedded.seconds),
            control=args.control,
        )
        return 0 if bool(found) == eager else 1
    name = args.ground or (KILLS if args.load == "mixed" else f"{KILLS}-{args.load}")
    if args.ground and (reason := ALL[name].lacking):
        print(f"skipped: {reason}")
        return 0
    grounds: list[Troubled] = []

    def ground_of(dir_: Path) -> Ground:
        if args.ground is None:
            return Ground(dir_)
        grounds.append(ALL[name](dir_))
        return grounds[-1]

    if args.control:
        known, report = campaign.control(
            args.control, CONTROL_CYCLES, seed, base, ground_of, load=args.load
        )
        campaign.show(report, name)
        print("the defect was found out" if known else "THE DEFECT WAS NOT FOUND OUT")
        found = len(report.violations) if known else 0
        figures.leave(
            *(args.figures, name, report.cycles, found, seed, report.seconds), control=args.control
        )
        return 0 if known else 1
    report = campaign.run(args.cycles, seed, base, load=args.load, ground_of=ground_of, forks=True)
    campaign.show(report, name)
    for ground in grounds:
        print("; ".join(f"{what}: {count}" for what, count in sorted(ground.met.items())))
    found = len(report.violations)
    figures.leave(args.figures, name, report.cycles, found, seed, report.seconds)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
