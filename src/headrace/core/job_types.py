"""Registered job types, ready for use: what a job gets where it says nothing, and its schema.

Made from the committed documents, when a job of the type comes, and kept as long as the documents
are the same. A type that nobody has registered costs one look-up for jobs that are alike.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from headrace.core.documenting import DocumentTable
from headrace.core.params_schema import ParamsSchema, compile_schema
from headrace.wire.documents import Document, GroupDocument, Kind, TypeDocument
from headrace.wire.problems import Problem, ProblemCode


class JobType(NamedTuple):
    defaults: TypeDocument
    queue: str
    """Of its group; empty for none."""
    schema: ParamsSchema | None


class TypeBook:
    """The registered types of one server."""

    def __init__(self, documents: DocumentTable, *, registered_only: bool = False) -> None:
        self._documents = documents
        self._types = documents.of(Kind.TYPE)
        self._registered_only = registered_only
        self._made: dict[str, tuple[Document, Document | None, JobType]] = {}

    def get(self, name: str) -> JobType | None:
        """Return a type. Raises: Problem for one that is not registered, where all have to be."""
        document = self._types.get(name)
        if document is None:
            if self._registered_only:
                raise Problem(
                    ProblemCode.TYPE_UNKNOWN,
                    "this server takes jobs of registered types only; see /api/v1/job-types",
                    pointer="/type",
                )
            return None
        made = self._made.get(name)
        if made is not None and made[0] is document:
            group = made[1]
            if group is None or self._documents.get(Kind.GROUP, group.name) is group:
                return made[2]
        if len(self._made) > len(self._types):
            self._made.clear()
        value: TypeDocument = document.value()
        group = self._documents.get(Kind.GROUP, value.group) if value.group else None
        queue = ""
        if group is not None:
            group_value: GroupDocument = group.value()
            queue = group_value.queue
        data = bytes(value.params_schema)
        found = JobType(value, queue, compile_schema(data) if data else None)
        self._made[name] = (document, group, found)
        return found


def no_types(_name: str) -> JobType | None:
    """Nothing is registered."""
    return None


FindType = Callable[[str], JobType | None]


def check_params(schema: ParamsSchema, params: bytes, pointer: str) -> None:
    """Raises: Problem that tells all that is wrong, up to a number."""
    if schema.accepts(params):
        return
    errors = [
        {"pointer": pointer + wrong.pointer, "reason": wrong.reason}
        for wrong in schema.wrong(params)
    ]
    first: Final = errors[0]
    raise Problem(
        ProblemCode.PARAMS_INVALID,
        first["reason"],
        pointer=first["pointer"],
        extra={"errors": errors},
    )
