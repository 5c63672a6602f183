import pytest
from http_tools import Server, open_server


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:8080", "a.localhost"]
)
async def test_names_of_this_machine_are_answered(server: Server, host: str) -> None:
    assert (await server.send("GET", "/livez", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "localhost:x",
    ],
)
async def test_a_name_that_was_made_to_point_here_is_not(server: Server, host: str) -> None:
    reply = await server.send("GET", "/api/v1/jobs", headers={"Host": host})
    assert (reply.status, reply.code) == (421, "request_malformed")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "", "http://"]
)
async def test_pages_of_other_origins_are_refused(server: Server, origin: str) -> None:
    reply = await server.call("POST", "/api/v1/jobs", {"type": "t"}, Origin=origin)
    assert (reply.status, reply.code) == (403, "forbidden")


async def test_a_page_of_this_server_is_served(server: Server) -> None:
    origin = f"http://127.0.0.1:{server.port}"
    assert (await server.call("POST", "/api/v1/jobs", {"type": "t"}, Origin=origin)).status == 200


async def test_behind_a_proxy_names_are_the_proxys_business() -> None:
    server = await open_server(insecure=True)
    reply = await server.send("GET", "/livez", headers={"Host": "jobs.example", "Origin": "null"})
    assert reply.status == 200
    await server.close()
