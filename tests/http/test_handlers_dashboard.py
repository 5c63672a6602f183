"""The dashboard's files: all are served, under a policy that lets nothing else in."""

import base64
import gzip
import hashlib
import re

import pytest
from http_tools import Server

from headrace.dashboard import MEDIA, load

FILES = load()


async def test_a_browser_is_led_to_the_page(server: Server) -> None:
    for path in ("/", "/ui/"):
        reply = await server.send("GET", path, allow_redirects=False)
        assert reply.status == 307
        assert (await server.send("GET", path)).body == FILES.page.body


async def test_the_page_may_load_only_what_is_its_own(server: Server) -> None:
    reply = await server.send("GET", "/ui")
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(
        part.strip().split(" ", 1) for part in reply.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    [style] = re.findall(rb"<style>(.*?)</style>", reply.body, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert policy["style-src"] == f"'sha256-{digest}'"
    assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["X-Frame-Options"] == "DENY"
    assert reply.headers["Referrer-Policy"] == "no-referrer"


def test_no_script_of_the_page_is_inline_and_nothing_is_from_elsewhere() -> None:
    page = re.sub("<style>.*?</style>", "", FILES.page.body.decode(), flags=re.DOTALL)
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)|//", page)
    assert not re.search(r"url\(|@import|https?:", FILES.page.body.decode())
    for name, file in FILES.by_name.items():
        if name.endswith((".js", ".css")) and not name.startswith("uplot"):
            text = file.body.decode().replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?://\w", text), name


def test_what_jobs_say_cannot_become_markup() -> None:
    for name, file in FILES.by_name.items():
        text = file.body.decode()
        found = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)
        assert not found, name


def modules_of(name: str) -> set[str]:
    """Return a module and what it imports, and so on; but not what it asks for later."""
    found, left = set[str](), [name]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            text = FILES.by_name[name].body.decode()
            left += re.findall(r'^(?:import|\}) [^;(]*?"\./([\w.]+)";', text, re.MULTILINE)
    return found


def test_what_a_page_needs_is_asked_for_at_once() -> None:
    named = set(re.findall(rf'"ui/{FILES.version}/(\w+\.js)"', FILES.page.body.decode()))
    assert named == modules_of("app.js") | {"early.js"}
    early = FILES.by_name["early.js"].body.decode()
    pages = dict(re.findall(r'^    "?([\w/]*)"?: "([\w ]+)",$', early, re.MULTILINE))
    app = FILES.by_name["app.js"].body.decode()
    paths = re.findall(r'path: "(\w*)".*?import\("\./(\w+\.js)"\)', app)
    assert len(paths) >= 8
    for path, module in [*paths, ("jobs/", "job.js")]:
        wanted = modules_of(module) - named
        assert {f"{name}.js" for name in pages.pop(path).split()} == wanted, path
    assert pages == {}


async def test_a_file_is_sent_packed_to_who_takes_it_so(server: Server) -> None:
    for path, file in (
        ("/ui", FILES.page),
        (f"/ui/{FILES.version}/jobs.js", FILES.by_name["jobs.js"]),
    ):
        reply = await server.send("GET", path, headers={"Accept-Encoding": "br, gzip"})
        assert reply.body == file.body  # unpacked by the client
        assert reply.headers["Content-Encoding"] == "gzip"
        assert reply.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(file.packed) == file.body
        assert len(file.packed) < len(file.body) / 2
        packed = reply.headers["ETag"]
        reply = await server.send("GET", path, headers={"Accept-Encoding": "identity"})
        assert (reply.body, "Content-Encoding" in reply.headers) == (file.body, False)
        assert reply.headers["ETag"] != packed


async def test_each_file_is_served_as_what_it_is_and_may_be_kept(server: Server) -> None:
    for name, file in FILES.by_name.items():
        reply = await server.send("GET", f"/ui/{FILES.version}/{name}")
        assert (reply.status, reply.body) == (200, file.body)
        assert reply.headers["Content-Type"] == MEDIA[name[name.rindex(".") :]]
        assert "immutable" in reply.headers["Cache-Control"]
        assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_who_has_a_file_is_not_sent_it_again(server: Server) -> None:
    for path in ("/ui", f"/ui/{FILES.version}/app.js"):
        etag = (await server.send("GET", path)).headers["ETag"]
        reply = await server.send("GET", path, headers={"If-None-Match": etag})
        assert (reply.status, reply.body) == (304, b"")
        reply = await server.send("GET", path, headers={"If-None-Match": '"other"'})
        assert reply.status == 200


@pytest.mark.parametrize(
    "path",
    [
        f"/ui/{FILES.version}/none.js",
        f"/ui/{FILES.version}/index.html",
        f"/ui/{FILES.version}/..%2Findex.html",
        f"/ui/{FILES.version}/%2Fetc%2Fpasswd",
        "/ui/0000000000000000/app.js",
        "/ui/app.js",
    ],
)
async def test_other_files_are_no_files(server: Server, path: str) -> None:
    reply = await server.send("GET", path)
    assert (reply.status, reply.code) == (404, "route_unknown")


def test_the_licence_of_what_is_not_ours_is_with_it() -> None:
    assert b"MIT License" in FILES.by_name["uplot-LICENSE.txt"].body
