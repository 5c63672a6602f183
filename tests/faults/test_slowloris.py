"""Slow clients by the hundred, with short deadlines; by the thousand in `tools/slowloris`."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
SLOW = Path(__file__).with_name("slowloris.py")


def slowloris(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SLOW), "--patience-ms", "500", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


def test_the_server_is_rid_of_slow_clients_by_its_deadlines_and_serves_another() -> None:
    done = slowloris("--connections", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "400 slow connections, 0 violations" in done.stdout


def test_a_server_without_deadlines_is_found() -> None:
    done = slowloris("--connections", "20", "--kinds", "header", "--control")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "VIOLATION: header: 20 connections outlive their deadline" in done.stdout
