"""The section `job_logger` of a configuration file, as a running server keeps it."""

import json
import os
import time
import urllib.request
from pathlib import Path

import pytest

from .processes import Process

DAY_S = 86_400
FILE = """
memory: true
port: 0
log_format: json
job_logger:
  console_level: error
  file_level: debug
  file: logs/job.log
  max_size_mb: 1
  max_backups: 2
  max_age_days: 28
"""


def submit(url: str, jobs: int) -> None:
    body = json.dumps([{"type": "t", "params": "canary"} for _ in range(jobs)]).encode()
    request = urllib.request.Request(
        f"{url}/api/v1/jobs", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def test_a_server_rotates_its_log_as_its_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("headrace.yaml").write_text(FILE)
    logs = Path("logs")
    logs.mkdir()
    for name, age_days in (("job.log.1", 1), ("job.log.2", 40), ("job.log.9", 1)):
        (logs / name).write_text("old\n")
        at_s = time.time() - age_days * DAY_S
        os.utime(logs / name, (at_s, at_s))
    server = Process("serve")
    try:
        url = server.match(r"http://[\d.:]+")[0]
        deadline_s = time.monotonic() + 20
        while (logs / "job.log.9").exists() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        kept = {path.name for path in logs.iterdir()}
        assert kept == {"job.log", "job.log.1"}, "40 days are too old, and a ninth is too many"
        for _ in range(6):
            submit(url, 5_000)
    finally:
        assert server.stop() == 0
    kept = {path.name for path in logs.iterdir()}
    assert kept == {"job.log", "job.log.1", "job.log.2"}
    for name in ("job.log.1", "job.log.2"):
        assert 1_000_000 <= (logs / name).stat().st_size < 1_100_000
    for path in logs.iterdir():
        text = path.read_text()
        assert "canary" not in text
        levels = {json.loads(line)["level"] for line in text.splitlines()}
        assert levels <= {"debug", "info"}
    assert server.text.count("\n") <= 2, "the console has only what is said at the start"
