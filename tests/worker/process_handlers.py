"""Handlers for the tests of child processes; imported by the children."""

import asyncio
import os
import subprocess
import sys
import time
from typing import Any

from headrace.worker import Stopped, Worker

worker = Worker()


@worker.job("where", run="process")
def where(ctx: Any, params: Any) -> Any:
    print("printed")
    print("to stderr", file=sys.stderr)
    ctx.log("logged")
    ctx.emit("told.once", [1])
    return {"pid": os.getpid(), "params": params, "descriptors": len(os.listdir("/proc/self/fd"))}


@worker.job("environment", run="process")
def environment(ctx: Any, params: Any) -> Any:
    return {name: value for name, value in os.environ.items() if name.startswith("HEADRACE_")}


@worker.job("descriptors", run="process")
def descriptors(ctx: Any, params: Any) -> Any:
    return [
        os.readlink(f"/proc/self/fd/{name}")
        for name in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{name}")
    ]


@worker.job("spin", run="process")
def spin(ctx: Any, params: Any) -> None:
    ctx.log(str(os.getpid()))
    while True:
        pass


@worker.job("spawn", run="process")
def spawn(ctx: Any, params: Any) -> None:
    child = subprocess.Popen(["sleep", "600"])
    ctx.log(str(child.pid))
    time.sleep(600)


@worker.job("die", run="process")
def die(ctx: Any, params: Any) -> None:
    os._exit(7)


@worker.job("exit", run="process")
def leave(ctx: Any, params: Any) -> None:
    sys.exit("bye")


@worker.job("coroutine", run="process")
async def coroutine(ctx: Any, params: Any) -> int:
    await asyncio.sleep(0)
    return os.getpid()


@worker.job("careful", run="process")
def careful(ctx: Any, params: Any) -> None:
    for step in range(10_000):
        ctx.checkpoint = step
        if ctx.should_stop():
            raise Stopped({"step": "last", "reason": ctx.stop_reason})
        time.sleep(0.01)
