"""`headrace keys`, on a data directory and over HTTP."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headrace.cli.app import EXIT_PROBLEM, EXIT_USAGE, app

from .processes import Process

KEY = re.compile(r"hr_[0-9A-Za-z]{10}_[0-9A-Za-z]{49}")


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_API_KEY", raising=False)
    monkeypatch.delenv("HEADRACE_API_KEY_FILE", raising=False)


def keys(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def offline(directory: Path, *arguments: str) -> Result:
    return keys(*arguments, "--data", str(directory), "--accept-any-filesystem")


def test_the_first_key_is_made_without_a_server_and_opens_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = offline(data, "create", "--scopes", "admin,impersonate", "--name", "first")
    assert made.exit_code == 0, made.output
    (root,) = KEY.findall(made.stdout)
    assert "only time" in made.stderr
    (one,) = json.loads(offline(data, "list", "--json").stdout)["keys"]
    assert (one["name"], one["tenant_id"], one["status"]) == ("first", "*", "live")
    assert one["scopes"] == ["admin", "impersonate"]

    server = Process(
        *("serve", "--data", str(data), "--accept-any-filesystem", "--port", "0"),
        *("--host", "0.0.0.0", "--log-level", "warning"),
    )
    try:
        port = re.search(r":(\d+)", server.match(r"http://[\d.:]+")[0])
        assert port is not None
        to = ("--url", f"http://127.0.0.1:{port[1]}")
        assert keys("list", *to).exit_code == EXIT_PROBLEM
        busy = offline(data, "list")
        assert busy.exit_code == EXIT_PROBLEM
        assert "in use" in busy.stderr
        mine = (*to, "--api-key", root)
        made = keys(
            *("create", "--scopes", "submit, read", "--tenant", "acme", "--for", "ann"),
            *("--requests-per-second", "20", "--jobs-per-second", "2.5", "--jobs-burst", "50"),
            *("--expires", "90d", "--json", *mine),
        )
        view = json.loads(made.stdout)["view"]
        assert view["requests"] == {"per_second": 20}
        assert view["jobs"] == {"per_second": 2.5, "burst": 50}
        assert (view["tenant_id"], view["user"]) == ("acme", "ann")
        assert view["expires_at"] is not None
        listed = keys("list", *mine).stdout
        assert view["id"] in listed
        assert "submit,read" in listed
        revoked = keys("revoke", view["id"], *mine)
        assert revoked.stdout == f"Key {view['id']} is revoked.\n"
        assert keys("revoke", "0000000000", *mine).exit_code == EXIT_PROBLEM
    finally:
        assert server.stop() == 0
    assert offline(data, "revoke", one["id"]).exit_code == 0
    assert "revoked" in offline(data, "list").stdout


def test_a_key_is_made_into_a_file_once(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "keys" / "first"
    for said in ("is in", "is there; no key is made"):
        made = offline(data, "create", "--scopes", "admin", "--into", str(file))
        assert (made.exit_code, made.stdout) == (0, "")
        assert said in made.stderr
    assert KEY.fullmatch(file.read_text().strip())
    assert file.stat().st_mode & 0o777 == 0o600
    assert [*file.parent.iterdir()] == [file]
    assert len(json.loads(offline(data, "list", "--json").stdout)["keys"]) == 1


def test_scopes_that_do_not_exist_are_told(tmp_path: Path) -> None:
    found = offline(tmp_path / "data", "create", "--scopes", "king")
    assert found.exit_code == EXIT_PROBLEM
    assert "/scopes/0" in found.stderr
    assert keys("create").exit_code == EXIT_USAGE


def test_limits_of_a_key_are_checked(tmp_path: Path) -> None:
    lone = offline(tmp_path / "data", "create", "--scopes", "work", "--jobs-burst", "3")
    assert lone.exit_code == EXIT_USAGE
    assert "--jobs-per-second" in lone.stderr
    found = offline(tmp_path / "data", "create", "--scopes", "work", "--requests-per-second", "0")
    assert found.exit_code == EXIT_PROBLEM
    assert "/requests/per_second" in found.stderr
