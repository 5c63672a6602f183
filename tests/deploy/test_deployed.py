"""What image, compose file and manifests tell to run, run here: one server, one worker, two keys.

The server is the pod's, with the config map's settings; the worker and its key are of compose.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import HEADRACE, Process, Server, free_port

from .files import health_check, of_kind, pods, services


@pytest.mark.e2e
def test_the_deployed_commands_run_jobs_and_answer_who_watches(
    disk: Path, start: Callable[..., Process]
) -> None:
    port = free_port()
    places = {
        "/var/lib/headrace": str(disk),
        "/etc/headrace": str(disk),
        "/keys": str(disk / "worker-key"),
        "/tmp/headrace": str(disk / "cache"),
        "http://server:8080": f"http://127.0.0.1:{port}",
    }

    def here(words: list[str]) -> list[str]:
        for place, ours in places.items():
            words = [
                ours + word[len(place) :] if word.startswith(place) else word for word in words
            ]
        return words

    spec = pods()["headrace"]["spec"]
    settings = of_kind("ConfigMap")["headrace"]["data"]["headrace.yaml"]
    (disk / "headrace.yaml").write_text(settings.replace("/var/lib/headrace", str(disk)))
    for args in (spec["initContainers"][0]["args"], services()["worker-key"]["command"]):
        subprocess.run([*HEADRACE, *here(args)], check=True)
    admin = {"Authorization": f"Bearer {(disk / 'keys' / 'admin').read_text().strip()}"}
    check = [sys.executable, *(word.replace("8080", str(port)) for word in health_check()[1:])]
    assert subprocess.run(check, capture_output=True).returncode != 0
    server = Server(disk / "jobs", port, *here(spec["containers"][0]["args"][1:]))
    try:
        server.wait_ready()
        assert subprocess.run(check).returncode == 0
        [endpoint] = of_kind("ServiceMonitor")["headrace"]["spec"]["endpoints"]
        assert server.ask("GET", endpoint["path"])[0] == 401
        assert server.ask("GET", endpoint["path"], headers=admin)[0] == 200

        jobs = [{"type": "echo", "params": {}}] * 3
        status, made = server.ask("POST", "/api/v1/jobs", jobs, headers=admin)
        assert status == 200
        ask = {"worker": "w", "serve": {"types": ["echo"]}, "max_jobs": 1, "wait": "0s"}
        assert server.ask("POST", "/api/v1/work/poll", ask, headers=admin)[0] == 200
        numbers = {}
        for trigger in of_kind("ScaledObject")["headrace-worker"]["spec"]["triggers"]:
            path = "/" + trigger["metadata"]["url"].split("/", 3)[3]
            _, value = server.ask("GET", path, headers=admin)
            for part in trigger["metadata"]["valueLocation"].split("."):
                value = value[part]
            numbers[trigger["name"]] = value
        assert numbers == {"wanted": 2, "running": 1}

        environment = services()["worker"]["environment"]
        key = dict(zip(environment, here([*environment.values()]), strict=True))
        worker = start("worker", *HEADRACE, *here(services()["worker"]["command"]), **key)
        path = f"/api/v1/jobs/{made[2]['job_id']}?wait=30s"
        while server.ask("GET", path, headers=admin)[1]["job"]["status"] != "completed":
            assert worker.popen.poll() is None, worker.output()
        assert worker.terminate() == 0, worker.output()
        assert server.terminate() == 0, server.output()
    finally:
        server.kill()
