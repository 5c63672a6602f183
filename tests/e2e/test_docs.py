"""What the pages under /docs tell to type, typed: in their order, on one server with one worker."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import HEADRACE, Process, Server

from headrace.docs import API, PAGES, read

pytestmark = pytest.mark.e2e

BLOCK = re.compile(
    r"(?:^<!-- (?P<marker>file|background|not run)(?:: (?P<word>.*?))? -->\n)?"
    r"^```(?P<kind>sh|python)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def test_every_command_of_the_pages_runs(serve: Callable[..., Server], disk: Path) -> None:
    server = serve()
    program = disk / "bin" / "headrace"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m headrace "$@"\n')
    program.chmod(0o755)
    place = disk / "place"
    place.mkdir()
    (place / "headrace-data").symlink_to(disk / "data")
    env = {
        "HEADRACE_URL": server.url,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
    }
    workers = [Process([*HEADRACE, "work", "--url", server.url], disk / "work.log")]
    ran = 0
    try:
        for page in PAGES:
            for block in BLOCK.finditer("" if page == API else read(page)):
                marker, word, code = block["marker"], block["word"], block["code"]
                if marker == "not run":
                    assert word, "says why"
                elif marker == "file":
                    (place / word).write_text(code)
                elif marker == "background":
                    script = ["sh", "-c", f"cd {place} && exec {code}"]
                    workers.append(Process(script, disk / f"{page}.log", env))
                elif block["kind"] == "sh":
                    done = subprocess.run(
                        ["sh", "-eu", "-c", code],
                        cwd=place,
                        env={**os.environ, **env},
                        capture_output=True,
                        text=True,
                        timeout=120,
                    )
                    assert done.returncode == 0, f"{page}:\n{code}\n{done.stdout}{done.stderr}"
                    ran += 1
    finally:
        for worker in workers:
            worker.kill()
    assert ran >= 8
