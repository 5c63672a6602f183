"""A campaign that does nothing and leaves figures; with seed 13 it finds something."""

import argparse
import sys

import figures


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("amount", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--control", default="")
    figures.offer(parser)
    args = parser.parse_args()
    bad = args.seed == 13
    if bad:
        print("two jobs for one key")
    found = int(bad or bool(args.control))
    figures.leave(args.figures, "fake", args.amount, found, args.seed, 0.1, control=args.control)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
