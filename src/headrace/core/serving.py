"""Who may serve a class of jobs, found by its queue and kind without asking everyone.

Thousands of workers may wait or be known that have nothing to do with a job: each with a type of
its own, or each with its own queue. What they serve is written in their profiles, so that is where
they stand here. Amounts, labels and GPUs are left to the match index to compare.
"""

from collections.abc import Collection, Iterable, Iterator
from heapq import merge
from itertools import chain, product
from operator import itemgetter
from typing import Final, Generic, TypeVar

from headrace.core.resources import WASM_KIND, Profile, Requirements

PAIRS_MAX: Final = 64
"""Who names more pairs of queue and kind is found as if serving all: that bounds the memory."""
BORN: Final = itemgetter(0)

Pair = tuple[str | None, str | None]
"""A queue and a kind of jobs; None stands for all."""
Thing = TypeVar("Thing")


def pairs_of(profile: Profile) -> list[Pair]:
    """Return what a worker with the profile serves."""
    queues: Collection[str | None] = (None,) if profile.queues is None else profile.queues
    kinds: Collection[str | None] = (None,) if profile.types is None else profile.types
    if profile.types is not None and profile.wasm:
        kinds = profile.types | {WASM_KIND}
    if len(queues) * len(kinds) > PAIRS_MAX:
        return [(None, None)]
    return [*product(queues, kinds)]


class Serving(Generic[Thing]):
    """Things by what they serve, each with a number that tells their order.

    Cost: add and remove O(pairs of the profile); a search O(things found).
    """

    def __init__(self) -> None:
        self._by_pair: dict[Pair, dict[int, Thing]] = {}
        """By pair, then by number, in that order."""
        self._added = 0

    def add(self, profile: Profile, thing: Thing) -> int:
        """Return the number by which to remove it again."""
        self._added += 1
        for pair in pairs_of(profile):
            self._by_pair.setdefault(pair, {})[self._added] = thing
        return self._added

    def remove(self, profile: Profile, number: int) -> None:
        for pair in pairs_of(profile):
            things = self._by_pair[pair]
            del things[number]
            if not things:
                del self._by_pair[pair]

    def find(self, classes: Iterable[Requirements], *, removing: bool = False) -> Iterator[Thing]:
        """Yield in the order they were added what may serve one of the classes.

        With `removing`, things may be removed before the last one has come; a removed one may
        still come.
        """
        pairs = dict.fromkeys(
            pair
            for each in classes
            for pair in (
                (each.queue, each.kind),
                (each.queue, None),
                (None, each.kind),
                (None, None),
            )
        )
        rows = [self._by_pair[pair].items() for pair in pairs if pair in self._by_pair]
        found = [list(row) for row in rows] if removing else rows
        last = 0
        for number, thing in merge(*found, key=BORN) if len(found) > 1 else chain(*found):
            if number != last:
                last = number
                yield thing

    def __len__(self) -> int:
        """How many entries there are: several for a thing that serves several pairs."""
        return sum(map(len, self._by_pair.values()))
