"""Look at files of a store in children, since a damaged one may end or hold up its reader."""

import faulthandler
import os
import shutil
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from headrace.store.lmdb import DATA_FILE

FILES_A_CHILD: Final = 16
LOOK_CPU_S: Final = 5
"""A damaged tree can lead its reader in a circle; a look takes some milliseconds."""
Seen = TypeVar("Seen", bound=msgspec.Struct)


def looked_at(
    dir_: Path, images: Iterable[bytes], look: Callable[[Path], Seen], kind: type[Seen]
) -> Iterator[Seen | str]:
    """Look at each in a child; yield what was seen, or how it failed."""
    images = iter(images)
    while batch := list(islice(images, FILES_A_CHILD)):
        done = 0
        while done < len(batch):
            answers = _in_child(dir_, batch[done:], look, kind)
            yield from answers
            done += len(answers)


def _in_child(
    dir_: Path, images: list[bytes], look: Callable[[Path], Seen], kind: type[Seen]
) -> list[Seen | str]:
    """Return the answers of all, or up to the one that ended the child."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        faulthandler.disable()  # LMDB aborts at a damaged tree: that is an answer
        try:
            for image in images:
                signal.setitimer(signal.ITIMER_PROF, LOOK_CPU_S)  # its signal ends the child
                shutil.rmtree(dir_, ignore_errors=True)
                dir_.mkdir(mode=0o700)
                (dir_ / DATA_FILE).write_bytes(image)
                try:
                    answer: Seen | str = look(dir_)
                except Exception as error:
                    where = traceback.extract_tb(error.__traceback__)[-1].name
                    answer = f"{type(error).__name__} in {where}: {error}"[:300]
                encoded = msgspec.msgpack.encode(answer)
                os.write(writes, len(encoded).to_bytes(4, "big") + encoded)
        finally:
            os._exit(0)
    os.close(writes)
    with open(reads, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    answers: list[Seen | str] = []
    while data:
        length = int.from_bytes(data[:4], "big")
        answers.append(msgspec.msgpack.decode(data[4 : 4 + length], type=kind | str))
        data = data[4 + length :]
    if len(answers) < len(images):
        answers.append(f"the child ended with {os.waitstatus_to_exitcode(status)}")
    return answers
