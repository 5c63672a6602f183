"""schemathesis meets a server: quick here, at length in `tools/fuzz-api`."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


def fuzz(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(__file__).with_name("fuzz_api.py")), "--seed", "1", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.parametrize("mode", ["open", "keyed"])
def test_a_few_requests_to_each_operation_are_answered_as_documented(mode: str) -> None:
    done = fuzz("--mode", mode, "--examples", "2", "--phases", "examples,fuzzing")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_answer_that_no_document_has_is_found() -> None:
    done = fuzz("--control", "strays", "--examples", "20", "--phases", "fuzzing")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "strays: found out" in done.stdout
