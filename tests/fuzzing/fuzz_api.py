"""Send what schemathesis makes of the OpenAPI document to a server of its own, and check answers.

tools/fuzz-api                       every operation, without keys and with one; some minutes
tools/fuzz-api --examples 1000       as many requests to each operation
tools/fuzz-api --seed 7 --only /jobs what was found by that seed, again
tools/fuzz-api --control strays      a server with that defect: exit code 0 if it is found

Checked of each answer: no 5xx, and a status, media type, headers and shape that are documented.
The seed and the command that repeats it are printed. Exit code: 0 all is well, 1 it is not.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "trust"))

import figures

HOOKS = Path(__file__).with_name("hooks.py")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
DEFECTS = {
    "fails": "Server error",
    "strays": "Undocumented status code",
    "misshapes": "Response violates schema",
}
"""Of `fuzz_server`, and the words that name each. All are of one operation."""
CONTROL_PATH = "/api/v1/queues"
CONTROL = "GET /api/v1/queues"
ENDS_OPEN = "key_create"
"""Of a server without keys, the first key would end all that follows."""
STREAMS = ("events", "job_events", "stats_events")
"""They end when their client goes."""
START_S = 30


def serve(data: Path, defect: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server on a free port; return it and its address."""
    program = [str(HOOKS.with_name("fuzz_server.py"))] if defect else ["-m", "headrace"]
    command = [sys.executable, *program, "serve", "--data", str(data), "--port", "0"]
    command += ["--accept-any-filesystem", "--disk-reserve", "0"]
    env = {**os.environ, "DEFECT": defect}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    assert server.stderr is not None
    said = ""
    while (line := server.stderr.readline()) != "":
        said += line
        if found := re.search(r"headrace serves (http://\S+),", line):
            return server, found[1]
    sys.exit(f"the server did not start:\n{said}")


def first_key(url: str) -> str:
    body = json.dumps(
        {"name": "fuzz", "tenant": "*", "scopes": ["admin", "submit", "read", "work"]}
    )
    request = urllib.request.Request(
        f"{url}/api/v1/keys", body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=START_S) as answer:
        return str(json.load(answer)["key"])


def fuzz(options: argparse.Namespace, *, keyed: bool) -> int:
    where = "with a key" if keyed else "without keys"
    with tempfile.TemporaryDirectory() as folder:
        server, url = serve(Path(folder) / "data", options.control)
        # What the server logs must go somewhere, or it stands still when the pipe is full.
        drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
        command += ["--checks", ",".join(CHECKS), "--phases", options.phases]
        command += ["--max-examples", str(options.examples), "--seed", str(options.seed)]
        command += ["--request-timeout", "30", "--suppress-health-check", "all"]
        command += ["--continue-on-failure", "--no-color", "--warnings", "off"]
        command += ["--report-dir", folder, "--generation-database", "none"]
        for name in (*STREAMS, *([] if keyed else [ENDS_OPEN])):
            command += ["--exclude-operation-id", name]
        for path in options.only or ():
            command += ["--include-path", path]
        if keyed:
            command += ["--header", f"Authorization: Bearer {first_key(url)}"]
        answered = Path(folder) / "answered"
        env = {**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS), "REQUESTS_FILE": str(answered)}
        print(f"== {where}: seed {options.seed}, {options.examples} examples", flush=True)
        begun_s = time.monotonic()
        try:
            done = subprocess.run(
                command, env=env, cwd=folder, check=False, text=True, stdout=options.told
            )
            alive = server.poll() is None
        finally:
            server.terminate()
            server.wait(30)
            drain.wait(30)
        took_s = time.monotonic() - begun_s
        well = done.returncode == 0 and alive
        requests = int(answered.read_text()) if answered.exists() else 0
        print(
            f"== {where}: {'well' if well else 'NOT WELL'}: {requests} requests in {took_s:.0f} s"
        )
        if not alive:
            print("the server ended by itself")
        if options.control:
            print(done.stdout)
            well = not found_out(options.control, done.stdout)
        told = (requests, int(not well), options.seed, took_s)
        figures.leave(options.figures, "fuzz-api", *told, control=options.control)
        return int(well == bool(options.control))


def found_out(defect: str, told: str) -> bool:
    """Say whether a run named the defect, and its operation."""
    found = DEFECTS[defect] in told and CONTROL in told
    print(f"{defect}: found out" if found else f"{defect}: NOT FOUND OUT")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--examples", type=int, default=50, help="requests to each operation")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--only", action="append", metavar="PATH", help="only this path template")
    parser.add_argument("--phases", default="examples,coverage,fuzzing")
    parser.add_argument("--mode", choices=("open", "keyed", "both"), default="both")
    figures.offer(parser, DEFECTS)
    options = parser.parse_args()
    options.told = subprocess.PIPE if options.control else None
    if options.control:
        options.mode, options.only = "open", [CONTROL_PATH]
    worst = 0
    for keyed in (False, True):
        if options.mode in ("both", "keyed" if keyed else "open"):
            worst = max(worst, fuzz(options, keyed=keyed))
    print(f"repeat: tools/fuzz-api --seed {options.seed} --examples {options.examples}")
    return worst


if __name__ == "__main__":
    sys.exit(main())
