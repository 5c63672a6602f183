"""The worker agent: polls for jobs, starts them, tells the server about them, shuts down well.

Two threads. The caller's event loop runs the coroutine handlers and nothing else of ours. The
agent's own thread has a loop that polls, watches attempts and kills them (`agent_loop`), so a
handler that blocks its loop stops no heartbeat.
"""

import asyncio
import secrets
from collections.abc import Callable
from threading import Thread

from headrace.worker.agent_config import AgentConfig, AgentError, complete
from headrace.worker.agent_loop import AgentLoop
from headrace.worker.handlers import Worker, WorkerDefinitionError
from headrace.worker.python_runner import call_in

__all__ = ["Agent", "AgentConfig", "AgentError"]


class Agent:
    """One worker process's agent. `run()` is over when it has drained."""

    def __init__(self, config: AgentConfig, worker: Worker | None = None) -> None:
        """Raises: AgentError."""
        self.config = complete(config)
        self.worker = worker or Worker()
        self.session = secrets.token_hex(8)
        """Names this start of the worker, so that the server can repeat a lost answer."""
        types = self.config.types
        unknown = sorted(set(types or ()) - set(self.worker.handlers))
        if unknown:
            raise AgentError(f"there is no handler for job type {', '.join(map(repr, unknown))}")
        self.handlers = {
            name: handler
            for name, handler in self.worker.handlers.items()
            if types is None or name in types
        }
        if not self.handlers and not self.config.wasm:
            raise AgentError("there is nothing to do: no handlers, and WASM is switched off")
        if any(handler.mode == "process" for handler in self.handlers.values()):
            try:
                self.worker.find_target()
            except WorkerDefinitionError as error:
                raise AgentError(str(error)) from None
        self._loop: AgentLoop | None = None
        self._drain_s: float | None = None

    async def run(self, on_drained: Callable[[], None] | None = None) -> None:
        """Work until drained. Coroutine handlers run on this loop.

        on_drained: called in the agent's thread when everything is reported, even while a handler
        still blocks this loop.
        Raises: AgentError when the server refuses this worker, or nothing can run here.
        """
        handlers_loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = handlers_loop.create_future()

        def finish(error: BaseException | None) -> None:
            if not done.done():
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)

        def main() -> None:
            error: BaseException | None = None
            try:
                asyncio.run(self._work(handlers_loop))
            except BaseException as caught:  # it belongs to whoever awaits `run`
                error = caught
            if on_drained is not None and error is None:
                on_drained()
            call_in(handlers_loop, lambda: finish(error))

        thread = Thread(target=main, name="headrace-agent", daemon=True)
        thread.start()
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            self.release_now()
            await done
            raise
        finally:
            thread.join(timeout=1.0)

    async def _work(self, handlers_loop: asyncio.AbstractEventLoop) -> None:
        agent_loop = AgentLoop(self.config, self.worker, self.handlers, self.session, handlers_loop)
        self._loop = agent_loop
        if self._drain_s is not None:  # asked for before the loop was there
            agent_loop.drain(self._drain_s)
        await agent_loop.run()

    def drain(self, drain_s: float | None = None) -> None:
        """Take no more jobs; let running ones finish for a while, give the rest back, and end.

        May be called from any thread.
        """
        wait_s = self.config.drain_s if drain_s is None else drain_s
        self._drain_s = wait_s
        agent_loop = self._loop
        if agent_loop is not None:
            call_in(agent_loop.loop, lambda: agent_loop.drain(wait_s))

    def release_now(self) -> None:
        """As `drain`, without waiting for running jobs."""
        self._drain_s = 0.0
        agent_loop = self._loop
        if agent_loop is not None:
            call_in(agent_loop.loop, agent_loop.release_now)

    @property
    def draining(self) -> bool:
        return self._drain_s is not None
