"""Failed authentications, told to webhooks: the first at once, those that follow gathered.

However fast somebody guesses, a tenant gets one event in `AUTH_EVENT_MS`.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

import msgspec

from headrace.core.commands import Announce
from headrace.runtime.pump import Pump
from headrace.runtime.webhooks import Webhooks
from headrace.webhooks.payload import AuthData
from headrace.wire.events import AUTH_FAILED
from headrace.wire.limits import AUTH_EVENT_MS, NAME_CHARS_MAX
from headrace.wire.problems import Problem

NOBODY: Final = ""
"""The tenant of what no known key says."""


class Alarms:
    """Gathers by tenant; tenants are those of known keys, so they are few."""

    def __init__(self, pump: Pump, webhooks: Webhooks) -> None:
        self._pump = pump
        self._webhooks = webhooks
        self._gathered: dict[str, AuthData | None] = {}
        """By tenant, while a time of gathering runs: what came in it."""
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def failed(self, reason: str, peer: str, tenant: str, key_id: str) -> None:
        """Hear of a failure. `tenant`: of the key, if it is known."""
        if not self._webhooks.wanted:
            return
        known = self._gathered.get(tenant)
        count = 1 if known is None else known.count + 1
        data = AuthData(
            reason=reason[:NAME_CHARS_MAX], remote=peer or None, key_id=key_id or None, count=count
        )
        if tenant in self._gathered:
            self._gathered[tenant] = data
        else:
            self._tell(tenant, data)

    def close(self) -> None:
        """Tell what was gathered."""
        for tenant, timer in list(self._timers.items()):
            timer.cancel()
            self._over(tenant, again=False)

    def _tell(self, tenant: str, data: AuthData, *, again: bool = True) -> None:
        command = Announce(AUTH_FAILED, msgspec.json.encode(data), tenant)
        with suppress(Problem):  # too busy, or stopping: an alarm is not worth waiting for
            self._pump.post(command, _Nobody())
        if again:
            self._gathered[tenant] = None
            loop = asyncio.get_running_loop()
            self._timers[tenant] = loop.call_later(AUTH_EVENT_MS / 1000, self._over, tenant)

    def _over(self, tenant: str, *, again: bool = True) -> None:
        del self._timers[tenant]
        data = self._gathered.pop(tenant)
        if data is not None:
            self._tell(tenant, data, again=again)


class _Nobody:
    """Does not want the reply."""

    def set_result(self, reply: Any, /) -> None:
        """Hear nothing."""

    def done(self) -> bool:
        return True

    def cancelled(self) -> bool:
        return False
