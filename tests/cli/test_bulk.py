"""`headrace bulk`, against a real server."""

import json
from typing import Any

import pytest

pytestmark = pytest.mark.e2e


def submitted(headrace: Any, tag: str, count: int = 3) -> list[str]:
    lines = "".join(json.dumps({"type": "no-one", "tags": [tag]}) + "\n" for _ in range(count))
    return headrace("submit", "-", stdin=lines).stdout.split()  # type: ignore[no-any-return]


def statuses(headrace: Any, tag: str) -> list[str]:
    jobs = json.loads(headrace("list", "--tag", tag, "--json").stdout)["jobs"]
    return [job["status"] for job in jobs]


def test_jobs_are_counted_then_cancelled_retried_and_deleted(headrace: Any) -> None:
    submitted(headrace, "bulk-a")
    counted = headrace("bulk", "cancel", "--tag", "bulk-a", "--dry-run")
    assert (counted.returncode, counted.stderr) == (0, "headrace: 3 jobs match\n")
    assert statuses(headrace, "bulk-a") == ["queued"] * 3
    done = headrace("bulk", "cancel", "--tag", "bulk-a", "--yes")
    assert (done.returncode, done.stderr) == (0, "headrace: 3 jobs cancelled\n")
    done = headrace("bulk", "retry", "--tag", "bulk-a", "--status", "cancelled", "--yes", "--json")
    assert json.loads(done.stdout)["done"] == 3
    assert statuses(headrace, "bulk-a") == ["queued"] * 3
    headrace("bulk", "cancel", "--tag", "bulk-a", "--yes")
    done = headrace("bulk", "delete", "--tag", "bulk-a", "--finished-after", "1h", "--yes")
    assert "3 jobs deleted" in done.stderr
    assert statuses(headrace, "bulk-a") == []


def test_an_act_can_be_left_looked_at_and_stopped(headrace: Any) -> None:
    submitted(headrace, "bulk-b")
    begun = headrace("bulk", "suspend", "--tag", "bulk-b", "--yes", "--no-wait")
    bulk_id = begun.stdout.strip()
    assert json.loads(headrace("bulk", "show", bulk_id).stdout)["act"] == "suspend"
    assert headrace("bulk", "stop", bulk_id).returncode == 0
    assert bulk_id in headrace("bulk").stdout
    assert bulk_id in [bulk["id"] for bulk in json.loads(headrace("bulk", "--json").stdout)]
    done = headrace("bulk", "resume", "--tag", "bulk-b", "--yes")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cancel", "--yes"], "say which jobs"),
        (["cancel", "--tag", "x"], "nobody to ask"),
        (["delete", "--finished-before", "soon", "--yes"], "is no instant"),
    ],
)
def test_what_is_not_surely_meant_is_not_done(
    headrace: Any, arguments: list[str], said: str
) -> None:
    done = headrace("bulk", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_what_the_server_refuses_is_told(headrace: Any) -> None:
    done = headrace("bulk", "cancel", "--status", "runing", "--yes")
    assert done.returncode == 3
    assert "/filter/status" in done.stderr
    assert headrace("bulk", "--url", "http://127.0.0.1:1").returncode == 4
