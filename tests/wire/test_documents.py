"""Documents as they are kept."""

import msgspec
import pytest
from msgspec import UNSET

from headrace.wire.documents import VALUES, Document, Kind, QueueDocument, body_of


def test_numbers_of_kinds_never_change() -> None:
    assert {kind.name: int(kind) for kind in Kind} == {
        "QUEUE": 1,
        "TYPE": 2,
        "GROUP": 3,
        "KEY": 4,
        "WEBHOOK": 5,
        "LIMIT": 6,
        "TENANT": 7,
        "WORKER": 8,
        "BULK": 10,
    }


@pytest.mark.parametrize(
    ("value", "body"),
    [
        (QueueDocument(), b"{}"),
        (QueueDocument(capacity=None), b'{"capacity":null}'),
        (QueueDocument(capacity=3, paused=True), b'{"capacity":3,"paused":true}'),
    ],
)
def test_a_value_comes_back_from_its_body(value: QueueDocument, body: bytes) -> None:
    assert body_of(value) == body
    assert Document(Kind.QUEUE, "q", 1, 2, "root", body).value() == value


def test_a_capacity_that_is_not_said_is_not_no_limit() -> None:
    assert Document(Kind.QUEUE, "q", 1, 2, "root", b"{}").value().capacity is UNSET


def test_every_kind_with_a_shape_refuses_what_is_no_object() -> None:
    for kind in VALUES:
        with pytest.raises(msgspec.ValidationError):
            Document(kind, "q", 1, 2, "root", b"[]").value()
