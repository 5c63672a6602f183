"""schemathesis meets a server: quick here, at length in `tools/fuzz-api`."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("mode", ["open", "keyed"])
def test_a_few_requests_to_each_operation_are_answered_as_documented(mode: str) -> None:
    command = [
        sys.executable,
        Path(__file__).with_name("fuzz_api.py"),
        "--mode",
        mode,
        "--seed",
        "1",
    ]
    command += ["--examples", "2", "--phases", "examples,fuzzing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
