"""`headrace cleanup`, `delete` and `audit`, against a real server."""

import json
from typing import Any

import pytest

pytestmark = pytest.mark.e2e


def test_old_jobs_are_deleted_and_the_audit_log_says_who_did_it(headrace: Any) -> None:
    old, kept = (headrace("submit", "no-one").stdout.strip() for _ in range(2))
    headrace("cancel", old)
    assert headrace("cleanup", "--older-than", "1d").stdout == "0 jobs deleted\n"
    done = json.loads(headrace("cleanup", "--older-than", "1ms", "--json").stdout)
    assert done["deleted"] >= 1
    assert headrace("get", old).returncode == 3
    assert headrace("get", kept).returncode == 0
    assert "cleanup" in headrace("audit").stdout
    assert json.loads(headrace("audit", "--limit", "1", "--json").stdout)[0]["act"] == "cleanup"
    assert headrace("cleanup").returncode == 2


def test_single_records_are_deleted(headrace: Any) -> None:
    job_id = headrace("submit", "no-one").stdout.strip()
    refused = headrace("delete", job_id)
    assert refused.returncode == 3
    assert "job_state_conflict" in refused.stderr
    headrace("cancel", job_id)
    assert headrace("delete", job_id, "--json").stdout == (
        f'[\n  {{\n    "job_id": "{job_id}",\n    "status": "deleted"\n  }}\n]\n'
    )
