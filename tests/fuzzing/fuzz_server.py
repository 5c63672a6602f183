"""A server with little patience, which connects nowhere, and with the defect that DEFECT names.

Whatever is sent, each connection must be over within seconds: so a hang can be told from a wait
that was asked for. Defects are the control of `fuzz_http` and `fuzz_api`, which must find theirs.

raises      a header that is not ASCII is answered with 500
hangs       nothing that deletes is answered
loses       one commit in 5 is told and not made
grows       memory grows with each refusal
ends        a body that nests too deep ends the process
fails       a list of queues that goes on behind another is answered with 500
strays      a list of queues with a limit is answered with 418, which no document has
misshapes   a list of queues has them under another name
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

import patience

from headrace.cli import main
from headrace.http import app, errors
from headrace.store.store import Batch, Store
from headrace.webhooks.addresses import AddressRules
from headrace.webhooks.sending import Lookups
from headrace.wire import limits

WAIT_MS: Final = 500
DEADLINE_MS: Final = 2_000
GROWS_BYTES: Final = 32_768
LISTS: Final = "queues_list"

kept: list[bytes] = []


def stay_at_home() -> None:
    async def nowhere(*_: Any, **__: Any) -> Any:
        raise OSError("this server looks up no names")

    AddressRules.refusal = lambda *_: "this server connects nowhere"  # type: ignore[method-assign]
    Lookups.resolve = nowhere  # type: ignore[method-assign]


def plant(defect: str) -> None:
    problem_answer, guarded = errors.problem_answer, app._guarded

    def keep(*args: Any, **options: Any) -> Any:
        kept.append(os.urandom(GROWS_BYTES))
        return problem_answer(*args, **options)

    def refuse(problem: Any, *args: Any, **options: Any) -> Any:
        if "deeper" in problem.detail:
            os._exit(9)
        return problem_answer(problem, *args, **options)

    async def raising(*args: Any) -> web.StreamResponse:
        if any(not value.isascii() for value in args[-1].headers.values()):
            raise RuntimeError
        return await guarded(*args)

    async def hanging(*args: Any) -> web.StreamResponse:
        if args[-1].method == "DELETE":
            await asyncio.sleep(3_600)
        return await guarded(*args)

    async def listing(*args: Any) -> web.StreamResponse:
        request = args[-1]
        if args[0].name != LISTS:
            return await guarded(*args)
        if defect == "fails" and "after" in request.query:
            raise RuntimeError
        if defect == "strays" and "limit" in request.query:
            return web.json_response({}, status=418)
        answer = await guarded(*args)
        if defect == "misshapes":
            answer.body = answer.body.replace(b'"queues":', b'"quay":')
        return answer

    count = 0
    write = Store.write

    def lose(self: Store, batch: Batch) -> None:
        nonlocal count
        count += 1
        if count % 5:
            write(self, batch)

    if defect in ("fails", "strays", "misshapes"):
        app._guarded = listing
    elif defect == "raises":
        app._guarded = raising
    elif defect == "hangs":
        app._guarded = hanging
    elif defect == "loses":
        Store.write = lose  # type: ignore[method-assign]
    elif defect == "grows":
        errors.problem_answer = keep
    elif defect == "ends":
        errors.problem_answer = refuse
    else:
        raise SystemExit(f"there is no defect {defect!r}")


if __name__ == "__main__":
    patience.hurry(DEADLINE_MS)
    limits.WAIT_MS_MAX = WAIT_MS  # type: ignore[misc]
    stay_at_home()
    if defect := os.environ.get("DEFECT"):
        plant(defect)
    main()
