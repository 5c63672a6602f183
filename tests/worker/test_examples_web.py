"""The handlers that speak HTTP, against servers on loopback, and the provider of instances."""

import asyncio
import base64
import hashlib
import hmac
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from headrace import AsyncQueue, QueueConfig
from headrace.worker import PermanentError, Worker
from headrace.worker.examples import instances
from headrace.worker.examples import web as examples_web
from headrace.worker.examples.provider import Provider
from headrace.worker.examples.web import BODY_BYTES_MAX, check_url

S = 20.0


class Site:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.host = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, dict(request.headers), await request.read()))
        return self.answers.pop(0)


async def served(app: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    return runner, f"{host}:{port}"


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    site = Site()
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{any:.*}", site.handle)
    runner, site.host = await served(app)
    monkeypatch.setenv(examples_web.HOSTS_VARIABLE, f"example.com,{site.host}")
    yield site
    await runner.cleanup()


async def ended(worker: Worker, type_: str, params: Any, **fields: Any) -> Any:
    fields = {"max_retries": 2, "retry_delay": 0.01, **fields}
    async with AsyncQueue(QueueConfig(), worker) as queue:
        return await queue.wait(await queue.enqueue(params, type=type_, **fields), S)


async def test_an_answer_is_the_result(site: Site) -> None:
    site.answers = [web.json_response({"ok": 1}, headers={"X-Secret": "not told"})]
    params = {"url": f"http://{site.host}/a", "method": "PUT", "json": {"n": 1}}
    job = await ended(examples_web.worker, "http_request", params)
    assert job.value["status"] == 200
    assert job.value["body"] == '{"ok": 1}'
    assert list(job.value["headers"]) == ["content-type"]
    method, headers, body = site.asked[0]
    assert (method, body) == ("PUT", b'{"n":1}')
    assert headers["Idempotency-Key"] == job.id


async def test_an_answer_that_may_pass_is_asked_for_again(site: Site) -> None:
    site.answers = [web.Response(status=503), web.Response(status=500), web.Response(text="now")]
    job = await ended(examples_web.worker, "http_request", {"url": f"http://{site.host}/"})
    assert (job.value["body"], job.job.attempt) == ("now", 3)


async def test_a_refusal_is_not_asked_for_again(site: Site) -> None:
    site.answers = [web.Response(status=403)]
    job = await ended(examples_web.worker, "http_request", {"url": f"http://{site.host}/"})
    assert (job.status, job.job.attempt, job.result.code) == ("failed", 1, "http_403")


async def test_a_redirect_is_an_answer_and_leads_nowhere(site: Site) -> None:
    site.answers = [web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})]
    job = await ended(examples_web.worker, "http_request", {"url": f"http://{site.host}/"})
    assert (job.value["status"], job.value["headers"]["location"]) == (302, "http://127.0.0.1:1/")


async def test_a_long_answer_is_cut(site: Site) -> None:
    site.answers = [web.Response(body=b"x" * (BODY_BYTES_MAX + 100_000))]
    job = await ended(examples_web.worker, "http_request", {"url": f"http://{site.host}/"})
    assert (len(job.value["body"]), job.value["body_cut"]) == (BODY_BYTES_MAX, True)


async def test_nobody_there_fails_after_its_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv(examples_web.HOSTS_VARIABLE, host)
    job = await ended(examples_web.worker, "http_request", {"url": f"http://{host}/"})
    assert (job.status, job.job.attempt) == ("failed", 3)
    assert "no connection" in (job.error or "")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://example.com:8080/",
        "http://user@example.com/",
        "ftp://example.com/",
        "http://example.com.evil.test/",
        "http://example.com@evil.test/",
        "http:///path",
        "http://[::1]/",
        "http://example.com:port/",
        "file:///etc/passwd",
    ],
)
def test_hosts_that_nobody_named_are_not_spoken_to(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(examples_web.HOSTS_VARIABLE, "example.com, [::1]:8081")
    check_url("https://example.com/a?b#c")
    check_url("http://EXAMPLE.com:80/")
    check_url("http://[::1]:8081/")
    with pytest.raises(PermanentError):
        check_url(url)


def test_without_the_variable_no_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(examples_web.HOSTS_VARIABLE, raising=False)
    with pytest.raises(PermanentError, match="operator"):
        check_url("https://example.com/")


@pytest.mark.parametrize(
    "params",
    [
        {"url": "http://{}/", "headers": {"Host": "other"}},
        {"url": "http://{}/", "headers": {"X-A": "b\r\nX-C: d"}},
        {"url": "http://{}/", "json": 1, "body": "2"},
        {"url": "http://{}/", "timeout_s": 0},
        {"url": "http://{}/", "method": "CONNECT"},
    ],
)
async def test_wrong_params_fail_at_once(site: Site, params: dict[str, Any]) -> None:
    params["url"] = params["url"].format(site.host)
    job = await ended(examples_web.worker, "http_request", params)
    assert (job.status, job.job.attempt, site.asked) == ("failed", 1, [])


async def test_a_webhook_is_signed_and_keeps_its_id(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = b"k" * 24
    secret = f"whsec_{base64.b64encode(key).decode()}"
    monkeypatch.setenv(examples_web.SECRET_VARIABLE, secret)
    site.answers = [web.Response(status=503), web.Response()]
    params = {"url": f"http://{site.host}/hook", "payload": {"instance": "i-1"}}
    job = await ended(examples_web.worker, "send_webhook", params)
    assert job.value == {"status": 200}
    assert {headers["webhook-id"] for _, headers, _ in site.asked} == {job.id}
    for _, headers, body in site.asked:
        message = f"{job.id}.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.new(key, message, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


# Instances --------------------------------------------------------------------------------------


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    provider = Provider(ready_s=0.1, trouble=0.4, seed=3)
    runner, host = await served(provider.app())
    monkeypatch.setenv(examples_web.HOSTS_VARIABLE, "")
    monkeypatch.setenv(instances.URL_VARIABLE, f"http://{host}")
    yield provider
    await runner.cleanup()


async def test_one_instance_is_made_whatever_goes_wrong_and_then_it_is_ready(
    provider: Provider,
) -> None:
    wanted = {"name": "mine", "product": "gpu-24gb", "gpu_count": 2}
    made = [
        await ended(instances.worker, "create_instance", wanted, max_retries=20) for _ in range(5)
    ]
    assert all(job.completed for job in made)
    assert max(job.job.attempt for job in made) > 1, "no trouble was met"
    assert len(provider.instances) == 5, "one for each job, however often it asked"
    provider.ready_s = 3600.0
    instance_id = made[0].value["instance_id"]
    asyncio.get_running_loop().call_later(0.3, setattr, provider, "ready_s", 0.0)
    watch = {"instance_id": instance_id, "look_s": 0.02}
    job = await ended(instances.worker, "monitor_instance", watch, max_retries=20)
    assert job.value["status"] == "running"
    assert job.value["address"].startswith("192.0.2.")
    assert job.job.stops > 0, "it waited without a slot"


async def test_an_instance_that_breaks_or_takes_too_long_fails_the_job(provider: Provider) -> None:
    provider.trouble = 0.0
    broken = await ended(
        instances.worker, "create_instance", {"name": "failed one", "product": "gpu"}
    )
    watch = {"instance_id": broken.value["instance_id"], "look_s": 0.02}
    job = await ended(instances.worker, "monitor_instance", watch)
    assert (job.status, job.result.code, job.job.failures) == ("failed", "instance_broken", 1)
    provider.ready_s = 60.0
    slow = await ended(instances.worker, "create_instance", {"name": "slow", "product": "gpu"})
    watch = {"instance_id": slow.value["instance_id"], "look_s": 0.02, "max_wait_s": 0.05}
    job = await ended(instances.worker, "monitor_instance", watch)
    assert (job.status, job.result.code) == ("failed", "instance_not_ready")
    odd = await ended(instances.worker, "monitor_instance", {"instance_id": "../keys"})
    assert (odd.status, odd.result.code) == ("failed", "params_invalid")
