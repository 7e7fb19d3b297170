"""A new artist's first visit: three steps to a first piece, and work that follows them about."""

from __future__ import annotations

import pytest

from tests.browser.conftest import _serving, watched
from tests.browser.test_accessibility import complaints

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A studio in which nothing was made yet."""
    with _serving(tmp_path_factory.mktemp("fresh")) as served:
        yield served


@pytest.fixture
def visit(fresh, browser):
    """A visitor with a browser profile of her own, who grants notifications."""
    profile = browser.browser.new_context(viewport={"width": 1024, "height": 768})
    profile.set_default_timeout(60_000)
    with watched(profile.new_page(), fresh) as visit:
        visit.page.add_init_script(
            """window.told = [];
            window.Notification = class {
                static permission = "default";
                static async requestPermission() { return this.permission = "granted"; }
                constructor(words) { told.push(words); }
                close() {}
            };"""
        )
        yield visit
    profile.close()


def opened(page, url):
    page.goto(url)
    page.get_by_text("tags are granted").wait_for()
    return page.locator("#walk")


def focused(page) -> str:
    return page.evaluate(
        "(each => each.id || each.value || each.className)(document.activeElement)"
    )


def test_the_steps_can_be_skipped_for_good(visit, fresh):
    walk = opened(visit.page, fresh.url)
    walk.get_by_text("Step 1 of 3").wait_for()
    walk.get_by_role("button", name="Skip these steps").click()
    walk.wait_for(state="hidden")
    assert focused(visit.page) == "generate"
    visit.page.reload()
    visit.page.get_by_text("tags are granted").wait_for()
    visit.page.locator("#bar").get_by_text("s of music").wait_for()
    assert walk.is_hidden()


def test_work_is_cancelled_from_any_tab(visit, fresh):
    page = visit.page
    opened(page, fresh.url)
    duration = page.get_by_label("number input for Duration")
    duration.fill("60")  # long enough not to be ready before it is cancelled
    duration.press("Tab")
    page.get_by_role("button", name="Generate").click()
    page.locator("#bar").get_by_role("button", name="Cancel").wait_for()
    assert page.locator("#now").is_hidden(), "the bar says it already"
    page.get_by_role("tab", name="Verify").click()
    now = page.get_by_role("region", name="Music at work")
    assert now.locator(".now-words").text_content()
    assert complaints(page) == []
    now.get_by_role("button", name="Cancel").press("Enter")
    now.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.textContent.trim()") == "Verify", "focus stays"
    page.get_by_role("tab", name="Create").click()
    page.locator(".job", has_text="Cancelled").get_by_role("button", name="Dismiss").click()
    assert not fresh.released()


def test_three_steps_by_keyboard_end_in_the_first_piece(visit, fresh, artifacts):
    page = visit.page
    walk = opened(page, fresh.url)
    walk.get_by_text("Step 1 of 3").wait_for()
    page.screenshot(path=artifacts / "first-visit-1024.png")
    walk.get_by_role("button", name="Show me").press("Enter")
    assert focused(page).startswith("genre/")
    page.keyboard.press("Tab")  # nothing is trapped
    assert not focused(page).startswith("genre/")
    walk.get_by_role("button", name="Next").press("Enter")
    walk.get_by_text("Step 2 of 3").wait_for()
    assert focused(page) == "noncommercial"
    walk.get_by_role("button", name="Next").press("Enter")
    walk.get_by_text("Step 3 of 3").wait_for()
    assert focused(page) == "generate"
    assert complaints(page) == []
    page.keyboard.press("Enter")
    notify = page.locator("#bar").get_by_role("button", name="Notify me when ready")
    notify.click()
    page.wait_for_function(
        "document.querySelector('#bar .now-notify').getAttribute('aria-pressed') === 'true'"
    )
    walk.get_by_text("Your first piece is ready").wait_for(timeout=180_000)
    page.locator("details.take[open] studio-player .play").wait_for()
    assert page.evaluate("told.length") == 1 and page.evaluate("told[0]").startswith("Ready: ")
    walk.get_by_role("button", name="Show me").press("Enter")
    assert focused(page) == "play"
    page.reload()
    page.locator("details.take").wait_for()
    assert walk.is_hidden()
