"""What the server is made of: the parts that it must have, and those that it must not."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

from headrace.wire.routes import ROUTES

ROOT = Path(__file__).resolve().parents[2]
SAFE = {"aiohttp": (3, 14, 5), "msgspec": (0, 20), "wasmtime": (50, 0, 1), "pyyaml": (6, 0, 2)}
"""Versions behind the last known hole of each."""


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


def test_parts_with_known_holes_are_not_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = dict(line.split(">=") for line in project["dependencies"])
    for name, safe in SAFE.items():
        assert numbers(bounds[name]) >= safe, name
        assert numbers(version(name)) >= safe, name


def test_a_server_with_the_parser_in_python_does_not_start() -> None:
    """Most of what lets requests be smuggled was found in that parser alone."""
    command = [sys.executable, "-c", "import headrace.http.serving"]
    environment = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "parser" in ended.stderr.splitlines()[-1]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_no_key_secret_or_token_is_asked_for_in_a_url() -> None:
    names = {param.name for route in ROUTES for param in route.params if param.place == "query"}
    assert names
    assert not [name for name in names if re.search("key|secret|token|auth|password", name)]


def tidy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tidy", ROOT / "tools" / "tidy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RULES = "S102,S301,S302,S307,S506,S602"
SAMPLES = {
    "S102": "exec(input())\n",
    "S302": "import marshal\nmarshal.loads(b'')\n",
    "S602": "import subprocess\nsubprocess.run('a ' + input(), shell=True)\n",
}
"""What some of the rules must find; the words of the others may not be written here."""


@pytest.mark.parametrize("rule", SAMPLES)
def test_the_linter_finds_what_turns_data_into_code(rule: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise"]
    named = ["--stdin-filename", str(ROOT / "src" / "headrace" / "sample.py"), "-"]
    found = subprocess.run(
        [*command, *named], input=SAMPLES[rule], capture_output=True, text=True, cwd=ROOT
    )
    assert rule in found.stdout


def test_nothing_turns_data_into_code() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a checkout")
    assert tidy().findings(tidy().tracked()) == []
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", RULES, "src"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stdout
    ignored = subprocess.run(
        [*command, "--ignore-noqa"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ignored.returncode == 0, f"somebody is let off: {ignored.stdout}"
