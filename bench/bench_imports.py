"""What it costs to import a client library, in a fresh process each, in turn.

    python bench/bench_imports.py [--runs 15]

`import celery` and `import headrace.sdk` load little until something of them is used; so what a
program needs to submit its first job is measured as well. Both find their compiled bytecode, as
after an installation, whatever the environment says; a first round that is not counted makes it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

IMPORTS = {
    "headrace.sdk": "import headrace.sdk",
    "celery": "import celery",
    "headrace.sdk.Client": "from headrace.sdk import Client",
    "celery.Celery, made": "from celery import Celery; Celery().tasks",
}
PROGRAM = "import time; a = time.process_time(); {}; print(time.process_time() - a)"
WHERE = "import headrace; print(headrace.__file__)"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what imports cost.")
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as bytecode_dir:
        measure(args.runs, bytecode_dir)


def measure(runs: int, bytecode_dir: str) -> None:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode_dir}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    found: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(runs + 1):
        for name, statement in IMPORTS.items():
            found[name].append(float(printed(PROGRAM.format(statement), environment)))
    medians = {name: statistics.median(times[1:]) for name, times in found.items()}

    where = printed(WHERE, environment)
    print("headrace is", "installed" if "site-packages" in where else "a source tree", f"({where})")
    for name, median_s in medians.items():
        print(f"{name:24} {median_s * 1000:7.1f} ms of CPU")
    print(f"headrace.sdk / celery: {medians['headrace.sdk'] / medians['celery']:.3f}")
    ready = medians["headrace.sdk.Client"] / medians["celery.Celery, made"]
    print(f"ready to submit: {ready:.2f}")


def printed(program: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise SystemExit(f"{program}: {done.stderr}\npip install 'headrace[bench]'")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
