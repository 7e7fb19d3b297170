"""The library: found by words, starred, renamed, discarded; the address leads back to it."""

from __future__ import annotations

import re

import pytest

from tests.browser.test_page import choose, keep, make
from watermark.audio.waveform import read

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture(scope="module")
def library(served, browser):
    """The Library tab of a studio with an output, opened by a click."""
    page = browser.new_page()
    page.goto(served.url)
    page.get_by_role("region", name="Consent for your choice").wait_for()
    choose(page, "Genre", "tango")
    page.get_by_text("tags are granted").wait_for()
    make(page)
    page.get_by_role("tab", name="Library").click()
    page.locator("#library details.take").first.wait_for()
    yield page
    page.close()


def search(page, text):
    page.get_by_label("Search the library").fill(text)


def row(page, text):
    return page.locator("#library details.take").filter(has_text=text).first


def test_star_rename_and_discard_are_found_again(library):
    search(library, "tango")
    tango = row(library, "tango")
    tango.locator("summary").first.click()
    tango.get_by_role("button", name="Star").click()
    tango.locator(".star").wait_for()
    tango.get_by_role("button", name="Rename").click()
    library.keyboard.type("Evening by the lake")
    library.keyboard.press("Enter")
    evening = row(library, "Evening by the lake")
    evening.wait_for()
    search(library, "evening lake")
    library.get_by_label("Show").select_option("starred")
    evening.wait_for()
    evening.get_by_role("button", name="Discard").click()
    library.locator("#library").get_by_text("Nothing is found.").wait_for()
    library.get_by_label("Show").select_option("discarded")
    evening.locator("summary").first.click()
    evening.get_by_role("button", name="Bring back").click()
    evening.wait_for(state="detached")
    library.get_by_label("Show").select_option("kept")
    evening.wait_for()


def test_an_output_is_downloaded_in_another_format_named_after_its_title(library, tmp_path):
    search(library, "")
    first = library.locator("#library details.take").first
    if first.get_attribute("open") is None:
        first.locator("summary").first.click()
    first.get_by_text("Download as").click()
    with library.expect_download() as download:
        first.get_by_role("button", name="MP3").click()
    assert re.fullmatch(r"[\w-]+\.mp3", download.value.suggested_filename)
    download.value.save_as(tmp_path / "made.mp3")
    assert read(tmp_path / "made.mp3").duration_s > 3
    first.get_by_text(f"saved as {download.value.suggested_filename}").wait_for()
    library.keyboard.press("Escape")
    first.get_by_role("button", name="FLAC").wait_for(state="hidden")
    first.locator("summary").first.click()


def test_a_link_opens_for_whoever_holds_it_until_it_is_withdrawn(library, browser):
    first = library.locator("#library details.take").first
    first.locator("summary").first.click()
    first.locator(".share > summary").click()
    first.get_by_role("button", name="Make a link").click()
    first.get_by_text("The link is there.").wait_for()
    link = first.locator(".share input").input_value()
    context = browser.browser.new_context(java_script_enabled=False)
    stranger = context.new_page()
    stranger.goto(link)
    stranger.get_by_role("heading", name="Credits").wait_for()
    sound = context.request.get(stranger.locator("audio").evaluate("audio => audio.src"))
    assert (sound.status, sound.body()[:4]) == (200, b"RIFF")
    assert context.cookies() == []
    first.get_by_role("button", name="Withdraw the link").click()
    first.get_by_text("opens nothing any more").wait_for()
    assert stranger.goto(link).status == 410
    stranger.get_by_text("Its maker has withdrawn this link.").wait_for()
    context.close()
    first.locator("summary").first.click()


def test_a_name_in_a_title_is_refused_in_words(library):
    search(library, "")
    first = library.locator("#library details.take").first
    first.locator("summary").first.click()
    first.get_by_role("button", name="Rename").click()
    library.keyboard.type("in the style of Madonna")
    library.keyboard.press("Enter")
    library.get_by_role("alert").filter(has_text="madonna").wait_for()


def test_tab_and_output_stand_in_the_address_and_back_works(library, served, artifacts):
    search(library, "")
    library.get_by_role("tab", name="Verify").click()
    assert library.url.endswith("#verify")
    library.go_back()
    library.locator("#library").wait_for()
    output = library.locator("#library details.take").first.get_attribute("data-id")
    link = library.context.new_page()
    link.goto(f"{served.url}/#library/{output}")
    opened = link.locator(f"#library details.take[data-id='{output}'][open]")
    opened.wait_for()
    opened.locator("canvas.wave[data-drawn]").wait_for()
    keep(link, artifacts / "page-library.png")
    link.close()


def test_a_variation_made_beside_an_output_shows_its_lineage(library):
    search(library, "")
    first = library.locator("#library details.take").first
    parent = first.get_attribute("data-id")
    if first.get_attribute("open") is None:
        first.locator("summary").first.click()
    first.get_by_role("button", name="Vary").click()
    library.locator("#bar-state", has_text="Ready").wait_for(timeout=180_000)
    library.get_by_role("tab", name="Library").click()
    library.locator(f"#library details.take:first-child:not([data-id='{parent}'])").wait_for()
    child = library.locator("#library details.take").first
    child.locator("summary").first.click()
    child.get_by_text("Lineage").click()
    child.locator(".family", has_text="varies").wait_for()
    assert child.locator(f".family a[href='#library/{parent}']").count() == 1
