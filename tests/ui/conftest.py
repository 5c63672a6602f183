"""A server with keys, a worker, and a browser that is signed in: one of each for all tests here.

Whatever the browser complains about fails the test in which it does: errors of scripts, what the
policy refuses, answers that the test did not expect, requests to anybody but the server.
"""

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))

from processes import HEADRACE, Process, Server, disk_dir, free_port

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
HANDLERS = Path(__file__).with_name("ui_handlers.py")
PATIENCE_MS = 20_000


class Hook:
    """A receiver of webhooks on this machine."""

    def __init__(self) -> None:
        got, changed = list[str](), threading.Condition()
        self._got, self._changed = got, changed

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with changed:
                    got.append(json.loads(body)["type"])
                    changed.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def forget(self) -> None:
        self._got.clear()

    def hears(self, event: str, times: int) -> bool:
        """Wait until an event has come so often."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._got.count(event) >= times, PATIENCE_MS / 1000
            )


class Rig:
    """The server, and who asks it beside the browser."""

    def __init__(self, server: Server, key: str, hook: Hook) -> None:
        self.server = server
        self.url = server.url
        self.key = key
        self.hook = hook

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        status, told = self.server.ask(method, f"/api/v1{path}", body, headers=headers)
        assert status < 300, (status, told)
        return told

    def submit(self, **job: Any) -> str:
        return str(self.ask("POST", "/jobs", {"name": "a job", **job})["job_id"])

    def ended(self, job_id: str) -> str:
        """Wait until a job has ended; return how."""
        return str(self.ask("GET", f"/jobs/{job_id}?wait=30s")["job"]["status"])

    def make_key(self, **fields: Any) -> Any:
        return self.ask("POST", "/keys", fields)


@pytest.fixture(scope="package")
def rig() -> Iterator[Rig]:
    with ExitStack() as stack:
        disk = stack.enter_context(disk_dir())
        flags = ["--webhook-http", "--webhook-ports", "0"]
        flags += ["--webhook-allow-networks", "127.0.0.0/8", "--accept-any-filesystem"]
        server = Server(disk / "data", free_port(), *flags)
        stack.callback(server.kill)
        server.wait_ready()
        hook = Hook()
        stack.callback(hook.server.shutdown)
        admin = {"name": "operator", "scopes": ["admin", "impersonate"], "tenant": "*"}
        _, made = server.ask("POST", "/api/v1/keys", {**admin, "user": "olga"})
        found = Rig(server, made["key"], hook)
        command = [*HEADRACE, "work", str(HANDLERS), "--url", server.url, "--name", "w-1"]
        command += ["--cache", str(disk / "cache"), "--concurrency", "8", "--no-wasm"]
        worker = Process(command, disk / "worker.log", {"HEADRACE_API_KEY": found.key})
        stack.callback(worker.kill)
        yield found


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """The browser. Its tools hold this thread's event loop, so they go before other tests come."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed; tools/test installs it where it may")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


class Window:
    """A page of the browser, and what was wrong with it. `expected`: refusals that a test asks for,
    by status."""

    def __init__(self, context: Any, url: str) -> None:
        self.url = url
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.expected: list[int] = []
        self.wrong: list[str] = []
        self.refused: list[int] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)

    def _said(self, message: Any) -> None:
        loads = message.text.startswith("Failed to load resource: the server responded")
        if message.type in ("error", "warning") and not loads:
            self.wrong.append(f"{message.type}: {message.text}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(f"{self.url}/"):
            self.wrong.append(f"a request to {request.url}")

    def _answered(self, response: Any) -> None:
        if response.status >= 400:
            self.refused.append(response.status)

    def go(self, place: str) -> Any:
        """Open a page of the dashboard; return what tests ask about it."""
        self.page.goto(f"{self.url}/ui{place}")
        self.page.locator("main h1").first.wait_for()
        return self.page

    def check(self) -> None:
        assert self.wrong == []
        assert self.refused == self.expected


@pytest.fixture(scope="package")
def signed_in(rig: Rig, chromium: Any) -> Iterator[Any]:
    """A browser's cookies and storage after signing in."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    window = Window(context, rig.url)
    page = window.go("")
    page.get_by_label("API key").fill(rig.key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()
    window.page.close()
    yield context
    context.close()


@pytest.fixture
def window(rig: Rig, signed_in: Any) -> Iterator[Window]:
    """A page of the signed-in browser; at the end nothing may have been wrong with it."""
    found = Window(signed_in, rig.url)
    yield found
    found.page.close()
    found.check()


@pytest.fixture
def stranger(rig: Rig, chromium: Any) -> Iterator[Window]:
    """A page of a browser that nobody has signed in with."""
    context = chromium.new_context()
    found = Window(context, rig.url)
    yield found
    context.close()
    found.check()
