"""The page in a browser, for real: music from the house model, sealed, downloaded, recognised.

``ARTIFACTS=docs/img pytest tests/browser`` keeps the screenshots there; the pictures of the
documentation are made that way.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from watermark.audio.waveform import Waveform, read, write

pytestmark = pytest.mark.needs("chromium")


def keep(page, path: Path, *, whole: bool = True) -> None:
    """A screenshot of the page, or of what is in view, in 256 colours: half the size, as good."""
    from PIL import Image

    page.screenshot(path=path, full_page=whole)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def choose(page, kind, name):
    page.get_by_role("radiogroup", name=kind).get_by_role("radio", name=name, exact=True).check()


def generate(page):
    page.get_by_role("button", name="Generate").click()


def make(page):
    """Generate, and wait until it is there; before, the bar may say so of an earlier output."""
    generate(page)
    page.locator("#bar-state", has_text="Generating").wait_for(timeout=60_000)
    finished(page)


def finished(page):
    """Wait until the output is there; the real model takes a few seconds."""
    page.locator("#bar-state", has_text="Ready").wait_for(timeout=180_000)


def verify(page, path: Path) -> str:
    """Drop a file on an empty list and read the verdict."""
    clear = page.get_by_role("button", name="Clear the list")
    if clear.is_visible():
        clear.click()
    page.get_by_text("No file yet").wait_for()
    page.locator("#drop input[type=file]").set_input_files(path)
    verdict = page.locator("[data-verdict]")
    verdict.wait_for(timeout=60_000)
    return verdict.get_attribute("data-verdict")


@pytest.fixture(scope="module")
def made(served, browser, artifacts, tmp_path_factory) -> Path:
    """One output, made and downloaded through the page by a person's clicks."""
    page = browser.new_page()
    page.set_viewport_size({"width": 1280, "height": 1180})
    page.goto(served.url)
    page.get_by_text("tags are granted").wait_for()
    for kind, name in {"Genre": "bossa nova", "Mood": "calm", "Lead instrument": "piano"}.items():
        choose(page, kind, name)
    page.get_by_label("Seed", exact=True).fill("7")
    make(page)
    assert page.get_by_label("Keep this seed").is_checked(), "a seed that is typed is meant"
    page.locator("details.take[open] canvas.wave[data-drawn]").wait_for()
    time.sleep(0.5)  # the waveform is drawn
    keep(page, artifacts / "page-create.png", whole=False)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download WAV").first.click()
    path = tmp_path_factory.mktemp("made") / download.value.suggested_filename
    download.value.save_as(path)
    page.close()
    return path


def test_what_is_downloaded_is_what_was_released(served, made):
    released = [path.read_bytes() for path in (served.home / "outputs").iterdir()]
    assert made.read_bytes() in released
    assert made.name == "slow-calm-bossa-nova-with-piano.wav"
    assert read(made).duration_s == pytest.approx(10.0, abs=0.2)


def test_the_download_is_recognised_as_sealed(desk, made, artifacts, tmp_path):
    page = desk.page
    page.set_viewport_size({"width": 1280, "height": 1180})
    assert verify(page, made) == "sealed"
    page.get_by_text("This is an output of this studio").wait_for()
    matched = page.get_by_role("region", name="Matched output")
    assert made.stem[-4:] in matched.inner_text()  # the seal id
    assert "bossa nova" in matched.inner_text()
    assert "House catalogue" in matched.inner_text()
    assert page.get_by_role("img", name=re.compile("Detection score over")).is_visible()
    keep(page, artifacts / "page-verify.png")
    with page.expect_download() as download:
        page.get_by_role("link", name="Report on this file (JSON)").click()
    assert '"verdict": "sealed"' in Path(download.value.path()).read_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Report on this file (HTML").click()
    printed = tmp_path / "report.html"
    download.value.save_as(printed)
    paper = desk.page.context.new_page()
    asked: list[str] = []
    paper.on("request", lambda request: asked.append(request.url))
    paper.goto(printed.as_uri())
    assert paper.get_by_role("heading", name="Verification report").is_visible()
    assert made.stem[-4:] in paper.inner_text("body")
    assert asked == [printed.as_uri()], "the report asks nobody for anything"
    keep(paper, artifacts / "report.png")
    paper.close()


def test_an_mp3_of_it_is_recognised_and_a_part_of_it_is_an_excerpt(desk, made, tmp_path):
    music = read(made)
    write(tmp_path / "shared.mp3", music)
    assert verify(desk.page, tmp_path / "shared.mp3") == "sealed"
    write(tmp_path / "part.flac", music.slice(2.0, 8.5))
    assert verify(desk.page, tmp_path / "part.flac") == "excerpt"
    assert "of the original" in desk.page.get_by_role("region", name="Matched output").inner_text()


def test_unmarked_music_is_not_detected_and_not_called_human_made(desk, tmp_path):
    rng = np.random.default_rng(3)
    t = np.arange(10 * 16_000) / 16_000
    notes = rng.choice([220.0, 262.0, 330.0, 392.0, 440.0], size=40).repeat(4_000)
    tune = np.sin(2 * np.pi * notes * t) * np.exp(-3 * (t % 0.25)) + 0.02 * rng.standard_normal(
        len(t)
    )
    write(tmp_path / "own.wav", Waveform(0.4 * tune[None].astype(np.float32), 16_000))
    assert verify(desk.page, tmp_path / "own.wav") == "not-detected"
    assert "does not mean that a person made it" in desk.page.locator("[data-verdict]").inner_text()


def test_a_hostile_upload_gets_a_clear_answer(desk, served, tmp_path):
    (tmp_path / "song.wav").write_bytes(b"RIFF\xff\xff\xff\xffWAVEnot audio at all" * 50)
    assert verify(desk.page, tmp_path / "song.wav") == "unreadable"
    text = desk.page.locator("[data-verdict]").inner_text()
    assert "could not be read" in text
    assert "Traceback" not in text
    assert str(served.home.parent) not in text


def test_a_tag_without_a_grant_is_marked_and_refused_with_the_reason(visit, served):
    before = served.released()
    choose(visit.page, "Genre", "choral – not granted")
    visit.page.get_by_text("Nobody has granted it.").wait_for()
    generate(visit.page)
    visit.page.get_by_text("Not generated: consent is missing").wait_for()
    assert served.released() == before


def test_the_licence_of_a_model_limits_the_use(visit):
    visit.page.get_by_label("Model", exact=True).click()
    visit.page.get_by_role("option", name=re.compile("MusicGen small")).click()
    choose(visit.page, "Intended use", "Commercial")
    panel = visit.page.get_by_role("region", name="Consent for your choice")
    panel.get_by_text("does not permit commercial use").first.wait_for()
    assert visit.page.get_by_role("radio", name="waltz – not granted").count() == 0
    assert "Meta" in visit.page.get_by_label("About the model").inner_text()
    # The studio remembers the choice; the next visitor shall find another one.
    visit.page.get_by_role("button", name="Use House model instead").click()
    panel.get_by_text("does not permit commercial use").first.wait_for(state="hidden")
    choose(visit.page, "Genre", "waltz")  # an earlier visitor may have left another choice
    visit.page.get_by_text("tags are granted").wait_for()
    choose(visit.page, "Intended use", "Noncommercial")
    visit.page.get_by_text("tags are granted").wait_for()


def test_a_territory_is_typed_by_name_or_code(visit):
    field = visit.page.get_by_label("Territory", exact=True)
    for typed, found in (("Germ", "Germany (DE)"), ("(AT)", "Austria (AT)")):
        field.click()
        visit.page.keyboard.type(typed)
        visit.page.get_by_role("option", name=found).wait_for()
        visit.page.keyboard.press("Enter")
        panel = visit.page.get_by_role("region", name="Consent for your choice")
        panel.get_by_text(found.partition(" ")[0].lower()).first.wait_for()
    field.click()
    visit.page.keyboard.type("Worldwide")
    visit.page.get_by_role("option", name="Worldwide").wait_for()
    visit.page.keyboard.press("Enter")
    visit.page.get_by_text("noncommercial use, worldwide").wait_for()


def test_cancel_stops_the_work_and_leaves_nothing(visit, served):
    before = served.released()
    visit.page.get_by_label("number input for Duration").fill("60")
    visit.page.get_by_label("number input for Duration").press("Tab")
    generate(visit.page)
    visit.page.get_by_text(re.compile(r"Generating: ")).filter(visible=True).first.wait_for()
    requests = visit.page.get_by_role("region", name="Requests and outputs")
    requests.get_by_role("button", name="Cancel").click()
    # How many steps a cancelled model still takes is tested without a clock in the unit tests.
    visit.page.get_by_text("Nothing was kept and nothing was released.").wait_for()
    assert served.released() == before
    assert visit.page.get_by_role("button", name="Generate").is_enabled()


def test_audio_needs_the_claim_that_a_page_was_given(visit, served, made):
    for path in (served.home / "outputs").iterdir():
        audio = visit.page.request.get(f"{served.url}/outputs/{path.stem}/audio")
        assert audio.status == 404
        outline = visit.page.request.get(f"{served.url}/outputs/{path.stem}/peaks")
        assert outline.status == 404


def test_work_and_outputs_come_back_on_any_page(visit, served, browser, made):
    page = visit.page
    page.locator("details.take").first.wait_for()
    before = page.locator("details.take").count()
    choose(page, "Genre", "waltz")
    generate(page)
    page.get_by_text(re.compile("Generating: ")).filter(visible=True).first.wait_for(timeout=60_000)
    page.reload()
    page.get_by_text(re.compile("Generating: ")).filter(visible=True).first.wait_for(timeout=60_000)
    chosen = page.get_by_role("radiogroup", name="Genre").get_by_role("radio", name="waltz")
    assert chosen.is_checked()
    finished(page)
    assert page.locator("details.take").count() == before + 1
    other = browser.new_page()
    other.goto(served.url)
    other.locator("details.take").nth(before).wait_for(state="attached")
    other.close()


def test_what_plays_is_never_taken_away_and_one_plays_at_a_time(visit, made):
    page = visit.page
    audio = page.locator("details.take[open] audio")
    audio.wait_for(state="attached")
    audio.evaluate("async each => { each.loop = true; each.muted = true; await each.play(); }")
    audio.evaluate("each => { window.playing = each; }")
    playing = "() => window.playing.isConnected && !window.playing.paused"
    assert page.evaluate(playing)
    generate(page)
    assert page.evaluate(playing)
    page.get_by_text("Title, note, what people contribute").click()
    page.get_by_label("Title").fill("in the style of Madonna")
    page.get_by_label("Note").click()
    page.locator(".field-note", has_text="The title asks for").wait_for()
    generate(page)
    finished(page)
    assert page.evaluate(playing)
    page.locator("details.take").first.locator("audio").evaluate(
        "async each => { each.muted = true; await each.play(); }"
    )
    assert page.evaluate("window.playing.paused")


def test_by_keyboard_a_group_is_one_stop_with_arrow_keys_and_the_button_is_near(visit):
    page = visit.page
    page.locator("input[type=radio][name^='group-']").first.wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to Generate"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "generate"
    group = page.get_by_role("radiogroup", name="Genre")
    group.locator("input:checked").focus()
    before = group.locator("input:checked").get_attribute("value")
    page.keyboard.press("ArrowRight")
    now = group.locator("input:checked")
    assert now.count() == 1
    assert now.get_attribute("value") != before
    assert group.locator("label.selected").count() == 1
    page.keyboard.press("Tab")
    assert not group.evaluate("each => each.contains(document.activeElement)")


def test_the_button_stays_in_sight_at_every_size(visit, artifacts):
    page = visit.page
    for width, height in ((1440, 900), (1024, 768), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        for where in (0, 500, 99_999):
            page.evaluate("y => scrollTo(0, y)", where)
            box = page.get_by_role("button", name="Generate").bounding_box()
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= height
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        seed = page.get_by_label("Seed", exact=True).bounding_box()
        assert seed["y"] + seed["height"] <= height
        page.screenshot(path=artifacts / f"bar-{width}.png")


def test_a_phone_shows_the_whole_page_without_sideways_scrolling(visit, artifacts):
    visit.page.set_viewport_size({"width": 390, "height": 844})
    for tab in ("Create", "Verify", "Consent", "Accounts", "Models and limits", "Create"):
        visit.page.get_by_role("tab", name=tab, exact=True).click()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visit.page.get_by_role("button", name="Generate").is_visible()
    keep(visit.page, artifacts / "page-phone.png")
