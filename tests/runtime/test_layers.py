"""Which value wins, and what is said of those that cannot be taken."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from headrace.runtime.layers import ConfigError, effective
from headrace.runtime.settings import Duration, Mark, key_of

Port = Annotated[int, Meta(ge=0, le=65_535)]


class Section(msgspec.Struct, frozen=True):
    level: Annotated[str, Mark("A level.")] = "info"
    token: Annotated[str | None, Mark("A secret.", secret=True)] = None


class Sample(msgspec.Struct, frozen=True, rename=key_of):
    port: Annotated[Port, Mark("A port.", variables=("PORT_OF_OLD",))] = 1
    term_ms: Annotated[Duration, Mark("A term.")] = 1_000
    on: Annotated[bool, Mark("On or off.")] = False
    queues: Annotated[dict[str, int | None], Mark("Queues.", "queue")] = msgspec.field(
        default_factory=lambda: {"a": 1, "b": 2}
    )
    section: Section = Section()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "headrace.yaml"


def problems(**given: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        effective(Sample, **given)
    return str(caught.value).splitlines()


def test_without_anything_there_are_the_defaults(file: Path) -> None:
    found = effective(Sample)
    assert found.config == Sample()
    assert {given.source for given in found.given.values()} == {"default"}
    assert found.file is None


def test_flags_beat_the_environment_beats_the_file_beats_defaults(file: Path) -> None:
    text = "port: 2\nterm: 2s\non: true\nsection:\n  level: file\n"
    file.write_text(text)
    environ = {"HEADRACE_PORT": "3", "HEADRACE_TERM": "3s"}
    found = effective(Sample, environ=environ, flags={"port": "4"}, defaults={"port": 5})
    assert found.config == Sample(4, 3_000, True, {"a": 1, "b": 2}, Section("file"))
    sources = {".".join(path): given.source for path, given in found.given.items()}
    assert sources == {
        "port": "--port",
        "term": "HEADRACE_TERM",
        "on": "headrace.yaml:3",
        "queues.a": "default",
        "queues.b": "default",
        "section.level": "headrace.yaml:5",
        "section.token": "default",
    }


def test_items_of_a_mapping_are_set_one_by_one(file: Path) -> None:
    file.write_text("queues:\n  b: null\n  c: 3\n")
    environ = {"HEADRACE_QUEUE": "c=4 d=5"}
    found = effective(Sample, environ=environ, flags={"queues": ("d=6", "e=7")})
    assert found.config.queues == {"a": 1, "b": None, "c": 4, "d": 6, "e": 7}
    assert found.given["queues", "c"].source == "HEADRACE_QUEUE"


def test_a_flag_can_turn_off_what_the_file_turned_on(file: Path) -> None:
    file.write_text("on: true\n")
    found = effective(Sample, flags={"on": False})
    assert (found.config.on, found.given["on",].source) == (False, "--no-on")


def test_the_environment_can_name_the_file_and_an_argument_is_stronger(file: Path) -> None:
    (file.parent / "a.yaml").write_text("port: 2\n")
    (file.parent / "b.yaml").write_text("port: 3\n")
    environ = {"HEADRACE_CONFIG": "a.yaml"}
    assert effective(Sample, environ=environ).config.port == 2
    assert effective(Sample, environ=environ, file=Path("b.yaml")).config.port == 3


def test_its_own_variable_is_stronger_than_its_older_name(file: Path) -> None:
    environ = {"PORT_OF_OLD": "2"}
    assert effective(Sample, environ=environ).given["port",] == (2, "PORT_OF_OLD")
    environ["HEADRACE_PORT"] = "3"
    assert effective(Sample, environ=environ).given["port",] == (3, "HEADRACE_PORT")


def test_an_empty_variable_is_none(file: Path) -> None:
    assert effective(Sample, environ={"HEADRACE_PORT": ""}).config == Sample()


def test_what_kubernetes_sets_for_a_service_of_our_name_is_ignored(file: Path) -> None:
    found = effective(Sample, environ={"HEADRACE_PORT": "tcp://10.0.0.1:8080"})
    assert found.config == Sample()
    assert "enableServiceLinks" in found.warnings[0]


def test_all_mistakes_are_told_at_once_with_their_places(file: Path) -> None:
    file.write_text("prot: 1\nport: x\nsection: 5\nqueues:\n  q: many\non: yes\n")
    environ = {"HEADRACE_TERM": "soon"}
    found = problems(environ=environ, flags={"port": "70000", "queues": ("q",)})
    assert [line.partition(" ")[0] for line in found] == [
        *("headrace.yaml:1:", "headrace.yaml:2:", "headrace.yaml:3:"),
        *("headrace.yaml:5:", "headrace.yaml:6:", "HEADRACE_TERM:", "--port:", "--queue:"),
    ]
    assert "there is no setting 'prot'; did you mean 'port'?" in found[0]
    assert "port: 'x' will not do: it must be a whole number, at least 0" in found[1]
    assert "section is a section" in found[2]
    assert "queues.q: 'many' will not do" in found[3]
    assert "true or false" in found[4]
    assert "at most 65535" in found[6]
    assert "NAME=VALUE" in found[7]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("section:\n  levle: x\n", "headrace.yaml:2: there is no setting 'section.levle'"),
        ("queues: 5\n", "headrace.yaml:1: queues is made of lines"),
        ("port: {a: 1}\n", "headrace.yaml:1: port: {'a': 1} will not do"),
        ("a: [\n", "headrace.yaml:2: it is not YAML"),
        ('"p\\u0007": 1\n', "there is no setting 'p\\x07'"),
    ],
)
def test_a_mistake_in_the_file_has_its_line(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    assert said in problems()[0]


def test_sections_may_be_empty(file: Path) -> None:
    file.write_text("section:\nqueues:\n")
    assert effective(Sample).config == Sample()


def test_a_file_that_was_named_must_be_there(file: Path) -> None:
    assert problems(file=Path("no.yaml")) == [
        "no.yaml: it cannot be read: No such file or directory"
    ]
    assert "no.yaml" in problems(environ={"HEADRACE_CONFIG": "no.yaml"})[0]


def test_a_file_with_a_secret_that_anybody_may_read_earns_a_warning(file: Path) -> None:
    file.write_text("section:\n  token: canary\n")
    file.chmod(0o644)
    warnings = effective(Sample).warnings
    assert len(warnings) == 1
    assert "chmod o-r headrace.yaml" in warnings[0]
    file.chmod(0o640)
    assert effective(Sample).warnings == []
    file.write_text("port: 1\n")
    file.chmod(0o644)
    assert effective(Sample).warnings == []


def test_a_secret_is_in_no_message(file: Path) -> None:
    file.write_text("section:\n  token: [canary]\n")
    assert "canary" not in problems()[0]
