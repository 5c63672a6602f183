"""The engine as a whole: equal calls give equal results, and refusals change nothing."""

import pytest
from engine_rig import ALICE, START_MS, Rig

from headrace.core.commands import Act, Control, Explain, Outcome, Poll, Submit, Tick, Withdraw
from headrace.core.effects import Effect
from headrace.core.engine import Engine
from headrace.core.live import ArchiveFault, EngineConfig
from headrace.store import Store
from headrace.store.memory import MemoryKeyValue
from headrace.wire.problems import ProblemCode


def test_equal_calls_give_equal_results(rig: Rig) -> None:
    """What makes a run repeatable, and a simulation worth anything."""
    jobs = [rig.new(priority=number % 10) for number in range(30)]

    def run() -> list[object]:
        store = Store(MemoryKeyValue())
        engine = Engine(EngineConfig(lease_ms=1_000), store, b"secret", store.restore().epoch)
        seen: list[object] = []

        def apply(now_ms: int, command: Submit | Poll | Tick | Control | Withdraw) -> None:
            seen.append(engine.apply(now_ms, command))
            seen.append(engine.settle(now_ms))

        apply(START_MS, Tick(START_MS))
        apply(START_MS, Poll(1, "w", session="s", seq=1, jobs_max=3, wait_ms=5_000))
        apply(START_MS, Submit(ALICE, jobs))
        apply(START_MS + 5, Poll(2, "w", session="s", seq=2, jobs_max=9))
        apply(START_MS + 5, Control(ALICE, jobs[9].job_ids, Act.CANCEL))
        apply(START_MS + 2_000, Tick(START_MS + 2_000))
        apply(START_MS + 2_000, Poll(3, "w", session="s", seq=3, jobs_max=40))
        return seen

    assert run() == run()


def test_an_engine_at_rest_has_nothing_to_do(rig: Rig) -> None:
    assert rig.engine.due_ms() is None
    assert rig.engine.settle(rig.now_ms) == []
    rig.submit()
    rig.report(rig.take(), Outcome.COMPLETED)
    assert rig.engine.due_ms() is None


def test_settle_without_anything_new_is_nothing(rig: Rig) -> None:
    rig.submit()
    assert rig.engine.settle(rig.now_ms) == []


def test_a_damaged_row_is_a_refusal_of_the_command_that_needs_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = rig.submit()
    rig.control(job_id, Act.CANCEL)

    def finished(_job_id: bytes) -> None:
        raise ArchiveFault

    monkeypatch.setattr(rig.store, "finished", finished)
    for command in (Control(ALICE, job_id, Act.DELETE), Explain(ALICE, job_id)):
        assert rig.apply(command).code is ProblemCode.RECORD_CORRUPT
        assert rig.effects == []


def test_everything_a_batch_did_is_seen_before_it_is_staged(rig: Rig) -> None:
    """The archive lags behind by one batch; the engine must not."""
    new = rig.new(key_digest=b"k" * 16, request_digest=b"r" * 16)
    effects: list[Effect] = []

    def apply(command: Submit | Control | Explain) -> object:
        reply, made = rig.engine.apply(rig.now_ms, command)
        effects.extend(made)
        return reply

    apply(Submit(ALICE, [new]))
    apply(Control(ALICE, new.job_ids, Act.CANCEL))
    explained = apply(Explain(ALICE, new.job_ids))
    assert explained.status.name == "CANCELLED"  # type: ignore[attr-defined]
    (replayed,) = apply(Submit(ALICE, [new]))  # type: ignore[misc]
    assert replayed.replayed
    assert rig.store.finished(new.job_ids) is None
