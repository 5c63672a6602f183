"""`headrace bench` as a process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.cli.bench import PREFIX

from .processes import START_S_MAX, Process

pytestmark = pytest.mark.e2e


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "headrace", "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_measures_shows_a_table_and_leaves_nothing_behind(tmp_path: Path) -> None:
    short = ("--seconds", "0.05", "--only", "W2,W5", "--accept-any-filesystem")
    done = bench("--data", str(tmp_path), *short)
    assert done.returncode == 0, done.stderr
    assert "W2 submit by 100" in done.stdout
    assert "to its result" in done.stdout
    assert "Durability:" in done.stdout
    assert "jobs/s" in done.stderr, "progress is shown beside"
    assert list(tmp_path.iterdir()) == []


def test_json_has_all_figures(tmp_path: Path) -> None:
    short = ("--seconds", "0.05", "--only", "W4", "--accept-any-filesystem", "--json")
    done = bench("--data", str(tmp_path), *short)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["machine"]["filesystem"]
    assert report["durability"]
    assert report["rows"]["W4"]["value"] > 0
    assert {"server_cpu", "client_cpu", "p50_ms", "p99_ms"} <= report["rows"]["W4"].keys()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_server(tmp_path: Path, number: int) -> None:
    """Also one started with Ctrl-C ignored, as shells start what runs in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    long = ("--only", "W1", "--seconds", "60", "--accept-any-filesystem")
    try:
        process = Process("bench", "--data", str(tmp_path), *long)
    finally:
        signal.signal(signal.SIGINT, before)
    due_s = time.monotonic() + START_S_MAX
    while not (found := list(tmp_path.glob(f"{PREFIX}*/W1/data.mdb"))):
        assert time.monotonic() < due_s, process.text
        time.sleep(0.01)
    assert process.stop(number) == 130
    assert list(tmp_path.iterdir()) == []
    assert str(found[0].parent) not in commands()
    assert "Traceback" not in process.text


def commands() -> str:
    """Return the command lines of all processes."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return "\n".join(lines)


def test_a_directory_of_a_server_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"jobs")
    done = bench("--data", str(tmp_path))
    assert done.returncode == 2
    assert "holds a server's jobs" in done.stderr
    assert (tmp_path / "data.mdb").read_bytes() == b"jobs"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "W2,W9"], "W9"),
        (["--data", "/there/is/no/such/place"], "does not exist"),
        (["--seconds", "0"], "--seconds"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], said: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no tmpfs to be had")
def test_a_filesystem_that_forgets_is_refused_with_what_to_do() -> None:
    done = bench("--data", "/dev/shm")
    assert done.returncode == 2
    assert "--accept-any-filesystem" in done.stderr
    assert not [name for name in os.listdir("/dev/shm") if name.startswith(PREFIX)]
