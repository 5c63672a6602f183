"""A submit as text: the jobs next to each other that differ in their params only."""

from typing import final

@final
class JobTexts:
    """Jobs that stand next to each other and differ in their params only. Made by `job_texts`."""

    @property
    def frame(self) -> bytes:
        """The text of each of them, with `null` in the place of the params."""
    @property
    def has_params(self) -> bool: ...
    @property
    def plain(self) -> bool:
        """Whether no params take thought, as `json_is_plain` has it; they may hold UTF-8."""
    def __len__(self) -> int: ...
    def params_of(self, position: int) -> bytes:
        """Return the params of one of the jobs; empty if they have none."""
    def fill(self, job_ids: bytes, head: bytes, middle: bytes, tail: bytes) -> list[bytes]:
        """Return for each job `head`, the text of its id, `middle`, its params, `tail`, joined."""

def job_texts(body: bytes, jobs_max: int, alike_max: int) -> list[JobTexts] | None:
    """Return the jobs of a body, which is one or an array of them, in runs of such as are alike.

    None: the body is not JSON, has more than `jobs_max` jobs, or a job that is not an object with
    plain, unescaped names, at most one of `params` and `parameters`, and at most 2 KiB beside.

    Of a job only that it is JSON is known, its params not nested deeper than 64. The body is UTF-8,
    which is not looked at again. A run has at most `alike_max` jobs.
    """

def job_texts_each(bodies: list[bytes], alike_max: int) -> tuple[list[JobTexts], list[int]]:
    """Return the jobs of bodies that are one each, in runs of such as are alike, and the positions
    of the bodies of which `job_texts` would say None, or that are arrays.

    Nothing of one body is read as part of another. Each is UTF-8, which is not looked at again.
    """
