import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from headrace.webhooks.contract import Answer, Endpoint, Lane, Post, Try
from headrace.webhooks.deliverer import Deliverer
from headrace.webhooks.dispatch import Bounds
from headrace.webhooks.limits import AGE_MS_MAX, GIVE_UP_PAGE, TRIES_MAX
from headrace.webhooks.signing import new_secret

from .rig import SECRET, START_MS, FakeClock, FakeEndpoints, FakeOutbox, FakeSender

HOUR_MS = 3_600_000


class Rig:
    """A deliverer that runs, and all that it knows."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.outbox = FakeOutbox()
        self.endpoints = FakeEndpoints()
        self.sender = FakeSender()
        self.clock = FakeClock()
        self.deliverer = Deliverer(
            self.outbox,
            self.endpoints,
            self.sender,
            self.clock,
            chance=lambda: 0.0,
            bounds=bounds,
        )
        self.running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.running = asyncio.create_task(self.deliverer.run())

    def expect(self, endpoint: str, message: str = "m1", **fields: object) -> None:
        row = self.outbox.put(endpoint, message, **fields)
        self.deliverer.expect(row.endpoint_id, row.tenant_id)

    def at(self, ms: int) -> None:
        """Move the clock to so long after the start."""
        self.clock.ms = START_MS + ms
        self.deliverer.poke()

    async def marks(self, count: int) -> list[tuple[str, str, str]]:
        await self.outbox.until(lambda outbox: len(outbox.marks) >= count)
        await self.quiet()
        return self.outbox.marked()

    async def quiet(self) -> None:
        """Let everything run that needs no clock and no network."""
        for _ in range(20):
            await asyncio.sleep(0)

    def answer(self, endpoint: str, status: int, **fields: str) -> None:
        self.sender.answers[f"{endpoint}.test"] = Answer(status=status, **fields)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    if rig.running is not None and not rig.running.done():
        await rig.deliverer.stop(0)
        await rig.running


async def test_a_delivery_is_made_signed_and_marked(rig: Rig) -> None:
    rig.start()
    rig.outbox.bodies["m1"] = b'{"type":"job.completed"}'
    rig.expect("e")
    assert await rig.marks(1) == [("delivered", "e", "m1")]
    (post,) = rig.sender.posts
    assert post.url == "https://e.test/"
    assert json.loads(post.body)["type"] == "job.completed"
    assert post.headers["webhook-id"] == "m1"
    assert post.headers["webhook-timestamp"] == str(START_MS // 1000)
    assert rig.outbox.marks[0][3] == Try(at_ms=START_MS, status=204)
    assert rig.outbox.rows == {}


async def test_what_was_pending_before_the_start_is_delivered(rig: Rig) -> None:
    rig.outbox.put("e1")
    rig.outbox.put("e2", tries=3)
    rig.start()
    assert sorted(await rig.marks(2)) == [("delivered", "e1", "m1"), ("delivered", "e2", "m1")]


async def test_a_rotated_secret_signs_beside_the_old_one(rig: Rig) -> None:
    secrets = (new_secret(), new_secret())
    rig.endpoints.put("e", secrets=secrets)
    rig.start()
    rig.expect("e")
    await rig.marks(1)
    assert len(rig.sender.posts[0].headers["webhook-signature"].split(" ")) == 2


async def test_every_try_has_the_same_id_and_a_new_time(rig: Rig) -> None:
    rig.answer("e", 500)
    rig.start()
    rig.expect("e")
    await rig.marks(1)
    rig.at(5_000)
    await rig.marks(2)
    first, second = (post.headers for post in rig.sender.posts)
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 5
    assert first["webhook-signature"] != second["webhook-signature"]


async def test_a_dead_endpoint_is_tried_ten_times_on_the_schedule_and_then_no_more(
    rig: Rig,
) -> None:
    rig.answer("e", 500)
    rig.start()
    rig.expect("e")
    for tries in range(1, TRIES_MAX):
        await rig.marks(tries)
        (row,) = rig.outbox.rows.values()
        rig.at(row.due_ms - START_MS - 1)
        await rig.quiet()
        assert len(rig.sender.posts) == tries, "not before its time"
        rig.at(row.due_ms - START_MS)
    marks = await rig.marks(TRIES_MAX)
    assert [mark[0] for mark in marks] == ["failed"] * 9 + ["dead"]
    assert [ms // 1000 for ms in rig.outbox.delays] == [
        *(5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400),
    ]
    assert rig.outbox.rows == {}
    totals = rig.deliverer.totals()
    assert (totals.delivered, totals.failed, totals.dead, totals.pending) == (0, 10, 1, 0)


@pytest.mark.parametrize("status", [100, 199, 301, 302, 304, 308, 400, 404, 500, 599])
async def test_an_answer_that_is_not_2xx_is_a_failure(rig: Rig, status: int) -> None:
    rig.answer("e", status)
    rig.start()
    rig.expect("e")
    assert await rig.marks(1) == [("failed", "e", "m1")]
    assert str(status) in rig.outbox.marks[0][3].error


async def test_no_answer_is_a_failure_and_says_why(rig: Rig) -> None:
    rig.sender.answers["e.test"] = Answer(error="no connection")
    rig.start()
    rig.expect("e")
    await rig.marks(1)
    assert rig.outbox.marks[0][3] == Try(at_ms=START_MS, error="no connection")


async def test_a_receiver_that_is_gone_gets_nothing_more(rig: Rig) -> None:
    rig.answer("e", 410)
    for number in range(GIVE_UP_PAGE + 50):
        rig.outbox.put("e", f"m{number}")
    rig.outbox.put("other")
    rig.start()
    await rig.marks(2)
    rig.at(5_000)
    marks = await rig.marks(GIVE_UP_PAGE + 51)
    assert rig.outbox.rows == {}
    assert {mark[0] for mark in marks if mark[1] == "e"} == {"dead"}
    assert [known for known, _ in rig.endpoints.disabled] == ["e"]
    assert len([post for post in rig.sender.posts if "//e." in post.url]) == 1
    assert rig.deliverer.totals().disabled == 1


async def test_deliveries_of_deleted_and_disabled_endpoints_are_given_up(rig: Rig) -> None:
    rig.endpoints.known["deleted"] = None
    rig.endpoints.put("disabled", enabled=False)
    rig.start()
    rig.expect("deleted")
    rig.expect("disabled")
    assert sorted(await rig.marks(2)) == [("dead", "deleted", "m1"), ("dead", "disabled", "m1")]
    assert rig.sender.posts == []
    assert sorted(mark[3].error for mark in rig.outbox.marks) == [
        "the endpoint is disabled",
        "the endpoint was deleted",
    ]


async def test_a_receiver_may_ask_for_more_time(rig: Rig) -> None:
    rig.answer("e", 503, retry_after="600")
    rig.start()
    rig.expect("e", "m1")
    await rig.marks(1)
    assert rig.outbox.delays == [600_000]
    rig.expect("e", "m2")
    rig.at(599_999)
    await rig.quiet()
    assert len(rig.sender.posts) == 1, "the whole endpoint is left alone"
    rig.answer("e", 204)
    rig.at(600_000)
    assert sorted((await rig.marks(3))[1:]) == [("delivered", "e", "m1"), ("delivered", "e", "m2")]


async def test_an_endpoint_that_a_person_enabled_is_tried_at_once(rig: Rig) -> None:
    rig.answer("e", 503, retry_after="86400")
    rig.start()
    rig.expect("e", "m1")
    await rig.marks(1)
    rig.answer("e", 204)
    row = rig.outbox.put("e", "m2")
    rig.deliverer.expect("e", row.tenant_id)
    await rig.quiet()
    assert len(rig.sender.posts) == 1
    rig.deliverer.expect("e", row.tenant_id, anew=True)
    assert (await rig.marks(2))[1:] == [("delivered", "e", "m2")]


async def test_an_endpoint_that_fails_has_one_request_out_whatever_is_pending(rig: Rig) -> None:
    rig.answer("e", 500)
    for number in range(100):
        rig.outbox.put("e", f"m{number}")
    rig.start()
    await rig.marks(1)
    for at_ms, posts in ((4_999, 1), (5_000, 2), (19_999, 2), (20_000, 3)):
        rig.at(at_ms)
        await rig.quiet()
        assert len(rig.sender.posts) == posts
    assert rig.sender.out_max == 1
    status = rig.deliverer.status("e")
    assert status is not None
    assert (status.failures, status.last.status) == (3, 500)
    assert status.rests_until_ms == START_MS + 80_000


async def test_what_waited_behind_a_failing_endpoint_is_delivered_when_it_answers(
    rig: Rig,
) -> None:
    rig.answer("e", 500)
    for number in range(100):
        rig.outbox.put("e", f"m{number}")
    rig.start()
    await rig.marks(1)
    rig.answer("e", 204)
    rig.at(5_000)
    await rig.marks(101)
    assert rig.outbox.rows == {}
    assert 1 < rig.sender.out_max <= Bounds().endpoint_flights


async def test_what_waits_behind_a_failing_endpoint_for_days_is_given_up(rig: Rig) -> None:
    rig.answer("e", 500)
    rig.outbox.put("e", "old", since_ms=START_MS - AGE_MS_MAX)
    rig.outbox.put("e", "young", due_ms=START_MS + 1)
    rig.start()
    await rig.marks(1)
    assert rig.outbox.marked() == [("failed", "e", "old")], "each is tried before it is given up"
    rig.at(5_000)
    assert (await rig.marks(3))[1:] == [("dead", "e", "old"), ("failed", "e", "young")]


async def test_ten_thousand_dead_endpoints_delay_no_healthy_one(rig: Rig) -> None:
    """No clock moves: not one of the dead comes to its timeout while the healthy are served."""
    rig.sender.hang = lambda host: host.startswith("dead")
    for number in range(10_000):
        rig.outbox.put(f"dead{number}", tries=1)
    rig.start()
    await rig.quiet()
    for number in range(100):
        rig.expect(f"healthy{number}")
    marks = await rig.marks(100)
    assert {mark[0] for mark in marks} == {"delivered"}
    assert rig.sender.out == Bounds().young[3]
    assert rig.deliverer.totals().pending == 10_000


async def test_a_tenant_of_dead_endpoints_delays_no_other_tenant_even_if_nobody_is_known() -> None:
    rig = Rig(Bounds(young=(1, 2, 1, 1)))
    rig.sender.hang = lambda host: host == "dead0.test"
    for number in range(1_000):
        rig.outbox.put(f"dead{number}", tenant_id="a")
        rig.sender.answers[f"dead{number}.test"] = Answer(status=500)
    rig.outbox.put("healthy", tenant_id="b")
    rig.start()
    await rig.outbox.until(lambda outbox: ("delivered", "healthy", "m1") in outbox.marked())
    assert len(rig.outbox.marks) < 50, "it was among the first"
    await rig.deliverer.stop(0)


async def test_a_job_s_own_url_needs_no_registration(rig: Rig) -> None:
    url = "https://own.test/hook"
    rig.start()
    rig.expect("url_1", url=url)
    await rig.marks(1)
    assert rig.sender.posts[0].url == url
    headers = rig.sender.posts[0].headers
    at = Webhook(SECRET).sign("m1", _moment(headers["webhook-timestamp"]), "{}")
    assert headers["webhook-signature"] == at


async def test_a_job_s_own_url_that_is_gone_ends_the_delivery_alone(rig: Rig) -> None:
    rig.answer("own", 410)
    rig.start()
    rig.expect("url-1", url="https://own.test/")
    assert await rig.marks(1) == [("dead", "url-1", "m1")]
    assert rig.endpoints.disabled == []


async def test_a_replayed_delivery_is_made_again_under_its_id(rig: Rig) -> None:
    rig.answer("e", 500)
    rig.start()
    rig.expect("e", tries=TRIES_MAX - 1)
    assert await rig.marks(1) == [("dead", "e", "m1")]
    rig.answer("e", 204)
    rig.at(HOUR_MS)
    rig.expect("e", due_ms=START_MS + HOUR_MS, since_ms=START_MS + HOUR_MS)
    assert (await rig.marks(2))[1:] == [("delivered", "e", "m1")]


async def test_a_stop_waits_for_what_is_out(rig: Rig) -> None:
    answering = asyncio.Event()

    async def send(post: Post) -> Answer:
        await answering.wait()
        return Answer(status=200)

    rig.sender.send = send  # type: ignore[method-assign]
    rig.start()
    rig.expect("e1")
    await rig.quiet()
    stopping = asyncio.create_task(rig.deliverer.stop(60))
    await rig.quiet()
    rig.expect("e2")
    answering.set()
    await stopping
    assert rig.outbox.marked() == [("delivered", "e1", "m1")], "and starts nothing more"
    assert list(rig.outbox.rows) == [("e2", "m1")]
    assert rig.running is not None
    await rig.running


async def test_what_does_not_end_within_the_time_is_left_pending(rig: Rig) -> None:
    rig.sender.hang = lambda host: True
    rig.start()
    rig.expect("e")
    await rig.quiet()
    assert rig.deliverer.totals().in_flight == 1
    await rig.deliverer.stop(0)
    assert rig.outbox.marks == []
    assert rig.outbox.rows["e", "m1"].tries == 0
    assert rig.deliverer.totals().in_flight == 0
    assert rig.running is not None
    await rig.running


async def test_an_outbox_that_fails_ends_the_service_and_marks_nothing(rig: Rig) -> None:
    rig.outbox.broken = OSError("disk")
    rig.start()
    rig.expect("e")
    assert rig.running is not None
    with pytest.raises(ExceptionGroup) as failed:
        await rig.running
    assert failed.value.subgroup(OSError) is not None
    assert ("e", "m1") in rig.outbox.rows


async def test_a_secret_that_cannot_be_used_is_a_failure_like_any_other(rig: Rig) -> None:
    rig.endpoints.put("e", secrets=("whsec_canary",))
    rig.start()
    rig.expect("e")
    assert await rig.marks(1) == [("failed", "e", "m1")]
    assert "canary" not in rig.outbox.marks[0][3].error
    assert rig.sender.posts == []


async def test_a_look_reads_few_rows_whatever_is_pending(rig: Rig) -> None:
    for number in range(200):
        rig.outbox.put("e", f"m{number}")
    rig.start()
    await rig.marks(200)
    assert rig.outbox.read < 200 * 2 * (Bounds().endpoint_flights + 1)


def test_secrets_and_urls_are_in_no_repr() -> None:
    endpoint = Endpoint(
        endpoint_id="e", tenant_id="t", url="https://x/?canary", secrets=("canary",)
    )
    post = Post(url="https://x/?canary", headers={"a": "canary"}, body=b"canary", lane=Lane.NEW)
    delivery = FakeOutbox().put("e", url="https://x/?canary")
    assert "canary" not in repr((endpoint, post, delivery)) + f"{endpoint}{post}{delivery}"


def _moment(seconds: str) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
