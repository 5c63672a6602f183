"""What ends the process of a worker: the worker itself, and no handler that shares it.

Handlers in threads and coroutines run in the worker's process. A `sys.exit` of theirs is an
exception; `os._exit` and its like would take the worker along, with all other jobs that run in it.
Here they become the exception too, so that they end the one attempt that called them. A copy of the
process, made by fork, may end or replace itself as it likes: `multiprocessing` rests on it.

What no Python code can prevent, such as a fault in a library written in C, still ends the worker:
its jobs are given out again when their leases lapse. Handlers that may do that are `run="process"`.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final, NoReturn

GUARDED: Final = ("_exit", "abort", "execv", "execve")
"""All others of `os` that end or replace the process call one of these."""

leave: Final = os._exit
"""End the process at once: for the worker itself."""


def guard(handlers_loop: asyncio.AbstractEventLoop) -> None:
    """From now on nothing in this process but `leave` ends it. Not undone.

    handlers_loop: of coroutines. A copy in which one comes back to it ends there, since the others
    are not its to run; copies that threads make end in `ThreadPool`.
    """
    for name in GUARDED:
        setattr(os, name, _guarded(name, getattr(os, name), os.getpid()))
    os.register_at_fork(after_in_child=lambda: handlers_loop.call_soon(leave, 0))


def _guarded(name: str, real: Callable[..., Any], pid: int) -> Callable[..., NoReturn]:
    def ending(*arguments: Any, **named: Any) -> NoReturn:
        if os.getpid() != pid:
            real(*arguments, **named)
        raise SystemExit(arguments[0] if name == "_exit" and arguments else f"os.{name}")

    return ending
