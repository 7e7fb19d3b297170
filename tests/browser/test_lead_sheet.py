"""The lead sheet in a browser: written by mouse and keyboard, performed, followed, taken back."""

from __future__ import annotations

import re

import pytest

from tests.browser.test_accessibility import complaints

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture
def page(served, browser):
    page = browser.new_page()
    page.goto(served.url)
    page.get_by_text("tags are granted").wait_for()
    choose(page, "Genre", "waltz")
    choose(page, "Tempo", "medium")
    page.locator(".sheet > summary").click()
    yield page
    page.close()


def choose(page, kind, name):
    page.get_by_role("radiogroup", name=kind).get_by_role("radio", name=name, exact=True).check()


def says(page, text) -> None:
    """Wait until the sheet's text is this one."""
    page.wait_for_function(
        "text => document.querySelector('.sheet textarea').value === text", arg=text
    )


def bar(page, section, number, word="chords"):
    return page.get_by_label(f"{section}, bar {number}: {word}", exact=True)


def button(page, name):
    return page.locator(".sheet").get_by_role("button", name=name, exact=True)


def write(page, text) -> None:
    page.locator(".sheet details summary").click()
    page.get_by_label("Lead sheet as text").fill(text)
    page.get_by_label("Lead sheet as text").blur()


def test_what_is_chosen_is_the_text_and_can_be_undone(page):
    page.locator("select[name=tonic]").select_option("F#")
    says(page, "key: F# major")
    page.locator("select[name=mode]").select_option("minor")
    page.locator("input[name=tempo]").fill("96")
    button(page, "Add a section").click()
    bar(page, "verse", 1).fill("F#m")
    bar(page, "verse", 3).fill("D A")
    whole = "key: F# minor\ntempo: 96\nform: verse 4\nchords verse: F#m | ? | D A | ?"
    says(page, whole)
    button(page, "Transpose up a semitone").click()
    says(page, "key: G minor\ntempo: 96\nform: verse 4\nchords verse: Gm | ? | Eb Bb | ?")
    button(page, "Undo").click()
    says(page, whole)
    button(page, "Undo").click()
    says(page, whole.replace("D A", "?"))
    button(page, "Redo").click()
    says(page, whole)
    button(page, "Clear").click()
    says(page, "")
    button(page, "Undo").click()
    says(page, whole)
    assert bar(page, "verse", 3).input_value() == "D A"


def test_a_wrong_bar_is_named_and_marked_before_generate(page):
    write(page, "form: verse 2, ending 2\nchords verse: Dm | H7")
    problem = page.locator(".sheet-problem", has_text="Verse, bar 2: 'H7' is no chord")
    problem.wait_for()
    assert bar(page, "verse", 2).get_attribute("aria-invalid") == "true"
    assert bar(page, "verse", 1).get_attribute("aria-invalid") is None
    bar(page, "verse", 2).fill("A7")
    page.wait_for_function("document.querySelector('.sheet-problem').textContent === ''")
    page.locator("input[name=tempo]").fill("180")
    page.locator(".sheet-problem", has_text="tempo/medium is asked for").wait_for()
    choose(page, "Tempo", "any")
    page.wait_for_function("document.querySelector('.sheet-problem').textContent === ''")
    page.locator(".sheet-length", has_text=re.compile(r"4 bars, \d+ s")).wait_for()


def test_a_melody_is_written_by_keyboard_and_by_mouse(page):
    write(page, "key: C major\nmetre: 4/4\nform: verse 2, ending 2")
    page.locator(".sheet-length", has_text="4 bars").wait_for()  # the studio has answered
    button(page, "Melody of verse").click()
    roll = page.locator("canvas.sheet-roll")
    roll.focus()
    for key in ("Enter", "Shift+ArrowRight", "ArrowRight", "ArrowRight", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    assert bar(page, "verse", 1, "melody").input_value() == "C5 - Db5 . . . . ."
    assert "Db5, note" in page.locator(".sheet [role=status]").text_content()
    page.keyboard.press("Delete")
    assert bar(page, "verse", 1, "melody").input_value() == "C5 - . . . . . ."
    box = roll.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + 12 * 5.5)
    second = bar(page, "verse", 2, "melody")
    assert re.search(r"[A-G]b?\d", second.input_value())
    page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + 12 * 5.5)
    assert second.input_value() == ". . . . . . . ."
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.key") == "chords/verse/0", "no trap"


def test_the_tempo_is_tapped(page):
    for _ in range(4):
        button(page, "Tap the tempo").click()
        page.wait_for_timeout(500)
    tempo = float(page.locator("input[name=tempo]").input_value())
    assert 50 <= tempo <= 120


def test_what_is_open_is_filled_and_the_grid_follows_the_sound(page, artifacts):
    write(
        page,
        "key: F# minor\ntempo: 110\nform: verse 3, ending 1\nchords verse: F#m | ? | C#7",
    )
    page.get_by_role("button", name="Generate").click()
    take = page.locator("details.take[open]", has_text="110 BPM")
    take.locator("studio-chart .bar").nth(3).wait_for(timeout=180_000)
    words = take.locator(".chart-words").text_content()
    assert words.startswith("F# minor, 110 BPM, 3/4")
    bars = take.locator("studio-chart .bar")
    assert bars.evaluate_all("nodes => nodes.map(node => node.matches('.given'))") == [
        True, False, True, False,
    ]  # fmt: skip
    assert bars.nth(0).get_attribute("aria-label") == "verse, bar 1: F#m"
    assert re.search(r": [A-G]", bars.nth(1).get_attribute("aria-label")), "the composer's"
    bars.nth(2).click()
    take.locator("studio-chart .bar[aria-current]", has_text="C#7").wait_for()
    bars.nth(0).focus()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("ending")
    take.locator("audio").evaluate("audio => audio.pause()")
    assert complaints(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=artifacts / "lead-sheet-390.png", full_page=True)
    button(page, "Clear").click()
    take.get_by_role("button", name="Use this lead sheet").click()
    page.wait_for_function(
        "/chords verse: F#m \\|/.test(document.querySelector('.sheet textarea').value)"
    )
