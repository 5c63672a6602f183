"""What an operator does with the dashboard, clicked through in Debian's chromium."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import PATIENCE_MS, Rig, Window

expect.set_options(timeout=PATIENCE_MS)
MARKUP = "<img src=x onerror=alert(1)>"


def row(page: Any, text: str | re.Pattern[str]) -> Any:
    return page.get_by_role("row").filter(has_text=text)


def press(where: Any, name: str) -> None:
    where.get_by_role("button", name=name, exact=True).click()


def agree(page: Any, name: str) -> None:
    """Say yes in the dialog that asks."""
    press(page.get_by_role("dialog"), name)


# Signing in -------------------------------------------------------------------------------------


def test_a_wrong_key_is_told_and_the_right_one_opens(rig: Rig, stranger: Window) -> None:
    page = stranger.go("#/queues")
    page.get_by_label("API key").fill("hr_wrong")
    press(page, "Sign in")
    expect(page.get_by_role("alert")).to_contain_text("unauthenticated")
    stranger.expected.append(401)
    page.get_by_label("API key").fill(rig.key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Queues")).to_be_visible()
    stored = "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])"
    kept = page.evaluate(stored)
    assert kept == '["",{},{}]', "a script can read nothing that opens anything"
    page.reload()
    expect(page.get_by_role("heading", name="Queues")).to_be_visible()
    press(page, "Sign out")
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_key_that_is_revoked_signs_its_browsers_out(rig: Rig, stranger: Window) -> None:
    made = rig.make_key(scopes=["admin"], tenant="acme", user="ann")
    page = stranger.go("")
    page.get_by_label("API key").fill(made["key"])
    press(page, "Sign in")
    expect(page.get_by_text("ann · acme")).to_be_visible()
    rig.ask("DELETE", f"/keys/{made['id']}")
    expect(page.get_by_text("The session is over.")).to_be_visible()
    page.get_by_label("API key").fill(made["key"])
    press(page, "Sign in")
    expect(page.get_by_role("alert")).to_contain_text("the key was revoked")
    stranger.expected = list(stranger.refused)
    assert set(stranger.refused) == {401}


def test_who_may_only_read_is_offered_nothing_else(rig: Rig, stranger: Window) -> None:
    made = rig.make_key(scopes=["read"], tenant="acme", user="reader")
    page = stranger.go("")
    page.get_by_label("API key").fill(made["key"])
    press(page, "Sign in")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    names = page.get_by_role("navigation", name="Pages").get_by_role("link").all_inner_texts()
    assert names == ["Overview", "Jobs", "Dead-letter", "Queues", "Types", "Webhooks"]
    page.get_by_role("link", name="Queues", exact=True).click()
    expect(row(page, "default")).to_be_visible()
    assert page.get_by_role("button", name="Pause").count() == 0


# Overview ---------------------------------------------------------------------------------------


def test_the_overview_tells_how_it_goes_and_follows(rig: Rig, window: Window) -> None:
    page = window.go("#/")
    waiting = page.locator(".tiles .suspended .value")
    expect(waiting).to_have_text("0")
    job_id = rig.submit(type="nobody")
    rig.ask("POST", f"/jobs/{job_id}/suspend")
    expect(waiting).to_have_text("1")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    rig.ask("POST", f"/jobs/{job_id}/cancel")
    for name in ("Throughput", "Depth", "Wait", "Run time"):
        expect(page.get_by_role("img", name=f"{name}, now:")).to_be_visible()
    inked = """() => [...document.querySelectorAll(".plot canvas")].map(canvas => {
        const {width, height} = canvas;
        return canvas.getContext("2d").getImageData(0, 0, width, height).data.some(Boolean);
    })"""
    assert page.evaluate(inked) == [True] * 4
    page.get_by_role("radio", name="5 min", exact=True).check()


# Jobs -------------------------------------------------------------------------------------------


def test_jobs_are_filtered_and_paged(rig: Rig, window: Window) -> None:
    jobs = [{"type": "nobody", "name": f"page {n:03}", "tags": ["paged"]} for n in range(120)]
    rig.ask("POST", "/jobs", jobs)
    page = window.go("#/jobs?tag=paged")
    first = page.locator("tbody tr").first
    expect(first).to_contain_text("page 119")
    expect(page.locator("tbody tr")).to_have_count(50)
    press(page, "Next")
    expect(first).to_contain_text("page 069")
    press(page, "Next")
    expect(page.locator("tbody tr")).to_have_count(20)
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    press(page, "Back")
    expect(first).to_contain_text("page 069")
    page.get_by_label("Name begins with").fill("page 00")
    expect(page.locator("tbody tr")).to_have_count(10)
    assert page.url.endswith("#/jobs?name_prefix=page+00&tag=paged")
    page.get_by_role("checkbox", name="Completed").check()
    expect(page.get_by_text("No job matches")).to_be_visible()
    page.get_by_role("checkbox", name="Waiting").check()
    expect(page.locator("tbody tr")).to_have_count(10)
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(10)
    page.get_by_label("Order").select_option("Oldest first")
    expect(first).to_contain_text("page 000")
    page.get_by_label("Type").fill("a\nb" * 200)
    press(page, "Clear")
    expect(page.locator("tbody tr")).to_have_count(50)


def test_what_the_server_refuses_is_shown_with_its_reason(window: Window) -> None:
    page = window.go("#/jobs?status=completed&order=-finished_at")
    page.get_by_role("checkbox", name="Waiting").check()
    alert = page.locator(".problem")
    expect(alert).to_contain_text("request_malformed")
    expect(alert).to_contain_text("by finished_at only finished jobs can be ordered")
    page.get_by_role("checkbox", name="Waiting").uncheck()
    expect(alert).to_have_count(0)
    window.expected = list(window.refused)
    assert set(window.refused) == {400}


def test_all_that_match_are_counted_confirmed_and_acted_on(rig: Rig, window: Window) -> None:
    rig.ask("POST", "/jobs", [{"type": "nobody", "name": f"bulk {n}"} for n in range(250)])
    page = window.go("#/jobs?type=nobody&name_prefix=bulk")
    page.get_by_label("Act on all jobs that match").select_option("Cancel all")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("250 jobs match")
    expect(dialog).to_contain_text("name_prefix = bulk")
    press(dialog, "Cancel 250 jobs")
    expect(dialog).to_contain_text("250 jobs done")
    press(dialog, "Close")
    expect(page.locator("tbody tr").first).to_contain_text("cancelled")
    expect(page.get_by_role("region", name="Acts on many jobs")).to_contain_text("250 of 250 done")
    listed = rig.ask("GET", "/jobs?name_prefix=bulk&status=cancelled&limit=1000")
    assert listed["count"] == 250


def test_those_that_are_selected_are_acted_on_and_no_others(rig: Rig, window: Window) -> None:
    ids = [rig.submit(type="nobody", name=f"pick {n}") for n in range(3)]
    page = window.go("#/jobs?name_prefix=pick")
    for number in (0, 2):
        page.get_by_label(f"Select pick {number}").check()
    bar = page.get_by_role("group", name="Acts")
    expect(bar).to_contain_text("2 selected")
    press(bar, "Cancel")
    agree(page, "Cancel")
    expect(row(page, "cancelled")).to_have_count(2)
    statuses = [rig.ask("GET", f"/jobs/{job_id}")["job"]["status"] for job_id in ids]
    assert statuses == ["cancelled", "queued", "cancelled"]


# One job ----------------------------------------------------------------------------------------


def test_a_job_is_followed_suspended_resumed_cancelled_and_retried(
    rig: Rig, window: Window
) -> None:
    job_id = rig.submit(type="render_report", name="report", params={"pages": 5_000, "pause": 0.05})
    page = window.go(f"#/jobs/{job_id}")
    log = page.get_by_role("log", name="Log")
    expect(log).to_contain_text("page 3: laid out <b>in</b> 12 ms")
    assert "\x1b" not in log.inner_text()
    expect(page.locator(".details")).to_have_text(re.compile(r"page \d+ of 5000"))
    timeline = page.locator(".timeline")
    expect(timeline).to_contain_text("Attempt 1 on w-1 running")
    press(page, "Suspend")
    expect(page.locator("h1")).to_contain_text("suspended")
    expect(timeline).to_contain_text("until it is resumed")
    press(page, "Resume")
    expect(timeline).to_contain_text("Attempt 2 on w-1 running")
    press(page, "Cancel")
    agree(page, "Cancel")
    expect(page.locator("h1")).to_contain_text("cancelled")
    expect(page.get_by_role("heading", name="Result")).to_be_visible()
    press(page, "Retry")
    agree(page, "Retry")
    expect(timeline).to_contain_text("Attempt 3 on w-1 running")
    expect(page.locator(".steps").first).to_contain_text("%")
    rig.ask("POST", f"/jobs/{job_id}/cancel")
    expect(page.locator("h1")).to_contain_text("cancelled")


def test_a_job_that_waits_says_why(rig: Rig, window: Window) -> None:
    job_id = rig.submit(type="nobody", name="idle", requirements={"gpu_count": 4})
    page = window.go(f"#/jobs/{job_id}")
    expect(page.locator(".reasons")).to_contain_text("no known worker")
    rig.ask("POST", f"/jobs/{job_id}/cancel")


def test_what_a_job_says_is_text_wherever_it_is_shown(rig: Rig, window: Window) -> None:
    params = {"error": f"{MARKUP}\x1b[31m\r\nsecond line", MARKUP: "<script>alert(2)</script>"}
    fields = {"type": "fails", "tags": [MARKUP], "params": params, "max_retries": 1}
    job_id = rig.submit(name=MARKUP, queue=MARKUP, retry_delay=0, **fields)
    assert rig.ended(job_id) == "failed"
    waits = rig.submit(name=MARKUP, type=MARKUP, queue=MARKUP)
    window.page.on("dialog", lambda dialog: window.wrong.append("a script has run"))
    places = [f"#/jobs/{job_id}", "#/jobs?status=failed", "#/dead", "#/queues", "#/types", "#/"]
    for place in places:
        page = window.go(place)
        expect(page.get_by_text(MARKUP).first).to_be_visible()
        assert page.locator("main img, main script").count() == 0
    page = window.go(f"#/jobs/{job_id}")
    expect(page.locator("h1")).to_contain_text(MARKUP)
    rig.ask("POST", f"/jobs/{waits}/cancel")
    assert page.title() == f"{MARKUP} · headrace"
    expect(page.get_by_role("heading", name="Params")).to_be_visible()


def test_a_dead_job_is_found_with_its_error_and_runs_again(rig: Rig, window: Window) -> None:
    job_id = rig.submit(
        type="fails", name="dead one", params={"times": 2}, max_retries=1, retry_delay=0
    )
    assert rig.ended(job_id) == "failed"
    page = window.go("#/dead?name_prefix=dead")
    expect(row(page, "dead one")).to_contain_text("the account is locked")
    press(row(page, "dead one"), "Retry")
    agree(page, "Retry")
    expect(page.get_by_text("dead one: queued again")).to_be_visible()
    assert rig.ended(job_id) == "completed"
    expect(page.get_by_text("No job matches")).to_be_visible()
    page = window.go(f"#/jobs/{job_id}")
    expect(page.locator(".timeline .attempt")).to_have_count(3)
    expect(page.locator(".timeline")).to_contain_text("failed, tried again")


# What operators set -----------------------------------------------------------------------------


def test_a_queue_is_made_paused_and_resumed(rig: Rig, window: Window) -> None:
    page = window.go("#/queues")
    press(page, "New queue")
    page.get_by_label("Name").fill("mail")
    page.get_by_label("Capacity", exact=True).fill("-1")
    press(page, "Make it")
    page.get_by_label("Capacity", exact=True).fill("2")
    press(page, "Make it")
    expect(row(page, "mail")).to_contain_text("0 of 2")
    press(page, "Pause mail")
    expect(row(page, "mail")).to_contain_text("paused")
    assert rig.ask("GET", "/queues/mail")["paused"] is True
    job_id = rig.submit(type="send_mail", queue="mail", params={"to": "ann"})
    expect(row(page, "mail").get_by_role("cell").first).to_have_text("1")
    press(page, "Resume mail")
    assert rig.ended(job_id) == "completed"
    press(page, "Edit mail")
    page.get_by_label("Capacity", exact=True).fill("7")
    press(page, "Save")
    expect(row(page, "mail")).to_contain_text("0 of 7")
    press(page, "Remove the settings of mail")
    agree(page, "Remove")
    expect(row(page, "mail")).to_have_count(0)


def test_a_type_is_paused_bounded_and_resumed(rig: Rig, window: Window) -> None:
    rig.ask("PUT", "/job-types/send_mail", {"name": "Send a mail", "timeout": "1m"})
    page = window.go("#/types")
    press(page, "Pause send_mail")
    expect(row(page, "Send a mail")).to_contain_text("paused")
    job_id = rig.submit(type="send_mail", params={})
    expect(row(page, "Send a mail").get_by_role("cell").first).to_have_text("1")
    press(page, "Limit send_mail")
    page.get_by_label("Jobs that run at once").fill("3")
    press(page, "Save")
    expect(row(page, "Send a mail")).to_contain_text("0 of 3")
    press(page, "Resume send_mail")
    assert rig.ended(job_id) == "completed"
    press(page, "Details of send_mail")
    expect(page.get_by_role("dialog")).to_contain_text("1 m")
    press(page, "Close")


def test_a_worker_is_drained_and_gets_jobs_again(rig: Rig, window: Window) -> None:
    page = window.go("#/workers")
    press(page, "Drain w-1")
    agree(page, "Drain")
    expect(row(page, "w-1")).to_contain_text("drained")
    job_id = rig.submit(type="send_mail", params={})
    page.get_by_role("link", name="w-1").click()
    expect(page.get_by_role("heading", name="w-1")).to_contain_text("drained")
    press(page, "Give jobs again w-1")
    expect(page.get_by_role("heading", name="w-1")).to_contain_text("active")
    assert rig.ended(job_id) == "completed"


def test_a_webhook_is_made_tested_and_a_delivery_replayed(rig: Rig, window: Window) -> None:
    rig.hook.forget()
    page = window.go("#/webhooks")
    press(page, "New webhook")
    page.get_by_label("Address").fill("ftp://nowhere")
    press(page, "Register")
    expect(page.get_by_role("dialog")).to_contain_text("field_invalid at /url")
    window.expected.append(400)
    page.get_by_label("Address").fill(rig.hook.url)
    page.get_by_label("Events").fill("job.failed, scene.*")
    press(page, "Register")
    expect(page.get_by_role("textbox", name="The webhook's secret")).to_have_value(
        re.compile("^whsec_")
    )
    press(page, "I have it")
    page.get_by_role("link", name=rig.hook.url).click()
    press(page, f"Test {rig.hook.url}")
    delivery = row(page, "webhook.ping")
    expect(delivery).to_contain_text("delivered")
    delivery.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("webhook.ping is sent again")).to_be_visible()
    expect(delivery).to_contain_text("delivered")
    expect(delivery.get_by_role("cell").nth(2)).to_have_text("1")
    assert rig.hook.hears("webhook.ping", 2)
    press(page, f"Remove {rig.hook.url}")
    agree(page, "Remove")
    expect(page.get_by_text("No webhooks")).to_be_visible()


def test_a_key_is_made_shown_once_and_revoked(rig: Rig, window: Window) -> None:
    page = window.go("#/keys")
    press(page, "New key")
    page.get_by_label("Name").fill("for the shop")
    page.get_by_label("Tenant", exact=True).fill("acme")
    page.get_by_label("User").fill("shop")
    page.get_by_label("Life").select_option("30 days")
    press(page, "Make it")
    shown = page.get_by_role("textbox", name="Key for the shop")
    expect(shown).to_have_value(re.compile("^hr_"))
    key = shown.input_value()
    assert rig.ask("GET", "/session", key=key)["scopes"] == ["submit", "read"]
    press(page, "I have it")
    expect(row(page, "for the shop")).to_contain_text("live")
    assert key not in page.content()
    press(page, "Revoke for the shop")
    agree(page, "Revoke")
    expect(row(page, "for the shop")).to_contain_text("revoked")
    with pytest.raises(AssertionError, match="unauthenticated"):
        rig.ask("GET", "/jobs", key=key)


# By keyboard, elsewhere -------------------------------------------------------------------------


def test_all_is_reached_by_keyboard_and_focus_comes_back(rig: Rig, window: Window) -> None:
    job_id = rig.submit(type="nobody", name="by keys")
    page = window.go(f"#/jobs/{job_id}")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    focused = "document.activeElement.textContent"
    assert "by keys" in page.evaluate(focused), "a page begins at its heading"
    for _ in range(30):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.className") == "skip":
            break
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    assert page.url.endswith(job_id), "it is still there"
    page.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("cancelled")


def test_a_chosen_tenant_is_the_one_whose_jobs_are_shown(rig: Rig, window: Window) -> None:
    made = rig.make_key(scopes=["submit", "read"], tenant="acme", user="shop")
    rig.ask("POST", "/jobs", {"type": "nobody", "name": "of acme"}, key=made["key"])
    page = window.go("#/jobs?name_prefix=of")
    expect(page.get_by_text("No job matches")).to_be_visible()
    page.get_by_label("Tenant whose jobs are shown").fill("acme")
    page.keyboard.press("Enter")
    expect(row(page, "of acme")).to_be_visible()


def test_a_place_that_there_is_not_leads_back(window: Window) -> None:
    page = window.go("#/nowhere")
    expect(page.get_by_role("heading", name="No such page")).to_be_visible()
    page.get_by_role("link", name="Go to the overview").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page = window.go("#/jobs/01a200b8-6f79-7000-8422-e65ef4ed6da2")
    expect(page.locator(".problem")).to_contain_text("job_unknown")
    window.expected = list(window.refused)
    assert set(window.refused) == {404}


def test_colours_are_chosen_and_remembered(window: Window) -> None:
    page = window.go("#/queues")
    back = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(back)
    page.get_by_label("Colours").select_option("Dark")
    assert page.evaluate(back) != light
    page.reload()
    expect(page.get_by_label("Colours")).to_have_value("dark")
    page.get_by_label("Colours").select_option("System")
    assert page.evaluate(back) == light
