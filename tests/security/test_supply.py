"""What an image is made of: locked to the hash, and asked about honestly."""

import importlib.util
import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "tools" / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ASKED = {
    "run.lock": [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["otel"],
    ],
    "build.lock": PROJECT["build-system"]["requires"],
}


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Return version and number of hashes of each part of a lock."""
    parts = re.split(r"(?m)^(?=\S)", (DEPLOY / name).read_text())
    found = {}
    for part in filter(str.strip, parts):
        match = re.match(r"([a-z0-9-]+)==([^\s;]+)( ;[^\\]*)? \\\n", part)
        assert match is not None, part[:80]
        found[match[1]] = (match[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", part)))
    return found


@pytest.mark.parametrize("name", ASKED)
def test_every_part_that_is_asked_for_is_locked_to_versions_that_fit(name: str) -> None:
    locked = pins(name)
    for line in ASKED[name]:
        asked = Requirement(line)
        version, hashes = locked[canonicalize_name(asked.name)]
        assert asked.specifier.contains(version, prereleases=True), f"{line} is locked to {version}"
        assert hashes > 0
    assert all(hashes for _, hashes in locked.values())


def test_a_lock_names_no_place_where_parts_come_from() -> None:
    for name in ASKED:
        text = (DEPLOY / name).read_text()
        assert "://" not in text
        assert "--index" not in text
        assert "@ " not in text


def needed(names: list[str]) -> Iterator[str]:
    """Return what these need that is installed here, and so on to the end."""
    waiting, seen = [*names], set()
    while waiting:
        asked = Requirement(waiting.pop())
        name = canonicalize_name(asked.name)
        if (name, *asked.extras) in seen:
            continue
        seen.add((name, *asked.extras))
        try:
            further = requires(name) or []
        except PackageNotFoundError:
            continue
        yield name
        for line in further:
            marker = Requirement(line).marker
            if marker is None or any(
                marker.evaluate({"extra": extra}) for extra in ("", *asked.extras)
            ):
                waiting.append(line)


def test_what_is_installed_and_needed_is_in_the_lock() -> None:
    found = set(needed(ASKED["run.lock"]))
    assert {"aiohttp", "multidict", "wasmtime", "mdurl"} <= found
    assert found <= pins("run.lock").keys()


def test_the_image_installs_nothing_that_no_lock_names() -> None:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    installs = re.findall(r"pip (?:install|wheel) ([^&]*)", text)
    assert len(installs) == 4
    for arguments in installs:
        assert "--require-hashes" in arguments or "--no-deps" in arguments, arguments
    assert [lock for lock in ASKED if f"--require-hashes -r {lock}" in text] == [*ASKED]
    assert "--no-index" in installs[-1]
    assert "--no-build-isolation" in installs[-2]


def audited() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audited", ROOT / "tools" / "audited.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "X-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "strange", "skip_reason": "nobody answers"}


@pytest.mark.parametrize(
    ("parts", "code", "words"),
    [
        ([GOOD], 0, "1 of 1 parts were looked up"),
        ([GOOD, BAD], 1, "bad 2: X-1 (fixed in 3)"),
        ([GOOD, SKIPPED], 3, "NOT AUDITED: 1 parts could not be looked up: nobody answers"),
        ([SKIPPED, BAD], 1, "bad 2: X-1"),
        ([], 3, "NOT AUDITED"),
    ],
)
def test_an_audit_that_could_not_ask_is_not_a_clean_one(
    parts: list[dict[str, object]], code: int, words: str
) -> None:
    said = audited().audited(json.dumps({"dependencies": parts}), "")
    assert said[0] == code
    assert words in "\n".join(said[1])


def test_an_audit_that_broke_off_says_why() -> None:
    code, lines = audited().audited("", "INFO:\nERROR: cannot connect\n")
    assert (code, lines[-1]) == (3, "ERROR: cannot connect")
