"""The files of tools/deploy, read."""

import json
import re
import shutil
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "tools" / "deploy"
ROOM_S = 10
"""Of a stop: beside the drain, for the store to close and children to end."""


def documents(*names: str) -> list[dict[str, Any]]:
    """Return the YAML documents of files below tools/deploy; copies, to be changed as one likes."""
    return [one for name in names for one in deepcopy(_read(name))]


@cache
def _read(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def need(program: str) -> str:
    """Return the path of a program; without it the test is skipped, and says so."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def seconds(text: str) -> float:
    """Read 45s or 45."""
    return float(text.removesuffix("s"))


def option(words: list[str], name: str) -> str:
    """Return what follows an option."""
    return words[words.index(name) + 1]


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")


def dockerfile_words(instruction: str) -> list[str]:
    """Return the words of the last such instruction, written as a list."""
    found = re.findall(rf"^ *{instruction} (\[.*\])$", dockerfile(), re.MULTILINE)
    return list(json.loads(found[-1]))


def health_check() -> list[str]:
    [found] = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", dockerfile(), re.MULTILINE)
    return list(json.loads(found))


def services() -> dict[str, Any]:
    [compose] = documents("compose.yaml")
    return dict(compose["services"])


def manifests() -> list[str]:
    found = (DEPLOY / "kubernetes").glob("*.yaml")
    return sorted(path.relative_to(DEPLOY).as_posix() for path in found)


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """Return the manifests of a kind, by name."""
    found = [one for one in documents(*manifests()) if one["kind"] == kind]
    return {one["metadata"]["name"]: one for one in found}


def pods() -> dict[str, dict[str, Any]]:
    return {
        name: one["spec"]["template"]
        for kind in ("StatefulSet", "Deployment")
        for name, one in of_kind(kind).items()
    }
