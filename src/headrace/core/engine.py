"""The engine: a function with memory.

    apply(now_ms, command) -> (reply, effects)      one command
    settle(now_ms)         -> effects               after a batch: waiting polls get what now fits
    due_ms()               -> when the next Tick is needed

Rules:
1. The engine is the only one that changes live state, and only inside these calls.
2. It has no clock, no randomness and no I/O: `now_ms` comes in (a clock that never jumps), the
   wall clock comes in with `Tick`, ids come in with commands. Equal calls give equal results.
3. A parked poll's answer is the effect `Answered`; a reply of None to a Poll means: parked.

Follow one job: `submitting.submit` → `live.enter` → `polling.grant` (from a poll, or from
`settle`) → `reporting.report` → `live.finish`, or for both `reporting.complete`. Leases that end
badly: `passing.lease_due`.
"""

from collections.abc import Callable
from typing import Any, Final

from headrace.core.announcing import announce, mark, replay
from headrace.core.bulk_acts import start_bulk, step_bulk, stop_bulk
from headrace.core.commands import (
    Announce,
    Cleanup,
    Command,
    Control,
    DropDocument,
    Explain,
    FindDemand,
    FindWorker,
    FindWorkers,
    Mark,
    OrderWorker,
    Poll,
    PutDocument,
    PutModule,
    Replay,
    StartBulk,
    StepBulk,
    StopBulk,
    Submit,
    SubmitEach,
    Sweep,
    Tick,
    Withdraw,
)
from headrace.core.controlling import control
from headrace.core.demand import find_demand
from headrace.core.documenting import drop_document, put_document
from headrace.core.effects import Effect
from headrace.core.fitting import explain
from headrace.core.fleet import find_worker, find_workers, order_worker
from headrace.core.live import Archive, ArchiveFault, EngineConfig, Live, Restored, corrupt
from headrace.core.passing import tick
from headrace.core.polling import dispatch_parked, poll, withdraw
from headrace.core.submitting import put_module, submit
from headrace.core.submitting_each import submit_each
from headrace.core.sweeping import cleanup, sweep

_HANDLERS: Final[dict[type, Callable[[Live, int, Any, list[Effect]], Any]]] = {
    Submit: submit,
    SubmitEach: submit_each,
    PutModule: put_module,
    Control: control,
    Explain: explain,
    Poll: poll,
    Withdraw: withdraw,
    PutDocument: put_document,
    DropDocument: drop_document,
    Sweep: sweep,
    Cleanup: cleanup,
    OrderWorker: order_worker,
    FindWorker: find_worker,
    FindWorkers: find_workers,
    Announce: announce,
    Mark: mark,
    Replay: replay,
    StartBulk: start_bulk,
    StepBulk: step_bulk,
    StopBulk: stop_bulk,
    FindDemand: find_demand,
    Tick: tick,
}


class Engine:
    """All live jobs of one shard. See the module's rules."""

    def __init__(self, config: EngineConfig, archive: Archive, secret: bytes, epoch: int) -> None:
        self.live = Live(config, archive, secret, epoch)

    def restore(self, restored: Restored, now_ms: int, wall_ms: int) -> list[Effect]:
        """Take up what the store holds, before the first command."""
        self.live.wall_offset_ms = wall_ms - now_ms
        return self.live.restore(restored, now_ms)

    def apply(self, now_ms: int, command: Command) -> tuple[Any, list[Effect]]:
        """Carry out one command. The reply's type is named in the command's docstring."""
        effects: list[Effect] = []
        try:
            reply = _HANDLERS[type(command)](self.live, now_ms, command, effects)
        except ArchiveFault:
            assert not effects, "commands read the archive before they change anything"
            reply = corrupt()
        return reply, effects

    def settle(self, now_ms: int) -> list[Effect]:
        """Give parked polls what fits them now.

        Called once per batch, after its last command and before its effects are staged.
        Cost: per group of equal offers that serves a queue and type of what became ready, one
        test for each such class (few), or one search; until all those jobs are gone. O(1) if
        nothing became ready.
        """
        effects: list[Effect] = []
        live = self.live
        if live.ready or live.room:
            if len(live.match) and len(live.parked):
                dispatch_parked(live, now_ms, effects)
            live.ready.clear()
            live.room = False
        return effects

    def staged(self) -> None:
        """The batch's effects are in the archive's view now."""
        self.live.forget_fresh()

    def due_ms(self) -> int | None:
        """Return when the next `Tick` has something to do, on the clock of `now_ms`."""
        return self.live.due_ms()
