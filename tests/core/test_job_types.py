"""What registered types give to jobs, and what they check."""

import json
from typing import Any

import msgspec
import pytest

from headrace.core.commands import Caller, NewJobs
from headrace.core.documenting import DocumentTable
from headrace.core.intake import Translator, job_texts, new_job, submission
from headrace.core.job_types import TypeBook
from headrace.wire.documents import Document, GroupDocument, Kind, TypeDocument, body_of
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import Requirements, SubmitJob

NOW_MS = 1_700_000_000_000
ID = bytes(16)
SCHEMA = {"properties": {"n": {"type": "integer"}}, "required": ["n"]}


def raw(value: Any) -> Any:
    return msgspec.Raw(json.dumps(value).encode())


class Types:
    """A table of documents and the book over it."""

    def __init__(self, *, registered_only: bool = False) -> None:
        self.documents = DocumentTable()
        self.book = TypeBook(self.documents, registered_only=registered_only)
        self.version = 0

    def put(self, kind: Kind, name: str, value: Any) -> None:
        self.version += 1
        self.documents.put(Document(kind, name, self.version, 0, "root", body_of(value)))

    def job(self, **fields: Any) -> NewJobs:
        come = submission(Caller("acme", "ann"), NOW_MS, find_type=self.book.get)
        return new_job(SubmitJob(**{"type": "t", **fields}), ID, come)


def spec(new: NewJobs) -> Any:
    return json.loads(new.specs[0])


def refusal(types: Types, **fields: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        types.job(**fields)
    return caught.value


DEFAULTS = TypeDocument(
    group="g",
    timeout_ms=90_000,
    max_retries=7,
    retry_delay_ms=3_000,
    retry_backoff=1.5,
    priority=8,
    requirements=Requirements(cpu_cores=2, memory_mb=64),
)


def test_a_job_gets_from_its_type_what_it_does_not_say() -> None:
    types = Types()
    types.put(Kind.GROUP, "g", GroupDocument(queue="heavy"))
    types.put(Kind.TYPE, "t", DEFAULTS)
    new = types.job()
    assert (new.timeout_ms, new.retries_max, new.retry_delay_ms) == (90_000, 7, 3_000)
    assert (new.retry_backoff_centi, new.priority) == (150, 8)
    assert new.requirements.queue == "heavy"
    assert new.requirements.amounts.cpu_milli == 2_000
    assert spec(new)["queue"] == "heavy"
    assert spec(new)["timeout"] == 90


def test_what_a_job_says_goes_before_its_type() -> None:
    types = Types()
    types.put(Kind.GROUP, "g", GroupDocument(queue="heavy"))
    types.put(Kind.TYPE, "t", DEFAULTS)
    new = types.job(
        timeout=1,
        max_retries=0,
        retry_delay=0,
        retry_backoff=1,
        priority=0,
        queue="default",
        requirements=Requirements(),
    )
    assert (new.timeout_ms, new.retries_max, new.retry_delay_ms) == (1_000, 0, 0)
    assert (new.retry_backoff_centi, new.priority) == (100, 0)
    assert new.requirements.queue == "default"
    assert new.requirements.amounts.cpu_milli == 0


def test_a_type_that_is_not_registered_gives_nothing() -> None:
    types = Types()
    types.put(Kind.TYPE, "other", DEFAULTS)
    assert types.job() == new_job(
        SubmitJob(type="t"), ID, submission(Caller("acme", "ann"), NOW_MS)
    )


def test_a_change_of_type_or_group_counts_for_the_next_job() -> None:
    types = Types()
    stamps = [types.documents.intake_changes]
    for queue in ("one", "two", ""):
        types.put(Kind.GROUP, "g", GroupDocument(queue=queue))
        types.put(Kind.TYPE, "t", DEFAULTS)
        assert types.job().requirements.queue == (queue or "default")
        types.put(Kind.GROUP, "g", GroupDocument(queue="moved"))
        assert types.job().requirements.queue == "moved"
        stamps.append(types.documents.intake_changes)
    types.documents.drop(Kind.TYPE, "t")
    assert types.job().timeout_ms == 3_600_000
    stamps.append(types.documents.intake_changes)
    assert stamps == sorted(set(stamps))


def test_where_all_types_are_registered_others_are_refused() -> None:
    types = Types(registered_only=True)
    problem = refusal(types)
    assert (problem.code, problem.pointer) == (ProblemCode.TYPE_UNKNOWN, "/type")
    types.put(Kind.TYPE, "t", TypeDocument())
    types.job()


def test_params_are_checked_with_pointers_into_the_job() -> None:
    types = Types()
    types.put(Kind.TYPE, "t", TypeDocument(params_schema=raw(SCHEMA)))
    assert spec(types.job(params=raw({"n": 1})))["params"] == {"n": 1}
    problem = refusal(types, params=raw({"n": "x"}))
    assert (problem.code, problem.pointer) == (ProblemCode.PARAMS_INVALID, "/params/n")
    assert problem.extra["errors"] == [
        {"pointer": "/params/n", "reason": 'it is not of type "integer"'}
    ]
    assert refusal(types, parameters=raw({"n": "x"})).pointer == "/parameters/n"
    assert refusal(types).pointer == "/params"
    problem.move_to("/3")
    assert problem.pointer == "/3/params/n"
    assert problem.extra["errors"][0]["pointer"] == "/3/params/n"  # type: ignore[index]


def test_jobs_that_are_alike_are_checked_one_by_one() -> None:
    types = Types()
    types.put(Kind.TYPE, "t", TypeDocument(params_schema=raw(SCHEMA), timeout_ms=5_000))
    come = submission(Caller("acme", "ann"), NOW_MS, find_type=types.book.get)

    def together(*params: Any) -> NewJobs | None:
        body = json.dumps([{"type": "t", "params": one} for one in params]).encode()
        (texts,) = job_texts(body, 100, 100) or []
        return Translator(come, {}).new_jobs(texts, bytes(16 * len(params)))

    taken = together({"n": 1}, {"n": 2})
    assert taken is not None
    assert taken.timeout_ms == 5_000
    assert together({"n": 1}, {"n": "x"}) is None
    assert together({"n": 1}, {}) is None
