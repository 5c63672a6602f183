"""Mutants of a restored backup: whom of the time before it still believes."""

from contextlib import ExitStack

from headrace.core.live import Live
from headrace.runtime import backups
from sim.planting import planted, put


@planted
def restore_believes_late_reports(stack: ExitStack) -> None:
    """Attempts with a lease are released; one whose lease had run out can still be reported."""
    put(stack, backups, "open_attempts", leased)


@planted
def restore_leaves_leases(stack: ExitStack) -> None:
    """A worker goes on with what it had before."""

    def others(live: Live) -> list[str]:
        held = set(leased(live))
        return [token for token in old(live) if token not in held]

    old = put(stack, backups, "open_attempts", others)


def leased(live: Live) -> list[str]:
    return [live.leases.token(lease) for lease in live.leases]
