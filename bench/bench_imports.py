"""What it costs to import a client library, in a fresh process each, in turn.

    python bench/bench_imports.py [--runs 15]

`import celery` and `import headrace.sdk` load little until something of them is used; so what a
program needs to submit its first job is measured as well.
"""

import argparse
import statistics
import subprocess
import sys

IMPORTS = {
    "headrace.sdk": "import headrace.sdk",
    "celery": "import celery",
    "headrace.sdk.Client": "from headrace.sdk import Client",
    "celery.Celery, made": "from celery import Celery; Celery().tasks",
}
PROGRAM = "import time; a = time.process_time(); {}; print(time.process_time() - a)"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what imports cost.")
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(args.runs):
        for name, statement in IMPORTS.items():
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM.format(statement)], capture_output=True, text=True
            )
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr}\npip install 'headrace[bench]'")
            found[name].append(float(done.stdout))
    medians = {name: statistics.median(times) for name, times in found.items()}
    for name, median_s in medians.items():
        print(f"{name:24} {median_s * 1000:7.1f} ms of CPU")
    print(f"headrace.sdk / celery: {medians['headrace.sdk'] / medians['celery']:.3f}")
    ready = medians["headrace.sdk.Client"] / medians["celery.Celery, made"]
    print(f"ready to submit: {ready:.2f}")


if __name__ == "__main__":
    main()
