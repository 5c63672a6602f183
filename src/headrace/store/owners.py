"""Owners of jobs by their numbers, and which of them a list means."""

from collections.abc import Set

from headrace.store.contract import ListQuery


class Owners:
    """Those that are known: a number is (tenant, user), and never another."""

    def __init__(self) -> None:
        self.who: dict[int, tuple[str, str]] = {}
        self.all_known = False
        """No row of one was corrupt at the start: no job is anybody else's."""
        self._of_tenant: dict[str, set[int]] = {}

    def add(self, owner_id: int, who: tuple[str, str]) -> None:
        self.who[owner_id] = who
        self._of_tenant.setdefault(who[0], set()).add(owner_id)

    def meant(self, query: ListQuery) -> Set[int] | None:
        """Return the owners that a query means; None: all there are."""
        if query.owner_id is not None:
            if query.tenant not in (None, self.who.get(query.owner_id, ("",))[0]):
                return frozenset()
            return frozenset({query.owner_id})
        if query.tenant is None:
            return None
        found = self._of_tenant.get(query.tenant, set())
        return None if self.all_known and len(found) == len(self.who) else found
