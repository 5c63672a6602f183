"""Deliveries: who sends them, who hears of what, and what must be on disk of it."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from headrace.core.commands import Mark, Poll, Replay
from headrace.core.deliveries import WAITS, Delivery, Tried, endpoint_of_url
from headrace.core.effects import (
    DeliveriesDue,
    DeliveryMoved,
    JobChanged,
    JobFinished,
)
from headrace.core.job import Status
from headrace.wire.documents import Kind
from headrace.wire.problems import Problem
from sim.said import said_by
from sim.settings import Settings
from sim.world import World, fail

if TYPE_CHECKING:
    from sim.model import Model
    from sim.server import Server

WEBHOOKS = [f"wh_{number:032x}" for number in range(6)]
EVENTS = ("a.b", "a.c", "d")
PATTERNS = ("*", "job.*", "job.completed", "job.suspended", "a.*", "a.b", "d")
RETRY_MS = (1, 3_000)

Place = tuple[bytes, int, int]
"""Endpoint, when it is due, and its number."""

Due = defaultdict[tuple[bytes, str, bytes], int]
"""How often endpoints are to hear of events of jobs."""


class Postman:
    """Marks what waits, as the deliverer does; sometimes it asks for one again."""

    def __init__(self, world: World, settings: Settings, server: "Server") -> None:
        self._world = world
        self._server = server
        self._pause_ms = settings.pause_ms
        self._later()

    def _later(self) -> None:
        self._world.at(self._world.between(1, 4 * self._pause_ms), self._turn)

    def _turn(self) -> None:
        server, world = self._server, self._world
        if server.up and not server.failing:
            for first in list(server.store.outbox_first()):
                for one in server.store.outbox_page(first.endpoint, 3):
                    if world.chance(0.5):
                        self._mark(one)
                over = [] if world.chance(0.8) else server.store.sent(first.endpoint)
                if over:
                    _, slot, row = world.pick(over)
                    server.ask(Replay(row, slot), _heard)
        self._later()

    def _mark(self, one: Delivery) -> None:
        world = self._world
        over = world.chance(0.6)
        tried = Tried(world.wall_ms(), 204 if over else 500, "" if over else "no")
        due_ms = one.due_ms if over else one.due_ms + world.between(*RETRY_MS)
        after = replace(one, tries=one.tries + 1, due_ms=due_ms, last=tried)
        self._server.ask(Mark(one, after, over), _heard)


def _heard(_reply: Any) -> None:
    """The model has seen it."""


class Outbox:
    """What waits, as the server sees it now and as it is on disk."""

    def __init__(self, model: "Model") -> None:
        self._model = model
        self.now: dict[Place, Delivery] = {}
        self.durable: dict[Place, Delivery] = {}
        self.numbers: set[int] = set()
        """Of all events that deliveries were due of."""
        self.numbers_durable: set[int] = set()

    def restarted(self, store: Any) -> None:
        self.now = dict(self.durable)
        self.numbers = set(self.numbers_durable)
        self.is_on_disk(store)

    def is_on_disk(self, store: Any) -> None:
        """Each event of each commit waits, until it was marked (`no_delivery_lost`)."""
        rows = [
            one
            for first in store.outbox_first()
            for one in store.outbox_page(first.endpoint, 10_000)
        ]
        found = {_place(one): one for one in rows}
        if found != self.durable:
            lost = self.durable.keys() - found.keys()
            fail("no_delivery_lost", f"{len(lost)} lost, {len(found)} on disk: {lost}")

    def counted(self, hooks: Any) -> None:
        """The engine's counts are those of what waits."""
        if hooks.pending != Counter(place[0] for place in self.now):
            fail("deliveries_counted", f"{hooks.pending} counted, {len(self.now)} wait")
        if hooks.tenant_pending != Counter(one.tenant for one in self.now.values()):
            fail("deliveries_counted", f"{hooks.tenant_pending} of tenants")

    # What happens -------------------------------------------------------------------------------

    def applied(self, command: Any, reply: Any, effects: list[Any]) -> list[Any]:
        """See what is due for what a command did, before the model takes it. Return the rest.

        I21: each end has one row at each endpoint that asked for it.
        """
        if not effects and type(command) is not Poll and type(command) is not Mark:
            return effects
        expected = self._expected(command, effects)
        rest = []
        for effect in effects:
            if type(effect) is DeliveriesDue:
                self._due(effect, expected)
            elif type(effect) is DeliveryMoved:
                self._moved(effect)
            else:
                rest.append(effect)
        if any(expected.values()):
            fail("every_event_has_its_rows", f"{command!r}: none for {dict(expected)}")
        if type(command) is Mark and not isinstance(reply, Problem):
            was = any(type(effect) is DeliveryMoved for effect in effects)
            if reply is not was:
                fail("mark_tells_truth", f"{command}: {reply}")
        return rest

    def wrote(self, effects: list[Any]) -> None:
        for effect in effects:
            if type(effect) is DeliveriesDue:
                self.durable.update((_place(one), one) for one in effect.deliveries)
                self.numbers_durable.update(one.number for one in effect.deliveries)
            elif type(effect) is DeliveryMoved:
                _move(self.durable, effect)

    def _due(self, effect: DeliveriesDue, expected: Due) -> None:
        for one in effect.deliveries:
            told = (one.endpoint, one.event, one.job_id)
            if not expected[told]:
                fail("every_event_has_its_rows", f"{one} is due, and nobody asked")
            expected[told] -= 1
            if _place(one) in self.now:
                fail("every_event_has_its_rows", f"{one} is due twice")
            self.now[_place(one)] = one
            self._model.world.counts["deliveries"] += 1
        self._numbered(effect.deliveries)

    def _numbered(self, deliveries: list[Delivery]) -> None:
        """I22: a number, and so the id that receivers see, is of one event and no other ever."""
        told: dict[int, tuple[str, bytes]] = {}
        for one in deliveries:
            event = one.event, one.job_id
            if one.number in self.numbers or told.setdefault(one.number, event) != event:
                fail("one_id_one_event", f"{one} has the number of another event")
        if len(told) > len(set(told.values())) and all(one.status for one in deliveries):
            fail("one_id_one_event", f"{deliveries}: one event under several numbers")
        self.numbers |= told.keys()

    def _moved(self, effect: DeliveryMoved) -> None:
        if effect.slot == WAITS and _place(effect.before) not in self.now:
            fail("mark_tells_truth", f"{effect.before} did not wait")
        _move(self.now, effect)

    # Who should hear ----------------------------------------------------------------------------

    def _expected(self, command: Any, effects: list[Any]) -> Due:
        model = self._model
        found: Due = defaultdict(int)
        if type(command) is Poll:
            for news in command.progress:
                job = model.spoken_for(command, news.lease)
                for event, _ in news.events if job is not None else ():
                    self._hear(found, job.job_id, event)
        became: dict[bytes, Status] = {}
        for effect in effects:
            if type(effect) is JobFinished:
                status = effect.finished.status
                self._hear(found, effect.job_id, f"job.{status.name.lower()}")
                url = model.sent[effect.job_id].webhook_url
                if url:
                    endpoint = endpoint_of_url(model.owners[effect.job_id].tenant, url)
                    found[endpoint, f"job.{status.name.lower()}", effect.job_id] += 1
            elif type(effect) is JobChanged:
                job_id, status = effect.job_id, Status(effect.record[1])
                if status is Status.SUSPENDED:
                    known = model.jobs.get(job_id)
                    was = became.get(job_id, None if known is None else known.status)
                    if was is not status:
                        self._hear(found, job_id, "job.suspended")
                became[job_id] = status
        return found

    def _hear(self, found: Due, job_id: bytes, event: str) -> None:
        owner = self._model.owners[job_id]
        for (kind, name), document in self._model.documents.items():
            if kind is not Kind.WEBHOOK:
                continue
            said = said_by(document)
            mine = said.get("every_user") or said["user"] == owner.user
            hears = mine and said["tenant"] == owner.tenant and not said.get("disabled")
            if hears and any(_matches(pattern, event) for pattern in said["events"]):
                found[bytes.fromhex(name[3:]), event, job_id] += 1


def _matches(pattern: str, event: str) -> bool:
    if pattern == "*" or pattern == event:
        return True
    return pattern.endswith(".*") and event.startswith(pattern[:-1])


def _place(one: Delivery) -> Place:
    return one.endpoint, one.due_ms, one.number


def _move(rows: dict[Place, Delivery], effect: DeliveryMoved) -> None:
    if effect.slot == WAITS:
        del rows[_place(effect.before)]
    if effect.number == WAITS:
        rows[_place(effect.after)] = effect.after
