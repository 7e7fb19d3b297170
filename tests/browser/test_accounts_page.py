"""The page with accounts, in a browser: signing in and out, each role's tabs, the Consent tab."""

from __future__ import annotations

import json
import re

import pytest

from tests.browser.test_page import keep, make
from tests.support.accounts import PASSWORD

pytestmark = pytest.mark.needs("chromium")


def tabs(page) -> list[str]:
    return [tab.inner_text() for tab in page.get_by_role("tab").all() if tab.is_visible()]


def test_signing_in_by_keyboard_alone_and_out_again(team, browser, artifacts):
    profile = browser.browser.new_context(viewport={"width": 1280, "height": 720})
    profile.set_default_timeout(60_000)
    page = profile.new_page()
    page.goto(team.url)
    assert page.url.endswith("/login")
    keep(page, artifacts / "page-login.png")
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type("not the password")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    assert "wrong" in page.get_by_role("alert").inner_text()
    page.keyboard.type(PASSWORD)  # the password has the focus, the name is kept
    page.keyboard.press("Enter")
    page.get_by_text("Signed in as ada").wait_for()
    (cookie,) = profile.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Account name").wait_for()
    profile.add_cookies([cookie])
    page.goto(team.url)
    page.get_by_label("Account name").wait_for()
    profile.close()


def test_each_role_finds_its_own_tabs(sign_in):
    for name, wanted in (
        ("vera", ["Verify", "Models and limits"]),
        ("reg", ["Consent", "Models and limits"]),
        ("root", ["Create", "Library", "Verify", "Consent", "Accounts", "Models and limits"]),
    ):
        page = sign_in(name).page
        page.get_by_role("tab", name=wanted[0], exact=True, selected=True).wait_for()
        if name == "reg":
            page.get_by_role("cell", name="choral").wait_for()  # filled without a click
        assert tabs(page) == wanted


def test_an_artist_keeps_her_outputs_and_another_cannot_fetch_them(sign_in):
    ada = sign_in("ada").page
    ada.get_by_text("All 4 tags are granted").wait_for()
    ada.get_by_label("number input for Duration").fill("5")
    ada.get_by_label("number input for Duration").press("Tab")
    make(ada)
    link = ada.get_by_role("link", name=re.compile("^Download")).first.get_attribute("href")
    assert ada.request.get(link).ok
    ada.reload()
    ada.get_by_role("region", name="Your output").first.wait_for()
    assert ada.get_by_role("button", name="Vary").first.is_visible()
    vera = sign_in("vera").page
    assert vera.request.get(link).status == 403


def test_a_registrar_reads_the_consent_tab(sign_in, artifacts):
    page = sign_in("reg").page
    page.set_viewport_size({"width": 1280, "height": 1100})
    page.get_by_role("cell", name="choral").wait_for()
    page.get_by_role("heading", name=re.compile("house-catalogue-2026")).wait_for()
    page.get_by_role("button", name="What would a revocation do?").click()
    effect = page.get_by_role("status", name="Effect of a revocation")
    effect.wait_for()
    assert "nothing has happened" in effect.inner_text()
    keep(page, artifacts / "page-consent.png")
    page.get_by_label("Rights holder").click()
    page.get_by_role("option", name="House catalogue").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download JSON").click()
    assert json.loads(download.value.path().read_text())["holder"]


def test_a_file_that_is_no_consent_is_refused_in_words(sign_in, tmp_path):
    page = sign_in("reg").page
    page.get_by_role("tab", name="Consent").click()
    (tmp_path / "grant.json").write_text("{}")
    page.locator("input[type=file]").last.set_input_files(tmp_path / "grant.json")
    page.get_by_text("not a file of signed consent").wait_for()


def test_an_administrator_sees_accounts_and_their_use(sign_in):
    page = sign_in("root").page
    page.get_by_role("tab", name="Accounts").click()
    page.get_by_role("rowheader", name="vera").wait_for()
    page.get_by_text("Limits of an account").wait_for()
