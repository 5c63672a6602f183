"""Documents: versions, what they do to queues, and that they outlive the process."""

from engine_rig import ADMIN, MakeRig, Rig, needs

from headrace.core.commands import Act, DropDocument, Expect, PutDocument
from headrace.core.effects import AuditNoted, DocumentDropped, DocumentStored
from headrace.core.live import EngineConfig
from headrace.wire import limits
from headrace.wire.documents import Document, Kind, QueueDocument, body_of
from headrace.wire.problems import Problem, ProblemCode


def put(rig: Rig, name: str = "q", expected: int = Expect.ANYTHING, **value: object) -> Document:
    body = body_of(QueueDocument(**value))  # type: ignore[arg-type]
    reply = rig.apply(PutDocument(ADMIN, Kind.QUEUE, name, body, expected))
    assert isinstance(reply, Document), reply
    return reply


def drop(rig: Rig, name: str = "q", expected: int = Expect.ANYTHING) -> Document | Problem:
    reply: Document | Problem = rig.apply(DropDocument(ADMIN, Kind.QUEUE, name, expected))
    return reply


def code_of_put(rig: Rig, name: str, expected: int = Expect.ANYTHING, body: bytes = b"{}") -> int:
    reply = rig.apply(PutDocument(ADMIN, Kind.QUEUE, name, body, expected))
    assert isinstance(reply, Problem), reply
    assert rig.effects == []
    return reply.code


def test_a_put_stores_the_document_and_notes_who_did_it(rig: Rig) -> None:
    document = put(rig, capacity=3)
    assert document.value() == QueueDocument(capacity=3)
    stored, noted = rig.effects
    assert stored == DocumentStored(document)
    assert isinstance(noted, AuditNoted)
    entry = noted.entry
    assert (entry.number, entry.user, entry.act, entry.name) == (1, ADMIN.user, "queue_put", "q")
    assert drop(rig) == document
    assert rig.effects[0] == DocumentDropped(Kind.QUEUE, "q")
    assert [(e.number, e.act) for e in rig.store.audit(None, 9)] == [
        (2, "queue_drop"),
        (1, "queue_put"),
    ]
    assert [e.number for e in rig.store.audit(2, 9)] == [1]


def test_versions_rise_over_names_drops_and_restarts(rig: Rig) -> None:
    versions = [put(rig).version, put(rig, "other").version]
    drop(rig)
    versions.append(put(rig).version)
    rig.open()
    versions.append(put(rig).version)
    assert versions == sorted(set(versions))


def test_a_change_says_what_it_expects_to_find(rig: Rig) -> None:
    assert code_of_put(rig, "q", Expect.PRESENT) == ProblemCode.PRECONDITION_FAILED
    assert code_of_put(rig, "q", 7) == ProblemCode.PRECONDITION_FAILED
    first = put(rig, expected=Expect.ABSENT).version
    assert code_of_put(rig, "q", Expect.ABSENT) == ProblemCode.PRECONDITION_FAILED
    second = put(rig, expected=first).version
    assert code_of_put(rig, "q", first) == ProblemCode.PRECONDITION_FAILED
    put(rig, expected=Expect.PRESENT)
    reply = drop(rig, expected=second)
    assert isinstance(reply, Problem)
    assert reply.code == ProblemCode.PRECONDITION_FAILED
    assert isinstance(drop(rig, expected=Expect.PRESENT), Document)
    reply = drop(rig)
    assert isinstance(reply, Problem)
    assert reply.code == ProblemCode.DOCUMENT_UNKNOWN


def test_documents_are_bounded_in_name_size_and_number(rig: Rig) -> None:
    assert code_of_put(rig, "") == ProblemCode.FIELD_INVALID
    assert code_of_put(rig, "é" * 241) == ProblemCode.FIELD_INVALID
    put(rig, "é" * 240)
    large = b" " * (limits.DOCUMENT_BYTES_MAX + 1)
    assert code_of_put(rig, "q", body=large) == ProblemCode.FIELD_INVALID
    known = rig.live.documents.of(Kind.QUEUE)
    known.update(dict.fromkeys(map(str, range(limits.DOCUMENTS_MAX - 1))))
    assert code_of_put(rig, "new") == ProblemCode.DOCUMENTS_TOO_MANY
    put(rig, "é" * 240)
    for number in range(limits.DOCUMENTS_MAX - 1):
        del known[str(number)]


def test_documents_outlive_the_process(rig: Rig) -> None:
    kept = put(rig, capacity=1)
    put(rig, "gone")
    drop(rig, "gone")
    rig.open()
    for table in (rig.live.documents, rig.store.documents):
        assert table.of(Kind.QUEUE) == {"q": kept}
    put(rig)
    assert rig.store.audit(None, 1)[0].number == 4


def test_the_stores_table_changes_with_the_commit(rig: Rig) -> None:
    before = rig.store.documents.changes(Kind.QUEUE)
    put(rig)
    assert rig.store.documents.changes(Kind.QUEUE) == before + 1
    assert rig.store.documents.changes(Kind.KEY) == 0


# Queues -----------------------------------------------------------------------------------------


def test_a_document_goes_before_the_configuration_where_it_says_something(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(EngineConfig(queue_capacities={"q": 1}))
    put(rig, description="says nothing of its capacity")
    assert rig.live.classes.queue_capacity("q") == 1
    put(rig, capacity=2)
    rig.open()
    assert rig.live.classes.queue_capacity("q") == 2
    put(rig, capacity=None)
    assert rig.live.classes.queue_capacity("q") is None
    drop(rig)
    assert rig.live.classes.queue_capacity("q") == 1


def test_a_paused_queue_gives_nothing_out_and_a_resume_wakes_who_waits(rig: Rig) -> None:
    put(rig, paused=True)
    job = rig.submit(needs(queue="q"))
    assert rig.explain(job).reasons[-1] == "its queue 'q' is paused"
    assert rig.poll(wait_ms=60_000) is None
    rig.open()
    assert rig.poll(wait_ms=60_000) is None
    put(rig, paused=False)
    (reply,) = rig.answers().values()
    assert [grant.job_id for grant in reply.jobs] == [job]


def test_more_capacity_wakes_who_waits_and_less_takes_nothing_away(rig: Rig) -> None:
    put(rig, capacity=1)
    for _ in range(3):
        rig.submit(needs(queue="q"))
    lease = rig.take()
    assert rig.poll(wait_ms=60_000) is None
    put(rig, capacity=2)
    assert len(rig.answers()) == 1
    put(rig, capacity=0)
    assert lease in rig.leases
    assert len(rig.poll().jobs) == 0


def test_a_queue_with_jobs_stays(rig: Rig) -> None:
    put(rig, capacity=1)
    job = rig.submit(needs(queue="q"), delay_ms=1_000)
    reply = drop(rig)
    assert isinstance(reply, Problem)
    assert reply.code == ProblemCode.DOCUMENT_IN_USE
    put(rig)
    assert rig.live.classes.queue_capacity("q") is None
    rig.control(job, Act.CANCEL)
    assert isinstance(drop(rig), Document)


def test_numbers_of_queues_come_again_without_their_settings(rig: Rig) -> None:
    for round_number in range(3):
        put(rig, f"q{round_number}", capacity=0, paused=True)
        put(rig, f"q{round_number}")
        rig.submit(needs(queue=f"other{round_number}"))
        assert len(rig.poll().jobs) == 1
