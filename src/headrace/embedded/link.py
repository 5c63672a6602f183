"""The worker's requests to a server that is in the same process: the same words, no network."""

import asyncio
import logging
from typing import Final

import msgspec

from headrace.core.commands import Caller
from headrace.http.handlers.work import poll
from headrace.http.hot import Asked, ask
from headrace.http.site import Site
from headrace.wire.problems import Problem
from headrace.wire.schema import PollAnswer, PollRequest
from headrace.worker.link import Refused, Unreachable

log = logging.getLogger(__name__)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(PollAnswer).decode


class LocalLink:
    """As `worker.link.Link`, to a site of the same event loop."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def close(self) -> None:
        """Nothing is open."""

    async def poll(self, request: PollRequest, timeout_s: float) -> PollAnswer:
        """Raises: Unreachable, Refused."""
        asked = Asked(Caller(), None, body=_encode(request))
        try:
            async with asyncio.timeout(timeout_s):
                answer = await ask(self._site, poll(self._site, asked))
        except TimeoutError:
            raise Unreachable(f"no commit came through within {timeout_s:.0f} s") from None
        except Problem as problem:
            raise _link_error(problem) from None
        return _decode(answer.body)

    async def module(self, sha256: str, timeout_s: float) -> bytes:
        """Raises: Refused."""
        data = self._site.store.module_of_any(bytes.fromhex(sha256))
        if data is None:
            raise Refused(404, "module_unknown", "no such module")
        return data


def _link_error(problem: Problem) -> Unreachable | Refused:
    row = problem.row
    if row.retryable:
        return Unreachable(problem.detail, (problem.retry_after_ms or 0) / 1000)
    return Refused(row.status, problem.code.name.lower(), problem.detail)
