"""The edges of the deliverer: endpoints from documents, marks through the engine."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headrace.core.commands import Announce, Caller, PutDocument
from headrace.core.deliveries import Delivery
from headrace.runtime import webhooks
from headrace.runtime.config import Config, ConfigError
from headrace.runtime.layers import effective
from headrace.runtime.node import Node
from headrace.runtime.webhooks import DocumentEndpoints, ask
from headrace.webhooks.contract import Answer, Post
from headrace.wire.documents import Kind, WebhookDocument, body_of
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.webhook_ids import jobs_secret_name, webhook_name

CALLER = Caller("acme", "alice")
SECRET = "whsec_" + "QUFB" * 8
HOOK = webhook_name(bytes(16))


class Sender:
    """Answers what it is told."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.status = 204

    async def send(self, post: Post) -> Answer:
        self.posts.append(post)
        return Answer(status=self.status)

    async def close(self) -> None:
        pass


@pytest.fixture
async def sender() -> Sender:
    return Sender()


@pytest.fixture
async def node(sender: Sender) -> AsyncIterator[Node]:
    node = Node(Config(disk_reserve_mb=0))
    node.hooks._sender._sender = sender
    await node.start()
    yield node
    await node.stop()


async def put(node: Node, name: str = HOOK, **fields: Any) -> None:
    known: dict[str, Any] = {
        "tenant": "acme",
        "user": "alice",
        "url": "https://example.com/",
        "events": ("*",),
        "secrets": (SECRET,),
    }
    body = body_of(WebhookDocument(**{**known, **fields}))
    await node.pump.ask(PutDocument(CALLER, Kind.WEBHOOK, name, body))


async def until(node: Node, pending: int) -> None:
    async with asyncio.timeout(20):
        while node.store.outbox_count() != pending:
            await asyncio.sleep(0)


def endpoints(node: Node) -> DocumentEndpoints:
    return DocumentEndpoints(node.store, node.pump, node.clock, b"k" * 32)


async def test_what_is_committed_is_sent_and_marked(node: Node, sender: Sender) -> None:
    await put(node)
    assert await node.pump.ask(Announce("ping", b"{}", "acme", bytes(16))) == 1
    async with asyncio.timeout(20):
        while not node.hooks.totals().delivered:
            await asyncio.sleep(0)
    assert len(sender.posts) == 1
    assert node.store.outbox_count() == 0


async def test_a_mark_waits_while_the_server_is_busy(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "AGAIN_S", 0)
    asked: list[object] = []

    class Busy:
        async def ask(self, command: object) -> str:
            asked.append(command)
            if len(asked) < 3:
                raise Problem(ProblemCode.OVERLOADED, "later")
            return "done"

    assert await ask(Busy(), Announce("e", b"{}")) == "done"  # type: ignore[arg-type]
    assert len(asked) == 3


async def test_the_deliverer_begins_again_after_a_defect(
    node: Node, sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhooks, "AGAIN_S", 0)
    await put(node)
    real = node.hooks.outbox.body
    monkeypatch.setattr(node.hooks.outbox, "body", lambda _one: 1 / 0)
    await node.pump.ask(Announce("ping", b"{}", "acme", bytes(16)))
    async with asyncio.timeout(20):
        while "begin again" not in caplog.text:
            await asyncio.sleep(0)
    monkeypatch.setattr(node.hooks.outbox, "body", real)
    await until(node, 0)
    assert SECRET not in caplog.text


async def test_a_webhook_is_disabled_once_and_by_the_server(node: Node) -> None:
    await put(node)
    found = endpoints(node)
    await found.disable(HOOK, "it is gone")
    await found.disable(HOOK, "again")
    await found.disable(webhook_name(b"x" * 16), "there is none")
    document = node.store.documents.get(Kind.WEBHOOK, HOOK)
    assert document is not None
    assert (document.value().disabled, document.changed_by) == ("it is gone", "headrace")
    endpoint = found.endpoint(HOOK)
    assert endpoint is not None
    assert not endpoint.enabled


async def test_the_old_secret_signs_until_it_is_retired(node: Node) -> None:
    now_ms = node.clock.wall_ms()
    for retire_at_ms, secrets in ((now_ms - 1, ("s1",)), (now_ms + 99_000, ("s1", "s2"))):
        await put(node, secrets=("s1", "s2"), retire_at_ms=retire_at_ms)
        endpoint = endpoints(node).endpoint(HOOK)
        assert endpoint is not None
        assert endpoint.secrets == secrets


async def test_jobs_urls_are_signed_with_what_their_tenant_was_given(node: Node) -> None:
    found = endpoints(node)
    unknown = {tenant: list(found.tenant_secrets(tenant)) for tenant in ("acme", "other")}
    assert unknown["acme"] != unknown["other"]
    assert unknown["acme"][0].startswith("whsec_")
    await put(node, jobs_secret_name("acme"), url="", secrets=(SECRET,))
    assert list(found.tenant_secrets("acme")) == [SECRET]


def test_networks_are_checked_at_the_start() -> None:
    with pytest.raises(ConfigError, match="no network"):
        Config(webhook_allow_networks=["10.0.0.0/99"]).check()


@pytest.mark.parametrize(
    ("config", "url", "allowed"),
    [
        ({}, "https://example.com/", True),
        ({}, "http://example.com/", False),
        ({}, "https://example.com:444/", False),
        ({}, "https://10.0.0.1/", False),
        ({"webhook_http": True}, "http://example.com:8080/", True),
        ({"webhook_ports": [444]}, "https://example.com:444/", True),
        ({"webhook_ports": [0]}, "https://example.com:5/", True),
        ({"webhook_allow_networks": ["10.0.0.0/8"]}, "https://10.0.0.1/", True),
    ],
)
async def test_the_operator_says_where_webhooks_go(
    config: dict[str, Any], url: str, allowed: bool
) -> None:
    node = Node(Config(disk_reserve_mb=0, **config))
    try:
        if allowed:
            assert node.hooks.check_url(url) == url
        else:
            with pytest.raises(ValueError):
                node.hooks.check_url(url)
    finally:
        node.store.close()


async def test_the_server_itself_is_no_receiver(node: Node) -> None:
    node.hooks.addresses.listens("localhost", 8080)
    node.hooks.addresses.listens("no-address", 8080)
    for host in ("127.0.0.1", "::1"):
        assert node.hooks.addresses.refusal(host, 8080) == "the server itself listens there"


def test_an_endpoint_is_named_by_what_it_is() -> None:
    one = Delivery(1, bytes(16), "e", "t", 0, 0, 0)
    assert webhooks.endpoint_id(one) == HOOK
    own = Delivery(1, bytes(16), "e", "t", 0, 0, 0, url="https://x/")
    assert webhooks.endpoint_id(own).startswith("url_")


def test_the_settings_are_read_from_texts_too() -> None:
    environ = {
        "HEADRACE_WEBHOOK_PORTS": "444, 0",
        "HEADRACE_WEBHOOK_ALLOW_NETWORKS": "10.0.0.0/8,::1/128",
        "HEADRACE_WEBHOOK_HTTP": "true",
    }
    config = effective(Config, environ=environ).config
    assert config.webhook_ports == [444, 0]
    assert config.webhook_allow_networks == ["10.0.0.0/8", "::1/128"]
    assert config.webhook_http
    with pytest.raises(ConfigError, match="webhook-ports"):
        effective(Config, flags={"webhook_ports": "x"})
