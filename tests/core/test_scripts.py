"""The engine's behaviour, written as scripts that are read as its specification.

`HEADRACE_WRITE_SCRIPTS=1` writes what came of each line into the scripts, to be read and judged
before it is kept.
"""

import os
from pathlib import Path

import pytest
from engine_rig import MakeRig
from script import Script, config_of

SCRIPTS = sorted((Path(__file__).parents[1] / "scripts").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_happens_as_written(path: Path, make_rig: MakeRig) -> None:
    script: Script | None = None
    written: list[str] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            written.append(line)
            continue
        operation, _, expected = (part.strip() for part in line.partition("|"))
        if operation.startswith("config"):
            assert script is None, "config comes first"
            script = Script(make_rig(config_of(operation.split()[1:])))
            written.append(line)
            continue
        script = script or Script(make_rig())
        found = script.line(operation)
        written.append(f"{operation:<48} | {found}")
        if "HEADRACE_WRITE_SCRIPTS" not in os.environ:
            assert found == expected, f"{path.name}:{number}: {operation}"
    if "HEADRACE_WRITE_SCRIPTS" in os.environ:
        path.write_text("\n".join(written) + "\n")


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 12
