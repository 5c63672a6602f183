"""Changed requests over raw sockets: quick here, at length in `tools/fuzz-http`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
FUZZ = Path(__file__).with_name("fuzz_http.py")


def fuzz(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FUZZ), "--seed", "1", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


def test_changed_requests_bring_out_no_defect(tmp_path: Path) -> None:
    done = fuzz("--requests", "10000", "--json", str(tmp_path / "figures"))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures").read_text())
    assert figures["requests"] >= 10_000
    assert figures["violations"] == 0


def test_a_server_that_ends_when_asked_wrongly_is_found() -> None:
    done = fuzz("--requests", "5000", "--control", "ends")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "VIOLATION: the server ended: 9" in done.stdout
