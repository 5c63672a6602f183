"""Handlers as nobody should write them. `odd` and what runs in threads is only as bad as a thread
may be; what kills a process runs in one of its own."""

import os
import sys
import threading
import time
from typing import Any

from headrace.worker import PermanentError, Snooze, Stopped, Worker

worker = Worker()


class Unprintable(Exception):  # noqa: N818 - odd on purpose
    def __str__(self) -> str:
        raise RuntimeError("no words")


class NoException(BaseException):
    pass


@worker.job("good", run="process")
def good(ctx: Any, params: Any) -> Any:
    return params


@worker.job("good-thread")
def good_thread(ctx: Any, params: Any) -> Any:
    return params


@worker.job("odd")
def odd(ctx: Any, params: str) -> Any:
    if params == "unprintable":
        raise Unprintable
    if params == "no exception":
        raise NoException("still")
    if params == "surrogate":
        raise ValueError("\udc80 alone")
    if params == "long":
        raise ValueError("x" * 50_000_000)
    if params == "exit":
        sys.exit(3)
    if params == "generator exit":
        raise GeneratorExit
    if params == "interrupt":
        raise KeyboardInterrupt
    if params == "deep":
        return odd(ctx, params)
    if params == "checkpoint":
        raise Stopped(checkpoint=object())
    if params == "no json":
        return {1j: object()}
    if params == "permanent":
        raise PermanentError(None, code=b"\xff")  # type: ignore[arg-type]
    if params == "snooze":
        raise Snooze(float("nan"))
    if params == "surrogates everywhere":
        ctx.progress(0.5, "\udcff")
        ctx.log("\udcff")
        raise PermanentError("\udcff", code="\udcff")
    raise AssertionError(params)


@worker.job("slow-thread")
def slow_thread(ctx: Any, params: Any) -> None:
    time.sleep(3)


@worker.job("leave-thread")
def leave_thread(ctx: Any, params: str) -> None:
    if params == "exit":
        os._exit(0)
    if params == "abort":
        os.abort()
    if params == "exec":
        os.execlp("true", "true")
    if params == "fork":
        os.fork()  # both come back
    if params == "fork and exit":
        if os.fork() == 0:
            os._exit(3)
        os.wait()
    if params == "thread":
        helper = threading.Thread(target=os._exit, args=(4,))
        helper.start()
        helper.join()


@worker.job("leave-async")
async def leave_async(ctx: Any, params: str) -> None:
    if params == "exit":
        os._exit(0)
    if params == "fork":
        os.fork()
        await ctx.sleep(0.01)


@worker.job("deaf", run="process")
def deaf(ctx: Any, params: Any) -> None:
    while True:
        pass


@worker.job("leak", run="process")
def leak(ctx: Any, params: Any) -> None:
    kept = []
    while True:
        kept.append(bytes(1 << 20))


@worker.job("print", run="process")
def endless_print(ctx: Any, params: Any) -> None:
    while True:
        print("all work and no play " * 100)


@worker.job("fork", run="process")
def fork(ctx: Any, params: Any) -> None:
    for _ in range(5):
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
    time.sleep(600)


@worker.job("fork-and-return", run="process")
def fork_and_return(ctx: Any, params: Any) -> int:
    child = os.fork()
    return 0 if child == 0 else child


@worker.job("vanish", run="process")
def vanish(ctx: Any, params: Any) -> None:
    os._exit(0)


@worker.job("segfault", run="process")
def segfault(ctx: Any, params: Any) -> None:
    os.kill(os.getpid(), 11)


@worker.job("close", run="process")
def close_everything(ctx: Any, params: Any) -> None:
    os.closerange(0, 1_000)
    time.sleep(600)


@worker.job("threads", run="process")
def threads(ctx: Any, params: Any) -> str:
    for _ in range(50):
        threading.Thread(target=time.sleep, args=(600,)).start()
    return "left fifty behind"


@worker.job("interpreter", run="process")
def meddle(ctx: Any, params: Any) -> str:
    sys.modules.clear()
    sys.path.clear()
    sys.stdout = None  # type: ignore[assignment]
    return "cleared"
