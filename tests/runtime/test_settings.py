"""How a field of a Struct reads as a setting."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from headrace.runtime.settings import (
    Bytes,
    Duration,
    Mark,
    Megabytes,
    Seconds,
    Setting,
    key_of,
    settings_of,
    shown_value,
)


class Section(msgspec.Struct, frozen=True):
    token: Annotated[str | None, Mark("A secret.", secret=True)] = None
    words: Annotated[list[str], Mark("Words.")] = msgspec.field(default_factory=list)


class Sample(msgspec.Struct, frozen=True, rename=key_of):
    term_ms: Annotated[Duration, Meta(ge=100, le=60_000), Mark("A term.")] = 1_000
    drain_s: Annotated[Seconds, Mark("A term in seconds.")] = 1.5
    room_mb: Annotated[Megabytes | None, Mark("Room.")] = None
    cap: Annotated[Bytes, Meta(ge=1), Mark("A cap.")] = 1_024
    level: Annotated[Literal["low", "high"], Mark("One of two.")] = "low"
    count: Annotated[int, Meta(ge=1, le=9), Mark("Some.", "how_many", ("COUNT",))] = 1
    rate: Annotated[Annotated[float, Meta(ge=0)] | None, Mark("A rate.")] = None
    on: Annotated[bool, Mark("On or off.")] = False
    file: Annotated[Path | None, Mark("A file.")] = None
    items: Annotated[dict[str, Annotated[int, Meta(ge=0)] | None], Mark("Items.")] = {}
    section: Section = Section()


BY_KEY = {setting.key: setting for setting in settings_of(Sample)}


def test_settings_have_the_keys_of_the_file() -> None:
    assert list(BY_KEY) == [
        *("term", "drain", "room", "cap", "level", "count", "rate", "on", "file", "items"),
        *("section.token", "section.words"),
    ]


def test_a_name_gives_flag_and_variable() -> None:
    assert BY_KEY["section.token"].flag == "--section-token"
    assert BY_KEY["section.token"].variables == ("HEADRACE_SECTION_TOKEN",)
    assert BY_KEY["count"].flag == "--how-many"
    assert BY_KEY["count"].variables == ("HEADRACE_HOW_MANY", "COUNT")


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("term", "1m", 60_000),
        ("term", 2, 2_000),
        ("drain", "250ms", 0.25),
        ("room", "1GiB", 1_024),
        ("room", "1B", 1),
        ("room", None, None),
        ("cap", "64KiB", 65_536),
        ("level", "high", "high"),
        ("count", 9, 9),
        ("rate", 2, 2.0),
        ("on", True, True),
        ("file", "a/b", Path("a/b")),
        ("items", 3, 3),
        ("section.words", ["a"], ["a"]),
    ],
)
def test_values_of_the_file_are_read(key: str, value: object, read: object) -> None:
    assert BY_KEY[key].read(value) == read


@pytest.mark.parametrize(
    ("key", "text", "read"),
    [
        ("term", "30", 30_000),
        ("room", "512MB", 489),
        ("room", "never", None),
        ("count", "3", 3),
        ("rate", "0.5", 0.5),
        ("on", "true", True),
        ("on", "0", False),
        ("file", "a", Path("a")),
        ("section.words", "a, b,,", ["a", "b"]),
    ],
)
def test_texts_of_the_environment_are_read(key: str, text: str, read: object) -> None:
    assert BY_KEY[key].read_text(text) == read


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("term", "1ms", "it must be at least 100ms and at most 1m"),
        ("term", True, "it is a text"),
        ("term", "soon", "a duration is"),
        ("room", 5, "a size is"),
        ("level", "middle", "it is one of low, high"),
        ("count", 10, "it must be a whole number, at least 1 and at most 9"),
        ("count", "3", "it must be a whole number"),
        ("count", None, "it must be a whole number"),
        ("rate", -1.0, "it must be a number, at least 0"),
        ("on", 1, "it must be true or false"),
        ("file", "", "it must be a path"),
        ("file", 3, "it must be a path"),
        ("items", -1, "it must be a whole number, at least 0"),
        ("section.token", 5, "expected str"),
    ],
)
def test_a_refusal_says_what_is_accepted(key: str, value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        BY_KEY[key].read(value)


def test_pairs_are_split_at_blanks_and_commas() -> None:
    assert BY_KEY["items"].read_pairs("a=1 b=2,c=null d=") == {"a": 1, "b": 2, "c": None, "d": None}
    for text, reason in (("a", "NAME=VALUE"), ("=1", "NAME=VALUE"), ("a=x", "a whole number")):
        with pytest.raises(ValueError, match=reason):
            BY_KEY["items"].read_pairs(text)


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("term", 5_400_000, "1h30m"),
        ("drain", 0.25, "250ms"),
        ("room", 1_536, "1536MiB"),
        ("room", None, None),
        ("file", Path("a"), "a"),
        ("section.token", "canary", "(hidden)"),
        ("section.token", None, None),
        ("on", True, True),
    ],
)
def test_values_are_shown_as_in_the_file(key: str, value: object, shown: object) -> None:
    assert BY_KEY[key].show(value) == shown


def test_values_that_never_were_text_are_checked_too() -> None:
    BY_KEY["items"].check({"a": 1, "b": None})
    wrong: tuple[tuple[str, Any], ...] = (("items", {"a": -1}), ("term", 1), ("level", "none"))
    for key, value in wrong:
        with pytest.raises(ValueError, match="it "):
            BY_KEY[key].check(value)


def test_a_setting_needs_help() -> None:
    with pytest.raises(AssertionError, match="has no help"):
        Setting(("x",), ("x",), int, 0)


def test_a_value_in_a_message_is_short_and_on_one_line() -> None:
    assert shown_value("a\nb\x1b[1m") == r"'a\nb\x1b[1m'"
    assert len(shown_value("x" * 1_000)) == 60
