import pytest
from http_tools import Server

GET = b"GET /api/v1/jobs%b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%b\r\n"


@pytest.mark.parametrize(
    ("query", "header", "status"),
    [
        (b"?name=%FF", b"", 200),
        (b"?type=%ED%A0%80", b"", 200),
        (b"?tag=%FF&limit=1", b"", 200),
        (b"?queue=%00", b"", 200),
        (b"?limit=%FF", b"", 400),
        (b"?cursor=%FF", b"", 400),
        (b"?status=%FF", b"", 400),
        (b"?order=%FF", b"", 400),
        (b"?owner=%FF", b"", 403),
        (b"?%FF=1", b"", 400),
        (b"?name=\xff", b"", 400),
        (b"?page=1&page=1", b"", 400),
        (b"", b"X-User-ID: \xff\r\n", 400),
        (b"", b"X-User-ID: \xc3\xa9\r\n", 200),
        (b"", b"X-Tenant-ID: \xed\xa0\x80\r\n", 400),
        (b"", b"Accept: \xff\r\n", 200),
        (b"", b"Prefer: wait=\xd9\xa1\r\n", 200),
    ],
)
async def test_bytes_that_are_no_text_are_met_with_an_answer(
    server: Server, query: bytes, header: bytes, status: int
) -> None:
    await server.submit()
    answer = await server.raw(GET % (query, header))
    assert answer.split(b" ")[1] == b"%d" % status, answer
