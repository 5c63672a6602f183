"""Tenants over HTTP: their settings, who may set them, and that they stay."""

from pathlib import Path

import pytest
from http_tools import Server, open_server

TENANTS = "/api/v1/tenants"


async def test_a_tenant_without_settings_has_weight_one(server: Server) -> None:
    reply = await server.call("GET", f"{TENANTS}/default")
    assert (reply.status, reply.json["weight"], reply.json["version"]) == (200, 1, 0)
    assert "ETag" not in reply.headers
    listed = (await server.call("GET", TENANTS)).json
    assert ([one["name"] for one in listed["tenants"]], listed["next"]) == (["default"], None)


async def test_a_put_sets_all_and_an_empty_one_goes_back(server: Server) -> None:
    reply = await server.call(
        "PUT", f"{TENANTS}/acme", {"weight": 3, "description": "pays"}, X_User_ID="root"
    )
    assert (reply.status, reply.json["weight"], reply.json["changed_by"]) == (200, 3, "root")
    assert reply.headers["ETag"] == f'"{reply.json["version"]}"'
    assert "Commit-Position" in reply.headers
    got = await server.call("GET", f"{TENANTS}/acme")
    assert got.json == reply.json
    assert got.json in (await server.call("GET", TENANTS)).json["tenants"]
    reply = await server.call("PUT", f"{TENANTS}/acme", {})
    assert (reply.json["weight"], reply.json["description"]) == (1, "")
    audit = (await server.call("GET", "/api/v1/audit")).json["entries"]
    assert [(one["act"], one["name"]) for one in audit] == [("tenant_put", "acme")] * 2


async def test_a_removed_tenant_is_unknown_and_default_is_always_there(server: Server) -> None:
    for name in ("acme", "default"):
        await server.call("PUT", f"{TENANTS}/{name}", {"weight": 2})
        reply = await server.call("DELETE", f"{TENANTS}/{name}")
        assert reply.json == {"name": name, "removed": True}
        assert (await server.call("DELETE", f"{TENANTS}/{name}")).code == "document_unknown"
    assert (await server.call("GET", f"{TENANTS}/acme")).code == "document_unknown"
    assert (await server.call("GET", f"{TENANTS}/default")).json["weight"] == 1


async def test_conditions_guard_against_overwriting(server: Server) -> None:
    path = f"{TENANTS}/acme"
    assert (await server.call("PUT", path, {}, If_Match="*")).status == 412
    first = await server.call("PUT", path, {"weight": 2}, If_None_Match="*")
    second = await server.call("PUT", path, {"weight": 4}, If_Match=first.headers["ETag"])
    assert (first.status, second.status) == (200, 200)
    assert (await server.call("PUT", path, {}, If_Match=first.headers["ETag"])).status == 412
    assert (await server.call("DELETE", path, If_Match=first.headers["ETag"])).status == 412
    assert (await server.call("GET", path)).json["weight"] == 4


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"weight": 0}, "/weight"),
        ({"weight": 1001}, "/weight"),
        ({"weight": 1.5}, "/weight"),
        ({"weight": None}, "/weight"),
        ({"description": "x" * 4097}, "/description"),
        ({"wieght": 1}, "/wieght"),
        ({"jobs_max": -1}, "/jobs_max"),
        ({"bytes_max": -1}, "/bytes_max"),
        ({"bytes_max": 1 << 51}, "/bytes_max"),
        ({"running_max": {"jobs": 1.5}}, "/running_max/jobs"),
        ({"running_max": {"cpu_cores": 1e9}}, "/running_max/cpu_cores"),
        ({"job_max": {"jobs": 1}}, "/job_max/jobs"),
    ],
)
async def test_settings_have_bounds(server: Server, body: object, pointer: str) -> None:
    reply = await server.call("PUT", f"{TENANTS}/acme", body)
    assert (reply.status, reply.code, reply.json["pointer"]) == (400, "field_invalid", pointer)


async def test_the_word_for_all_tenants_is_none(server: Server) -> None:
    for method in ("GET", "PUT", "DELETE"):
        reply = await server.call(method, f"{TENANTS}/*", {} if method == "PUT" else None)
        assert (reply.status, reply.code) == (404, "document_unknown")


async def test_lists_come_in_pages(server: Server) -> None:
    for name in ("a", "b", "c"):
        await server.call("PUT", f"{TENANTS}/{name}", {})
    page = (await server.call("GET", f"{TENANTS}?limit=3")).json
    assert [one["name"] for one in page["tenants"]] == ["a", "b", "c"]
    rest = (await server.call("GET", f"{TENANTS}?after={page['next']}")).json
    assert ([one["name"] for one in rest["tenants"]], rest["next"]) == (["default"], None)


async def test_settings_outlive_the_process(tmp_path: Path) -> None:
    options = {"data_dir": tmp_path / "d", "accept_any_filesystem": True}
    server = await open_server(**options)
    before = (await server.call("PUT", f"{TENANTS}/acme", {"weight": 7})).json
    await server.close()
    server = await open_server(**options)
    assert (await server.call("GET", f"{TENANTS}/acme")).json == before
    await server.close()


async def test_quotas_bound_what_comes_with_the_tenants_key(server: Server) -> None:
    reply = await server.call(
        "PUT",
        f"{TENANTS}/acme",
        {
            "jobs_max": 3,
            "bytes_max": 5_000,
            "running_max": {"jobs": 1, "memory_mb": 100},
            "job_max": {"memory_mb": 90, "gpu_count": 0.5},
        },
    )
    assert reply.json["running_max"] == {"jobs": 1, "memory_mb": 100}
    assert reply.json["job_max"] == {"memory_mb": 90, "gpu_count": 0.5}
    made = await server.call(
        "POST", "/api/v1/keys", {"tenant": "*", "scopes": ["admin", "work", "submit", "read"]}
    )
    root = {"Authorization": f"Bearer {made.json['key']}"}
    made = await server.call(
        "POST", "/api/v1/keys", {"tenant": "acme", "scopes": ["submit", "read"]}, **root
    )
    acme = {"Authorization": f"Bearer {made.json['key']}"}
    job = {"type": "t", "requirements": {"memory_mb": 60}}
    large = {"type": "t", "requirements": {"memory_mb": 91}}
    reply = await server.call("POST", "/api/v1/jobs", large, **acme)
    assert (reply.status, reply.code) == (422, "requirements_never_fit")
    assert reply.json["pointer"] == "/requirements"
    assert (await server.call("POST", "/api/v1/jobs", [job, job], **acme)).status == 200
    told = (await server.call("GET", f"{TENANTS}/acme", **root)).json
    long = {"type": "t", "params": "x" * (5_001 - told["bytes"])}
    reply = await server.call("POST", "/api/v1/jobs", long, **acme)
    assert (reply.status, reply.code, reply.headers["Retry-After"]) == (429, "quota_reached", "1")
    assert "5000 bytes" in reply.json["detail"]
    assert (await server.call("POST", "/api/v1/jobs", {"type": "t"}, **acme)).status == 200
    for body, pointer in ((job, ""), ([job, job], "/0")):
        reply = await server.call("POST", "/api/v1/jobs", body, **acme)
        assert (reply.status, reply.code) == (429, "quota_reached")
        assert (reply.json["pointer"], reply.headers["Retry-After"]) == (pointer, "1")
    poll = {"worker": "w", "max_jobs": 9, "free": {"memory_mb": 1000}}
    assert len((await server.call("POST", "/api/v1/work/poll", poll, **root)).json["jobs"]) == 1
    told = (await server.call("GET", f"{TENANTS}/acme", **root)).json
    assert (told["jobs"], told["running"]["jobs"], told["running"]["memory_mb"]) == (3, 1, 60)
    assert 0 < told["bytes"] < told["bytes_max"] == 5_000
    listed = (await server.call("GET", "/api/v1/jobs?status=queued", **acme)).json["jobs"]
    path = f"/api/v1/jobs/{listed[-1]['id']}/explain"
    explained = (await server.call("GET", path, **acme)).json
    assert explained["reasons"][-2:] == [
        "quota of tenant 'acme': 1 of 1 jobs run",
        "quota of tenant 'acme': it needs 60 memory_mb, what runs takes 60 memory_mb"
        " of 100 memory_mb",
    ]
    assert [one["kind"] for one in explained["limits"]] == ["tenant"]
    told = (await server.call("GET", f"{TENANTS}/acme", **root)).json
    quota = {"jobs": 3, "jobs_max": 3, "bytes": told["bytes"], "bytes_max": 5_000}
    assert explained["quota"] == quota
