"""Every tab against the rules of axe-core, in light and dark; colours that hold from the start."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.needs("chromium")

TABS = ("Create", "Library", "Verify", "Consent", "Accounts", "Models and limits")
SIZES = ((1440, 900), (1024, 768), (390, 844))


@pytest.fixture(scope="module", params=["light", "dark"])
def scheme(request):
    return request.param


@pytest.fixture(scope="module")
def profile(browser, scheme):
    """A browser whose system asks for the scheme."""
    profile = browser.browser.new_context(color_scheme=scheme)
    profile.set_default_timeout(60_000)
    yield profile
    profile.close()


def complaints(page) -> list[str]:
    """Violations that hinder, and every one of contrast."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {node['target']} {node['html'][:160]}"
        for each in found
        for node in each["nodes"]
        if each["impact"] in ("serious", "critical") or each["id"] == "color-contrast"
    ]


def unfold(page) -> None:
    """What is folded away is looked at too."""
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    for button in page.locator(".label-wrap:not(.open)").all():
        if button.is_visible():
            button.click()


def test_no_tab_breaks_a_rule(served, profile, scheme, artifacts):
    page = profile.new_page()
    page.goto(served.url)
    page.get_by_text("tags are granted").wait_for()
    page.locator("input[type=radio][name^='group-']").first.wait_for()
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        for tab in TABS:
            page.get_by_role("tab", name=tab, exact=True).click()
            page.wait_for_timeout(500)  # what the tab loads is drawn
            unfold(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            name = f"{tab.split()[0].lower()}-{width}-{scheme}.png"
            page.screenshot(path=artifacts / name, full_page=True)
            assert complaints(page) == []
    page.close()


def test_the_sign_in_page_breaks_no_rule(team, profile, scheme, artifacts):
    page = profile.new_page()
    page.goto(team.url)
    page.get_by_label("Account name").wait_for()
    page.screenshot(path=artifacts / f"login-{scheme}.png")
    assert complaints(page) == []
    page.close()


def test_a_rule_that_is_broken_is_noticed(served, profile):
    page = profile.new_page()
    page.goto(served.url)
    page.get_by_text("Consent for your choice").wait_for()
    page.evaluate("document.querySelector('.masthead p').style.color = 'var(--line)'")
    assert any("color-contrast" in each for each in complaints(page))
    page.close()


def test_no_frame_has_the_colours_of_the_other_scheme(served, profile, scheme):
    page = profile.new_page()
    page.add_init_script(
        """window.seen = new Set();
        const look = () => {
            const colours = [document.body, document.documentElement]
                .map(each => each && getComputedStyle(each).backgroundColor);
            if (colours[0]) seen.add(colours.find(each => each !== 'rgba(0, 0, 0, 0)'));
            requestAnimationFrame(look);
        };
        look();"""
    )
    page.goto(served.url)
    page.get_by_text("tags are granted").wait_for()
    paper = {"light": "rgb(247, 245, 240)", "dark": "rgb(21, 20, 18)"}[scheme]
    assert page.evaluate("[...seen]") == [paper]
    page.close()


def test_the_scheme_that_was_chosen_is_kept(served, browser):
    profile = browser.browser.new_context(color_scheme="light")
    page = profile.new_page()
    page.goto(served.url)
    page.get_by_role("button", name="Use the dark colours").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    page.get_by_role("button", name="Use the light colours").wait_for()
    assert page.evaluate("document.body.classList.contains('dark')")
    profile.close()
