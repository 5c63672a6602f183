"""Serving: bind, run until told to stop or unable to go on, then drain.

SIGTERM or SIGINT   no new connections, parked polls answered empty, requests end, node stops: 0
a failed commit     the process must not go on: 74, within a second
"""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

from headrace.http.app import make_app
from headrace.http.deadlines import Runner
from headrace.http.lane import connections_of
from headrace.http.site import SITE
from headrace.runtime.config import ConfigError

if TYPE_CHECKING:
    from headrace.runtime.node import Node

log = logging.getLogger("headrace.http")

EXIT_OK: Final = 0
EXIT_IO_ERROR: Final = 74
"""EX_IOERR of sysexits.h: the store failed, and what is on disk is unknown."""
FAILED_DRAIN_S: Final = 0.5
"""After a failed commit there is nothing to wait for."""
BACKLOG: Final = 2_048
GC_THRESHOLDS: Final = (50_000, 20, 1_000)
"""A full collection walks every parked poll: with 10,000 of them it stops the loop for 0.2 s, at
Python's defaults once in 33 submits. Requests leave no cycles; the two young generations are for
what does."""


async def serve(node: "Node", ready: Callable[[str, int], None] | None = None) -> int:
    """Serve a node until a signal, or until it fails. Returns the exit code for the process.

    `ready` is called with host and port when connections are accepted.
    Raises: ConfigError if the address cannot be bound.
    """
    config = node.config
    gc.set_threshold(*GC_THRESHOLDS)
    await node.start()
    app = make_app(node)
    site = app[SITE]
    runner = Runner(app, site.meters, shutdown_timeout=config.drain_s, connect=connections_of(site))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await runner.setup()
        try:
            listener = web.TCPSite(runner, config.host, config.port, backlog=BACKLOG)
            await listener.start()
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else str(error)
            raise ConfigError(f"cannot listen on {config.host}:{config.port}: {reason}") from error
        node.hooks.addresses.listens(config.host, listener.port)
        log.info("listening on %s", listener.name)
        if ready is not None:
            ready(config.host, listener.port)
        await _first(stop, node.pump.failure)
        if node.pump.failed:
            runner._shutdown_timeout = FAILED_DRAIN_S
        else:
            log.info("stopping: answering what is parked, then closing")
    finally:
        await runner.cleanup()
        await node.stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    return EXIT_IO_ERROR if node.pump.failed else EXIT_OK


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
