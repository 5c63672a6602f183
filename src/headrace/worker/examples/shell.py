"""A handler that runs programs of this host. Off, until the operator names which.

    HEADRACE_PROGRAMS=/usr/bin/ffmpeg,/usr/bin/convert headrace work headrace.worker.examples.shell

Jobs name one of these programs and its arguments; there is no shell in between, so nothing in them
is a command, a file name to be expanded, or a variable. The program runs in a child process of its
own, which is ended with all it has started when the job is cancelled or runs out of its time; it
sees no variables but PATH, HOME and LANG, and what the job gives it. Whoever may submit such jobs
may do with these programs whatever this user may: run the worker as a user that may do little.
"""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO, Annotated, Any, Final

import msgspec
from msgspec import Meta

from headrace.wire import limits
from headrace.worker.handlers import Context, PermanentError, Worker

PROGRAMS_VARIABLE: Final = "HEADRACE_PROGRAMS"
OUTPUT_BYTES_MAX: Final = 256 * limits.KIB
"""Of standard output, and of standard error; the ends are kept."""
ARGUMENTS_MAX: Final = 1_000
PIECE_BYTES: Final = 64 * limits.KIB
PIPE_S_MAX: Final = 1.0
PASSED_ON: Final = ("PATH", "HOME", "LANG")

worker = Worker()


class RunProgram(msgspec.Struct, forbid_unknown_fields=True):
    program: Annotated[str, Meta(min_length=1, max_length=1_000)]
    """The whole path, as the operator has named it."""
    arguments: Annotated[list[str], Meta(max_length=ARGUMENTS_MAX)] = []
    environment: dict[str, str] = {}
    stdin: str = ""
    success_codes: Annotated[list[int], Meta(max_length=256)] = msgspec.field(
        default_factory=lambda: [0]
    )


@worker.job("run_program", params=RunProgram, run="process")
def run_program(ctx: Context, params: RunProgram) -> dict[str, Any]:
    """Run a program to its end; its output is the result, an exit code that is no success fails."""
    named = [name.strip() for name in os.environ.get(PROGRAMS_VARIABLE, "").split(",")]
    if params.program not in [name for name in named if name]:
        raise PermanentError(
            f"this worker may not run that; its operator names programs in {PROGRAMS_VARIABLE}",
            code="program_not_allowed",
        )
    if not Path(params.program).is_absolute():
        raise PermanentError("a program is named by its whole path", code="program_not_allowed")
    words = [*params.arguments, *params.environment, *params.environment.values()]
    if any("\0" in word for word in words) or any("=" in name for name in params.environment):
        raise PermanentError("a word holds what no word can", code="params_invalid")
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        program = subprocess.Popen(  # noqa: S603 - the operator has named it
            [params.program, *params.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**passed_on, **params.environment},
        )
    except OSError as error:
        raise PermanentError(f"it cannot be started: {error.strerror}") from None
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stderr is not None
    output, errors = Tail(program.stdout), Tail(program.stderr)
    with suppress(BrokenPipeError):  # it need not read what it is given
        program.stdin.write(params.stdin.encode())
        program.stdin.close()
    code = program.wait()
    said = errors.text()
    if said:
        ctx.log(said)
    if code not in params.success_codes:
        raise RuntimeError(f"it ended with {code}: {said[-500:].strip()}")
    return {"exit_code": code, "output": output.text(), "output_cut": output.cut}


class Tail:
    """Reads a pipe to its end on a thread of its own, and keeps the end of what comes."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.cut = False
        self._pipe = pipe
        self._kept = bytearray()
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while piece := os.read(self._pipe.fileno(), PIECE_BYTES):
            self._kept += piece
            if len(self._kept) > 2 * OUTPUT_BYTES_MAX:
                self.cut = True
                del self._kept[:-OUTPUT_BYTES_MAX]

    def text(self) -> str:
        """Wait for the pipe's end, which what the program has started may hold open a while."""
        self._thread.join(PIPE_S_MAX)
        self.cut = self.cut or len(self._kept) > OUTPUT_BYTES_MAX
        return bytes(self._kept[-OUTPUT_BYTES_MAX:]).decode("utf-8", "replace")
