"""A `headrace serve` that is forked from this process, which has imported it: all that a life needs
but the half second of a core in which a new interpreter reads modules.

Of a campaign's lives some are of this kind; each fourth one, and the last, are begun as users do.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Final

POLL_S: Final = 0.002
FILES: Final = 4_096
"""None above is open here."""


def prepare() -> None:
    """Import what a server imports."""
    import uvloop  # noqa: F401

    import headrace.cli.serve
    import headrace.http.serving
    import headrace.http.tracing
    import headrace.runtime.node
    import headrace.store.lmdb  # noqa: F401


class Forked:
    """As much of `Popen` as a server's owner needs."""

    def __init__(self, words: list[str], log: Path) -> None:
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            code = 1
            try:
                _become(words, log)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                with contextlib.suppress(OSError):
                    sys.stderr.flush()
                os._exit(code)
        os.setpgid(self.pid, self.pid)  # so that its group can be killed before it has run at all

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float) -> int:
        until_s = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until_s:
                raise subprocess.TimeoutExpired("headrace serve", timeout)
            time.sleep(POLL_S)
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


def _become(words: list[str], log: Path) -> None:
    """Be the server, with nothing left of what this process had open or had drawn."""
    os.setpgid(0, 0)
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, out, out)):
        os.dup2(file, number)
    os.closerange(3, FILES)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - for life
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - for life
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    sys.argv = ["headrace", *words]
    from headrace.cli import main

    main()
