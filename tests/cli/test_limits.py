"""`headrace limits` and `headrace tenants`, against a real server."""

import json
from typing import Any

import pytest

pytestmark = pytest.mark.e2e


def test_limits_are_set_shown_and_removed(headrace: Any) -> None:
    assert "No limits" in headrace("limits").stderr
    made = headrace("limits", "set", "mail", "--type", "m", "--starts", "100", "--per", "1m")
    assert "100 in 60 s" in made.stdout
    (one,) = json.loads(headrace("limits", "--json").stdout)
    assert (one["name"], one["rate"]["starts"], one["concurrency"]) == ("mail", 100, None)
    assert headrace("limits", "remove", "mail").stdout == "Limit mail is removed.\n"
    assert headrace("limits", "remove", "mail").returncode == 3


def test_tenants_are_set_shown_and_removed(headrace: Any) -> None:
    made = headrace(
        *("tenants", "set", "acme", "--weight", "3", "--running-jobs", "5"),
        *("--running-memory-mb", "64000", "--job-cpu", "2", "--bytes-max", "1.5GiB", "--json"),
    )
    view = json.loads(made.stdout)
    assert view["running_max"] == {"jobs": 5, "memory_mb": 64000}
    assert view["job_max"] == {"cpu_cores": 2}
    assert view["bytes_max"] == 3 << 29
    shown = headrace("tenants").stdout
    assert "64,000 MB" in shown
    assert "0 of 5" in shown
    assert headrace("tenants", "remove", "acme").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["limits", "set", "x", "--concurrency", "1"], "say one of"),
        (["limits", "set", "x", "--type", "a", "--tag", "b"], "say one of"),
        (["limits", "set", "x", "--type", "a", "--starts", "1"], "go together"),
    ],
)
def test_what_cannot_be_meant_is_said(headrace: Any, arguments: list[str], said: str) -> None:
    done = headrace(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
