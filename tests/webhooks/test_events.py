import pytest

from headrace.webhooks.events import (
    EVENT_OF_STATUS,
    OWN_EVENTS,
    Subscriptions,
    check_emitted,
    check_name,
    check_patterns,
    patterns_for,
)
from headrace.webhooks.limits import ENDPOINTS_PER_TENANT_MAX, PATTERNS_MAX


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


@pytest.mark.parametrize("name", [*OWN_EVENTS, "job.anything", "auth", "job"])
def test_a_handler_cannot_emit_what_only_the_server_may_say(name: str) -> None:
    with pytest.raises(ValueError, match="the server's own"):
        check_emitted(name)


def test_a_handler_may_emit_a_name_that_only_looks_alike() -> None:
    assert check_emitted("jobs.done") == "jobs.done"


def test_patterns_are_names_what_is_below_a_name_or_all() -> None:
    assert check_patterns(["job.*", "scene.loaded", "*", "job.*"]) == ("job.*", "scene.loaded", "*")


@pytest.mark.parametrize(
    "patterns",
    [[], ["job*"], ["*.failed"], ["job.*.x"], ["**"], [".*"], [""], ["a"] * (PATTERNS_MAX + 1)],
)
def test_other_patterns_are_refused(patterns: list[str]) -> None:
    with pytest.raises(ValueError):
        check_patterns(patterns)


def test_an_event_is_matched_by_its_name_each_level_above_and_all() -> None:
    assert patterns_for("a.b.c") == ["a.b.c", "a.b.*", "a.*", "*"]
    assert patterns_for("a") == ["a", "*"]


def test_an_endpoint_that_matches_twice_gets_an_event_once() -> None:
    subscriptions = Subscriptions()
    subscriptions.put("t", "e1", ("job.failed", "job.*", "*"))
    subscriptions.put("t", "e2", ("scene.loaded",))
    subscriptions.put("u", "e3", ("*",))
    assert subscriptions.matching("t", "job.failed") == ["e1"]
    assert subscriptions.matching("t", "scene.loaded") == ["e2", "e1"]
    assert subscriptions.matching("u", "job.failed") == ["e3"], "of its own tenant only"
    assert subscriptions.matching("v", "job.failed") == []


def test_new_patterns_take_the_place_of_old_ones() -> None:
    subscriptions = Subscriptions()
    subscriptions.put("t", "e", ("job.*",))
    subscriptions.put("t", "e", ("scene.*",))
    assert subscriptions.matching("t", "job.failed") == []
    assert subscriptions.matching("t", "scene.loaded") == ["e"]
    subscriptions.remove("t", "e")
    subscriptions.remove("t", "e")
    assert subscriptions.matching("t", "scene.loaded") == []
    assert vars(subscriptions) == vars(Subscriptions()), "nothing of it is kept"


def test_a_tenant_has_a_bounded_number_of_endpoints() -> None:
    subscriptions = Subscriptions()
    for number in range(ENDPOINTS_PER_TENANT_MAX):
        subscriptions.put("t", str(number), ("*",))
    with pytest.raises(ValueError, match="at most"):
        subscriptions.put("t", "one more", ("*",))
    subscriptions.put("t", "0", ("job.*",))
    subscriptions.put("u", "one more", ("*",))


def test_every_end_of_a_job_is_an_event() -> None:
    assert {f"job.{status}" for status in EVENT_OF_STATUS} | {"auth.failed"} == OWN_EVENTS
