"""Mutants of documents: what operators set, and the audit log of who did."""

from contextlib import ExitStack
from typing import Any
from unittest import mock

import msgspec

from headrace.core import controlling, documenting
from headrace.core import live as live_module
from headrace.core.effects import AuditNoted, DocumentDropped
from headrace.core.live import Live
from headrace.wire.documents import Kind
from sim.planting import planted, put, translate


@planted
def dropped_document_comes_back(stack: ExitStack) -> None:
    """The row of a dropped document stays on disk."""
    translate(stack, DocumentDropped, lambda *_: None)


@planted
def pause_forgotten_at_a_start(stack: ExitStack) -> None:
    """After a restart a queue is as the configuration says."""

    def restore(live: Live, found: Any) -> None:
        with mock.patch.dict(documenting.CHANGED, clear=True):
            old(live, found)

    old = put(stack, live_module, "restore_documents", restore)


@planted
def expected_version_ignored(stack: ExitStack) -> None:
    """A change overwrites what somebody else has changed meanwhile."""
    put(stack, documenting, "check_expected", lambda *_: None)


@planted
def resume_wakes_nobody(stack: ExitStack) -> None:
    """A queue that is resumed, or gets room, serves only polls that come later."""

    def changed(live: Live, name: str) -> None:
        room = live.room
        old(live, name)
        live.room = room

    old = documenting.CHANGED[Kind.QUEUE]
    stack.enter_context(mock.patch.dict(documenting.CHANGED, {Kind.QUEUE: changed}))


@planted
def queue_with_jobs_dropped(stack: ExitStack) -> None:
    """Nobody asks whether a queue has jobs before it is removed."""
    stack.enter_context(mock.patch.dict(documenting.IN_USE, clear=True))


@planted
def audit_numbers_begin_anew(stack: ExitStack) -> None:
    """After a restart the audit log is written over."""

    def restore(self: Live, restored: Any, now_ms: int) -> Any:
        return old(self, msgspec.structs.replace(restored, audit_last=0), now_ms)

    old = put(stack, Live, "restore", restore)


@planted
def audit_not_stored(stack: ExitStack) -> None:
    """Acts of admins are noted in memory only."""
    translate(stack, AuditNoted, lambda *_: None)


@planted
def type_never_asked_about_suspends(stack: ExitStack) -> None:
    """A job is suspended whatever its type says."""
    put(stack, controlling, "may_suspend", lambda *_: True)


@planted
def group_with_types_dropped(stack: ExitStack) -> None:
    """Nobody asks whether a group has types before it is removed."""
    put(stack, documenting, "IN_USE", {Kind.QUEUE: documenting.queue_in_use})
