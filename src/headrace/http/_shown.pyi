"""Jobs as clients read them, written from what is stored without making objects of it."""

from collections.abc import Mapping
from typing import final

from headrace.core.job import Status
from headrace.store.contract import StoredJob

@final
class Shown:
    """Writes jobs of one shape.

    Shape: `fields` are, in order, a name and the JSON of what is shown if a spec does not say;
    empty if each spec says it. `hidden` are the members of a spec that are not shown.
    """

    def __init__(
        self, fields: list[tuple[str, bytes]], hidden: list[str], words: Mapping[Status, str]
    ) -> None: ...
    def write(self, jobs: list[StoredJob], tenant: bytes) -> list[bytes | None]:
        """Return the JSON of each job of a tenant, None for one that takes thought.

        `tenant`: as JSON.
        """
