"""Secrets and payloads of a whole life of a server, looked for wherever they must not be.

A process at the most talkative levels is given keys, secrets, a session, leases, params and
results, rightly and wrongly. Then all that it said, shows and counts, and what commands print of
it, is searched for each of them, as they are and in the forms that texts take.
"""

import base64
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from processes import HEADRACE, Server, disk_dir, free_port

pytestmark = pytest.mark.e2e
SHOWN = ("/metrics", "/api/v1/stats", "/api/v1/stats/history", "/api/v1/audit?limit=1000")
SHOWN += ("/api/v1/keys", "/api/v1/webhooks", "/api/v1/workers", "/api/v1/tenants", "/readyz")
SHOWN += ("/api/v1/queues", "/api/v1/limits", "/api/v1/demand", "/openapi.json")
"""What an operator sees, none of which is a job."""
TALKS = {
    "text": ("--lane",),
    "json": ("--access-log", "--log-format", "json"),
}


class Life:
    """A server, what was told to it in confidence, and all that it answered otherwise."""

    def __init__(self, folder: Path, flags: tuple[str, ...]) -> None:
        self.data = folder / "data"
        self.lines = folder / "lines"
        talk = ("--log-level", "debug", "--job-logger-file", str(self.lines), "--disk-reserve", "0")
        net = ("--webhook-http", "--webhook-ports", "0", "--webhook-allow-networks", "127.0.0.0/8")
        allow = ("--accept-any-filesystem",)
        self.server = Server(self.data, free_port(), *talk, *net, *allow, *flags).wait_ready()
        self.secrets: dict[str, str] = {}
        self.payloads: dict[str, str] = {}
        self.said: dict[str, str] = {}

    def ask(self, method: str, path: str, body: Any = None, key: str = "", **headers: str) -> Any:
        """Ask; what is no answer to a good question is kept with what was said."""
        said = {"Authorization": f"Bearer {key}"} if key else {}
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        status, answer = self.server.ask(method, path, body, headers=said)
        if status >= 400:
            self.said[f"{status} to {method} {path[:20]} {len(self.said)}"] = str(answer)
        return answer

    def live(self) -> None:
        words = ["admin", "submit", "read", "work", "impersonate"]
        made = self.ask("POST", "/api/v1/keys", {"tenant": "*", "scopes": words, "name": "root"})
        key = self.secrets["key"] = made["key"]
        other = self.ask("POST", "/api/v1/keys", {"scopes": ["read"], "name": "r"}, key)
        self.secrets["other key"] = other["key"]
        self._sign_in(key)
        self._hook(key)
        self._work(key)
        self._err(key, other["key"])
        for path in SHOWN:
            self.said[path] = str(self.ask("GET", path, key=key))

    def _sign_in(self, key: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        body = json.dumps({"key": key})
        connection.request("POST", "/api/v1/session", body, {"Content-Type": "application/json"})
        cookie = connection.getresponse().getheader("Set-Cookie") or ""
        connection.close()
        value = self.secrets["cookie"] = cookie.partition(";")[0].partition("=")[2]
        assert len(value) > 20
        assert self.ask("GET", "/api/v1/session", Cookie=cookie.partition(";")[0])["signed_in"]
        self.ask("GET", "/api/v1/jobs", Cookie=cookie.partition(";")[0] + "x")

    def _hook(self, key: str) -> None:
        secret = "whsec_" + base64.b64encode(b"a-canary-of-a-webhook-secret").decode()
        self.secrets["webhook"] = secret
        url = f"http://127.0.0.1:{free_port()}/{PATH_CANARY}"
        self.secrets["webhook's path"] = PATH_CANARY
        hook = {"url": url, "events": ["completed", "failed"], "secret": secret}
        made = self.ask("POST", "/api/v1/webhooks", hook, key)
        self.ask("POST", f"/api/v1/webhooks/{made['id']}/test", None, key)
        rotated = self.ask("POST", f"/api/v1/webhooks/{made['id']}/rotate-secret", {}, key)
        self.secrets["rotated"] = rotated["secret"]
        self.ask("POST", "/api/v1/webhooks", {**hook, "secret": secret + "!"}, key)

    def _work(self, key: str) -> None:
        self.payloads = {
            "params": "canary-of-params",
            "result": "canary-of-a-result",
            "error": "canary-of-an-error",
            "stdin": "canary-of-an-input",
            "log": "canary-of-a-log",
            "checkpoint": "canary-of-a-checkpoint",
        }
        payloads = self.payloads
        for _ in range(3):
            job = {"type": "t", "params": {"p": payloads["params"]}, "max_retries": 0}
            self.ask("POST", "/api/v1/jobs", job, key)
        poll = {"worker": "w", "max_jobs": 3}
        works = self.ask("POST", "/api/v1/work/poll", poll, key)["jobs"]
        leases = [work["lease"] for work in works]
        self.secrets |= {f"lease {n}": lease for n, lease in enumerate(leases)}
        news = {"log": payloads["log"], "details": payloads["log"]}
        self.ask("POST", f"/api/v1/leases/{leases[0]}/progress", news, key)
        reports = [
            {"lease": leases[0], "outcome": "completed", "result": payloads["result"]},
            {"lease": leases[1], "outcome": "failed", "error": payloads["error"]},
            {"lease": leases[2], "outcome": "suspended", "checkpoint": payloads["checkpoint"]},
        ]
        acks = self.ask("POST", "/api/v1/work/poll", {**poll, "reports": reports}, key)["acks"]
        assert [ack["ok"] for ack in acks] == [True, True, True]
        self.ask("POST", f"/api/v1/leases/{leases[0]}/complete", {"result": 1}, key)

    def _err(self, key: str, other: str) -> None:
        """Say secrets and payloads where they do not belong."""
        params, lease = self.payloads["params"], self.secrets["lease 0"]
        wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
        for asked in (f"/api/v1/jobs?key={key}", f"/{key}", f"/api/v1/jobs/{key}", f"/jobs/{key}"):
            self.ask("GET", asked, key=key)
        self.ask("GET", f"/api/v1/jobs?name={params}&{params}=1", key=key)
        self.ask("GET", "/api/v1/jobs", key=wrong)
        self.ask("GET", "/api/v1/jobs", Authorization=f"Basic {key}")
        self.ask("GET", "/api/v1/jobs", Authorization=key)
        self.ask("GET", "/api/v1/audit", key=other)
        self.ask("POST", "/api/v1/session", {"key": wrong})
        self.ask("POST", "/api/v1/jobs", {"type": "t", "params": params, "name": key * 9}, key)
        self.ask("POST", "/api/v1/jobs", {"type": 7, "params": params}, key)
        self.ask("POST", "/api/v1/jobs", b'{"params":"' + params.encode() + b"\xff", key)
        self.ask("POST", "/api/v1/jobs", {"type": "t", "delay": params}, key)
        self.ask("POST", f"/api/v1/leases/{lease}x/complete", {"result": params}, key)
        self.ask("POST", f"/api/v1/leases/{lease}/{params}", {}, key)
        module = {"name": "n", "wasm_module": base64.b64encode(params.encode()).decode()}
        self.ask("POST", "/api/v1/jobs", {**module, "stdin": self.payloads["stdin"]}, key)

    def end(self) -> None:
        assert self.server.terminate() == 0
        self.said["console"] = self.server.output()
        self.said["log file"] = self.lines.read_text()

    def have_commands_tell(self) -> None:
        """Have all that print of a store, or of a configuration, do so."""
        copy = self.data.with_name("copy")
        self.said["backup"] = command("backup", str(self.data), str(copy))
        self.said["inspect"] = command("inspect", str(copy))
        self.said["inspect --json"] = command("inspect", str(copy), "--json")
        self.said["restore"] = command("restore", str(copy), str(self.data.with_name("back")))
        self.said["config"] = command("config", env={"HEADRACE_API_KEY": self.secrets["key"]})
        self.said["files"] = " ".join(map(str, copy.rglob("*")))


PATH_CANARY = "canary-in-the-path-of-a-webhook"


def command(*words: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [*HEADRACE, *words], capture_output=True, text=True, timeout=120, env=env, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def forms(secret: str) -> set[str]:
    """Return what a text may hold of it: whole, encoded, or the part that tells enough."""
    found = {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}
    if secret.startswith("hr_"):
        found.add(secret.rpartition("_")[2][:30])
    if secret.startswith("whsec_"):
        found |= {secret[6:], base64.b64decode(secret[6:]).decode("latin-1")}
    return found


@pytest.fixture(params=TALKS)
def life(request: pytest.FixtureRequest) -> Iterator[Life]:
    with disk_dir() as folder:
        found = Life(folder, TALKS[request.param])
        try:
            yield found
        finally:
            found.server.kill()


def test_no_secret_and_no_payload_is_in_what_a_server_says_and_shows(life: Life) -> None:
    life.live()
    if "json" not in life.server.popen.args:
        life.have_commands_tell()
    life.end()
    assert "job_id" in life.said["log file"], "the log has lines of jobs"
    for what, hidden in (life.secrets | life.payloads).items():
        for form in forms(hidden):
            where = [place for place, said in life.said.items() if form in said]
            if what == "webhook's path":
                where = [place for place in where if place != "/api/v1/webhooks"]
            assert where == [], f"{what} as {form!r} is in {where}"
