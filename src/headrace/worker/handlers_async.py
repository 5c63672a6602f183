"""Handlers that are coroutines: their context, and one call to its end."""

import asyncio
from contextlib import suppress

from headrace.worker.attempt import Assignment, Ending, StopReason, completed
from headrace.worker.handlers import Context, Feed, Handler, Stopped, ending_of_exception
from headrace.worker.tracing import attempt_span


class AsyncContext(Context):
    """What a coroutine handler gets: as `Context`, with a `sleep` that is awaited."""

    def __init__(self, assignment: Assignment, feed: Feed, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(assignment, feed)
        self._loop = loop
        self._stop_seen = asyncio.Event()

    def ask_stop(self, reason: StopReason) -> None:
        super().ask_stop(reason)
        with suppress(RuntimeError):  # the loop is closed: nobody sleeps in it
            self._loop.call_soon_threadsafe(self._stop_seen.set)

    async def sleep(self, seconds: float) -> None:  # type: ignore[override]  # awaited, as said
        """Wait, but not beyond a request to stop. Raises `Stopped`."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop_seen.wait()
        except TimeoutError:
            return
        raise Stopped


async def call_async(
    handler: Handler, context: AsyncContext, assignment: Assignment, feed: Feed
) -> Ending:
    """Await a coroutine handler to its end. Raises nothing, not even when it is cancelled."""
    try:
        with attempt_span(assignment):
            value = await handler.function(context, *handler.arguments(assignment))
    except asyncio.CancelledError:
        return Ending(outcome="stopped")
    except BaseException as error:  # an exit would tear down the loop of all other handlers
        return ending_of_exception(error, feed)
    return completed(value)
