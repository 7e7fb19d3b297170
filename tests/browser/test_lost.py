"""A page whose studio is gone, or does not know its visitor, says so and offers the way on."""

from __future__ import annotations

import pytest

from tests.browser.conftest import _serving

pytestmark = pytest.mark.needs("chromium")


def test_signed_out_elsewhere_is_said_with_the_way_back(sign_in, team):
    visit = sign_in("ada")
    page = visit.page
    assert page.locator("#lost").count() == 0
    other = page.context.new_page()
    other.goto(team.url)
    other.get_by_role("button", name="Sign out").click()
    other.get_by_label("Account name").wait_for()
    alert = page.get_by_role("alert").filter(has_text="You are signed out")
    page.bring_to_front()
    alert.wait_for()
    alert.get_by_role("link", name="Sign in again").click()
    page.get_by_label("Account name").wait_for()


def test_a_stopped_studio_is_said_and_a_new_start_offers_to_reload(browser, tmp_path):
    with _serving(tmp_path) as served:
        page = browser.new_page()
        page.goto(served.url)
        page.get_by_text("Consent for your choice").wait_for()
        port = int(served.url.rpartition(":")[2])
        served.process.terminate()
        served.process.wait(20)
        alert = page.get_by_role("alert").filter(has_text="cannot be reached")
        alert.wait_for()
        with _serving(tmp_path, port=port):
            again = page.get_by_role("alert").filter(has_text="started anew")
            again.wait_for(timeout=60_000)
            again.get_by_role("link", name="Reload the page").click()
            page.get_by_text("Consent for your choice").wait_for()
        page.close()
