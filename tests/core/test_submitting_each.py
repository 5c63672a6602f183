"""Jobs taken together that came each by itself."""

import pytest
from engine_rig import ALICE, MakeRig, Rig, job_id

from headrace.core.commands import Submit, SubmitEach, Submitted
from headrace.core.effects import JobsStored
from headrace.core.job import Status
from headrace.core.live import ArchiveFault, EngineConfig
from headrace.wire.problems import Problem, ProblemCode


def test_jobs_that_can_be_taken_are_taken_as_one_submit(make_rig: MakeRig) -> None:
    together, as_one = make_rig(), make_rig()
    reply = together.apply(SubmitEach(ALICE, [together.new(), together.new(priority=9)]))
    assert reply == as_one.apply(Submit(ALICE, [as_one.new(), as_one.new(priority=9)]))
    assert reply == [Submitted(job_id(1), Status.QUEUED), Submitted(job_id(2), Status.QUEUED)]
    assert together.effects == as_one.effects


def test_one_that_is_refused_leaves_the_others(make_rig: MakeRig) -> None:
    """As if each had come by itself, in its turn."""
    together, apart = make_rig(), make_rig()
    for rig in (together, apart):
        rig.submit(key_digest=b"k" * 16, request_digest=b"r" * 16)
    new = [
        {},
        {"key_digest": b"k" * 16, "request_digest": b"r" * 16},
        {"key_digest": b"k" * 16, "request_digest": b"other" + b"r" * 11},
        {"module_key": b"m" * 32},
        {"priority": 9},
    ]
    replies = together.apply(SubmitEach(ALICE, [together.new(**fields) for fields in new]))
    codes = [reply.code if isinstance(reply, Problem) else reply.replayed for reply in replies]
    reused, unknown = ProblemCode.IDEMPOTENCY_KEY_REUSED, ProblemCode.MODULE_UNKNOWN
    assert codes == [False, True, reused, unknown, False]
    assert [reply.pointer for reply in replies if isinstance(reply, Problem)] == [
        "/idempotency_key",
        "/wasm_sha256",
    ]
    effects = []
    for fields in new:
        apart.apply(Submit(ALICE, [apart.new(**fields)]))
        effects += apart.effects
    assert together.effects == effects


def test_a_queue_that_gets_full_takes_the_first(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(jobs_max=2))
    replies = rig.apply(SubmitEach(ALICE, [rig.new() for _ in range(3)]))
    assert replies[:2] == [Submitted(job_id(n), Status.QUEUED) for n in (1, 2)]
    assert replies[2].code is ProblemCode.QUEUE_FULL


def test_jobs_that_are_alike_are_apart_when_not_all_can_be_taken(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(jobs_max=3))
    run = rig.new()
    run.job_ids, run.specs = b"".join(map(job_id, (1, 2, 3, 4))), [b"1", b"2", b"3", b"4"]
    replies = rig.apply(SubmitEach(ALICE, [run]))
    assert replies[:3] == [Submitted(job_id(n), Status.QUEUED) for n in (1, 2, 3)]
    assert [reply.code for reply in replies[3:]] == [ProblemCode.QUEUE_FULL]
    stored = [effect for effect in rig.effects if isinstance(effect, JobsStored)]
    assert [effect.specs for effect in stored] == [[b"1"], [b"2"], [b"3"]]


def test_the_same_key_among_them_is_one_job(rig: Rig) -> None:
    key = {"key_digest": b"k" * 16, "request_digest": b"r" * 16}
    replies = rig.apply(SubmitEach(ALICE, [rig.new(**key), rig.new(), rig.new(**key)]))
    assert [(reply.job_ids, reply.replayed) for reply in replies] == [
        (job_id(1), False),
        (job_id(2), False),
        (job_id(1), True),
    ]


def test_a_key_that_cannot_be_read_is_refused_alone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(digest: bytes) -> None:
        raise ArchiveFault

    monkeypatch.setattr(rig.engine.live.archive, "key", key)
    keyed = rig.new(key_digest=b"k" * 16, request_digest=b"r" * 16)
    replies = rig.apply(SubmitEach(ALICE, [rig.new(), keyed, rig.new()]))
    assert replies[1].code is ProblemCode.RECORD_CORRUPT
    assert [type(reply) for reply in replies] == [Submitted, Problem, Submitted]
