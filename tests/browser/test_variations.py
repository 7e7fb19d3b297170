"""Variations on the page: what shall change is chosen, the rest stays."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.browser.test_page import choose, finished, make

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture(scope="module")
def page(served, browser):
    """A page with one output."""
    page = browser.new_page()
    page.goto(served.url)
    page.get_by_role("region", name="Consent for your choice").wait_for()
    choose(page, "Genre", "jazz")
    page.get_by_text("tags are granted").wait_for()
    make(page)
    yield page
    page.close()


def pick(page, label, choice):
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=choice, exact=True).click()


def newest(served):
    """The record of the newest output, with its place in the family tree."""
    record = told(served, "")[0]
    return {**record, "lineage": told(served, f"/{record['output_id']}/lineage")}


def told(served, path):
    with urllib.request.urlopen(f"{served.url}/api/v1/outputs{path}") as answer:
        return json.load(answer)


def made_after(served, page, before):
    """The record of the output that Vary makes, once it is there."""
    page.locator("#vary").click()
    for _ in range(180):
        found = newest(served)
        if found["output_id"] != before["output_id"]:
            finished(page)
            return found
        page.wait_for_timeout(1000)
    raise AssertionError("no variation was made")


def test_one_stem_is_redone(page, served, artifacts):
    parent = newest(served)
    pick(page, "What changes", "The drums alone")
    assert not page.get_by_label("Another lead", exact=True).is_visible()
    page.screenshot(path=artifacts / "vary.png")
    child = made_after(served, page, parent)
    assert child["lineage"]["redone"] == "drums"
    assert child["lineage"]["forebears"][0]["output_id"] == parent["output_id"]


def test_other_instruments_with_a_lead_of_choice(page, served, artifacts):
    parent = newest(served)
    pick(page, "What changes", "The instruments; its notes stay")
    page.get_by_label("Another lead", exact=True).wait_for()
    pick(page, "Another lead", "flute")
    page.screenshot(path=artifacts / "vary-instruments.png")
    child = made_after(served, page, parent)
    assert child["lineage"]["new"] == "instruments"
    assert "lead/flute" in child["request"]["tags"]
    page.screenshot(path=artifacts / "varied.png", full_page=True)
