"""A program with a queue inside, to be killed: `embedded_program.py DIR HISTORY FIRST MODE`.

Each line of the history is one write, so that a kill cuts between lines. MODE: `load` enqueues
numbers from FIRST on until it is killed; `eager` the same, but notes them before they are durable,
which is the defect that the checker must find; `drain` waits until all jobs have ended and notes
how each did.
"""

import os
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

from headrace import Queue, QueueConfig
from headrace.worker import Context

THREADS = 3
LEASE_S = 2.0
"""What ran at a kill is given out again after it."""
DRAIN_S = 60.0
PAGE = 100_000


def main() -> None:
    directory, history, first, mode = sys.argv[1:]
    lines = os.open(history, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(*words: object) -> None:
        os.write(lines, (" ".join(map(str, words)) + "\n").encode())

    def handle(ctx: Context, number: int) -> int:
        note("ran", number, f"{ctx.job.id}:{ctx.attempt}")
        return number * 2

    config = QueueConfig(path=Path(directory), max_workers=4, lease_s=LEASE_S)
    with Queue(config, handle) as queue:
        note("open")
        if mode == "drain":
            if not queue.join(DRAIN_S):
                raise SystemExit(f"{queue.size()} jobs wait after {DRAIN_S} s")
            for job in queue.jobs(limit=PAGE):
                note("ended", job.params, job.id, job.status, queue.get(job.id).value)
            return
        load(queue, int(first), note, eager=mode == "eager")


def load(queue: Queue, first: int, note: Callable[..., None], *, eager: bool) -> None:
    numbers = count(first)

    def enqueue() -> None:
        for number in numbers:
            future = queue.enqueue_soon(number)
            if not eager:
                note("acked", number, future.result())
            else:
                note("acked", number, "")

    threads = [threading.Thread(target=enqueue, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
