"""Each page, light and dark, wide and on a phone: nothing keeps people out, nothing sticks out.

Pictures of all of them are left in build/ui-shots.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Rig, Window

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = ROOT / "build" / "ui-shots"
SIZES = {"wide": (1440, 900), "phone": (390, 844)}
GRAVE = ("serious", "critical")
COLOURS = ["color-contrast"]
"""Rules that a colour scheme can break; all others it cannot."""
LOOK = f"""async ([place, rules]) => {{
    const only = rules ? {{runOnly: {{type: "rule", values: rules}}}} : {{}};
    const found = await axe.run(place, {{resultTypes: ["violations"], ...only}});
    return found.violations
        .filter(({{impact}}) => {list(GRAVE)}.includes(impact))
        .map(({{id, nodes}}) => `${{id}}: ${{nodes.map(({{html}}) => html).join(" ")}}`);
}}"""
STICKS_OUT = """() => {
    const {scrollWidth, clientWidth} = document.documentElement;
    return scrollWidth - clientWidth;
}"""


@pytest.fixture(scope="module")
def places(rig: Rig) -> Iterator[dict[str, str]]:
    """Have something on every page; give the pages."""
    rig.ask("PUT", "/queues/reports", {"capacity": 1, "description": "Monthly reports"})
    rig.ask("PUT", "/queues/night", {"capacity": 2, "paused": True})
    rig.ask("PUT", "/job-types/send_mail", {"name": "Send a mail", "max_retries": 3})
    failed = rig.submit(type="fails", name="nightly import", max_retries=1, retry_delay=0)
    night = rig.submit(type="send_mail", name="at night", queue="night", params={"to": "ann"})
    waits = rig.submit(type="train", name="train", requirements={"gpu_count": 1})
    mails = [{"type": "send_mail", "name": f"mail {n}", "params": {"to": "ann"}} for n in range(9)]
    rig.ask("POST", "/jobs", mails)
    assert rig.ended(failed) == "failed"
    report = {"type": "render_report", "queue": "reports", "requirements": {"cpu_cores": 1}}
    runs = rig.submit(name="report", params={"pages": 10_000, "pause": 0.1}, **report)
    hook = rig.ask("POST", "/webhooks", {"url": rig.hook.url, "description": "Data warehouse"})
    rig.ask("POST", f"/webhooks/{hook['id']}/test")
    yield {
        "overview": "#/",
        "jobs": "#/jobs",
        "job-runs": f"#/jobs/{runs}",
        "job-waits": f"#/jobs/{waits}",
        "job-failed": f"#/jobs/{failed}",
        "dead-letter": "#/dead",
        "jobs-filtered": "#/jobs?tag=none&finished_before=2020-01-01T00:00",
        "queues": "#/queues",
        "types": "#/types",
        "workers": "#/workers",
        "worker": "#/workers/w-1",
        "webhooks": "#/webhooks",
        "webhook": f"#/webhooks/{hook['id']}",
        "keys": "#/keys",
    }
    for job_id in (runs, waits, night):
        rig.ask("POST", f"/jobs/{job_id}/cancel")
    rig.ask("DELETE", f"/webhooks/{hook['id']}")


def test_every_page_is_open_to_everybody_and_fits_its_window(
    window: Window, places: dict[str, str]
) -> None:
    if not AXE.is_file():
        pytest.skip(f"{AXE} is not there; tools/axe fetches it where there is npm")
    SHOTS.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    for name, place in places.items():
        page = window.go(place)
        page.locator("main :is(td, dd, .empty, .plot canvas)").first.wait_for()
        first = name == next(iter(places))
        if first:
            page.evaluate(AXE.read_text())
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            rules = COLOURS if scheme == "dark" else None
            found = page.evaluate(LOOK, ["body" if first else "main", rules])
            faults += [f"{name}, {scheme}: {fault}" for fault in found]
            for size, (width, height) in SIZES.items():
                page.set_viewport_size({"width": width, "height": height})
                page.screenshot(path=SHOTS / f"{name}-{size}-{scheme}.png", full_page=True)
                out = page.evaluate(STICKS_OUT)
                if out > 0:
                    faults.append(f"{name}: {out} px stick out of a window that is {size}")
            page.set_viewport_size({"width": 1440, "height": 900})
    assert faults == []


def test_signing_in_and_dialogs_are_open_to_everybody(
    rig: Rig, stranger: Window, window: Window
) -> None:
    if not AXE.is_file():
        pytest.skip(f"{AXE} is not there; tools/axe fetches it where there is npm")
    page = stranger.go("")
    page.screenshot(path=SHOTS / "sign-in.png")
    page.evaluate(AXE.read_text())
    assert page.evaluate(LOOK, ["body", None]) == []
    page = window.go("#/keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_role("dialog").wait_for()
    page.screenshot(path=SHOTS / "dialog.png")
    page.evaluate(AXE.read_text())
    assert page.evaluate(LOOK, ["body", None]) == []


def test_the_menu_of_a_phone_opens_and_closes(window: Window) -> None:
    window.page.set_viewport_size({"width": 390, "height": 844})
    page = window.go("#/queues")
    link = page.get_by_role("link", name="Keys", exact=True)
    assert not link.is_visible()
    page.get_by_role("button", name="Menu").click()
    page.screenshot(path=SHOTS / "menu-phone.png")
    link.click()
    page.get_by_role("heading", name="Keys").wait_for()
    assert not link.is_visible()


def test_without_keys_the_dashboard_is_open(chromium: Any, tmp_path: Path) -> None:
    from .conftest import Server, disk_dir, free_port

    with disk_dir() as disk:
        server = Server(disk / "data", free_port(), "--accept-any-filesystem")
        try:
            server.wait_ready()
            server.submit(type="nobody", name="hello")
            context = chromium.new_context()
            window = Window(context, server.url)
            page = window.page
            page.goto(server.url)
            page.get_by_text("Open: no keys yet").wait_for()
            page.get_by_role("link", name="Jobs", exact=True).click()
            page.get_by_role("link", name="hello").click()
            page.get_by_role("button", name="Cancel").click()
            page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
            page.get_by_role("heading", name="hello").filter(has_text="cancelled").wait_for()
            window.check()
            context.close()
        finally:
            server.kill()
