"""The pages under `/docs`: whole, in order, and nothing in them but themselves."""

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from http_tools import Server

from headrace.docs import API, HOME, PAGES
from headrace.http.pages import place, rendered

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = [name for name in PAGES if name != API]


@pytest.mark.parametrize("name", WRITTEN)
async def test_a_page_needs_nothing_but_itself(server: Server, name: str) -> None:
    reply = await server.send("GET", "/docs" if name == HOME else f"/docs/{name}")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    text = reply.body.decode()
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert policy.endswith(f"style-src 'sha256-{digest}'")
    assert not re.findall(r"<(?:script|img|link|iframe|object)|\son\w+=|\sstyle=|url\(", text)
    assert "&lt;!--" not in text
    assert text.count("<h1>") == 1
    assert text.count("aria-current=page") == 1


@pytest.mark.parametrize("name", WRITTEN)
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    text = rendered(name)[0].decode()
    known = {place(other, name) for other in PAGES} | {"/ui"}
    for link in re.findall(r'href="([^"]*)"', text):
        page, _, anchor = link.partition("#")
        assert page in known, link
        if anchor:
            [target] = [other for other in PAGES if place(other, name) == page]
            assert f'id="{anchor}"' in rendered(target)[0].decode(), link


async def test_a_page_that_is_not_there_is_told(server: Server) -> None:
    reply = await server.send("GET", "/docs/nothing")
    assert (reply.status, reply.json["code"]) == (404, "route_unknown")


def test_a_state_diagram_is_told_as_a_table() -> None:
    text = rendered("concepts")[0].decode()
    assert "stateDiagram" not in text
    assert "<td><code>queued</code></td>\n<td>lease</td>\n<td><code>locked</code></td>" in text


def test_the_page_of_problems_is_that_of_the_table() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "problems-page", "--check"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")
