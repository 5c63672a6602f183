"""`headrace webhooks`, against a real server."""

import json
from typing import Any

import pytest

pytestmark = pytest.mark.e2e


def test_a_webhook_is_added_tested_replayed_and_removed(headrace: Any) -> None:
    made = headrace("webhooks", "add", "https://headrace.invalid/hook", "--event", "job.failed")
    assert made.returncode == 0, made.stderr
    webhook_id, secret = made.stdout.split()
    assert secret.startswith("whsec_")
    assert "only time" in made.stderr
    shown = headrace("webhooks").stdout
    assert webhook_id in shown
    assert "job.failed" in shown
    assert headrace("webhooks", "test", webhook_id).returncode == 0
    (delivery,) = json.loads(headrace("webhooks", "deliveries", webhook_id, "--json").stdout)
    assert delivery["event"] == "webhook.ping"
    assert delivery["id"] in headrace("webhooks", "deliveries", webhook_id).stdout
    replayed = headrace("webhooks", "replay", webhook_id, delivery["id"])
    assert replayed.stdout == f"{delivery['id']} pending\n"
    rotated = headrace("webhooks", "rotate", webhook_id, "--keep-old", "1h").stdout.strip()
    assert rotated.startswith("whsec_")
    assert rotated != secret
    off = json.loads(headrace("webhooks", "disable", webhook_id, "--json").stdout)
    assert (off["enabled"], off["events"]) == (False, ["job.failed"])
    assert "active" in headrace("webhooks", "enable", webhook_id).stdout
    assert headrace("webhooks", "remove", webhook_id).returncode == 0
    gone = headrace("webhooks", "deliveries", webhook_id)
    assert gone.returncode == 3


def test_a_url_that_is_refused_is_told(headrace: Any) -> None:
    done = headrace("webhooks", "add", "ftp://example.com")
    assert done.returncode == 3
    assert "/url" in done.stderr
