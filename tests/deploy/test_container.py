"""The image and the compose file: their forms, and that what they run, runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from headrace.cli.app import app

from .files import DEPLOY, ROOM_S, ROOT, dockerfile, dockerfile_words, option, seconds, services


def test_hadolint_finds_no_fault_in_the_image() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_copies_what_the_package_is_built_from_and_no_more() -> None:
    copied = set(re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile(), re.MULTILINE))
    names = {name for line in copied for name in line.split()}
    assert all((ROOT / name).exists() for name in names)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == names
    assert ignored[0] == "*"


def test_the_image_runs_as_nobody_and_stops_by_the_signal_that_drains() -> None:
    text = dockerfile()
    assert re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)[-1] == ("10001", "10001")
    assert "STOPSIGNAL SIGTERM" in text
    assert dockerfile_words("ENTRYPOINT") == ["headrace"]


def test_the_compose_file_is_one() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    PyCompose.from_json(json.dumps(yaml.safe_load(text))).validate()
    for right, wrong, said in (
        ("stop_grace_period", "stop_graceperiod", "stop_graceperiod"),
        ("[ALL]", "{all: ALL}", "map"),
        ("{condition: service_healthy}", "{condition: service_well}", "service_well"),
    ):
        assert right in text
        with pytest.raises(ValueError, match=said):
            PyCompose.from_json(json.dumps(yaml.safe_load(text.replace(right, wrong))))


@pytest.mark.parametrize("name", ["server", "worker"])
def test_compose_waits_longer_than_a_stop_may_take(name: str) -> None:
    service = services()[name]
    drain_s = seconds(option(service["command"], "--drain"))
    assert seconds(service["stop_grace_period"]) >= drain_s + ROOM_S


def test_every_service_of_compose_gives_up_what_it_does_not_need() -> None:
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"] == "10001:10001", name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
    assert not any("data:" in volume for volume in services()["worker"]["volumes"])


def test_every_command_of_image_and_compose_is_one_of_the_program() -> None:
    commands = [dockerfile_words("CMD"), *(service["command"] for service in services().values())]
    for words in commands:
        with app.make_context("headrace", [*words]) as context:
            name, command, rest = app.resolve_command(context, [*words])
            assert command is not None
            command.make_context(name, rest, parent=context)
