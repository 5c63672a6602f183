import pytest

from headrace.wire.events import (
    EVENT_OF_STATUS,
    OWN_EVENTS,
    check_emitted,
    check_name,
    check_patterns,
    patterns_for,
)


@pytest.mark.parametrize("name", ["scene.loaded", "a", "A-1_b.c", "a" * 128, "a.b.c.d.e.f.g.h"])
def test_a_name_of_segments_is_an_event(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "a.", ".a", "a..b", "a b", "a\n", "é", "*", "a.*", "a" * 129, "a.b.c.d.e.f.g.h.i"],
)
def test_anything_else_is_not(name: str) -> None:
    with pytest.raises(ValueError, match="an event's name"):
        check_name(name)


@pytest.mark.parametrize("name", [*sorted(OWN_EVENTS), "job.anything", "auth", "job"])
def test_a_handler_cannot_emit_what_only_the_server_may_say(name: str) -> None:
    with pytest.raises(ValueError, match="the server's own"):
        check_emitted(name)


def test_a_handler_may_emit_a_name_that_only_looks_alike() -> None:
    assert check_emitted("jobs.done") == "jobs.done"


def test_patterns_are_names_what_is_below_a_name_or_all() -> None:
    assert check_patterns(["job.*", "scene.loaded", "*", "job.*"]) == ("job.*", "scene.loaded", "*")


@pytest.mark.parametrize(
    "patterns",
    [
        [],
        ["job*"],
        ["*.failed"],
        ["job.*.x"],
        ["**"],
        [".*"],
        [""],
        ["a"] * 65,
    ],
)
def test_other_patterns_are_refused(patterns: list[str]) -> None:
    with pytest.raises(ValueError):
        check_patterns(patterns)


def test_an_event_is_matched_by_its_name_each_level_above_and_all() -> None:
    assert patterns_for("a.b.c") == ["a.b.c", "a.b.*", "a.*", "*"]
    assert patterns_for("a") == ["a", "*"]


def test_every_end_of_a_job_is_an_event() -> None:
    assert {f"job.{status}" for status in EVENT_OF_STATUS} | {
        "auth.failed",
        "webhook.ping",
    } == OWN_EVENTS
